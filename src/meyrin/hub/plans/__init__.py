"""Studies of planners on the hub's pages."""
