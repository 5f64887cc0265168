from tests.hub.identity.fixtures import house

__all__ = ["house"]
