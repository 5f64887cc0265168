"""What changes when a job starts, stops or has to make room. It chooses no job, only victims."""

from __future__ import annotations

from meyrin.engine.cluster.queue import pull, push, put
from meyrin.engine.cluster.search import (
    add_up,
    limit_end,
    mark,
    marked,
    name,
    new_pass,
    occupy,
    placed,
    ready,
    shift,
)
from meyrin.engine.cluster.usage import charge
from meyrin.engine.cluster.world import (
    ACCOUNT,
    ASKED,
    ATTEMPTS,
    BACK,
    BROKEN,
    BUSY,
    BUSY_NODES,
    DOMINANT,
    END,
    ENDED,
    FINISHED,
    FIRST_START,
    GONE,
    IN_LINE,
    LINE_NODES,
    NO_PROMISE,
    NODES,
    OFF,
    PARTITION,
    PROMISE,
    PUT_OFF,
    RANK,
    REQUEUE,
    REQUEUES,
    RUNNING,
    SIZES,
    START,
    STARTED,
    STATUS,
    TAKEN,
    VICTIMS,
    WAITING,
    WASTED,
    WHOLE,
    Play,
    World,
)
from meyrin.engine.compiled import compiled, inner
from meyrin.engine.room import Room


@inner
def hold(rules: Play, world: World, job: int, sign: int) -> None:
    """Count what the job holds (1), or no longer holds (-1), for its account."""
    if rules.order != DOMINANT:
        return
    jobs = world.jobs
    first, last = placed(world, job)
    for node in world.placed[first:last]:
        for part in range(3):
            amount = world.nodes[node, part] if jobs[job, WHOLE] else jobs[job, ASKED + part]
            world.accounts[jobs[job, ACCOUNT], TAKEN + part] += sign * amount


@inner
def start(rules: Play, world: World, room: Room, job: int, now: int, promised: bool) -> None:
    """Start a waiting job on its `placed` nodes. What was `promised` is taken already."""
    jobs = world.jobs
    end = limit_end(rules, world, job, now)
    if not promised:
        shift(world, room, job, -1, now, end)
    name(world, room, job, now, end)
    jobs[job, STATUS], jobs[job, START], jobs[job, PROMISE] = RUNNING, now, NO_PROMISE
    jobs[job, ATTEMPTS] += 1
    if jobs[job, FIRST_START] < 0:
        jobs[job, FIRST_START] = now
    push(world, job)
    hold(rules, world, job, 1)
    charge(rules, world, job, now, 1)
    world.now[STARTED] += 1
    world.now[LINE_NODES] -= jobs[job, NODES]
    world.kinds[world.kind[job], IN_LINE] -= 1
    world.now[BUSY_NODES] += jobs[job, NODES]
    add_up(world, room)


@inner
def stop(rules: Play, world: World, job: int, now: int, status: int) -> None:
    """A running job runs no more. Its room is given back by the caller."""
    jobs = world.jobs
    pull(world, job)
    hold(rules, world, job, -1)
    charge(rules, world, job, now, -1)
    world.now[BUSY_NODES] -= jobs[job, NODES]
    jobs[job, STATUS] = status
    if status == WAITING:
        put(world, BACK, job)
        return
    jobs[job, END] = now
    world.now[FINISHED] += 1
    put(world, GONE, job)


@inner
def put_off(rules: Play, world: World, job: int, now: int, status: int) -> None:
    """A running job is stopped before its time: what it did is lost."""
    world.jobs[job, WASTED] += now - world.jobs[job, START]
    world.now[BROKEN] = 1
    stop(rules, world, job, now, status)


@inner
def complete(rules: Play, world: World, room: Room, job: int, now: int, status: int) -> None:
    """A running job gives back its room and is done."""
    occupy(world, room, job, 1, now, limit_end(rules, world, job, world.jobs[job, START]))
    if status == ENDED:
        stop(rules, world, job, now, status)
    else:
        put_off(rules, world, job, now, status)


@compiled
def _next_victim(world: World, job: int) -> int:
    """The running job to put off next: of the lowest class, then the youngest; -1: none."""
    jobs, best = world.jobs, -1
    for at in range(world.now[SIZES + BUSY]):
        one = world.lists[BUSY, at]
        if jobs[one, STATUS] != RUNNING or jobs[one, RANK] >= jobs[job, RANK]:
            continue
        if best >= 0:
            if jobs[one, RANK] != jobs[best, RANK]:
                if jobs[one, RANK] > jobs[best, RANK]:
                    continue
            elif jobs[one, START] < jobs[best, START] or (
                jobs[one, START] == jobs[best, START] and one < best
            ):
                continue
        if marked(world, one):
            best = one
    return int(best)


@compiled
def evict(rules: Play, world: World, room: Room, job: int, now: int) -> bool:
    """Start the job at the cost of running ones of lower classes, if that is enough.

    Victims are added one by one; those that turn out not to be needed run on.
    """
    if rules.preemption == OFF:
        return False
    jobs, victims = world.jobs, world.lists[VICTIMS]
    mark(world, jobs[job, PARTITION], 1)
    count, enough = 0, False
    while not enough:
        victim = _next_victim(world, job)
        if victim < 0:
            break
        jobs[victim, STATUS] = PUT_OFF  # for the moment
        victims[count] = victim
        count += 1
        occupy(world, room, victim, 1, now, limit_end(rules, world, victim, jobs[victim, START]))
        add_up(world, room)
        enough = ready(rules, world, room, job, now)
    mark(world, jobs[job, PARTITION], 0)
    for at in range(count - 1, -1, -1):
        victim = victims[at]
        end = limit_end(rules, world, victim, jobs[victim, START])
        occupy(world, room, victim, -1, now, end)
        add_up(world, room)
        if not enough or ready(rules, world, room, job, now):
            jobs[victim, STATUS] = RUNNING
        else:
            occupy(world, room, victim, 1, now, end)
    if not enough:
        return False
    for at in range(count):
        victim = victims[at]
        if jobs[victim, STATUS] == PUT_OFF:
            again = rules.preemption == REQUEUE and jobs[victim, REQUEUES]
            put_off(rules, world, victim, now, WAITING if again else PUT_OFF)
    add_up(world, room)
    ready(rules, world, room, job, now)
    start(rules, world, room, job, now, False)
    new_pass(world)  # there may be more room than before
    return True
