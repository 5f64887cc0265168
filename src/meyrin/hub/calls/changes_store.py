"""Tables and queries of what becomes of allocations: changes, reclaims, notices, imports."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from meyrin.domain.ledger import MAX_REASON
from meyrin.hub.plumbing.database import BigId, Step, metadata
from meyrin.hub.plumbing.paging import page

# who asked for what, who decided and why; a key makes one act of it however often it is sent
changes = sa.Table(
    "allocation_changes",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("allocation_id", sa.ForeignKey("allocations.id"), nullable=False),
    sa.Column("project_id", sa.String(64), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("person_id", sa.String(64), nullable=False),
    sa.Column("key", sa.String(200), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("to_id", sa.String(64)),
    sa.Column("amount_s", sa.BigInteger, nullable=False),
    sa.Column("end_s", sa.BigInteger),
    sa.Column("reason", sa.String(MAX_REASON), nullable=False),
    sa.Column("asked_by", sa.String(100), nullable=False),
    sa.Column("asked_ms", sa.BigInteger, nullable=False),
    sa.Column("decided_by", sa.String(100), nullable=False),
    sa.Column("decided_ms", sa.BigInteger),
    sa.Column("answer", sa.String(MAX_REASON), nullable=False),
    sa.UniqueConstraint("person_id", "key", name="uq_allocation_changes_person_id_key"),
    sa.Index("ix_allocation_changes_allocation_id", "allocation_id"),
    sa.Index("ix_allocation_changes_project_id", "project_id"),
    sa.Index("ix_allocation_changes_state", "state", "id"),
)

# the steps of a mode's rule about idle hours: one row a step, so each is done once
reclaims = sa.Table(
    "reclaims",
    metadata,
    sa.Column("allocation_id", sa.ForeignKey("allocations.id"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("rule", sa.String(MAX_REASON), nullable=False),
    sa.Column("announced_ms", sa.BigInteger, nullable=False),
    sa.Column("due_s", sa.BigInteger, nullable=False),
    sa.Column("amount_s", sa.BigInteger, nullable=False),
    sa.Column("decided_ms", sa.BigInteger),
    sa.Column("decided_by", sa.String(100), nullable=False),
    sa.Column("reason", sa.String(MAX_REASON), nullable=False),
    sa.Index("ix_reclaims_state", "state", "due_s"),
)

notices = sa.Table(
    "notices",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("project_id", sa.String(64), nullable=False),
    sa.Column("allocation_id", sa.ForeignKey("allocations.id"), nullable=False),
    # what it is about, such as `reclaim 1`: said once
    sa.Column("mark", sa.String(64), nullable=False),
    sa.Column("words", sa.String(MAX_REASON), nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("allocation_id", "mark", name="uq_notices_allocation_id_mark"),
    sa.Index("ix_notices_project_id", "project_id", "id"),
)

notices_seen = sa.Table(
    "notices_seen",
    metadata,
    sa.Column("notice_id", sa.ForeignKey("notices.id"), primary_key=True),
    sa.Column("person_id", sa.String(64), primary_key=True),
)

# awards that were decided elsewhere, by their name there
imported = sa.Table(
    "imported_awards",
    metadata,
    sa.Column("name", sa.String(200), primary_key=True),
    sa.Column("allocation_id", sa.ForeignKey("allocations.id"), nullable=False, unique=True),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
)


def change(step: Step, change_id: str) -> sa.Row[Any] | None:
    return step.one(sa.select(changes).where(changes.c.id == change_id))


def change_by_key(step: Step, person_id: str, key: str) -> sa.Row[Any] | None:
    c = changes.c
    return step.one(sa.select(changes).where(c.person_id == person_id, c.key == key))


def decide(step: Step, change_id: str, **values: Any) -> bool:
    """Decide what was asked; False when it was decided meanwhile."""
    c = changes.c
    changing = sa.update(changes).where(c.id == change_id, c.state == "asked").values(**values)
    return step.change(changing) == 1


def changes_listed(
    step: Step, project_ids: Collection[str] | None, state: str, after: str, limit: int
) -> list[sa.Row[Any]]:
    """One page and one row, by id; None lists every project's."""
    c = changes.c
    statement = sa.select(changes)
    if project_ids is not None:
        statement = statement.where(c.project_id.in_(sorted(project_ids)))
    if state:
        statement = statement.where(c.state == state)
    return step.rows(page(statement, c.id, after, limit, newest=False))


def reclaims_of(step: Step, allocation_ids: Collection[str]) -> dict[tuple[str, int], sa.Row[Any]]:
    """The steps of these allocations that were announced or settled."""
    r = reclaims.c
    rows = step.rows(sa.select(reclaims).where(step.among(r.allocation_id, allocation_ids)))
    return {(row.allocation_id, row.number): row for row in rows}


def reclaims_due(step: Step) -> list[sa.Row[Any]]:
    """Announced steps whose time has come, locked in order against a second hub."""
    r = reclaims.c
    due = sa.select(reclaims).where(r.state == "announced", r.due_s <= step.now_s)
    due = due.order_by(r.allocation_id, r.number).limit(500)
    return step.rows(due.with_for_update())


def settle_reclaim(step: Step, allocation_id: str, number: int, **values: Any) -> bool:
    """Settle or put off a step that was announced; False when it was settled meanwhile."""
    r = reclaims.c
    which = sa.and_(r.allocation_id == allocation_id, r.number == number, r.state == "announced")
    return step.change(sa.update(reclaims).where(which).values(**values)) == 1


def answers_wait(step: Step, allocation_ids: Collection[str]) -> set[str]:
    """Those of which somebody asked not to take hours, and no officer has answered yet."""
    c = changes.c
    asked = sa.select(c.allocation_id).where(
        step.among(c.allocation_id, allocation_ids), c.kind == "exempt", c.state == "asked"
    )
    return {row.allocation_id for row in step.rows(asked)}


def imported_by_name(step: Step, names: Collection[str]) -> list[sa.Row[Any]]:
    return step.rows(sa.select(imported).where(step.among(imported.c.name, names)))


def imported_names(step: Step, allocation_ids: Collection[str]) -> dict[str, str]:
    """What imported allocations are called where they come from."""
    i = imported.c
    found = sa.select(i.allocation_id, i.name).where(step.among(i.allocation_id, allocation_ids))
    return {row.allocation_id: row.name for row in step.rows(found)}
