"""The only writer of a job's state. Every change goes through the one table and leaves an event."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from meyrin.domain.states import ENDED, JobState, check_change
from meyrin.hub.jobs.store import attempts, events, jobs
from meyrin.hub.plumbing.bulk import one_of
from meyrin.hub.plumbing.database import Step
from meyrin.hub.plumbing.world import BROKER

_LOCKED = sa.select(jobs).where(one_of(jobs.c.id, "ids")).order_by(jobs.c.id).with_for_update()


@dataclass(frozen=True, slots=True)
class Move:
    """States that a job goes through at given times, and what else is written with the last.

    `row` is the job as `locked` returned it; `values` are columns of `jobs`.
    """

    row: sa.Row[Any]
    states: tuple[tuple[JobState, int], ...]
    attempt: str | None = None
    detail: str = ""
    values: dict[str, Any] = field(default_factory=dict)


_LOCKED_OF = (
    sa.select(jobs)
    .where(
        jobs.c.id.in_(
            sa.select(attempts.c.job_id).where(
                one_of(attempts.c.id, "attempts"), attempts.c.site_id == sa.bindparam("site_id")
            )
        )
    )
    .order_by(jobs.c.id)
    .with_for_update(of=jobs)
)


def locked_of(step: Step, site_id: str, attempt_ids: Collection[str]) -> dict[int, sa.Row[Any]]:
    """As `locked`, the jobs of those of the attempts that were given to this site."""
    rows = step.rows(_LOCKED_OF, attempts=attempt_ids, site_id=site_id) if attempt_ids else ()
    return {row.id: row for row in rows}


def locked(step: Step, job_ids: Iterable[int]) -> dict[int, sa.Row[Any]]:
    """The jobs, locked until the step ends, by number. Always locked in rising order."""
    wanted = sorted(set(job_ids))
    if not wanted:
        return {}
    return {row.id: row for row in step.rows(_LOCKED, ids=wanted)}


def apply(step: Step, moves: list[Move]) -> None:
    """Write the moves; raises IllegalChange, before anything is written, if one is not legal.

    One statement for all moves that set the same columns, and one for their events.
    """
    if not moves:
        return
    history: list[dict[str, Any]] = []
    updates: defaultdict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for move in moves:
        before = JobState(move.row.state)
        for after, at_ms in move.states:
            check_change(before, after)
            history.append(
                {
                    "job_id": move.row.id,
                    "attempt": move.attempt,
                    "state": str(after),
                    "at_ms": at_ms,
                    "detail": move.detail,
                }
            )
            before = after
        values = {"id": move.row.id, "state": str(before), **move.values}
        if before in ENDED:
            known_ms = values.get("end_ms", move.row.end_ms)
            values["end_ms"] = known_ms or (move.states[-1][1] if move.states else None)
        updates[tuple(values)].append(values)
    for rows in updates.values():
        step.set_rows(jobs, "id", rows)
    step.add(events, history)
    for move in moves:
        step.ring(f"job:{move.row.family}")
    step.ring(BROKER)
