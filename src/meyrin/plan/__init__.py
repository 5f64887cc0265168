"""The planner: what another facility, other rules or other demand would change, as differences."""
