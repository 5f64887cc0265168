"""The audit: who did what to what, as rows that are only added, each bound to the one before.

A row's hash is the SHA-256 of the row before's hash, a line end, and the row's own facts as
canonical JSON (keys in order, no spaces, UTF-8). Whoever changes, removes or slips in a row breaks
every hash after it; the last hash, kept elsewhere, also shows that none was cut off at the end.
Names and reasons are kept, secrets and contents never.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from meyrin.hub.plumbing.database import BigId, Step, metadata
from meyrin.hub.plumbing.only_added import guard
from meyrin.hub.plumbing.paging import cut, number, page

_LOCK = 0x41554449  # any constant of our own
START = "0" * 64
HUB = "hub"  # who acts where the hub does so by itself; no person is called that
_ONLY_ADDED = {"audit": "id = NEW.id OR hash = NEW.hash"}

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("actor", sa.String, nullable=False),
    sa.Column("verb", sa.String, nullable=False),
    sa.Column("thing", sa.String, nullable=False),
    sa.Column("facts", sa.String, nullable=False),
    sa.Column("prior", sa.String(64), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False, unique=True),
    sa.Index("ix_audit_thing", "thing", "id"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One act. `facts` is an object of words."""

    id: int
    at_ms: int
    actor: str
    verb: str
    thing: str
    facts: dict[str, str]
    prior: str
    hash: str


@dataclass(frozen=True, slots=True)
class Verified:
    """`broken` is the first row that does not fit, or None; `last` the last row's hash."""

    rows: int
    last: str
    broken: int | None


def install_guards(connection: sa.Connection) -> None:
    """Make the database refuse to change the audit. Safe to run again."""
    guard(connection, _ONLY_ADDED)


@sa.event.listens_for(metadata, "after_create")
def _guard_new_table(_target: Any, connection: sa.Connection, **options: Any) -> None:
    if "audit" in {table.name for table in options.get("tables") or ()}:
        install_guards(connection)


def note(step: Step, actor: str, verb: str, thing: str, **facts: object) -> None:
    """Add a row in the caller's transaction: it is there exactly when what it tells is.

    `verb` is `noun.verb`, `thing` the name of what it was done to. One writer at a time.
    """
    if step.conn.dialect.name == "postgresql":
        step.conn.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    last = step.one(sa.select(audit.c.hash).order_by(audit.c.id.desc()).limit(1))
    before = START if last is None else last.hash
    row = {
        "at_ms": step.now_ms,
        "actor": actor,
        "verb": verb,
        "thing": thing,
        "facts": _told(facts),
        "prior": before,
    }
    step.add(audit, [{**row, "hash": chained(before, row)}])


def note_change(step: Step, actor: str, verb: str, thing: str, **facts: object) -> None:
    """As `note`, for what sets a state: whoever sets it again, because an answer was lost, has
    done it once. The same row as the last one of this thing is not added."""
    a = audit.c
    last = sa.select(a.actor, a.verb, a.facts).where(a.thing == thing).order_by(a.id.desc())
    row = step.one(last.limit(1))
    if row is None or (row.actor, row.verb, row.facts) != (actor, verb, _told(facts)):
        note(step, actor, verb, thing, **facts)


def _told(facts: dict[str, object]) -> str:
    said = {name: str(value) for name, value in facts.items() if value is not None}
    return json.dumps(said, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def chained(before: str, row: dict[str, Any]) -> str:
    """The hash of a row that comes after one with the hash `before`."""
    told = {name: row[name] for name in ("at_ms", "actor", "verb", "thing", "facts")}
    text = json.dumps(told, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(f"{before}\n{text}".encode()).hexdigest()


def listed(step: Step, thing: str, after: str, limit: int) -> tuple[list[Row], str]:
    """One page, newest first; of one thing, or of everything when `thing` is empty."""
    statement = sa.select(audit)
    if thing:
        statement = statement.where(audit.c.thing == thing)
    rows = step.rows(page(statement, audit.c.id, number(after), limit, newest=True))
    found, following = cut(rows, limit, "id")
    return [_row(row) for row in found], following


def verify(step: Step, batch: int = 5000) -> Verified:
    """Recompute every hash, from the first row on."""
    count, before, last_id = 0, START, 0
    while True:
        rows = step.rows(
            sa.select(audit).where(audit.c.id > last_id).order_by(audit.c.id).limit(batch)
        )
        for row in rows:
            if row.prior != before or row.hash != chained(before, dict(row._mapping)):  # noqa: SLF001
                return Verified(count, before, row.id)
            count, before, last_id = count + 1, row.hash, row.id
        if len(rows) < batch:
            return Verified(count, before, None)


def _row(row: sa.Row[Any]) -> Row:
    return Row(
        row.id,
        row.at_ms,
        row.actor,
        row.verb,
        row.thing,
        json.loads(row.facts),
        row.prior,
        row.hash,
    )
