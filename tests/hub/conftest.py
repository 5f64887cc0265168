"""The whole hub for tests of its upper rooms, on both databases.

Migrations run once a session; every test gets a copy of what they made.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests import components
from tests.hub import facility
from tests.hub.facility import CPU, Facility

from meyrin.hub.migrations import run


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hub") / "template.sqlite"
    engine = sa.create_engine(f"sqlite:///{path}")
    run.upgrade(engine)
    engine.dispose()
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres_url: str) -> Iterator[str]:
    """The name of a migrated database to copy."""
    with components.postgres_database(postgres_url) as url:
        engine = sa.create_engine(url)
        run.upgrade(engine)
        engine.dispose()
        yield url.rpartition("/")[2]


@pytest.fixture
def sqlite_hub_url(sqlite_template: Path, tmp_path: Path) -> str:
    return facility.copy_sqlite(sqlite_template, tmp_path / "hub.sqlite")


@pytest.fixture
def postgres_hub_url(postgres_url: str, postgres_template: str) -> Iterator[str]:
    with components.postgres_database(postgres_url, postgres_template) as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.real)])
def hub_url(request: pytest.FixtureRequest) -> str:
    """The address of a migrated, empty database; the test runs on both kinds."""
    return str(request.getfixturevalue(f"{request.param}_hub_url"))


@pytest.fixture
def empty_hub(hub_url: str, tmp_path: Path) -> Iterator[Facility]:
    """A hub with people and a project, and no site."""
    made = facility.make(hub_url, tmp_path)
    yield made
    made.close()


@pytest.fixture
def hub(empty_hub: Facility) -> Facility:
    """A hub with one site, `alps`, of four nodes with eight cores, and hours for `lab`."""
    empty_hub.site("alps", CPU)
    empty_hub.award("lab")
    return empty_hub


@pytest.fixture
def sqlite_hub(sqlite_hub_url: str, tmp_path: Path) -> Iterator[Facility]:
    """As `hub`, on SQLite only: where the database makes no difference."""
    made = facility.make(sqlite_hub_url, tmp_path)
    made.site("alps", CPU)
    made.award("lab")
    yield made
    made.close()


@pytest.fixture
def postgres_hub(postgres_hub_url: str, tmp_path: Path) -> Iterator[Facility]:
    """As `hub`, on PostgreSQL only: for what takes several hubs."""
    made = facility.make(postgres_hub_url, tmp_path)
    made.site("alps", CPU)
    made.award("lab")
    yield made
    made.close()
