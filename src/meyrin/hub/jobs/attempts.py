"""Attempts: one try of a job at a site. Their rows are written here and nowhere else.

Other rooms hand over plain values and get rows back. Locks are taken in one order everywhere:
jobs, then attempts, then accounts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from meyrin.domain.errors import NotFound
from meyrin.domain.states import AT_SITE, HOLDS_HOURS, JobState
from meyrin.hub.jobs.store import IS_LIVE, IS_WAITING, attempts, files, jobs, requests
from meyrin.hub.plumbing.bulk import one_of
from meyrin.hub.plumbing.database import Step
from meyrin.hub.plumbing.paging import page
from meyrin.wire.jobs import FileView

_ASK_AGAIN_MS = 10_000
_a, _j = attempts.c, jobs.c


def _long_ago(told: sa.Column[int], before_ms: Any) -> sa.ColumnElement[bool]:
    """A time still to come was written by a clock that has been set back since."""
    return sa.or_(told < before_ms, told > sa.bindparam("now_ms", type_=sa.BigInteger))


# one whose script is over has left its nodes, however long its site takes to count it up
_TAKES_ROOM = _a.end_ms.is_(None)
# put together once: the broker and the agents ask at every step
_LIVE = sa.select(
    *(_a.job_id, _a.site, _a.partition, _a.nodes, _a.cores, _a.memory_mb, _a.accelerators),
    *(_a.walltime_s, _a.start_ms, _a.allocation_id),
).where(IS_LIVE, _TAKES_ROOM)
_TAKEN_TOGETHER = (
    sa.select(_a.site, _a.partition, sa.func.sum(_a.nodes).label("nodes"))
    .add_columns(sa.func.sum(_a.nodes * _a.cores).label("cores"))
    .add_columns(sa.func.sum(_a.nodes * _a.memory_mb).label("memory_mb"))
    .add_columns(sa.func.sum(_a.nodes * _a.accelerators).label("accelerators"))
    .where(IS_LIVE, _TAKES_ROOM)
    .group_by(_a.site, _a.partition)
)
Turn = tuple[int, int]  # in the order in which waiting jobs are read: nice, number
FIRST: Turn = (-(2**31), 0)  # before everybody
_ALL_ADMITTED = sa.select(jobs).where(IS_WAITING, _j.state == str(JobState.ADMITTED))
_STILL_ADMITTED = _ALL_ADMITTED.where(one_of(_j.id, "ids")).order_by(_j.nice, _j.id)
_AFTER = sa.tuple_(
    sa.bindparam("after_nice", type_=sa.Integer), sa.bindparam("after_id", type_=sa.BigInteger)
)
_ADMITTED = (
    _ALL_ADMITTED.where(sa.tuple_(_j.nice, _j.id) > _AFTER)
    .order_by(_j.nice, _j.id)
    .limit(sa.bindparam("most"))
)
_ADMITTED_OF = _ADMITTED.where(one_of(_j.project_id, "of"))
_ADMITTED_BUT = _ADMITTED.where(sa.not_(one_of(_j.project_id, "but")))
_TO_TAKE = sa.or_(
    _a.state == "placed",
    sa.and_(
        _a.state == "leased",
        _long_ago(_a.leased_ms, sa.bindparam("again_before_ms", type_=sa.BigInteger)),
    ),
)
_OFFERED = (
    sa.select(_a.id, _a.job_id)
    .where(IS_LIVE, _a.site_id == sa.bindparam("site_id"), _TO_TAKE)
    .order_by(_a.placed_ms, _a.job_id)
    .limit(sa.bindparam("most"))
)
_TAKEN = sa.select(attempts).where(one_of(_a.id, "ids"), _TO_TAKE).order_by(_a.placed_ms, _a.job_id)
_LEASE = (
    sa.update(attempts)
    .where(one_of(_a.id, "ids"))
    .values(state="leased", leased_ms=sa.bindparam("now_ms"))
)
_TO_CANCEL = sa.select(_a.id).where(
    IS_LIVE,
    _a.site_id == sa.bindparam("site_id"),
    _a.state != "placed",
    _a.cancel_ms.is_not(None),
    sa.or_(
        _a.cancel_sent_ms.is_(None),
        _long_ago(_a.cancel_sent_ms, sa.bindparam("told_before_ms", type_=sa.BigInteger)),
    ),
)
_OF_SITE = sa.select(attempts).where(one_of(_a.id, "ids"), _a.site_id == sa.bindparam("site_id"))


def live(step: Step) -> list[sa.Row[Any]]:
    """What every attempt whose script is not over occupies, and since when."""
    return step.rows(_LIVE)


def taken(step: Step) -> dict[tuple[str, str], tuple[int, int, int, int]]:
    """Nodes, cores, memory and accelerators that attempts whose scripts are not over occupy
    together, by site and partition."""
    return {
        (row.site, row.partition): (
            int(row.nodes),
            int(row.cores),
            int(row.memory_mb),
            int(row.accelerators),
        )
        for row in step.rows(_TAKEN_TOGETHER)
    }


def count_at(step: Step, site: str) -> int:
    """How many jobs a site has of which it has not told the end."""
    there = sa.and_(_j.site == site, _j.state.in_(sorted(map(str, AT_SITE))))
    return int(step.rows(sa.select(sa.func.count().label("n")).where(there))[0].n)


def waiting(
    step: Step,
    most: int,
    *,
    after: Turn = FIRST,
    of: Collection[str] = (),
    but: Collection[str] = (),
) -> list[sa.Row[Any]]:
    """Admitted jobs, the first in order after a place in it; only `of` these projects, or of all
    `but` these."""
    assert not (of and but), "one or the other"
    known = {"most": most, "after_nice": after[0], "after_id": after[1]}
    if of:
        return step.rows(_ADMITTED_OF, of=of, **known)
    if but:
        return step.rows(_ADMITTED_BUT, but=but, **known)
    return step.rows(_ADMITTED, **known)


def still_waiting(step: Step, job_ids: Collection[int]) -> list[sa.Row[Any]]:
    """Those of the jobs that are admitted, in order."""
    return step.rows(_STILL_ADMITTED, ids=sorted(job_ids))


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
    known = {"again_before_ms": again_before_ms, "now_ms": step.now_ms}
    return step.rows(_OFFERED, site_id=site_id, most=most, **known)


def lease(step: Step, attempt_ids: Sequence[str], again_before_ms: int) -> list[sa.Row[Any]]:
    """Mark those that are still to be taken as leased now; their jobs are locked already."""
    if not attempt_ids:
        return []
    known = {"again_before_ms": again_before_ms, "now_ms": step.now_ms}
    rows = step.rows(_TAKEN, ids=attempt_ids, **known)
    step.change(_LEASE, ids=[row.id for row in rows], now_ms=step.now_ms)
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
    known = {"told_before_ms": step.now_ms - _ASK_AGAIN_MS, "now_ms": step.now_ms}
    ids = [row.id for row in step.rows(_TO_CANCEL, site_id=site_id, **known)]
    if ids:
        sent = sa.update(attempts).where(step.among(attempts.c.id, ids))
        step.change(sent.values(cancel_sent_ms=step.now_ms))
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
    return {row.id: row for row in step.rows(_OF_SITE, ids=attempt_ids, site_id=site_id)}


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
