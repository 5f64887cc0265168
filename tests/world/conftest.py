"""A place to live worlds in, for the whole session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from tests.world.lives import Place

from meyrin.hub.migrations import run


@pytest.fixture(scope="session")
def place() -> Iterator[Place]:
    made = Place()
    yield made
    made.close()


@pytest.fixture
def postgres_place(fresh_postgres: str) -> Iterator[Place]:
    """A place for one world, on PostgreSQL."""
    engine = sa.create_engine(fresh_postgres)
    run.upgrade(engine)
    engine.dispose()
    made = Place(fresh_postgres)
    yield made
    made.close()
