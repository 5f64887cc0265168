"""The scheduling passes: who starts now. Each looks at the waiting jobs in order.

`strict` is first come first served, and Slurm's main pass (sched_config.html of its manual);
EASY is Lifka's (1995); conservative backfill is the one of Mu'alem and Feitelson (2001), whose
promises move forward, job by job in order, whenever something ended; `plan` is Slurm's backfill.
"""

from __future__ import annotations

from meyrin.engine.cluster.act import evict, start
from meyrin.engine.cluster.fairness import dominant_share
from meyrin.engine.cluster.model import NEVER, Index
from meyrin.engine.cluster.queue import sort_later
from meyrin.engine.cluster.search import (
    bound,
    found_at,
    hopeless,
    limit_end,
    members,
    new_pass,
    ready,
    refused,
    roomy,
    ruled_out,
    shift,
    soonest,
    unfit,
)
from meyrin.engine.cluster.world import (
    ACCOUNT,
    BLOCKED,
    BROKEN,
    CLOSED,
    CUT,
    DOMINANT,
    EASY_SJF,
    FREED,
    LATER,
    LIMIT,
    LINE,
    NO_PROMISE,
    NO_ROOM,
    NODES,
    OFF,
    PARTITION,
    PROMISE,
    PROMISED,
    QUEUE,
    RANK,
    SEEN,
    SIZES,
    STATUS,
    WAITING,
    Play,
    World,
)
from meyrin.engine.compiled import compiled, inner
from meyrin.engine.room import Room


@inner
def listed(rules: Play, world: World) -> int:
    """The list of waiting jobs for a pass; for dominant share a copy, which `pick` orders."""
    if rules.order != DOMINANT:
        return LINE
    for at in range(world.now[SIZES + LINE]):
        world.lists[QUEUE, at] = world.lists[LINE, at]
    return QUEUE


@inner
def pick(rules: Play, world: World, queue: Index, at: int, size: int) -> int:
    """The job at that place of the queue.

    DRF (Ghodsi et al. 2011, algorithm 1): the next job of the user with the smallest dominant
    share, as it is after the starts so far.
    """
    if rules.order != DOMINANT:
        return int(queue[at])
    jobs, best = world.jobs, at
    rank, ranked = jobs[queue[at], RANK], rules.preemption != OFF
    share = dominant_share(world, jobs[queue[at], ACCOUNT])
    for other in range(at + 1, size):
        job = queue[other]
        if ranked and jobs[job, RANK] < rank:
            continue
        share_of = dominant_share(world, jobs[job, ACCOUNT])
        if (
            (ranked and jobs[job, RANK] > rank)
            or share_of < share
            or (share_of == share and job < queue[best])
        ):
            best, rank, share = other, jobs[job, RANK], share_of
    queue[at], queue[best] = queue[best], queue[at]
    return int(queue[at])


@inner
def strict(rules: Play, world: World, room: Room, now: int, full: bool) -> None:
    """In order; a job that can't start keeps its partition's nodes from all after it.

    With `queue_depth`, and unless `full`, only so many jobs are looked at.
    """
    queue, size = world.lists[listed(rules, world)], world.now[SIZES + LINE]
    world.now[CUT] = rules.queue_depth > 0 and not full and size > rules.queue_depth
    seen = rules.queue_depth if world.now[CUT] else size
    partitions = world.partitions
    partitions[:, BLOCKED] = 0
    blocked = 0
    for at in range(seen):
        if blocked == len(partitions):
            break
        job = pick(rules, world, queue, at, size)
        partition = world.jobs[job, PARTITION]
        if partitions[partition, BLOCKED] or unfit(world, job):
            continue
        if ready(rules, world, room, job, now):
            start(rules, world, room, job, now, False)
        elif not evict(rules, world, room, job, now):
            partitions[partition, BLOCKED] = 1
            blocked += 1
            first, last = members(world, partition)
            for node in world.members[first:last]:
                world.nodes[node, CLOSED] = 1
    world.nodes[:, CLOSED] = 0


@inner
def easy(rules: Play, world: World, room: Room, now: int) -> None:
    """The first job of each partition that can't start is reserved for; others may pass it."""
    jobs, partitions = world.jobs, world.partitions
    partitions[:, BLOCKED] = 0
    later = 0
    new_pass(world)
    queue, size = world.lists[listed(rules, world)], world.now[SIZES + LINE]
    for at in range(size):
        job = pick(rules, world, queue, at, size)
        if ruled_out(world, job):
            continue
        partition = jobs[job, PARTITION]
        if partitions[partition, BLOCKED] and hopeless(world, job):
            continue
        if partitions[partition, BLOCKED] and rules.backfill == EASY_SJF:
            world.lists[LATER, later] = job
            later += 1
        elif unfit(world, job):
            continue
        elif ready(rules, world, room, job, now):
            start(rules, world, room, job, now, False)
        elif partitions[partition, BLOCKED]:
            refused(world, job)
        elif not evict(rules, world, room, job, now):
            partitions[partition, BLOCKED] = 1
            promise(rules, world, room, job, soonest(rules, world, room, job, now, now))
    _pass_shortest(rules, world, room, now, later)
    forget_all(rules, world, room, 0)


@compiled
def _pass_shortest(rules: Play, world: World, room: Room, now: int, count: int) -> None:
    """Start those in LATER that may pass: by limit, then as they stand there."""
    later = world.lists[LATER]
    kept = 0
    for at in range(count):
        if not hopeless(world, later[at]):
            later[kept] = later[at]
            kept += 1
    sort_later(world, kept)
    for at in range(kept):
        job = later[at]
        if hopeless(world, job):
            continue
        if ready(rules, world, room, job, now):
            start(rules, world, room, job, now, False)
        else:
            refused(world, job)


