"""Which nodes a job would get, now or at the earliest. Built on `engine.room`; starts nothing.

The room keeps what runs until its limit, and what is planned. Nodes out of service and reserved
times are room of which far too much is taken.
"""

from __future__ import annotations

import numpy as np

from meyrin.engine.cluster.model import NEVER, Whole
from meyrin.engine.cluster.world import (
    ASKED,
    CLOSED,
    CORES,
    DOWN,
    FIRST,
    LAST,
    LIMIT,
    MARK,
    MEMORY,
    MOST,
    NODES,
    NOTHING,
    OUT,
    PARTITION,
    PLACED,
    SOONEST,
    TOTAL,
    WHOLE,
    Play,
    World,
)
from meyrin.engine.compiled import compiled, lean
from meyrin.engine.rank import smallest
from meyrin.engine.room import Room, earliest, first_start, give, take


@lean
def members(world: World, partition: int) -> tuple[int, int]:
    """Where in `World.members` a partition's nodes begin and end; they ascend."""
    return world.partitions[partition, FIRST], world.partitions[partition, LAST]


@lean
def placed(world: World, job: int) -> tuple[int, int]:
    """Where in `World.placed` the nodes that a job has, or is to have, begin and end."""
    first = world.jobs[job, PLACED]
    return first, first + world.jobs[job, NODES]


