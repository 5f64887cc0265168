"""Tables and queries of proposals, and of the times at which their clocks stood."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa

from meyrin.domain.ledger import MAX_REASON
from meyrin.hub.plumbing.database import BigId, Step, metadata
from meyrin.hub.plumbing.paging import page

proposals = sa.Table(
    "proposals",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("person_id", sa.String(64), nullable=False),
    # what the client calls this ask: the same key is the same ask
    sa.Column("key", sa.String(200), nullable=False),
    sa.Column("project", sa.String(63), nullable=False),
    sa.Column("title", sa.String(200), nullable=False),
    sa.Column("mode", sa.String(63), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("purpose", sa.String(16), nullable=False),
    sa.Column("amount_h", sa.BigInteger, nullable=False),
    sa.Column("unit", sa.String(16), nullable=False),
    sa.Column("months", sa.Integer, nullable=False),
    sa.Column("charged_type", sa.String(64), nullable=False),
    sa.Column("amount_s", sa.BigInteger, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("reason", sa.String(MAX_REASON), nullable=False),
    sa.Column("decided_by", sa.String(63), nullable=False),
    sa.Column("allocation_id", sa.String(64)),
    # the clock of an award, each once it happened
    sa.Column("submit_ms", sa.BigInteger, nullable=False),
    sa.Column("eligible_ms", sa.BigInteger),
    sa.Column("reviewed_ms", sa.BigInteger),
    sa.Column("decided_ms", sa.BigInteger),
    sa.Column("provisioned_ms", sa.BigInteger),
    sa.Column("first_job_ms", sa.BigInteger),
    sa.Column("from_s", sa.BigInteger, nullable=False),
    sa.Column("due_s", sa.BigInteger),
    # a rule's first grant to a person and to a project; null where people decide
    sa.Column("turn_person", sa.String(200)),
    sa.Column("turn_project", sa.String(200)),
    sa.CheckConstraint("state IN ('waiting', 'granted', 'refused', 'withdrawn')", name="state"),
    sa.UniqueConstraint("person_id", "key", name="uq_proposals_key"),
    sa.UniqueConstraint("turn_person", name="uq_proposals_turn_person"),
    sa.UniqueConstraint("turn_project", name="uq_proposals_turn_project"),
    sa.Index("ix_proposals_state_due", "state", "due_s", "id"),
    sa.Index("ix_proposals_mode", "mode", "decided_ms"),
)

clock_stops = sa.Table(
    "clock_stops",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("proposal_id", sa.ForeignKey("proposals.id"), nullable=False, index=True),
    sa.Column("start_ms", sa.BigInteger, nullable=False),
    sa.Column("end_ms", sa.BigInteger),
    sa.Column("reason", sa.String(MAX_REASON), nullable=False),
)

# unique keys of orders: milliseconds keep 13 digits, seconds 10, until the year 2286; a clock that
# stands comes after every date
_NEWEST = sa.cast(proposals.c.submit_ms, sa.String) + "." + proposals.c.id
_URGENT = sa.func.coalesce(sa.cast(proposals.c.due_s, sa.String), "stands") + "." + _NEWEST


def by_key(step: Step, person_id: str, key: str) -> sa.Row[Any] | None:
    p = proposals.c
    return step.one(sa.select(proposals).where(p.person_id == person_id, p.key == key))


def one(step: Step, proposal_id: str) -> sa.Row[Any] | None:
    """Its row is held until the step ends: of two who decide, one comes second."""
    return step.one(sa.select(proposals).where(proposals.c.id == proposal_id).with_for_update())


def own(step: Step, person_id: str, state: str, after: str, limit: int) -> list[Any]:
    """One page with `place`, newest first."""
    statement = _in_state(state, _NEWEST).where(proposals.c.person_id == person_id)
    return step.rows(page(statement, _NEWEST, after, limit, newest=True))


def everybodys(
    step: Step, state: str, after: str, limit: int, modes: Sequence[str] | None
) -> list[Any]:
    """One page with `place`, by id; of some modes, or of all when None."""
    statement = _of_modes(_in_state(state, proposals.c.id), modes)
    return step.rows(page(statement, proposals.c.id, after, limit, newest=False))


def waiting(step: Step, after: str, limit: int, modes: Sequence[str] | None) -> list[Any]:
    """One page with `place`, the most urgent first."""
    statement = _of_modes(_in_state("waiting", _URGENT), modes)
    return step.rows(page(statement, _URGENT, after, limit, newest=False))


def _in_state(state: str, place: sa.ColumnElement[Any]) -> sa.Select[Any]:
    statement = sa.select(proposals, place.label("place"))
    return statement.where(proposals.c.state == state) if state else statement


def _of_modes(statement: sa.Select[Any], modes: Sequence[str] | None) -> sa.Select[Any]:
    return statement if modes is None else statement.where(proposals.c.mode.in_(modes))


def ahead(step: Step, row: sa.Row[Any]) -> sa.Row[Any] | None:
    """An older ask in the same mode that still waits and whose clock runs."""
    p = proposals.c
    older = sa.or_(
        p.submit_ms < row.submit_ms, sa.and_(p.submit_ms == row.submit_ms, p.id < row.id)
    )
    waiting = sa.select(proposals).where(
        p.mode == row.mode, p.state == "waiting", p.due_s.is_not(None), older
    )
    return step.one(waiting.order_by(p.submit_ms, p.id).limit(1))


def change_waiting(step: Step, proposal_id: str, **values: Any) -> int:
    """Change a proposal that waits; 0 when it does not any more."""
    p = proposals.c
    return step.change(
        sa.update(proposals).where(p.id == proposal_id, p.state == "waiting").values(**values)
    )


def note_first_jobs(step: Step, first: dict[str, int]) -> None:
    """When the first job of an allocation began, by allocation; noted once."""
    p = proposals.c
    for allocation_id, at_ms in first.items():
        step.change(
            sa.update(proposals)
            .where(p.allocation_id == allocation_id, p.first_job_ms.is_(None))
            .values(first_job_ms=at_ms)
        )


def without_first_job(step: Step, limit: int) -> list[str]:
    p = proposals.c
    statement = sa.select(p.allocation_id).where(
        p.state == "granted", p.first_job_ms.is_(None), p.allocation_id.is_not(None)
    )
    return [row.allocation_id for row in step.rows(statement.order_by(p.id).limit(limit))]


def stops_of(step: Step, proposal_ids: Collection[str]) -> list[sa.Row[Any]]:
    s = clock_stops.c
    wanted = sa.select(clock_stops).where(s.proposal_id.in_(sorted(proposal_ids)))
    return step.rows(wanted.order_by(s.id))


def begin_again(step: Step, proposal_id: str) -> int:
    s = clock_stops.c
    return step.change(
        sa.update(clock_stops)
        .where(s.proposal_id == proposal_id, s.end_ms.is_(None))
        .values(end_ms=step.now_ms)
    )


ANSWERED = ("granted", "refused")


def counted(step: Step) -> list[sa.Row[Any]]:
    """For the public page, by mode: how many were asked, wait, were promised a day, and kept."""
    p = proposals.c
    promised = sa.and_(p.state.in_(ANSWERED), p.due_s.is_not(None))
    kept = sa.and_(promised, p.decided_ms <= p.due_s * 1000)

    def number(which: sa.ColumnElement[bool], name: str) -> sa.Label[int]:
        return sa.func.sum(sa.case((which, 1), else_=0)).label(name)

    return step.rows(
        sa.select(
            p.mode,
            sa.func.count().label("asked"),
            number(p.state == "waiting", "waiting"),
            number(promised, "promised"),
            number(kept, "kept"),
        )
        .group_by(p.mode)
        .order_by(p.mode)
    )


def ranked(step: Step, shares: Sequence[int]) -> list[sa.Row[Any]]:
    """For the public page: `what` took `span_ms` at rank `place` of `of`, by mode, for the ranks
    that these shares in percent name. However many asks there are, rows for each mode are few."""
    p = proposals.c
    spans = {
        "decided": (p.decided_ms, p.state.in_(ANSWERED)),
        "provisioned": (p.provisioned_ms, p.provisioned_ms.is_not(None)),
        "first_job": (p.first_job_ms, p.first_job_ms.is_not(None)),
    }
    all_spans = sa.union_all(
        *(
            sa.select(p.mode, sa.literal(what).label("what"), (end - p.submit_ms).label("span_ms"))
            .where(which)
            for what, (end, which) in spans.items()
        )
    ).subquery()  # fmt: skip
    s = all_spans.c
    group = (s.mode, s.what)
    places = sa.select(
        *group,
        s.span_ms,
        sa.func.row_number().over(partition_by=group, order_by=s.span_ms).label("place"),
        sa.func.count().over(partition_by=group).label("of"),
    ).subquery()
    c = places.c
    wanted = [c.place == (share * c.of + 99) // 100 for share in shares]
    return step.rows(sa.select(places).where(sa.or_(*wanted)))