@compiled
def conservative(rules: Play, world: World, room: Room, now: int) -> None:
    """Every job has a promise, which is never broken but by a failure or an eviction."""
    if world.now[BROKEN] or rules.preemption != OFF:
        forget_all(rules, world, room, world.now[SIZES + LINE])
    jobs, queue = world.jobs, world.lists[QUEUE]
    for known in (True, False):
        size = _listed_by_promise(world, known)
        for at in range(size):
            job = pick(rules, world, queue, at, size)
            if jobs[job, PROMISE] == now:  # its nodes are kept for it
                world.now[PROMISED] -= 1
                start(rules, world, room, job, now, True)
            elif not known or world.now[FREED]:
                forget(rules, world, room, job)
                _place(rules, world, room, job, now)


@compiled
def _listed_by_promise(world: World, known: bool) -> int:
    """How many wait that have been looked at before, or have not; they stand in QUEUE."""
    jobs, line, size = world.jobs, world.lists[LINE], 0
    for at in range(world.now[SIZES + LINE]):
        job = line[at]
        if jobs[job, STATUS] == WAITING and (jobs[job, PROMISE] != NO_PROMISE) == known:
            world.lists[QUEUE, size] = job
            size += 1
    return size


@compiled
def _place(rules: Play, world: World, room: Room, job: int, now: int) -> None:
    """Start a job, or promise it the earliest start."""
    begin = soonest(rules, world, room, job, now, now)
    if begin == now:
        start(rules, world, room, job, now, False)
    elif begin < 0:
        world.jobs[job, PROMISE] = NO_ROOM
    elif not evict(rules, world, room, job, now):
        if rules.preemption != OFF:  # the attempt has chosen other nodes
            soonest(rules, world, room, job, now, now)
        promise(rules, world, room, job, begin)


@inner
def plan(rules: Play, world: World, room: Room, now: int) -> bool:
    """Slurm's backfill: plan from nothing, in order, and start what may start now.

    Whether starts are left for the next time. It ends when nobody is left who could start now:
    what is planned further back changes nothing.
    """
    jobs, accounts = world.jobs, world.accounts
    queue, size = world.lists[listed(rules, world)], world.now[SIZES + LINE]
    hopeful = size
    if rules.order != DOMINANT and rules.bf_max_job_user == 0:
        hopeful = min(size, rules.bf_max_job_test)
    accounts[:, SEEN] = 0
    new_pass(world)
    seen = started = 0
    more = False
    taken = now  # since when more is taken than the last time that somebody was hopeful
    for at in range(size):
        hopeful = _hopeful(world, room, now, hopeful, taken)
        if hopeful == 0:
            break
        taken = NEVER
        job = pick(rules, world, queue, at, size)
        if rules.bf_max_job_user:
            accounts[jobs[job, ACCOUNT], SEEN] += 1
            if accounts[jobs[job, ACCOUNT], SEEN] > rules.bf_max_job_user:
                continue
        if seen == rules.bf_max_job_test:
            break
        seen += 1
        begin = _in_window(rules, world, room, job, now)
        if begin < 0:
            continue
        if begin > now:
            promise(rules, world, room, job, begin)
        elif rules.bf_max_job_start and started == rules.bf_max_job_start:
            more = True
            break
        else:
            start(rules, world, room, job, now, False)
            started += 1
        taken = begin
    forget_all(rules, world, room, 0)
    return more


@inner
def _in_window(rules: Play, world: World, room: Room, job: int, now: int) -> int:
    """The earliest start of the job, -1 if there is none within `bf_window`."""
    begin = bound(world, job, now)
    if begin <= now + rules.bf_window:
        begin = soonest(rules, world, room, job, now, begin)
        found_at(world, job, begin)
    return begin if begin <= now + rules.bf_window else -1


@inner
def _hopeful(world: World, room: Room, now: int, size: int, taken: int) -> int:
    """How far the line must be looked at to meet the last who could start now; 0: nobody could.

    Nobody behind `size` could before and the one there could; since then something was taken
    from `taken` on.
    """
    jobs, line = world.jobs, world.lists[LINE]
    while size > 0:
        job = line[size - 1]
        out = ruled_out(world, job)
        if not out and jobs[job, STATUS] == WAITING and jobs[job, PROMISE] == NO_PROMISE:
            if now + jobs[job, LIMIT] <= taken:
                return size
            if not hopeless(world, job):
                if roomy(world, room, job, now) >= jobs[job, NODES]:
                    return size
                refused(world, job)
        size -= 1
        taken = now
    return size


@inner
def promise(rules: Play, world: World, room: Room, job: int, begin: int) -> None:
    """Keep the `placed` nodes for a waiting job from `begin` on."""
    world.jobs[job, PROMISE] = begin
    world.now[PROMISED] += 1
    shift(world, room, job, -1, begin, limit_end(rules, world, job, begin))


@inner
def forget(rules: Play, world: World, room: Room, job: int) -> None:
    """Keep nothing for the job any more."""
    begin = world.jobs[job, PROMISE]
    if begin >= 0:
        world.now[PROMISED] -= 1
        shift(world, room, job, 1, begin, limit_end(rules, world, job, begin))
    world.jobs[job, PROMISE] = NO_PROMISE


@inner
def forget_all(rules: Play, world: World, room: Room, least: int) -> None:
    """Keep nothing for any waiting job; go on until nothing is and `least` have been looked at."""
    jobs, line, now = world.jobs, world.lists[LINE], world.now
    for at in range(now[SIZES + LINE]):
        if now[PROMISED] == 0 and at >= least:
            break
        if jobs[line[at], PROMISE] != NO_PROMISE:
            forget(rules, world, room, line[at])
