"""Which nodes a job would get, now or at the earliest. Built on `engine.room`; starts nothing.

The room keeps what runs until its limit, and what is planned. Nodes out of service and reserved
times are room of which far too much is taken.
"""

from __future__ import annotations

import numpy as np

from meyrin.engine.cluster.model import NEVER, Whole
from meyrin.engine.cluster.world import (
    ALIKE,
    ASK,
    ASKED,
    ASKS,
    ASKS_KEPT,
    BOUND,
    BOUND_IN,
    BOUND_LIMIT,
    CLOSED,
    CORES,
    COUNTER,
    DOWN,
    FIRST,
    HELD,
    LAST,
    LIMIT,
    MARK,
    MEMORY,
    MOST,
    NODES,
    OUT,
    PARTITION,
    PASS,
    PLACED,
    REFUSED,
    REFUSED_IN,
    ROOMY,
    SINCE_WHEN,
    SOONEST,
    TOTAL,
    UNITS,
    UNTIL_WHEN,
    WHOLE,
    Play,
    World,
)
from meyrin.engine.compiled import compiled, inner
from meyrin.engine.rank import smallest
from meyrin.engine.room import Room, count_with_room, first_start, give, take


@inner
def members(world: World, partition: int) -> tuple[int, int]:
    """Where in `World.members` a partition's nodes begin and end; they ascend."""
    return world.partitions[partition, FIRST], world.partitions[partition, LAST]


@inner
def placed(world: World, job: int) -> tuple[int, int]:
    """Where in `World.placed` the nodes that a job has, or is to have, begin and end."""
    first = world.jobs[job, PLACED]
    return first, first + world.jobs[job, NODES]


