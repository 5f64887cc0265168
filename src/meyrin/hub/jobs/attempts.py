"""Attempts: one try of a job at a site. Their rows are written here and nowhere else.

Other rooms hand over plain values and get rows back. Locks are taken in one order everywhere:
jobs, then attempts, then accounts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from meyrin.domain.errors import NotFound
from meyrin.domain.states import HOLDS_HOURS, JobState
from meyrin.hub.jobs.store import IS_LIVE, IS_WAITING, attempts, events, files, jobs, requests
from meyrin.hub.plumbing.database import Step
from meyrin.hub.plumbing.paging import page
from meyrin.wire.jobs import FileView

_ASK_AGAIN_MS = 10_000


def live(step: Step) -> list[sa.Row[Any]]:
    """What every attempt that has not ended occupies, and since when."""
    a = attempts.c
    columns = (a.job_id, a.site, a.partition, a.nodes, a.cores, a.memory_mb, a.accelerators)
    statement = sa.select(*columns, a.walltime_s, a.start_ms, a.allocation_id)
    return step.rows(statement.where(IS_LIVE))


def waiting(
    step: Step, most: int, *, of: Collection[str] = (), but: Collection[str] = ()
) -> list[sa.Row[Any]]:
    """Admitted jobs, the first in order; only `of` these projects, or of all `but` these."""
    statement = sa.select(jobs).where(IS_WAITING, jobs.c.state == str(JobState.ADMITTED))
    if of:
        statement = statement.where(jobs.c.project_id.in_(sorted(of)))
    if but:
        statement = statement.where(jobs.c.project_id.not_in(sorted(but)))
    return step.rows(statement.order_by(jobs.c.nice, jobs.c.id).limit(most))


def active_in_arrays(step: Step, families: Iterable[int]) -> dict[int, int]:
    """How many elements of each array hold hours now."""
    wanted = sorted(set(families))
    if not wanted:
        return {}
    statement = (
        sa.select(jobs.c.family, sa.func.count().label("active"))
        .where(
            step.among(jobs.c.family, wanted),
            jobs.c.state.in_([str(state) for state in HOLDS_HOURS]),
        )
        .group_by(jobs.c.family)
    )
    return {row.family: row.active for row in step.rows(statement)}


def add(step: Step, rows: list[dict[str, Any]]) -> None:
    """Placed attempts, all columns given."""
    step.add(attempts, rows)


def attempt(step: Step, attempt_id: str | None) -> sa.Row[Any] | None:
    return step.one(sa.select(attempts).where(attempts.c.id == attempt_id))


def offered(step: Step, site_id: str, again_before_ms: int, most: int) -> list[sa.Row[Any]]:
    """Attempts (id, job_id) for a site's agent: placed ones, and those leased before
    `again_before_ms` of which the agent never spoke."""
    a = attempts.c
    return step.rows(
        sa.select(a.id, a.job_id)
        .where(IS_LIVE, a.site_id == site_id, _to_take(step, again_before_ms))
        .order_by(a.placed_ms, a.job_id)
        .limit(most)
    )


def _to_take(step: Step, again_before_ms: int) -> sa.ColumnElement[bool]:
    a = attempts.c
    # a time still to come was written by a clock that has been set back since
    long_ago = sa.or_(a.leased_ms < again_before_ms, a.leased_ms > step.now_ms)
    return sa.or_(a.state == "placed", sa.and_(a.state == "leased", long_ago))


def lease(step: Step, attempt_ids: Sequence[str], again_before_ms: int) -> list[sa.Row[Any]]:
    """Mark those that are still to be taken as leased now; their jobs are locked already."""
    if not attempt_ids:
        return []
    a = attempts.c
    rows = step.rows(
        sa.select(attempts)
        .where(step.among(a.id, attempt_ids), _to_take(step, again_before_ms))
        .order_by(a.placed_ms, a.job_id)
    )
    step.change(
        sa.update(attempts)
        .where(step.among(a.id, [row.id for row in rows]))
        .values(state="leased", leased_ms=step.now_ms)
    )
    return rows


def offer_again(step: Step, site_id: str) -> None:
    """A new start of the agent may not know what the one before was told: tell it again."""
    ours = sa.and_(IS_LIVE, attempts.c.site_id == site_id)
    step.change(sa.update(attempts).where(ours, attempts.c.state == "leased").values(leased_ms=0))
    step.change(
        sa.update(attempts)
        .where(ours, attempts.c.cancel_sent_ms.is_not(None))
        .values(cancel_sent_ms=None)
    )


def to_cancel(step: Step, site_id: str) -> list[str]:
    """Attempts that the site's agent is to end, each told again every ten seconds."""
    a = attempts.c
    told = a.cancel_sent_ms
    long_ago = sa.or_(told < step.now_ms - _ASK_AGAIN_MS, told > step.now_ms)
    due = sa.or_(told.is_(None), long_ago)
    rows = step.rows(
        sa.select(a.id).where(
            IS_LIVE, a.site_id == site_id, a.state != "placed", a.cancel_ms.is_not(None), due
        )
    )
    ids = [row.id for row in rows]
    if ids:
        step.change(
            sa.update(attempts).where(step.among(a.id, ids)).values(cancel_sent_ms=step.now_ms)
        )
    return ids


