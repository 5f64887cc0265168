"""Tables and queries of allocations and tranches. What is free and held is in the ledger."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from meyrin.domain.errors import Conflict
from meyrin.domain.ledger import MAX_REASON
from meyrin.domain.tranche import State
from meyrin.hub.plumbing.database import Step, metadata
from meyrin.hub.plumbing.paging import page

allocations = sa.Table(
    "allocations",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("project_id", sa.String(64), nullable=False),
    sa.Column("charged_type", sa.String(64), nullable=False),
    sa.Column("amount_s", sa.BigInteger, nullable=False),
    sa.Column("start_s", sa.BigInteger, nullable=False),
    sa.Column("end_s", sa.BigInteger, nullable=False),
    sa.Column("rule", sa.String(64), nullable=False),
    sa.Column("reason", sa.String(MAX_REASON), nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("closed_ms", sa.BigInteger),
    # a rule's first, second … grant to a project; null where no rule counts
    sa.Column("turn", sa.Integer),
    # by which door its holder came: entitled (free) or paid
    sa.Column("door", sa.String(16), nullable=False, server_default="entitled"),
    # the mode that it was asked for in; empty where a person awarded it outright
    sa.Column("mode", sa.String(63), nullable=False, server_default=""),
    sa.Column("paused_ms", sa.BigInteger),
    sa.Column("paused_by", sa.String(100)),
    sa.Column("paused_officer", sa.Boolean),
    sa.Column("paused_reason", sa.String(MAX_REASON)),
    # what the pace watch last found, and when it looks again
    sa.Column("pace", sa.String(8), nullable=False, server_default=""),
    sa.Column("watch_s", sa.BigInteger, nullable=False, server_default="0"),
    sa.CheckConstraint("start_s < end_s", name="lasts"),
    sa.CheckConstraint("amount_s > 0", name="positive"),
    sa.Index("ix_allocations_pace", "pace", "id"),
    sa.Index("ix_allocations_watch_s", "watch_s"),
    sa.Index("ix_allocations_project_id", "project_id", "charged_type"),
    sa.Index("ix_allocations_door", "door", "end_s"),
    sa.Index("uq_allocations_rule_turn", "rule", "project_id", "charged_type", "turn", unique=True),
)


tranches = sa.Table(
    "tranches",
    metadata,
    sa.Column("allocation_id", sa.ForeignKey("allocations.id"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("amount_s", sa.BigInteger, nullable=False),
    sa.Column("from_s", sa.BigInteger, nullable=False),
    # through which gate, for which models, on whose signature: all empty where its date is enough
    sa.Column("gate", sa.String(100), nullable=False),
    sa.Column("family", sa.String(100), nullable=False),
    sa.Column("reviewer", sa.String(64), nullable=False),
    # the share that it comes from
    sa.Column("owner", sa.String(64), nullable=False),
    sa.Column("offer_id", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("given_s", sa.BigInteger, nullable=False),
    sa.Column("decision", sa.String(64)),
    sa.Column("decided_ms", sa.BigInteger),
    sa.Column("reason", sa.String(MAX_REASON), nullable=False),
    sa.CheckConstraint("amount_s > 0", name="positive"),
    sa.CheckConstraint("given_s >= 0", name="given"),
    sa.Index("ix_tranches_state", "state", "gate", "family"),
    sa.Index("ix_tranches_decision", "decision"),
)
_TO_COME = (str(State.WAITING), str(State.DUE))


def _of_projects() -> sa.Select[Any]:
    """The statement of `of_projects`, put together once: the broker asks at every step."""
    a, t = allocations.c, tranches.c
    later = tranches.alias("earlier")
    first = (
        sa.select(sa.func.min(later.c.number))
        .where(later.c.allocation_id == a.id, later.c.state.in_(_TO_COME))
        .scalar_subquery()
    )
    promised = sa.case((t.state == str(State.DUE), t.given_s), else_=t.amount_s)
    # what has passed its gate waits for its date alone
    gate = sa.case((t.state == str(State.DUE), ""), else_=t.gate)
    listed = (
        sa.select(allocations)
        .add_columns(promised.label("next_s"), gate.label("next_gate"))
        .add_columns(t.from_s.label("next_from_s"))
        .select_from(
            allocations.outerjoin(tranches, sa.and_(t.allocation_id == a.id, t.number == first))
        )
        .where(a.project_id.in_(sa.bindparam("projects", expanding=True)))
    )
    return listed.order_by(a.end_s, a.id)


_OF_PROJECTS = _of_projects()


def of_projects(step: Step, project_ids: Collection[str]) -> list[sa.Row[Any]]:
    """Allocations, each with its next tranche (`next_s`, `next_gate`, `next_from_s`) if any."""
    return step.rows(_OF_PROJECTS, projects=sorted(set(project_ids)))


def tranches_of(step: Step, allocation_ids: Collection[str]) -> list[sa.Row[Any]]:
    t = tranches.c
    listed = sa.select(tranches).where(step.among(t.allocation_id, allocation_ids))
    return step.rows(listed.order_by(t.allocation_id, t.number))


def tranches_by_decision(step: Step, decision: str) -> list[sa.Row[Any]]:
    t = tranches.c
    listed = sa.select(tranches).where(t.decision == decision)
    return step.rows(listed.order_by(t.allocation_id, t.number))


def tranches_at_gate(step: Step, project_id: str, gate: str, family: str) -> list[sa.Row[Any]]:
    """What waits there in a project's allocations that are not over."""
    a, t = allocations.c, tranches.c
    listed = (
        sa.select(tranches)
        .join(allocations, a.id == t.allocation_id)
        .where(t.state == str(State.WAITING), t.gate == gate, t.family == family)
        .where(a.project_id == project_id, a.end_s > step.now_s, a.closed_ms.is_(None))
    )
    return step.rows(listed.order_by(t.allocation_id, t.number))