@inner
def limit_end(rules: Play, world: World, job: int, begin: int) -> int:
    """Until when the scheduler takes a job to run: bf_resolution rounds it up."""
    end, unit = begin + world.jobs[job, LIMIT], rules.bf_resolution
    return int((end + unit - 1) // unit * unit)


@inner
def shift(world: World, room: Room, job: int, sign: int, begin: int, end: int) -> None:
    """Take (-1) or give back (1) what the scheduler keeps for a job: its `placed` nodes, or so
    many of a counted partition."""
    jobs, counter = world.jobs, world.partitions[world.jobs[job, PARTITION], COUNTER]
    if counter < 0:
        _shift_named(world, room, job, sign, begin, end)
        return
    unit, units = world.members[counter : counter + 1], world.now[UNITS : UNITS + 3]
    units[1] = jobs[job, NODES]
    if sign < 0:
        take(room, unit, 1, units, begin, end)
    else:
        give(room, unit, 1, units, begin, end)


@inner
def occupy(world: World, room: Room, job: int, sign: int, begin: int, end: int) -> None:
    """Take or give back what a job has that runs: as `shift`, and with names in any partition."""
    shift(world, room, job, sign, begin, end)
    if world.partitions[world.jobs[job, PARTITION], COUNTER] >= 0:
        _shift_named(world, room, job, sign, begin, end)


@inner
def name(world: World, room: Room, job: int, begin: int, end: int) -> None:
    """The nodes of a counted partition that a job starts on: the lowest numbers of the free."""
    if world.partitions[world.jobs[job, PARTITION], COUNTER] < 0:
        return
    first, last = members(world, world.jobs[job, PARTITION])
    at, end_at = placed(world, job)
    free, nodes = room.free, world.nodes
    for node in world.members[first:last]:
        if at == end_at:
            break
        if (
            free[node, 0] == nodes[node, 0]
            and free[node, 1] == nodes[node, 1]
            and free[node, 2] == nodes[node, 2]
        ):
            world.placed[at] = node
            at += 1
    _shift_named(world, room, job, -1, begin, end)


@inner
def _shift_named(world: World, room: Room, job: int, sign: int, begin: int, end: int) -> None:
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


@inner
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


@inner
def may_fit(jobs: Whole, now: Whole, job: int) -> bool:
    """Whether so much is free at all, wherever it is: quick, and wrong on one side only."""
    for part in range(3):
        asked = jobs[job, ASKED + part]
        if asked > now[MOST + part] or asked * jobs[job, NODES] > now[TOTAL + part]:
            return False
    return True


@inner
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


@inner
def ready(rules: Play, world: World, room: Room, job: int, now: int) -> bool:
    """Whether the job has room from now until its limit; then `placed` tells on which nodes."""
    found = roomy(world, room, job, now)
    return found >= world.jobs[job, NODES] and _settle(rules, world, room, job, found, now, now)


@inner
def roomy(world: World, room: Room, job: int, now: int) -> int:
    """How many nodes have room for the job from now until its limit; they stand in `found`.

    ROOMY tells how many have it now, for however short. Nodes that are CLOSED do not count. The
    past is forgotten and `add_up` done. The answer may be 0 where too few have room.
    """
    world.now[ROOMY] = 0
    if not may_fit(world.jobs, world.now, job):
        return 0
    jobs, (first, last) = world.jobs, members(world, world.jobs[job, PARTITION])
    counter = world.partitions[jobs[job, PARTITION], COUNTER]
    if counter >= 0:
        unit, units = world.members[counter : counter + 1], world.now[UNITS : UNITS + 3]
        units[1] = world.now[ROOMY] = jobs[job, NODES]
        if room.free[unit[0], 1] < jobs[job, NODES]:
            world.now[ROOMY] = 0
            return 0
        return int(jobs[job, NODES] * count_with_room(room, unit, units, jobs[job, LIMIT], now))
    time, free, following = room.time, room.free, room.next
    whole, end = jobs[job, WHOLE], now + jobs[job, LIMIT]
    asked = jobs[job, ASKED], jobs[job, ASKED + 1], jobs[job, ASKED + 2]
    found = roomy_now = 0
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
            roomy_now += segment == node
            segment = np.int64(following[segment])
            if segment < 0 or time[segment] >= end:
                world.found[found] = node
                found += 1
                break
    world.now[ROOMY] = roomy_now
    return found


@inner
def soonest(rules: Play, world: World, room: Room, job: int, now: int, least: int) -> int:
    """When the job has room until its limit, -1 if never; `placed` then tells on which nodes.

    It is known that it has none before `least`.
    """
    jobs, partition = world.jobs, world.jobs[job, PARTITION]
    counter = world.partitions[partition, COUNTER]
    if counter >= 0:
        unit, units = world.members[counter : counter + 1], world.now[UNITS : UNITS + 3]
        units[1] = jobs[job, NODES]
        return first_start(room, unit, units, 1, jobs[job, LIMIT], least)
    if jobs[job, WHOLE] and not world.partitions[partition, ALIKE]:
        return _soonest_whole(rules, world, room, job, now, least)
    first, last = members(world, partition)
    nodes = world.members[first:last]
    asked = jobs[job, ASKED : MEMORY + 1]
    if jobs[job, WHOLE]:
        asked = world.nodes[nodes[0], :3]
    begin = first_start(room, nodes, asked, jobs[job, NODES], jobs[job, LIMIT], least)
    if begin >= 0:
        found = 0
        for node in nodes:
            if room.start[node] == begin:
                world.found[found] = node
                found += 1
        _settle(rules, world, room, job, found, begin, now)
    return begin


@compiled
def _soonest_whole(rules: Play, world: World, room: Room, job: int, now: int, begin: int) -> int:
    """The same for whole nodes: the search of `engine.room`, but nodes differ in what is asked."""
    jobs, (first, last) = world.jobs, members(world, world.jobs[job, PARTITION])
    nodes = world.members[first:last]
    wanted, limit = jobs[job, NODES], jobs[job, LIMIT]
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
    _settle(rules, world, room, job, found, begin, now)
    return int(begin)


@compiled
def _settle(
    rules: Play, world: World, room: Room, job: int, found: int, begin: int, now: int
) -> bool:
    """Choose among the `found` nodes, all of which have room at `begin`.

    By packing; among equals those that become free last and are taken again first, so that a job
    takes the tightest gap: one kept for later takes nodes that are busy now rather than free
    ones, and one that may start now takes nodes that are kept for later rather than others.
    """
    first, last = placed(world, job)
    chosen, wanted, nodes = world.placed[first:last], last - first, world.found
    if found > wanted:
        for at in range(found):
            _measure(world, room, job, nodes[at], begin, now)
        for top in range(wanted // 2 - 1, -1, -1):
            _sink(rules, world, room, top, wanted)
        for at in range(wanted, found):  # the last of the order is on top
            if _comes_before(rules, world, room, nodes[at], nodes[0]):
                nodes[0] = nodes[at]
                _sink(rules, world, room, 0, wanted)
    for at in range(wanted):
        chosen[at] = nodes[at]
    return True


@inner
def _measure(world: World, room: Room, job: int, node: int, begin: int, now: int) -> None:
    """Note which segment of the node's room holds `begin`, and the gap around it."""
    jobs, nodes = world.jobs, world.nodes
    time, free, following = room.time, room.free, room.next
    asked = jobs[job, ASKED], jobs[job, ASKED + 1], jobs[job, ASKED + 2]
    if jobs[job, WHOLE]:
        asked = nodes[node, 0], nodes[node, 1], nodes[node, 2]
    segment, since, until = np.int64(node), np.int64(-1), np.int64(NEVER)
    while segment >= 0:
        if time[segment] <= begin:
            nodes[node, HELD] = segment
        if (
            free[segment, 0] >= asked[0]
            and free[segment, 1] >= asked[1]
            and free[segment, 2] >= asked[2]
        ):
            if since < 0:
                since = max(time[segment], np.int64(now))
        elif time[segment] > begin:
            until = time[segment]
            break
        else:
            since = np.int64(-1)
        segment = np.int64(following[segment])
    nodes[node, SINCE_WHEN], nodes[node, UNTIL_WHEN] = since, until


@inner
def _comes_before(rules: Play, world: World, room: Room, one: int, other: int) -> bool:
    """Whether a node is chosen rather than another."""
    nodes, free = world.nodes, room.free
    first, second = nodes[one, HELD], nodes[other, HELD]
    for part in range(3):
        difference = free[first, part] - free[second, part]
        if difference != 0:
            return bool((difference < 0) == rules.packed)
    if nodes[one, SINCE_WHEN] != nodes[other, SINCE_WHEN]:
        return bool(nodes[one, SINCE_WHEN] > nodes[other, SINCE_WHEN])
    if nodes[one, UNTIL_WHEN] != nodes[other, UNTIL_WHEN]:
        return bool(nodes[one, UNTIL_WHEN] < nodes[other, UNTIL_WHEN])
    return one < other


@inner
def _sink(rules: Play, world: World, room: Room, top: int, size: int) -> None:
    """Let the entry at `top` of `found` sink to where it belongs in a heap of `size`."""
    heap = world.found
    while 2 * top + 1 < size:
        below = 2 * top + 1
        if below + 1 < size and _comes_before(rules, world, room, heap[below], heap[below + 1]):
            below += 1
        if not _comes_before(rules, world, room, heap[top], heap[below]):
            break
        heap[top], heap[below] = heap[below], heap[top]
        top = below


@inner
def new_pass(world: World) -> None:
    """Nothing is known yet of who can't start."""
    world.now[PASS] += 1
    world.now[ASKS_KEPT] = 0


@inner
def ruled_out(world: World, job: int) -> bool:
    """Whether no such job can start in this pass, whatever its limit: `hopeless`, but quick."""
    kind = world.kind[job]
    refused_in, limit = world.kinds[kind, REFUSED_IN], world.kinds[kind, REFUSED]
    return bool(refused_in == world.now[PASS] and limit == 0)


@inner
def hopeless(world: World, job: int) -> bool:
    """Whether the job can't start in this pass, as one that asks for no more could not.

    Holds as long as room only shrinks: call `new_pass` where it has grown.
    """
    jobs, kind, now = world.jobs, world.kind[job], world.now
    if world.kinds[kind, REFUSED_IN] == now[PASS]:
        return bool(jobs[job, LIMIT] >= world.kinds[kind, REFUSED])
    world.kinds[kind, REFUSED_IN], world.kinds[kind, REFUSED] = now[PASS], NEVER
    if not may_fit(jobs, now, job):
        world.kinds[kind, REFUSED] = 0
        return True
    for at in range(now[ASKS_KEPT]):
        other = now[ASK + at]
        limit = world.kinds[world.kind[other], REFUSED]
        if jobs[job, LIMIT] >= limit and _asks_as_much(jobs, job, other):
            world.kinds[kind, REFUSED] = limit
            return True
    return False


@inner
def bound(world: World, job: int, now: int) -> int:
    """Before when the job can't start, as one that asked for no more could not in this pass."""
    kind = world.kinds[world.kind[job]]
    if kind[BOUND_IN] != world.now[PASS] or world.jobs[job, LIMIT] < kind[BOUND_LIMIT]:
        return now
    return int(kind[BOUND])


@inner
def found_at(world: World, job: int, begin: int) -> None:
    """The job can start at `begin` at the earliest (-1: never): no such one can before."""
    kind = world.kinds[world.kind[job]]
    kind[BOUND_IN], kind[BOUND_LIMIT] = world.now[PASS], world.jobs[job, LIMIT]
    kind[BOUND] = begin if begin >= 0 else NEVER


@inner
def refused(world: World, job: int) -> None:
    """The job has just been found to have no room now: so have those that ask for as much."""
    jobs, kind, now = world.jobs, world.kind[job], world.now
    known = world.kinds[kind, REFUSED] < NEVER
    world.kinds[kind, REFUSED] = jobs[job, LIMIT] if now[ROOMY] >= jobs[job, NODES] else 0
    if known:
        return
    place = now[ASKS_KEPT]
    for at in range(now[ASKS_KEPT]):
        if _asks_as_much(jobs, now[ASK + at], job):
            place = at
            break
    if place < ASKS:
        now[ASK + place] = job
        now[ASKS_KEPT] = max(now[ASKS_KEPT], place + 1)


@inner
def _asks_as_much(jobs: Whole, job: int, other: int) -> bool:
    """Whether a job asks for no less than another, whatever their limits."""
    return bool(
        jobs[job, PARTITION] == jobs[other, PARTITION]
        and jobs[job, NODES] >= jobs[other, NODES]
        and jobs[job, ASKED] >= jobs[other, ASKED]
        and jobs[job, CORES] >= jobs[other, CORES]
        and jobs[job, MEMORY] >= jobs[other, MEMORY]
    )


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
