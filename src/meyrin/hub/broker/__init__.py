"""The periodic step that turns waiting jobs into placements."""