def tranches_due(step: Step, allocation_id: str = "") -> list[sa.Row[Any]]:
    """Those that wait for their date alone, where it has come and the allocation is not over."""
    a, t = allocations.c, tranches.c
    listed = (
        sa.select(tranches)
        .join(allocations, a.id == t.allocation_id)
        .where(t.state == str(State.DUE), t.from_s <= step.now_s)
        .where(a.end_s > step.now_s, a.closed_ms.is_(None))
    )
    if allocation_id:
        listed = listed.where(t.allocation_id == allocation_id)
    return step.rows(listed.order_by(t.allocation_id, t.number))


def tranches_over(step: Step) -> list[sa.Row[Any]]:
    """Those still to come of allocations that are over."""
    a, t = allocations.c, tranches.c
    over = sa.or_(a.end_s <= step.now_s, a.closed_ms.is_not(None))
    listed = (
        sa.select(tranches)
        .join(allocations, a.id == t.allocation_id)
        .where(t.state.in_(_TO_COME), over)
    )
    return step.rows(listed.order_by(t.allocation_id, t.number))


def change_tranche(step: Step, allocation_id: str, number: int, values: dict[str, Any]) -> None:
    """Change a tranche that is still to come; Conflict when it is not."""
    t = tranches.c
    which = sa.and_(t.allocation_id == allocation_id, t.number == number)
    changing = sa.update(tranches).where(which, t.state.in_(_TO_COME)).values(**values)
    if step.change(changing) != 1:
        raise Conflict(
            f"tranche {number} of {allocation_id} was decided meanwhile",
            hint="look at it again: `meyrin project show`",
        )


def by_rule(step: Step, rule: str, project_id: str, charged_type: str) -> list[sa.Row[Any]]:
    """What a rule granted to a project, in the order in which it did."""
    a = allocations.c
    listed = sa.select(allocations).where(
        a.rule == rule, a.project_id == project_id, a.charged_type == charged_type
    )
    return step.rows(listed.order_by(a.turn))


