"""A facility for each test that asks for one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.walk.facility import Facility, facility


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Facility]:
    """A hub on SQLite that runs; sites are added by the test."""
    with facility(tmp_path) as made:
        made.hub.start()
        yield made


@pytest.fixture
def either(tmp_path: Path, database_url: str) -> Iterator[Facility]:
    """The same on each of the two databases."""
    with facility(tmp_path, database_url) as made:
        made.hub.start()
        yield made
