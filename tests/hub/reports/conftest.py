from tests.hub.reports.world import empty_hub, filled, hub, own_hub, shown

__all__ = ["empty_hub", "filled", "hub", "own_hub", "shown"]
