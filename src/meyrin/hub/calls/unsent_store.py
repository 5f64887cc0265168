"""The table of asks that are being written, and its queries; each of one person."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from meyrin.hub.calls.proposals_store import proposals
from meyrin.hub.plumbing.database import BigId, Json, Step, metadata
from meyrin.hub.plumbing.paging import page

unsent_asks = sa.Table(
    "unsent_asks",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("person_id", sa.ForeignKey("people.id"), nullable=False),
    sa.Column("key", sa.String(200), nullable=False),
    # of whoever wrote last
    sa.Column("mark", sa.String(64), nullable=False),
    sa.Column("said", Json, nullable=False),
    sa.Column("made_ms", sa.BigInteger, nullable=False),
    sa.Column("saved_ms", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("person_id", "key", name="uq_unsent_asks_key"),
)


def one(step: Step, person_id: str, key: str) -> sa.Row[Any] | None:
    u = unsent_asks.c
    return step.one(sa.select(unsent_asks).where(u.person_id == person_id, u.key == key))


def add(step: Step, row: dict[str, Any]) -> bool:
    """False when there is one by that key already."""
    return bool(step.add_new(unsent_asks, [row]))


def count(step: Step, person_id: str) -> int:
    u = unsent_asks.c
    counted = sa.select(sa.func.count(u.id).label("n")).where(u.person_id == person_id)
    found = step.one(counted)
    return int(found.n) if found is not None else 0


def write(
    step: Step, person_id: str, key: str, marks: Collection[str], values: dict[str, Any]
) -> bool:
    """Write over what one of `marks` wrote last; False when somebody else did."""
    u = unsent_asks.c
    mine = sa.update(unsent_asks).where(
        u.person_id == person_id, u.key == key, u.mark.in_(sorted(marks))
    )
    return bool(step.change(mine.values(**values)))


def listed(step: Step, person_id: str, after: int | None, limit: int) -> list[sa.Row[Any]]:
    """One page, newest first. A save that was under way while its ask was sent may have come
    after it: that one is not listed."""
    u, p = unsent_asks.c, proposals.c
    sent = sa.exists().where(p.person_id == u.person_id, p.key == u.key)
    statement = sa.select(unsent_asks).where(u.person_id == person_id, ~sent)
    return step.rows(page(statement, u.id, after, limit, newest=True))


def forget(step: Step, person_id: str, key: str) -> None:
    u = unsent_asks.c
    step.change(sa.delete(unsent_asks).where(u.person_id == person_id, u.key == key))
