"""The broker step: a snapshot of the world, `engine.decide`, and one guarded transaction.

Nothing is decided here. What the engine may know is read by `snapshot`; what it answered is
written by `apply`, which is refused when the world has moved in between.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa

from meyrin.domain.ids import new_attempt_id
from meyrin.domain.refusal import Reason, Refusal
from meyrin.domain.states import JobState
from meyrin.domain.units import NodeShape
from meyrin.engine import ahead
from meyrin.engine.model import (
    Candidate,
    Decision,
    Occupied,
    PartitionState,
    Placement,
    Policy,
    State,
    WaitingJob,
)
from meyrin.engine.placement import decide
from meyrin.hub.broker import doors, store, windows
from meyrin.hub.broker.fits import fitting
from meyrin.hub.calls import paying
from meyrin.hub.calls import service as calls
from meyrin.hub.jobs import attempts, change, eligible
from meyrin.hub.jobs import service as jobs_service
from meyrin.hub.jobs.submit import as_waiting
from meyrin.hub.ledger import service as ledger
from meyrin.hub.plumbing import world
from meyrin.hub.plumbing.database import Database, Step
from meyrin.hub.sites import refusals, terms
from meyrin.hub.sites import service as sites
from meyrin.wire.jobs import PlaceView

# how many waiting jobs one step looks at: the first ones, then the next ones while those find no
# place; the next step goes on behind them
WINDOWS = (250, 1000, 4000)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The world as one decision sees it, the policy in force, and which jobs it looks at."""

    state: State
    policy: Policy
    window: windows.Window

    def has(self, job: int) -> bool:
        """Whether it looks at this waiting job."""
        return any(one.job == job for one in self.state.waiting)

    def passed(self, decision: Decision) -> windows.Passed:
        """What is left in sight once this decision has placed nobody."""
        return windows.over(self.window, self.state, self.policy, decision)


def step_once(database: Database) -> int:
    """One broker step; returns how many jobs were placed. Raises WorldMoved: call again."""
    with database.read() as step:
        due, waiting = eligible.outlook(step)
    if due:
        with database.write() as step:
            eligible.advance(step)
    elif not waiting:  # as after most reports: the world need not be read for nobody
        return 0
    far, passed = windows.take_far(database.engine), windows.Passed()
    for most in WINDOWS:
        with database.read() as step:
            seen = snapshot(step, most, passed, when_full=False)
            now_s = step.now_s
        if not seen.state.waiting:
            return 0
        decision = decide(seen.state, seen.policy, now_s)
        mine = windows.in_turn(decision, passed)
        if mine.placements:
            with database.write() as step:
                placed = apply(step, seen.state, mine, seen.policy, seen_s=now_s)
            if placed:
                windows.stop_at(database.engine, far)
                return placed
        if seen.window.last:
            return 0
        passed = seen.passed(decision)
        if most == WINDOWS[0]:
            passed = windows.go_on(passed, far)
    windows.stop_at(database.engine, passed)
    return 0


def snapshot(
    step: Step,
    most: int = WINDOWS[1],
    passed: windows.Passed = windows.Passed(),  # noqa: B008 - frozen
    *,
    when_full: bool = True,
) -> Snapshot:
    """Read the world in a fixed number of queries, with the first `most` waiting jobs that were
    not `passed` over. Not `when_full`: none are read while there is no room for any."""
    version = world.version(step)
    policy = store.current(step)
    occupied = _occupied(step, paid_counts=policy.paid_percent > 0)
    states = _with_occupied(
        sites.partition_states(step, step.now_s, hub_start_s=step.started_s), occupied
    )
    sends_ahead = policy.queue_ahead > 0
    room = when_full or sends_ahead
    room = room or any(_has_room(state) or ahead.is_open(state, policy) for state in states)
    window = windows.read(step, most, passed) if room else windows.Window()
    funds = paying.funds(step, sorted({row.project_id for row in window.rows}))
    waiting = as_waiting_jobs(step, window.rows)
    return Snapshot(State(version, states, tuple(funds), waiting, window.more), policy, window)


def _has_room(state: PartitionState) -> bool:
    """Whether anything at all could start there now: a core, and an accelerator if it has any."""
    partition = state.usable
    cores = sum(one.nodes * one.asked.cores for one in state.occupied)
    if cores >= partition.nodes * partition.cores_per_node:
        return False
    whole = sum(one.nodes for one in state.occupied) >= partition.nodes
    return not (partition.whole_node and whole)


