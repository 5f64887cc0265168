"""Traces, the replay of a trace through the engine, and what came of it. No hub is needed."""