def ask_end(step: Step, attempt_ids: list[str], why: str) -> None:
    """Note that these are to be ended at their sites; the first reason stays."""
    step.change(
        sa.update(attempts)
        .where(step.among(attempts.c.id, attempt_ids), attempts.c.cancel_ms.is_(None))
        .values(cancel_ms=step.now_ms, why=why)
    )


def close_unleased(step: Step, attempt_ids: list[str], why: str) -> None:
    """End placed attempts that no agent has heard of."""
    step.change(
        sa.update(attempts)
        .where(step.among(attempts.c.id, attempt_ids), attempts.c.state == "placed")
        .values(state="ended", end="cancelled", why=why, end_ms=step.now_ms)
    )


def of_site(step: Step, site_id: str, attempt_ids: Iterable[str]) -> dict[str, sa.Row[Any]]:
    """Those of the attempts that were given to this site, by id."""
    rows = step.rows(
        sa.select(attempts).where(
            step.among(attempts.c.id, attempt_ids), attempts.c.site_id == site_id
        )
    )
    return {row.id: row for row in rows}


def one_of_site(step: Step, site_id: str, attempt_id: str) -> sa.Row[Any]:
    """The attempt; NotFound when it was not given to this site."""
    row = of_site(step, site_id, [attempt_id]).get(attempt_id)
    if row is None:
        raise NotFound(f"there is no attempt {attempt_id} at your site")
    return row


def by_id(step: Step, attempt_id: str) -> sa.Row[Any] | None:
    """The attempt with project and request of its job, at whichever site, if there is one."""
    return step.one(
        sa.select(attempts, jobs.c.project_id, jobs.c.request_id)
        .join(jobs, jobs.c.id == attempts.c.job_id)
        .where(attempts.c.id == attempt_id)
    )


def ended_between(
    step: Step, site_id: str, from_ms: int, until_ms: int, after: str, limit: int
) -> list[sa.Row[Any]]:
    """Attempts that ended at a site in a time, by id, with their job's label; one row more."""
    a = attempts.c
    statement = (
        sa.select(attempts, jobs.c.family, jobs.c.task)
        .join(jobs, jobs.c.id == a.job_id)
        .where(a.site_id == site_id, a.state == "ended", a.end_ms >= from_ms, a.end_ms < until_ms)
    )
    return step.rows(page(statement, a.id, after, limit, newest=False))


def taken_back(step: Step, attempt_ids: Iterable[str]) -> dict[str, int]:
    """How often each of them was known to go back to its site's queue after it had run."""
    rows = step.rows(
        sa.select(events.c.attempt, sa.func.count().label("times"))
        .where(step.among(events.c.attempt, attempt_ids), events.c.state == str(JobState.PREEMPTED))
        .group_by(events.c.attempt)
    )
    return {row.attempt: row.times for row in rows}


def note_reported(step: Step, updates: list[dict[str, Any]]) -> None:
    """What sites reported: `id` and the columns to set, the same ones in each."""
    step.set_rows(attempts, "id", updates)


def note_results(
    step: Step, attempt_row: sa.Row[Any], state: str, found: Sequence[FileView]
) -> None:
    """Which result files an ended attempt left. May be repeated."""
    rows = [
        {"attempt": attempt_row.id, "name": f.name, "sha256": f.sha256, "size": f.size}
        for f in found
    ]
    step.add_new(files, rows)
    step.change(sa.update(attempts).where(attempts.c.id == attempt_row.id).values(results=state))
    family = sa.select(jobs.c.family).where(jobs.c.id == attempt_row.job_id)
    step.ring(f"job:{step.conn.execute(family).scalar_one()}")


def input_digest(step: Step, attempt_row: sa.Row[Any], name: str) -> str:
    """The digest of one of the attempt's input files; NotFound when it has none of this name."""
    row = step.one(
        sa.select(requests.c.spec)
        .join(jobs, jobs.c.request_id == requests.c.id)
        .where(jobs.c.id == attempt_row.job_id)
    )
    for file in row.spec.get("inputs", ()) if row is not None else ():
        if file["name"] == name:
            return str(file["sha256"])
    raise NotFound(f"attempt {attempt_row.id} has no input {name!r}")


def first_starts(step: Step, allocation_ids: Collection[str]) -> dict[str, int]:
    """When the first job of each allocation began; those of which none did are left out."""
    a = attempts.c
    statement = (
        sa.select(a.allocation_id, sa.func.min(a.start_ms).label("first_ms"))
        .where(a.allocation_id.in_(sorted(set(allocation_ids))), a.start_ms.is_not(None))
        .group_by(a.allocation_id)
    )
    return {row.allocation_id: row.first_ms for row in step.rows(statement)}