# what an officer awarded outright, by the key that was sent: one award however often it is
award_keys = sa.Table(
    "award_keys",
    metadata,
    sa.Column("person_id", sa.String(64), primary_key=True),
    sa.Column("key", sa.String(200), primary_key=True),
    sa.Column("allocation_id", sa.ForeignKey("allocations.id"), nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
)


def award_by_key(step: Step, person_id: str, key: str) -> sa.Row[Any] | None:
    k = award_keys.c
    return step.one(sa.select(award_keys).where(k.person_id == person_id, k.key == key))


def one(step: Step, allocation_id: str) -> sa.Row[Any] | None:
    return step.one(sa.select(allocations).where(allocations.c.id == allocation_id))


def listed(
    step: Step, project_ids: Collection[str] | None, after: str, limit: int
) -> list[sa.Row[Any]]:
    """One page and one row, by id; None lists every project's."""
    statement = sa.select(allocations)
    if project_ids is not None:
        statement = statement.where(allocations.c.project_id.in_(sorted(project_ids)))
    return step.rows(page(statement, allocations.c.id, after, limit, newest=False))


def ended(step: Step, allocation_ids: Collection[str]) -> list[str]:
    """Those of the given allocations that have ended or were closed."""
    a = allocations.c
    over = sa.or_(a.end_s <= step.now_s, a.closed_ms.is_not(None))
    statement = sa.select(a.id).where(step.among(a.id, sorted(allocation_ids)), over)
    return [row.id for row in step.rows(statement)]


def _only_paying() -> sa.Select[Any]:
    a, other = allocations.c, allocations.alias("other")
    now_s = sa.bindparam("now_s", type_=sa.BigInteger)
    free = sa.exists().where(
        other.c.project_id == a.project_id,
        other.c.door != "paid",
        other.c.end_s > now_s,
        other.c.closed_ms.is_(None),
    )
    current = sa.and_(a.start_s <= now_s, a.end_s > now_s, a.closed_ms.is_(None))
    listed = sa.select(a.project_id).distinct().where(a.door == "paid", current, ~free)
    return listed.order_by(a.project_id)


_ONLY_PAYING = _only_paying()


def only_paying(step: Step) -> list[str]:
    """Projects with a current paid allocation and no entitled one that lasts."""
    return [row.project_id for row in step.rows(_ONLY_PAYING, now_s=step.now_s)]


def paid_among(step: Step, allocation_ids: Collection[str]) -> list[str]:
    """Those of the given allocations whose holder pays."""
    a = allocations.c
    listed = sa.select(a.id).where(step.among(a.id, allocation_ids), a.door == "paid")
    return [row.id for row in step.rows(listed)]


def watch_again(step: Step, allocation_ids: Collection[str]) -> None:
    """Let the pace watch look at these in its next turn: what it stood on has changed."""
    a = allocations.c
    step.change(sa.update(allocations).where(a.id.in_(sorted(allocation_ids))).values(watch_s=0))


def set_pause(step: Step, allocation_id: str, values: dict[str, Any]) -> bool:
    """Pause what runs, or end a pause (all values None); False where that changes nothing. An
    officer's pause takes the place of a lead's."""
    a = allocations.c
    pausing = values["paused_ms"] is not None
    now: sa.ColumnElement[bool] = a.paused_ms.is_(None) if pausing else a.paused_ms.is_not(None)
    if values["paused_officer"]:
        now = sa.or_(now, a.paused_officer.is_(False))
    changing = sa.update(allocations).where(a.id == allocation_id, now).values(**values)
    return step.change(changing) == 1


def extend(step: Step, allocation_id: str, end_s: int | None, amount_s: int) -> bool:
    """Note a later end (None: as it is) and that so much more was given. False where the end is
    later already: of two that extend at once, neither takes time from the other."""
    a = allocations.c
    values: dict[str, Any] = {"amount_s": a.amount_s + amount_s, "watch_s": 0}
    later: sa.ColumnElement[bool] = sa.true()
    if end_s is not None:
        values["end_s"] = end_s
        later = a.end_s <= end_s
    changing = sa.update(allocations).where(a.id == allocation_id, later).values(**values)
    return step.change(changing) == 1


def off_pace(step: Step, verdicts: Collection[str], after: str, limit: int) -> list[sa.Row[Any]]:
    """One page and one row of running allocations with such a pace, by id."""
    a = allocations.c
    statement = sa.select(allocations).where(a.pace.in_(sorted(verdicts)), _running(step))
    return step.rows(page(statement, a.id, after, limit, newest=False))


def to_watch(step: Step, most: int) -> list[sa.Row[Any]]:
    """Running allocations that are due to be looked at, locked against a second hub's look."""
    a = allocations.c
    statement = sa.select(allocations).where(a.watch_s <= step.now_s, _running(step))
    statement = statement.order_by(a.watch_s, a.id).limit(most)
    return step.rows(statement.with_for_update(skip_locked=True))


def paces(step: Step, allocation_ids: Collection[str]) -> dict[str, str]:
    """What the watch found last."""
    a = allocations.c
    rows = step.rows(sa.select(a.id, a.pace).where(step.among(a.id, allocation_ids)))
    return {row.id: row.pace for row in rows}


def running(
    step: Step, modes: Collection[str], project_ids: Collection[str] | None, after: str, limit: int
) -> list[sa.Row[Any]]:
    """One page and one row of running allocations of these modes, by id."""
    a = allocations.c
    statement = sa.select(allocations).where(a.mode.in_(sorted(modes)), _running(step))
    if project_ids is not None:
        statement = statement.where(a.project_id.in_(sorted(project_ids)))
    return step.rows(page(statement, a.id, after, limit, newest=False))


def _running(step: Step) -> sa.ColumnElement[bool]:
    a = allocations.c
    return sa.and_(a.start_s <= step.now_s, a.end_s > step.now_s, a.closed_ms.is_(None))


def by_ids(step: Step, allocation_ids: Collection[str]) -> list[sa.Row[Any]]:
    a = allocations.c
    return step.rows(sa.select(allocations).where(step.among(a.id, allocation_ids)))
