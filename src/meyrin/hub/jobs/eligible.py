"""From submitted to admitted, or to an early end: dates, releases, dependencies, deadlines."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from meyrin.domain.job import DependencyKind, JobRequest
from meyrin.domain.refusal import NEVER_MET, Reason, Refusal
from meyrin.domain.states import ENDED, JobState
from meyrin.hub.jobs import change
from meyrin.hub.jobs.store import IS_WAITING, dependencies, jobs, requests
from meyrin.hub.plumbing.database import Step

_ENDED = [str(state) for state in ENDED]
_MOST = 20_000  # requests, and jobs, looked at in one step


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
_CANDIDATES = (
    sa.select(_FIRST, jobs.c.request_id)
    .where(_LET_GO)
    .group_by(jobs.c.request_id)
    .order_by(_FIRST)
    .limit(_MOST)
)


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
    candidates = step.rows(_CANDIDATES, now_s=step.now_s)
    if not candidates:
        return len(late)
    found = conditions(step, [row.id for row in candidates])
    flags = _flags(step, {row.request_id for row in candidates if row.id in found})
    ready, doomed = [], []
    for row in candidates:
        mine = found.get(row.id, [])
        any_one, kill = flags.get(row.request_id, (False, True))
        join = any if any_one else all
        if not mine or join(each.met for each in mine):
            ready.append(row.request_id)
        elif kill and (all if any_one else any)(each.never for each in mine):
            doomed.append(row.request_id)
    rows = change.locked(step, _jobs_of(step, ready))
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
    """How far each dependency of the given jobs is, in three queries whatever their number."""
    wanted = step.rows(
        sa.select(dependencies, jobs.c.name, jobs.c.project_id, jobs.c.person_id, jobs.c.family)
        .join(jobs, jobs.c.id == dependencies.c.job_id)
        .where(step.among(dependencies.c.job_id, job_ids))
        .order_by(dependencies.c.job_id, dependencies.c.number)
    )
    ends = _ends(step, {row.on_family for row in wanted if row.on_family is not None})
    alone = _earlier_namesakes(step, [row for row in wanted if row.on_family is None])
    result: defaultdict[int, list[Condition]] = defaultdict(list)
    for row in wanted:
        if row.kind == DependencyKind.SINGLETON:
            met, never = row.job_id not in alone, False
        else:
            met, never = _judge(row.kind, ends, row.on_family, row.on_task)
        result[row.job_id].append(
            Condition(row.job_id, row.kind, row.on_family, row.on_task, met, never)
        )
    return dict(result)


def near(step: Step, job_ids: list[int]) -> dict[int, tuple[str, ...]]:
    """Sites where jobs that the given ones depend on ran or were placed, by name; one query."""
    earlier = jobs.alias("earlier")
    found: defaultdict[int, set[str]] = defaultdict(set)
    rows = step.rows(
        sa.select(dependencies.c.job_id, earlier.c.site)
        .join(earlier, earlier.c.family == dependencies.c.on_family)
        .where(
            step.among(dependencies.c.job_id, job_ids),
            earlier.c.site.is_not(None),
            sa.or_(dependencies.c.on_task.is_(None), dependencies.c.on_task == earlier.c.task),
        )
        .distinct()
    )
    for row in rows:
        found[row.job_id].add(row.site)
    return {job: tuple(sorted(sites)) for job, sites in found.items()}


def _ends(step: Step, families: set[int]) -> dict[int, dict[int | None, str]]:
    """State of every job of the families, by family and task."""
    ends: defaultdict[int, dict[int | None, str]] = defaultdict(dict)
    if families:
        statement = sa.select(jobs.c.family, jobs.c.task, jobs.c.state)
        for row in step.rows(statement.where(step.among(jobs.c.family, sorted(families)))):
            ends[row.family][row.task] = row.state
    return ends


def _judge(
    kind: str, ends: dict[int, dict[int | None, str]], family: int, task: int | None
) -> tuple[bool, bool]:
    of_family = ends.get(family, {})
    states = list(of_family.values()) if task is None else [of_family.get(task, "cancelled")]
    over = all(state in _ENDED for state in states)
    good = [state == JobState.COMPLETED for state in states]
    bad = [state in _ENDED and state != JobState.COMPLETED for state in states]
    if kind == DependencyKind.AFTER_ANY:
        return over, False
    if kind == DependencyKind.AFTER_OK:
        return all(good), any(bad)
    # afternotok: sbatch(1) asks for an end "in some failed state"; of an array, one is enough
    return over and any(bad), over and not any(bad)


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
    ends = _ends(step, {family for family, _ in named.values()})
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
        family, task = named[each.job]
        task = task if each.element is None else each.element
        met, never = _judge(each.kind, ends, family, task)
        found.append(Condition(0, each.kind, family, task, met, never))
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
