"""From submitted to admitted, or to an early end: dates, releases, dependencies, deadlines."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa

from meyrin.domain.job import DependencyKind, JobRequest
from meyrin.domain.refusal import NEVER_MET, Reason, Refusal
from meyrin.domain.states import ENDED, JobState
from meyrin.hub.jobs import change
from meyrin.hub.jobs.store import IS_WAITING, dependencies, jobs, requests
from meyrin.hub.plumbing.database import Step

_ENDED = frozenset(str(state) for state in ENDED)
_MOST = 20_000  # requests, and jobs, looked at in one step


_Earlier = tuple[int, int | None]  # an array and one of its elements, or None for all


@dataclass(frozen=True, slots=True)
class Condition:
    """One dependency of a job and how far it is: `met`, `never` (can't be met any more)."""

    job: int
    kind: str
    on_family: int | None
    on_task: int | None
    met: bool
    never: bool


def _let_go(now_s: sa.BindParameter[int]) -> sa.ColumnElement[bool]:
    """Submitted jobs that nothing but a dependency can still hold back."""
    begun = sa.or_(jobs.c.begin_s.is_(None), jobs.c.begin_s <= now_s)
    return sa.and_(IS_WAITING, jobs.c.state == "submitted", jobs.c.held.is_(False), begun)


def _late(now_s: sa.BindParameter[int]) -> sa.ColumnElement[bool]:
    """Jobs that can't end before their deadline any more (sbatch(1), --deadline)."""
    walltime_s = sa.func.coalesce(jobs.c.walltime_s, 1)
    return sa.and_(IS_WAITING, jobs.c.deadline_s < now_s + walltime_s)


# put together once: the broker asks at every step
_NOW_S = sa.bindparam("now_s", type_=sa.BigInteger)
_LET_GO, _LATE = _let_go(_NOW_S), sa.select(jobs.c.id).where(_late(_NOW_S))
_OUTLOOK = sa.select(
    sa.select(jobs.c.id).where(sa.or_(_LET_GO, _late(_NOW_S))).exists().label("due"),
    sa.select(jobs.c.id).where(IS_WAITING, jobs.c.state == "admitted").exists().label("waiting"),
)
_FIRST = sa.func.min(jobs.c.id).label("id")
_DEPENDS = sa.select(dependencies.c.job_id).where(dependencies.c.job_id == jobs.c.id).exists()
_FREE = sa.select(jobs.c.id).where(_LET_GO, ~_DEPENDS).order_by(jobs.c.id)
_CANDIDATES = (
    sa.select(_FIRST, jobs.c.request_id)
    .where(_LET_GO, _DEPENDS, jobs.c.id > sa.bindparam("after", type_=sa.BigInteger))
    .group_by(jobs.c.request_id)
    .order_by(_FIRST)
)
# the last job that was looked at, by database: the next step goes on behind it
_looked: WeakKeyDictionary[sa.Engine, int] = WeakKeyDictionary()


def outlook(step: Step) -> tuple[bool, bool]:
    """Whether `advance` may have something to do (a job that is submitted, or a date passed), and
    whether an admitted job waits for a place. One query."""
    row = step.one(_OUTLOOK, now_s=step.now_s)
    assert row is not None, "one row, whatever there is"
    return bool(row.due), bool(row.waiting)


def advance(step: Step) -> int:
    """Admit what has become ready, expire what is too late; returns how many jobs changed.

    Elements of an array share their conditions, so one of each request is looked at.
    """
    late = step.rows(_LATE, now_s=step.now_s)
    _end(step, [row.id for row in late], JobState.EXPIRED, "deadline")
    free = step.rows(_FREE.limit(_MOST), now_s=step.now_s)
    ready, doomed = _looked_at(step)
    let_in = [*(row.id for row in free), *_jobs_of(step, ready)]
    rows = change.locked(step, let_in)
    change.apply(
        step,
        [
            change.Move(row, ((JobState.ADMITTED, step.now_ms),))
            for row in rows.values()
            if row.state == JobState.SUBMITTED and not row.held
        ],
    )
    lost = _jobs_of(step, doomed)
    _end(step, lost, JobState.CANCELLED, "dependency never satisfied")
    return len(late) + len(rows) + len(lost)


def _looked_at(step: Step) -> tuple[list[int], list[int]]:
    """Which requests may go on as what they depend on has ended, and which never can. As many are
    looked at as one step takes, the next ones at the next: none hides those behind it."""
    after = _looked.pop(step.conn.engine, 0)
    candidates = step.rows(_CANDIDATES.limit(_MOST), now_s=step.now_s, after=after)
    if len(candidates) == _MOST:
        _looked[step.conn.engine] = candidates[-1].id
    if not candidates:
        return [], []
    found = conditions(step, [row.id for row in candidates])
    flags = _flags(step, {row.request_id for row in candidates})
    ready, doomed = [], []
    for row in candidates:
        mine = found.get(row.id, [])
        any_one, kill = flags.get(row.request_id, (False, True))
        join = any if any_one else all
        if join(each.met for each in mine):
            ready.append(row.request_id)
        elif kill and (all if any_one else any)(each.never for each in mine):
            doomed.append(row.request_id)
    return ready, doomed


def _jobs_of(step: Step, request_ids: list[int]) -> list[int]:
    """The jobs of these requests that were let go, as many as one step takes."""
    if not request_ids:
        return []
    wanted = sa.and_(_LET_GO, step.among(jobs.c.request_id, request_ids))
    listed = sa.select(jobs.c.id).where(wanted).order_by(jobs.c.id).limit(_MOST)
    rows = step.rows(listed, now_s=step.now_s)
    return [row.id for row in rows]


def _end(step: Step, job_ids: list[int], state: JobState, reason: str) -> None:
    change.apply(
        step,
        [
            change.Move(row, ((state, step.now_ms),), detail=reason, values={"reason": reason})
            for row in change.locked(step, job_ids).values()
            if row.state in ("submitted", "admitted")
        ],
    )


def _flags(step: Step, request_ids: set[int]) -> dict[int, tuple[bool, bool]]:
    rows = step.rows(
        sa.select(requests.c.id, requests.c.spec).where(
            step.among(requests.c.id, sorted(request_ids))
        )
    )
    return {  # only what is not so by default is kept
        row.id: (
            row.spec.get("any_dependency", False),
            row.spec.get("kill_on_invalid_dependency", True),
        )
        for row in rows
    }


def conditions(step: Step, job_ids: list[int]) -> dict[int, list[Condition]]:
    """How far each dependency of the given jobs is, in four queries whatever their number."""
    wanted = step.rows(
        sa.select(dependencies, jobs.c.name, jobs.c.project_id, jobs.c.person_id, jobs.c.family)
        .join(jobs, jobs.c.id == dependencies.c.job_id)
        .where(step.among(dependencies.c.job_id, job_ids))
        .order_by(dependencies.c.job_id, dependencies.c.number)
    )
    asked = {(row.on_family, row.on_task) for row in wanted if row.on_family is not None}
    states = _told(step, jobs.c.state, asked)
    alone = _earlier_namesakes(step, [row for row in wanted if row.on_family is None])
    result: defaultdict[int, list[Condition]] = defaultdict(list)
    for row in wanted:
        if row.kind == DependencyKind.SINGLETON:
            met, never = row.job_id not in alone, False
        else:
            met, never = _judge(row.kind, _of(states, row.on_family, row.on_task))
        result[row.job_id].append(
            Condition(row.job_id, row.kind, row.on_family, row.on_task, met, never)
        )
    return dict(result)


def near(step: Step, job_ids: list[int]) -> dict[int, tuple[str, ...]]:
    """Sites where jobs that the given ones depend on ran or were placed, by name; three queries
    at most."""
    asked = step.rows(
        sa.select(dependencies.c.job_id, dependencies.c.on_family, dependencies.c.on_task).where(
            step.among(dependencies.c.job_id, job_ids), dependencies.c.on_family.is_not(None)
        )
    )
    ran_at = _told(step, jobs.c.site, {(row.on_family, row.on_task) for row in asked})
    found: defaultdict[int, set[str]] = defaultdict(set)
    for row in asked:
        found[row.job_id] |= ran_at[row.on_family, row.on_task]
    return {job: tuple(sorted(sites)) for job, sites in found.items() if sites}


def _told(
    step: Step, column: sa.Column[str], wanted: set[_Earlier]
) -> defaultdict[_Earlier, set[str]]:
    """Which values a column has among the jobs of each array, or for one element of it. Two
    queries at most; of an array as a whole no element is read by itself."""
    found: defaultdict[_Earlier, set[str]] = defaultdict(set)
    whole = sorted({family for family, task in wanted if task is None})
    if whole:
        of_whole = sa.select(jobs.c.family, column.label("value")).where(
            step.among(jobs.c.family, whole), column.is_not(None)
        )
        for row in step.rows(of_whole.distinct()):
            found[row.family, None].add(row.value)
    single = {(family, task) for family, task in wanted if task is not None}
    if single:
        of_one = sa.select(jobs.c.family, jobs.c.task, column.label("value")).where(
            step.among(jobs.c.family, sorted({family for family, _ in single})),
            step.among(jobs.c.task, sorted({task for _, task in single})),
            column.is_not(None),
        )
        for row in step.rows(of_one):
            found[row.family, row.task].add(row.value)
    return found


def _of(
    states: defaultdict[_Earlier, set[str]], family: int | None, task: int | None
) -> frozenset[str]:
    """The states of what is depended on; an element that there never was counts as cancelled."""
    assert family is not None, "singleton depends on no number"
    none = () if task is None else (str(JobState.CANCELLED),)
    return frozenset(states[family, task] or none)


def _judge(kind: str, states: frozenset[str]) -> tuple[bool, bool]:
    """Whether a dependency on jobs in these states is met, and whether it never can be."""
    over = states <= _ENDED
    bad = states & _ENDED - {JobState.COMPLETED}
    if kind == DependencyKind.AFTER_ANY:
        return over, False
    if kind == DependencyKind.AFTER_OK:
        return states <= {JobState.COMPLETED}, bool(bad)
    # afternotok: sbatch(1) asks for an end "in some failed state"; of an array, one is enough
    return over and bool(bad), over and not bad


def _earlier_namesakes(step: Step, rows: list[Any]) -> set[int]:
    """Jobs (singleton) that an earlier job of the same name and person still keeps waiting."""
    waiting: set[int] = set()
    if not rows:
        return waiting
    statement = sa.select(jobs.c.id, jobs.c.name, jobs.c.person_id, jobs.c.family).where(
        jobs.c.state.not_in(_ENDED),
        step.among(jobs.c.name, sorted({row.name for row in rows})),
    )
    first: dict[tuple[str, str], int] = {}
    for other in step.rows(statement.order_by(jobs.c.id)):
        first.setdefault((other.person_id, other.name), other.family)
    for row in rows:
        if first.get((row.person_id, row.name), row.family) != row.family:
            waiting.add(row.job_id)
    return waiting


def families(step: Step, numbers: Iterable[int]) -> dict[int, tuple[int, int | None]]:
    """What a dependency on a job number means: an array's number means all its elements,
    the number of one of its elements means that one."""
    wanted = sorted(set(numbers))
    if not wanted:
        return {}
    known = sa.select(jobs.c.id, jobs.c.family, jobs.c.task).where(step.among(jobs.c.id, wanted))
    return {
        row.id: (row.family, None if row.id == row.family else row.task) for row in step.rows(known)
    }


def blocked(step: Step, row: sa.Row[Any]) -> tuple[Refusal, ...]:
    """Why a submitted job is not looked at yet."""
    mine = conditions(step, [row.id]).get(row.id, [])
    return _in_the_way(step, row.begin_s, mine, held=row.held)


def would_block(step: Step, person: str | None, request: JobRequest) -> tuple[Refusal, ...]:
    """Why a request would not be looked at yet if this person submitted it now."""
    named = families(step, [d.job for d in request.dependencies if d.job is not None])
    on = {
        d: (named[d.job][0], named[d.job][1] if d.element is None else d.element)
        for d in request.dependencies
        if d.job is not None
    }
    states = _told(step, jobs.c.state, set(on.values()))
    found: list[Condition] = []
    for each in request.dependencies:
        if each.job is None:
            alone = sa.select(jobs.c.id).where(
                jobs.c.person_id == person,
                jobs.c.name == request.name,
                jobs.c.state.not_in(_ENDED),
            )
            met = step.one(alone.limit(1)) is None
            found.append(Condition(0, each.kind, None, None, met, never=False))
            continue
        met, never = _judge(each.kind, _of(states, *on[each]))
        found.append(Condition(0, each.kind, *on[each], met, never))
    if request.any_dependency and any(each.met for each in found):
        found = []
    return _in_the_way(step, request.begin_s, found, held=request.held)


def _in_the_way(
    step: Step, begin_s: int | None, asked: Sequence[Condition], *, held: bool
) -> tuple[Refusal, ...]:
    found: list[Refusal] = []
    if held:
        found.append(Refusal(Reason.HELD))
    if begin_s is not None and begin_s > step.now_s:
        found.append(Refusal(Reason.BEGIN, asked=begin_s, limit=step.now_s))
    for condition in asked:
        if not condition.met:
            where = "" if condition.on_family is None else f":{condition.on_family}"
            where += "" if condition.on_task is None else f"_{condition.on_task}"
            state = NEVER_MET if condition.never else "not yet met"
            found.append(Refusal(Reason.DEPENDENCY, asked=condition.kind + where, limit=state))
    return tuple(found)
