"""A hub of two rooms, on a clock that the test moves: for the tests of identity and sites."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from fastapi.testclient import TestClient
from tests import tables

from meyrin.hub.identity import leaving_store, outside_routes, outside_store
from meyrin.hub.identity import routes as identity_routes
from meyrin.hub.identity import service as identity
from meyrin.hub.identity import store as identity_store
from meyrin.hub.plumbing import audit, http
from meyrin.hub.plumbing.authz import Actor
from meyrin.hub.plumbing.bell import Bell
from meyrin.hub.plumbing.database import Database, Step
from meyrin.hub.plumbing.settings import HubSettings
from meyrin.hub.plumbing.world import world
from meyrin.hub.sites import routes as sites_routes
from meyrin.hub.sites import store as sites_store

T = TypeVar("T")
NOW_MS = 1_800_000_000_000
TABLES = [
    audit.audit,
    identity_store.people,
    identity_store.organisations,
    outside_store.openid_logins,
    outside_store.identities,
    identity_store.projects,
    identity_store.members,
    identity_store.operators,
    identity_store.roles,
    identity_store.tokens,
    leaving_store.departures,
    leaving_store.departure_sites,
    sites_store.sites,
    sites_store.partitions,
    sites_store.offers,
    sites_store.offer_shares,
    sites_store.later_shares,
    sites_store.capacities,
    world,
]


@dataclass
class Clock:
    now_ms: int = NOW_MS

    def __call__(self) -> int:
        return self.now_ms

    def pass_s(self, seconds: float) -> None:
        self.now_ms += int(seconds * 1000)


@dataclass
class House:
    """The database with its clock, and short ways to people and requests."""

    database: Database
    clock: Clock
    app: FastAPI
    statements: list[str] = field(default_factory=list)

    def read(self):
        return self.database.read()

    def write(self):
        return self.database.write()

    @contextmanager
    def counted(self, most: int) -> Iterator[list[str]]:
        """Fails when more than `most` statements run inside."""
        self.statements.clear()
        yield self.statements
        assert len(self.statements) <= most, "\n".join(self.statements)

    def person(self, name: str, *, admin: bool = False) -> str:
        """A new person's token secret."""
        with self.write() as step:
            who = identity.new_person(step, name, admin=admin)
            return identity.new_token(step, who.id, "test")[1]

    def actor(self, secret: str) -> Actor:
        with self.read() as step:
            return identity.authenticate(step, secret, identity.PERSON_KINDS)

    def client(self, secret: str | None = None, base_url: str = "http://hub.test") -> TestClient:
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        return TestClient(self.app, base_url=base_url, headers=headers, follow_redirects=False)


@pytest.fixture
def house(database_url: str, tmp_path: Path) -> Iterator[House]:
    clock = Clock()
    database = Database(
        database_url, clock_ms=clock, entropy=lambda: secrets.token_bytes(16), bell=Bell()
    )
    tables.create(database.engine, TABLES)
    app = FastAPI()
    http.install(app)
    app.include_router(identity_routes.router)
    app.include_router(outside_routes.router)
    app.include_router(sites_routes.router)
    app.state.database = database
    app.state.settings = HubSettings(dir=tmp_path)
    app.state.authenticate = identity.request_actor
    app.state.provider = None
    made = House(database, clock, app)
    with database.write() as step:
        step.add(world, [{"one": 1, "version": 1}])

    def note(_conn, _cursor, statement, _parameters, _context, _many):
        if not statement.startswith("BEGIN"):
            made.statements.append(statement)

    sa.event.listen(database.engine, "before_cursor_execute", note)
    yield made
    database.close()


def at_once(threads: int, ask: Callable[[int], T]) -> list[T]:
    """What `ask(0)`, `ask(1)`, … answer when their threads start at the same moment."""
    start = threading.Barrier(threads)

    def run(number: int) -> T:
        start.wait(30)
        return ask(number)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(run, range(threads)))


def everything_stored(step: Step) -> str:
    """All that the tables hold, as one text."""
    return "\n".join(str(row) for table in TABLES for row in step.rows(sa.select(table)))
