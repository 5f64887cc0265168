"""A facility for each test that asks for one."""

from __future__ import annotations

import shutil
import tempfile
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


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the jobs' user can reach, unlike pytest's own."""
    made = Path(tempfile.mkdtemp(prefix="mtb-walk-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)