def _occupied(step: Step, *, paid_counts: bool = False) -> dict[tuple[str, str], list[Occupied]]:
    """What is at each partition; which of it is paid work only where that counts."""
    result: defaultdict[tuple[str, str], list[Occupied]] = defaultdict(list)
    rows = attempts.live(step)
    paid = calls.paid_of(step, {row.allocation_id for row in rows}) if paid_counts else frozenset()
    for row in rows:
        job, site, partition, nodes, *shape, walltime_s, start_ms, allocation = tuple(row)
        end_s = None if start_ms is None else start_ms // 1000 + walltime_s
        result[site, partition].append(
            Occupied(job, nodes, _shape(*shape), walltime_s, end_s, allocation in paid)
        )
    return result


# jobs are alike: a shape is made once
_shape = lru_cache(maxsize=1000)(NodeShape)


def _with_occupied(
    states: Iterable[PartitionState], occupied: dict[tuple[str, str], list[Occupied]]
) -> tuple[PartitionState, ...]:
    return tuple(
        replace(state, occupied=tuple(occupied.get((state.site, state.partition.name), ())))
        for state in states
    )


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the broker needs of a request, read once: requests never change."""

    job: WaitingJob
    array_limit: int
    depends: bool


# by database; a full one is replaced, never emptied, as other threads may be reading it
_asked: WeakKeyDictionary[sa.Engine, dict[int, _Asked]] = WeakKeyDictionary()


def _read_requests(step: Step, rows: Sequence[sa.Row[Any]]) -> dict[int, _Asked]:
    """What was asked, by request; at most one query, for those not read before."""
    asked = _asked.setdefault(step.conn.engine, {})
    missing = {row.request_id: row for row in rows if row.request_id not in asked}
    if len(asked) + len(missing) > 20_000:
        asked = _asked[step.conn.engine] = {}
        missing = {row.request_id: row for row in rows}
    for number, request in jobs_service.specs(step, missing).items() if missing else ():
        row = missing[number]
        job = as_waiting(request, row.project_id, 0, row.submit_ms // 1000)
        limit = request.array.max_running if request.array else 0
        asked[number] = _Asked(job, limit, bool(request.dependencies))
    return asked


def as_waiting_jobs(step: Step, rows: Sequence[sa.Row[Any]]) -> tuple[WaitingJob, ...]:
    """The rows as waiting jobs; of an array with a limit, the elements over it are blocked."""
    asked = _read_requests(step, rows)
    limits = {
        row.family: asked[row.request_id].array_limit
        for row in rows
        if asked[row.request_id].array_limit
    }
    active = Counter(attempts.active_in_arrays(step, limits))
    known = refusals.in_force(step) if any(row.refused_by for row in rows) else frozenset()
    lacking = terms.missing(step, {row.person_id for row in rows})
    followers = [row.id for row in rows if asked[row.request_id].depends]
    near = eligible.near(step, followers) if followers else {}
    result = []
    for row in rows:
        job = asked[row.request_id].job
        away = {*refusals.counting(row.refused_by, known), *lacking.get(row.person_id, ())}
        job = replace(job, job=row.id, refused_by=tuple(sorted(away)), near=near.get(row.id, ()))
        limit = limits.get(row.family)
        if limit is not None:
            if active[row.family] >= limit:
                blocked = Refusal(Reason.ARRAY_LIMIT, asked=active[row.family] + 1, limit=limit)
                job = replace(job, blocked=(blocked,))
            else:
                active[row.family] += 1
        result.append(job)
    return tuple(result)


def apply(
    step: Step,
    state: State,
    decision: Decision,
    policy: Policy = Policy(),  # noqa: B008 - frozen
    seen_s: int | None = None,
) -> int:
    """Write a decision: holds, attempts and states together; returns how many were placed.

    Raises WorldMoved when it stands on an older world. A job that was cancelled meanwhile, or
    whose hours are gone, or whose partition's offer has just run out, is left out; so is one for
    which there is no room any more, unless jobs may wait at sites (`queue_ahead`), and paid work
    that would now go ahead of entitled work (`broker.doors`). `seen_s` is when it was decided.
    """
    world.check(step, decision.version)
    at_s = step.now_s if seen_s is None else seen_s
    paid = doors.paid(state, decision.placements, at_s)
    counted = bool(paid) and policy.paid_percent > 0
    # one that decides at a time is a habit of equal hubs, and no lock
    if not policy.queue_ahead:
        fit = fitting(state.partitions, attempts.taken(step), decision.placements, policy, at_s)
        decision = replace(decision, placements=fit)
    if counted:
        now = _with_occupied(state.partitions, _occupied(step, paid_counts=True))
        fit = doors.unmoved(state.partitions, now, decision.placements, paid)
        decision = replace(decision, placements=fit)
    offers = sites.offers_at(step, step.now_s)
    rows = change.locked(step, [placement.job for placement in decision.placements])
    named = [
        (str(new_attempt_id(step.entropy)), placement, rows[placement.job])
        for placement in decision.placements
        if placement.job in rows
        and rows[placement.job].state == JobState.ADMITTED
        and (placement.site, placement.partition) in offers
    ]
    funded = paying.allocate(
        step,
        [(attempt, row.project_id, p.charged_type, p.hold_s) for attempt, p, row in named],
        entitled=frozenset(attempt for attempt, p, _ in named if p.job not in paid),
    )
    holds = [
        ledger.Hold(attempt, allocation, p.hold_s)
        for attempt, p, _ in named
        if isinstance(allocation := funded[attempt], str)
    ]
    short = ledger.hold(step, holds)
    kept = [
        (attempt, p, row, funded[attempt])
        for attempt, p, row in named
        if isinstance(funded[attempt], str) and attempt not in short
    ]
    _write(step, state, offers, kept)
    return len(kept)


def _write(
    step: Step,
    state: State,
    offers: dict[tuple[str, str], sites.Offer],
    kept: list[tuple[str, Placement, sa.Row[Any], Any]],
) -> None:
    partitions = {(s.site, s.partition.name): s.partition for s in state.partitions}
    site_ids = sites.ids_of(step, {p.site for _, p, _, _ in kept})
    rows = []
    for attempt, p, row, allocation in kept:
        rate = partitions[p.site, p.partition].charge_rate(p.asked, p.nodes)
        rows.append(
            {
                "id": attempt,
                "job_id": p.job,
                "epoch": row.epoch + 1,
                "state": "placed",
                "site_id": site_ids[p.site],
                "site": p.site,
                "partition": p.partition,
                "nodes": p.nodes,
                "cores": p.asked.cores,
                "memory_mb": p.asked.memory_mb,
                "accelerators": p.asked.accelerators,
                "tasks": p.tasks,
                "walltime_s": p.walltime_s,
                "charged_type": p.charged_type,
                "allocation_id": allocation,
                "offer_id": offers[p.site, p.partition].id,
                "hold_s": p.hold_s,
                "rate_num": rate.numerator,
                "rate_den": rate.denominator,
                "expected_start_s": p.expected_start_s,
                "others": [place_view(other).model_dump() for other in p.others[:5]],
                "placed_ms": step.now_ms,
            }
        )
    attempts.add(step, rows)
    change.apply(step, [_move(step, attempt, p, row) for attempt, p, row, _ in kept])
    for p in {p.site: p for _, p, _, _ in kept}.values():
        step.ring(f"site:{p.site}")


def _move(step: Step, attempt: str, p: Placement, row: sa.Row[Any]) -> change.Move:
    return change.Move(
        row,
        ((JobState.PLACED, step.now_ms),),
        attempt,
        detail=f"{p.site}/{p.partition}",
        values={
            "attempt": attempt,
            "epoch": row.epoch + 1,
            "site": p.site,
            "partition": p.partition,
            "reason": "",
        },
    )


def place_view(candidate: Candidate) -> PlaceView:
    """As the wire shows it."""
    return PlaceView(
        site=candidate.site,
        partition=candidate.partition,
        expected_start_s=candidate.expected_start_s,
    )


def policy(step: Step) -> Policy:
    """The policy in force."""
    return store.current(step)


def set_policy(step: Step, new: Policy, by: str) -> bool:
    """Put another policy in force; open decisions are refused. False where it is the one in force:
    nothing happens then."""
    if store.current(step) == new:
        return False
    store.put(step, new, by)
    world.moved(step)
    return True
