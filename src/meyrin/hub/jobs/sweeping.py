"""What becomes of placed jobs in time: taken back where no agent takes them, ended when too late.

Under the lock that an agent's lease takes: what an agent has heard of is only ever asked to end.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from meyrin.domain.states import JobState
from meyrin.hub.jobs import change
from meyrin.hub.jobs.service import close_placed, end_rows
from meyrin.hub.jobs.store import IS_LIVE, attempts, jobs
from meyrin.hub.plumbing.bulk import one_of
from meyrin.hub.plumbing.database import Step
from meyrin.hub.sites import presence
from meyrin.hub.sites import service as sites

_MOST = 5_000  # in one sweep; whoever is over it comes at the next
_a = attempts.c
_PLACED_ELSEWHERE = (
    sa.select(_a.id, _a.job_id)
    .where(IS_LIVE, _a.state == "placed", sa.not_(one_of(_a.site + "/" + _a.partition, "open")))
    .order_by(_a.job_id)
    .limit(_MOST)
)
_TOO_LATE = (
    sa.select(_a.id, _a.job_id)
    .join(jobs, jobs.c.id == _a.job_id)
    .where(
        IS_LIVE,
        _a.cancel_ms.is_(None),
        sa.or_(
            _a.state == "placed",
            sa.and_(_a.state.in_(("leased", "queued")), one_of(_a.site, "heard")),
        ),
        jobs.c.deadline_s < sa.bindparam("now_s", type_=sa.BigInteger) + _a.walltime_s,
    )
    .order_by(_a.job_id)
    .limit(_MOST)
)


def take_back(step: Step) -> int:
    """Placed jobs whose site is silent or no longer lends the partition wait at the hub again, to
    be placed elsewhere; returns how many."""
    places = sites.partition_states(step, step.now_s, hub_start_s=step.started_s)
    lent = [
        f"{p.site}/{p.partition.name}" for p in places if p.offered and p.silent_since_s is None
    ]
    rows = _locked(step, step.rows(_PLACED_ELSEWHERE, open=lent), JobState.PLACED)
    why = "no agent took it"
    close_placed(step, rows, why)
    values = {"attempt": None, "site": None, "partition": None}
    now = ((JobState.ADMITTED, step.now_ms),)
    change.apply(
        step, [change.Move(row, now, row.attempt, detail=why, values=dict(values)) for row in rows]
    )
    return len(rows)


def end_late(step: Step) -> int:
    """Placed jobs that can't end before their deadline any more expire (sbatch(1), --deadline);
    of those that wait at a site the end is asked. What runs goes on: also where a site that was
    silent, or that this hub does not know yet, has not told so. Returns how many were ended or
    asked to end."""
    found = step.rows(_TOO_LATE, heard=presence.steady(step), now_s=step.now_s)
    rows = _locked(step, found, JobState.PLACED, JobState.LEASED, JobState.QUEUED)
    reply = end_rows(step, rows, "deadline", JobState.EXPIRED)
    return len(reply.ended) + len(reply.asked)


def _locked(
    step: Step, found: list[sa.Row[tuple[str, int]]], *states: JobState
) -> list[sa.Row[Any]]:
    """The jobs of the attempts that were found, locked, as far as they still have them and are in
    one of the states."""
    wanted = {row.id for row in found}
    rows = change.locked(step, [row.job_id for row in found]).values()
    return [row for row in rows if row.attempt in wanted and row.state in states]
