"""The event loop: from one instant to the next. What starts is decided in `passes`.

The rule for instants. At a moment t: jobs that end at t end; nodes whose outage ends at t are
repaired, then those that fail at t fail; jobs submitted at t arrive in log order, with those that
waited for another job or were put off; then one scheduling pass is made. Reservations need no
event of their own, as no job starts that would run into one; where one ends, a pass is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from meyrin.engine.cluster import passes
from meyrin.engine.cluster.act import complete
from meyrin.engine.cluster.fairness import prioritise, priority
from meyrin.engine.cluster.model import NEVER, Facility, Jobs, Whole, facility, jobs
from meyrin.engine.cluster.queue import drop_started, enqueue, put
from meyrin.engine.cluster.search import add_up, marked, may_fit
from meyrin.engine.cluster.world import (
    AFTER,
    AFTER_OK,
    ARRIVED,
    ATTEMPTS,
    BACK,
    BROKEN,
    BUSY,
    BUSY_NODES,
    CHANCE,
    CHANGED,
    CONSERVATIVE,
    COUNTER,
    CUT,
    DONE,
    DOWN,
    DURATION,
    EASY,
    EASY_SJF,
    ELIGIBLE,
    END,
    ENDED,
    FINISHED,
    FIRST_AFTER,
    FIRST_START,
    FREED,
    GONE,
    HOME,
    IN_LINE,
    LINE,
    LINE_NODES,
    LOST,
    MARK,
    MOST,
    MUCH,
    MULTIFACTOR,
    NEXT_AFTER,
    NODES,
    OFF,
    OPENED,
    OUT,
    PLACED,
    PRIORITY,
    REQUEUES,
    SAMPLE,
    SIZES,
    SLURM,
    START,
    STATUS,
    STEPS,
    STRANDED,
    SUBMISSION,
    SUBMIT,
    SUCCEEDS,
    TIME,
    UNITS,
    WAITING,
    WASTED,
    Play,
    World,
    capacity,
    new,
    play,
)
from meyrin.engine.compiled import compiled, inner
from meyrin.engine.room import Room, compact, ensured, take
from meyrin.engine.room import give as give_room
from meyrin.engine.room import new as new_room
from meyrin.engine.rules import Rules

if TYPE_CHECKING:
    from numpy.typing import NDArray


@compiled
def advance(rules: Play, world: World, room: Room, events: int) -> Room:
    """Go through at most so many instants; the room, which may be a larger one now."""
    for _ in range(events):
        moment = next_instant(rules, world)
        if moment >= NEVER:
            world.now[DONE] = 1
            break
        room = ensured(room, segments(world))
        compact(room, moment)
        instant(rules, world, room, moment)
    return room


@inner
def segments(world: World) -> int:
    """How many segments of room one instant can need: 4 for each node that a job gets or gives,
    and for the counter that it is counted by."""
    now = world.now
    arriving, at = 0, now[ARRIVED]
    jobs = now[SIZES + LINE] + now[SIZES + BUSY] + now[SIZES + BACK]
    if at < len(world.jobs):
        moment = world.jobs[at, SUBMIT]
        while at < len(world.jobs) and world.jobs[at, SUBMIT] == moment:
            arriving += world.jobs[at, NODES]
            jobs += 1
            at += 1
    for row in range(now[SIZES + BACK]):
        arriving += world.jobs[world.lists[BACK, row], NODES]
    nodes = now[LINE_NODES] + now[BUSY_NODES] + arriving + len(world.nodes)
    return int(4 * (nodes + jobs) + 64)


@inner
def next_instant(rules: Play, world: World) -> int:
    """When something happens next; NEVER if nothing does, or all jobs have ended."""
    now, jobs = world.now, world.jobs
    moment = NEVER
    if now[FINISHED] == len(jobs):
        return moment
    if now[ARRIVED] < len(jobs):
        moment = min(moment, jobs[now[ARRIVED], SUBMIT])
    if now[SIZES + BUSY]:
        first = world.lists[BUSY, 0]
        moment = min(moment, jobs[first, START] + jobs[first, DURATION])
    if now[STEPS] < len(world.steps):
        moment = min(moment, world.steps[now[STEPS], 0])
    if now[OPENED] < len(world.openings):
        moment = min(moment, world.openings[now[OPENED]])
    if rules.backfill == SLURM and now[SIZES + LINE] + now[SIZES + BACK]:
        if now[CHANGED]:
            moment = min(moment, (now[TIME] // rules.bf_interval + 1) * rules.bf_interval)
        if now[CUT]:
            moment = min(moment, (now[TIME] // rules.sched_interval + 1) * rules.sched_interval)
    return int(moment)


@inner
def instant(rules: Play, world: World, room: Room, moment: int) -> None:
    """All that happens at one moment, then the pass."""
    now = world.now
    now[TIME], now[FREED], now[BROKEN] = moment, 0, 0
    happened = events(rules, world, room, moment)
    if happened:
        now[CHANGED] = 1
    full = bool(rules.backfill == SLURM and now[CUT] and moment % rules.sched_interval == 0)
    main = happened or full
    planned = bool(rules.backfill == SLURM and now[CHANGED] and moment % rules.bf_interval == 0)
    if not main and not planned:
        return
    if main:
        now[CUT] = 0
    add_up(world, room)
    if now[SIZES + LINE] and anybody(rules, world):
        prioritise(rules, world, moment)
        if main:
            if EASY <= rules.backfill <= EASY_SJF:
                passes.easy(rules, world, room, moment)
            elif rules.backfill == CONSERVATIVE:
                passes.conservative(rules, world, room, moment)
            else:
                passes.strict(rules, world, room, moment, full)
            drop_started(world)
            now[CHANCE] = 0
        if planned:
            rejoin(rules, world, moment)
            now[CHANGED] = passes.plan(rules, world, room, moment)
            drop_started(world)
    elif main:
        now[CUT] = rules.queue_depth > 0 and not full and now[SIZES + LINE] > rules.queue_depth
        now[CHANGED] = now[CHANGED] and not planned
    else:
        now[CHANGED] = 0


@inner
def anybody(rules: Play, world: World) -> bool:
    """Whether a pass can change anything: quick, and wrong on one side only."""
    if rules.backfill == CONSERVATIVE or rules.preemption != OFF:
        return True
    if EASY <= rules.backfill <= EASY_SJF and rules.order == SUBMISSION and not world.now[CHANCE]:
        return False
    jobs, now, line, kinds = world.jobs, world.now, world.lists[LINE], world.kinds
    if now[MOST] == 0 and now[MOST + 1] == 0 and now[MOST + 2] == 0:
        return False
    at, size = 0, min(now[SIZES + LINE], len(kinds))
    if size < len(kinds):
        while at < size and not may_fit(jobs, now, line[at]):
            at += 1
        return bool(at < size)
    while at < size and not (kinds[at, IN_LINE] and may_fit(jobs, now, kinds[at, SAMPLE])):
        at += 1
    return bool(at < size)


@inner
def events(rules: Play, world: World, room: Room, moment: int) -> bool:
    """Completions, repairs, failures, arrivals, in this order; whether there was any."""
    now, jobs, happened = world.now, world.jobs, False
    while now[OPENED] < len(world.openings) and world.openings[now[OPENED]] <= moment:
        now[OPENED] += 1
        happened = True
    while now[SIZES + BUSY]:
        job = world.lists[BUSY, 0]
        if jobs[job, START] + jobs[job, DURATION] > moment:
            break
        complete(rules, world, room, job, moment, ENDED)
        now[FREED] = 1
        happened = True
    while now[STEPS] < len(world.steps) and world.steps[now[STEPS], 0] <= moment:
        strike(rules, world, room, moment)
        happened = True
    rejoin(rules, world, moment)
    at = 0
    while at < now[SIZES + GONE]:  # the list may grow meanwhile
        job = jobs[world.lists[GONE, at], FIRST_AFTER]
        while job >= 0:
            if job < now[ARRIVED]:
                release(rules, world, job, moment)
            job = jobs[job, NEXT_AFTER]
        at += 1
    now[SIZES + GONE] = 0
    if happened:
        now[CHANCE] = 1
    while now[ARRIVED] < len(jobs) and jobs[now[ARRIVED], SUBMIT] <= moment:
        now[ARRIVED] += 1
        release(rules, world, now[ARRIVED] - 1, moment)
        happened = True
    return happened


@inner
def rejoin(rules: Play, world: World, moment: int) -> None:
    """Those who were put off wait again."""
    for at in range(world.now[SIZES + BACK]):
        enqueue_now(rules, world, world.lists[BACK, at], moment)
    world.now[SIZES + BACK] = 0


@inner
def release(rules: Play, world: World, job: int, moment: int) -> None:
    """A submitted job may start once the job that it comes after has ended; or never."""
    jobs = world.jobs
    before = jobs[job, AFTER]
    if jobs[job, STATUS] != WAITING or jobs[job, ELIGIBLE] >= 0:
        return
    if before >= 0:
        if jobs[before, STATUS] < ENDED:
            return
        if jobs[job, AFTER_OK] and not (jobs[before, STATUS] == ENDED and jobs[before, SUCCEEDS]):
            jobs[job, STATUS], jobs[job, END] = STRANDED, moment
            world.now[FINISHED] += 1
            put(world, GONE, job)
            return
    jobs[job, ELIGIBLE] = moment
    enqueue_now(rules, world, job, moment)


@inner
def enqueue_now(rules: Play, world: World, job: int, moment: int) -> None:
    """A job joins the waiting, with the priority of the last tick. One alone needs none."""
    alone = world.now[SIZES + LINE] == 1
    if rules.order == MULTIFACTOR and world.now[SIZES + LINE]:
        tick = moment // rules.calc_period * rules.calc_period
        for both in range(1 + alone):
            one = world.lists[LINE, 0] if both else job
            world.jobs[one, PRIORITY] = priority(rules, world, one, tick)
    if not enqueue(rules, world, job) or may_fit(world.jobs, world.now, job):
        world.now[CHANCE] = 1


@compiled
def strike(rules: Play, world: World, room: Room, moment: int) -> None:
    """The next failure or repair. What runs on a failing node waits again, or is lost."""
    now, step = world.now, world.steps[world.now[STEPS]]
    now[STEPS] += 1
    node = step[2]
    much, one = now[MUCH : MUCH + 3], world.found
    home, units = world.nodes[node, HOME], now[UNITS : UNITS + 3]
    counter = world.partitions[home, COUNTER] if home >= 0 else -1
    one[0] = node
    world.nodes[node, DOWN] += step[1]
    if step[1] < 0:
        if world.nodes[node, DOWN] == 0:
            now[OUT] -= 1
            now[FREED] = 1
            give_room(room, one, 1, much, moment, NEVER)
            if counter >= 0:
                units[1] = 1
                give_room(room, world.members[counter : counter + 1], 1, units, moment, NEVER)
        return
    now[BROKEN] = 1
    if world.nodes[node, DOWN] > 1:
        return
    now[OUT] += 1
    take(room, one, 1, much, moment, NEVER)
    if counter >= 0:
        units[1] = 1
        take(room, world.members[counter : counter + 1], 1, units, moment, NEVER)
    world.nodes[node, MARK] = 1
    at = 0
    while at < now[SIZES + BUSY]:
        job = world.lists[BUSY, at]
        if marked(world, job):
            status = WAITING if world.jobs[job, REQUEUES] else LOST
            complete(rules, world, room, job, moment, status)
            at = 0  # the heap has changed
        else:
            at += 1
    world.nodes[node, MARK] = 0


class Cluster:
    """One cluster under one set of rules, from its first event to its last.

    Takes what `facility` and `jobs` make. `advance` may be called again and again; between two
    calls everything up to `now` is settled and stands in the arrays, which are int64[n] by job in
    log order, -1 where it has not come to pass.
    """

    def __init__(self, rules: Rules, place: Facility, work: Jobs) -> None:
        self._rules = play(rules)
        self._world = new(self._rules, place, work)
        closed = len(place.reserved_nodes)
        begin = int(min([*work.submit[:1], *place.outage_time[:1], 0]))
        room = ensured(new_room(capacity(self._world), begin), 2 * closed + 64)
        much = self._world.now[MUCH : MUCH + 3]
        for one in range(len(place.reserved_begin)):
            first, last = place.reserved_first[one : one + 2]
            nodes = place.reserved_nodes[first:last]
            start, end = int(place.reserved_begin[one]), int(place.reserved_end[one])
            take(room, nodes, len(nodes), much, start, end)
        self._room = room

    def advance(self, events: int) -> None:
        """Go through at most so many instants, in compiled code."""
        self._room = advance(self._rules, self._world, self._room, events)

    @property
    def done(self) -> bool:
        """Nothing will happen any more. A job that still waits can never start."""
        return bool(self._world.now[DONE])

    @property
    def now(self) -> int:
        """The last instant."""
        return int(self._world.now[TIME])

    @property
    def finished(self) -> int:
        """How many jobs have ended for good, whatever became of them."""
        return int(self._world.now[FINISHED])

    @property
    def status(self) -> Whole:
        """WAITING, RUNNING, ENDED, PUT_OFF (by a higher class), LOST (with a node) or STRANDED
        (the job that it came after did not succeed)."""
        return self._world.jobs[:, STATUS]

    @property
    def start(self) -> Whole:
        """When its last attempt started."""
        return self._world.jobs[:, START]

    @property
    def first_start(self) -> Whole:
        """When its first attempt started."""
        return self._world.jobs[:, FIRST_START]

    @property
    def end(self) -> Whole:
        """When it ended for good."""
        return self._world.jobs[:, END]

    @property
    def eligible(self) -> Whole:
        """Since when it might have started: submitted, and what it comes after had ended."""
        return self._world.jobs[:, ELIGIBLE]

    @property
    def attempts(self) -> Whole:
        """How often it was started."""
        return self._world.jobs[:, ATTEMPTS]

    @property
    def wasted(self) -> Whole:
        """For how long it ran in attempts that did not count."""
        return self._world.jobs[:, WASTED]

    def nodes(self, job: int) -> NDArray[np.int32]:
        """The nodes of its last attempt, in no particular order. The job has started."""
        row = self._world.jobs[job]
        return self._world.placed[row[PLACED] : row[PLACED] + row[NODES]]


def warm() -> None:
    """Compile the kernel."""
    place = facility([[0, 2, 0]])
    cluster = Cluster(Rules(), place, jobs(place, [0], [[0, 1, 0]], 1, 1))
    cluster.advance(4)
