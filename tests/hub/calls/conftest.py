from tests.hub.ledger.fixtures import books

__all__ = ["books"]
