"""The periodic step that asks the engine and commits its placements."""