@lean
def limit_end(rules: Play, world: World, job: int, begin: int) -> int:
    """Until when the scheduler takes a job to run: bf_resolution rounds it up."""
    end, unit = begin + world.jobs[job, LIMIT], rules.bf_resolution
    return int((end + unit - 1) // unit * unit)


@lean
def shift(world: World, room: Room, job: int, sign: int, begin: int, end: int) -> None:
    """Take (-1) or give back (1) what a job has on its `placed` nodes."""
    jobs, (first, last) = world.jobs, placed(world, job)
    nodes = world.placed[first:last]
    if not jobs[job, WHOLE]:
        asked = jobs[job, ASKED : MEMORY + 1]
        if sign < 0:
            take(room, nodes, len(nodes), asked, begin, end)
        else:
            give(room, nodes, len(nodes), asked, begin, end)
        return
    for at in range(len(nodes)):
        capacity = world.nodes[nodes[at], :3]
        if sign < 0:
            take(room, nodes[at : at + 1], 1, capacity, begin, end)
        else:
            give(room, nodes[at : at + 1], 1, capacity, begin, end)


@lean
def add_up(world: World, room: Room) -> None:
    """See what is free now, on all nodes and on the one with the most. The past is forgotten."""
    now, free = world.now, room.free
    now[MOST : TOTAL + 3] = 0
    for node in range(len(world.nodes)):
        for part in range(3):
            left = free[node, part]
            if left > 0:
                now[TOTAL + part] += left
                now[MOST + part] = max(now[MOST + part], left)


@lean
def may_fit(jobs: Whole, now: Whole, job: int) -> bool:
    """Whether so much is free at all, wherever it is: quick, and wrong on one side only."""
    for part in range(3):
        asked = jobs[job, ASKED + part]
        if asked > now[MOST + part] or asked * jobs[job, NODES] > now[TOTAL + part]:
            return False
    return True


@lean
def holds(world: World, job: int, node: int) -> bool:
    """Whether the empty node is large enough."""
    jobs, nodes = world.jobs, world.nodes
    return bool(
        jobs[job, ASKED] <= nodes[node, 0]
        and jobs[job, CORES] <= nodes[node, 1]
        and jobs[job, MEMORY] <= nodes[node, 2]
    )


@compiled
def unfit(world: World, job: int) -> bool:
    """Whether the nodes in service could not hold the job even if they were empty."""
    if world.now[OUT] == 0:
        return False
    able = 0
    first, last = members(world, world.jobs[job, PARTITION])
    for node in world.members[first:last]:
        able += world.nodes[node, DOWN] == 0 and holds(world, job, node)
    return bool(able < world.jobs[job, NODES])


@lean
def ready(rules: Play, world: World, room: Room, job: int, now: int) -> bool:
    """Whether the job has room from now until its limit; then `placed` tells on which nodes."""
    found = roomy(world, room, job, now)
    return found >= world.jobs[job, NODES] and _settle(rules, world, room, job, found, now)


@lean
def roomy(world: World, room: Room, job: int, now: int) -> int:
    """How many nodes have room for the job from now until its limit; they stand in `found`.

    Nodes that are CLOSED do not count. The past is forgotten and `add_up` done. The answer may be
    0 where too few have room.
    """
    if not may_fit(world.jobs, world.now, job):
        return 0
    jobs, (first, last) = world.jobs, members(world, world.jobs[job, PARTITION])
    time, free, following = room.time, room.free, room.next
    whole, end = jobs[job, WHOLE], now + jobs[job, LIMIT]
    asked = jobs[job, ASKED], jobs[job, ASKED + 1], jobs[job, ASKED + 2]
    found = 0
    for node in world.members[first:last]:
        if world.nodes[node, CLOSED] or (whole and not holds(world, job, node)):
            continue
        if whole:
            asked = world.nodes[node, 0], world.nodes[node, 1], world.nodes[node, 2]
        segment = np.int64(node)
        while (
            free[segment, 0] >= asked[0]
            and free[segment, 1] >= asked[1]
            and free[segment, 2] >= asked[2]
        ):
            segment = np.int64(following[segment])
            if segment < 0 or time[segment] >= end:
                world.found[found] = node
                found += 1
                break
    return found


@lean
def soonest(rules: Play, world: World, room: Room, job: int, now: int) -> int:
    """When the job has room until its limit, -1 if never; `placed` then tells on which nodes."""
    jobs = world.jobs
    if jobs[job, WHOLE]:
        return _soonest_whole(rules, world, room, job, now)
    first, last = members(world, jobs[job, PARTITION])
    nodes = world.members[first:last]
    first, last = placed(world, job)
    chosen = world.placed[first:last]
    asked, wanted = jobs[job, ASKED : MEMORY + 1], jobs[job, NODES]
    return earliest(room, nodes, asked, wanted, jobs[job, LIMIT], now, rules.packed, chosen)


@compiled
def _soonest_whole(rules: Play, world: World, room: Room, job: int, now: int) -> int:
    """The same for whole nodes: the search of `engine.room`, but nodes differ in what is asked."""
    jobs, (first, last) = world.jobs, members(world, world.jobs[job, PARTITION])
    nodes = world.members[first:last]
    wanted, limit = jobs[job, NODES], jobs[job, LIMIT]
    begin = now
    while True:
        for at in range(len(nodes)):
            start = -1
            if holds(world, job, nodes[at]):
                capacity = world.nodes[nodes[at], :3]
                start = first_start(room, nodes[at : at + 1], capacity, 1, limit, begin)
            world.nodes[nodes[at], SOONEST] = start if start >= 0 else NEVER
        for at in range(len(nodes)):  # the search of one node writes there too
            room.order[at] = world.nodes[nodes[at], SOONEST]
        bound = smallest(room.order, len(nodes), wanted)
        if bound >= NEVER:
            return -1
        if bound == begin:
            break
        begin = bound
    found = 0
    for node in nodes:
        if world.nodes[node, SOONEST] == begin:
            world.found[found] = node
            found += 1
    _settle(rules, world, room, job, found, begin)
    return int(begin)


@compiled
def _settle(rules: Play, world: World, room: Room, job: int, found: int, begin: int) -> bool:
    """Choose among the `found` nodes, all of which have room at `begin`."""
    first, last = placed(world, job)
    chosen, wanted = world.placed[first:last], last - first
    if found == wanted:
        for at in range(found):
            chosen[at] = world.found[at]
    else:
        nothing = world.now[NOTHING : NOTHING + 3]
        earliest(room, world.found[:found], nothing, wanted, 1, begin, rules.packed, chosen)
    return True


@compiled
def mark(world: World, partition: int, value: int) -> None:
    """Mark the nodes of a partition."""
    first, last = members(world, partition)
    for node in world.members[first:last]:
        world.nodes[node, MARK] = value


@compiled
def marked(world: World, job: int) -> bool:
    """Whether one of the job's nodes is marked."""
    count = 0
    first, last = placed(world, job)
    for node in world.placed[first:last]:
        count += world.nodes[node, MARK]
    return count > 0
