"""A ledger with its allocations, on a clock that the test moves."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
import sqlalchemy as sa
import sqlalchemy.dialects.postgresql  # plumbing.database expects it to be loaded
from tests import tables

from meyrin.domain.site import OwnerShare
from meyrin.hub.calls import changes_store
from meyrin.hub.calls import store as calls_store
from meyrin.hub.identity import leaving_store
from meyrin.hub.identity import store as identity_store
from meyrin.hub.ledger import service as ledger
from meyrin.hub.ledger import store
from meyrin.hub.plumbing import audit
from meyrin.hub.plumbing.bell import Bell
from meyrin.hub.plumbing.database import Database
from meyrin.hub.plumbing.world import world

NOW_MS = 1_800_000_000_000  # 15 January 2027
TABLES = [
    store.accounts,
    store.entries,
    store.closed_months,
    calls_store.allocations,
    calls_store.award_keys,
    calls_store.tranches,
    changes_store.changes,
    changes_store.reclaims,
    changes_store.notices,
    changes_store.notices_seen,
    changes_store.imported,
    audit.audit,
    identity_store.people,
    identity_store.projects,
    identity_store.members,
    identity_store.operators,
    identity_store.roles,
    identity_store.tokens,
    leaving_store.departures,
    leaving_store.departure_sites,
    world,
]
SHARES = (OwnerShare("cern", 2), OwnerShare("lip", 1))


@dataclass
class Clock:
    now_ms: int = NOW_MS

    def __call__(self) -> int:
        return self.now_ms


@dataclass
class Books:
    """The database with its clock, and short ways to the ledger's verbs, a step each."""

    database: Database
    clock: Clock
    statements: list[str] = field(default_factory=list)
    names: int = 0

    def __getattr__(self, verb):
        if verb not in ledger.__all__:
            raise AttributeError(verb)

        def call(*arguments, **more):
            with self.database.write() as step:
                return getattr(ledger, verb)(step, *arguments, **more)

        return call

    def allocation(self, amount_s: int = 0, project: str = "prj_a", kind: str = "h100") -> str:
        self.names += 1
        name = f"all_{self.names:04d}"
        self.open_allocation(name, project, kind)
        if amount_s:
            self.grant(name, amount_s, "a test")
        return name

    def balance(self, name: str) -> ledger.Balance:
        with self.database.read() as step:
            return ledger.balances(step, [name])[name]

    def settled(self, attempt: str, used_s: int, **more) -> ledger.Settled:
        return self.settle([settlement(attempt, used_s, **more)])

    @contextmanager
    def counted(self) -> Iterator[list[str]]:
        """The statements that run inside, without BEGIN."""
        self.statements.clear()
        yield self.statements


def settlement(attempt, used_s, shares=SHARES, offer_id="off_1", reason="measured use"):
    return ledger.Settlement(attempt, used_s, shares, offer_id, reason)


def new_attempt() -> str:
    return str(uuid.uuid4())


def open_books(url: str) -> Books:
    clock = Clock()
    database = Database(url, clock_ms=clock, entropy=lambda: secrets.token_bytes(16), bell=Bell())
    tables.create(database.engine, TABLES)
    with database.write() as step:
        step.add(world, [{"one": 1, "version": 1}])
    made = Books(database, clock)

    def note(_conn, _cursor, statement, _parameters, _context, _many):
        if not statement.startswith("BEGIN"):
            made.statements.append(statement)

    sa.event.listen(database.engine, "before_cursor_execute", note)
    return made


@pytest.fixture
def books(database_url: str) -> Iterator[Books]:
    made = open_books(database_url)
    yield made
    with made.database.read() as step:
        findings = ledger.verify(step)
    made.database.close()
    assert findings == ()
