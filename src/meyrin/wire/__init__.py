"""Bodies on the wire between hub, agents and clients. Shapes only: no storage, no decisions."""
