"""Free room on nodes over time, in arrays: when enough nodes have room, on which, and taking it.

A node's time is cut into segments in which what is free there stays the same; the last one lasts
for ever. A node costs as many segments as its free room changes, however large the machine, and
equal neighbours are joined, so that nothing is kept of what has come and gone.

The earliest start is found without trying moments one by one. The earliest moment at which a node
by itself has room is a lower bound for that node. The `count`-th smallest of these bounds is one
for the whole job, as fewer nodes have room before it; from there each node looks again, until
`count` nodes agree. No segment is looked at twice in one search. It is the search of conservative
backfill (Mu'alem and Feitelson 2001, IEEE TPDS 12(6)) with a profile for each node in place of
one for the machine, so that a job of several nodes has the same nodes all the while.

Room has an amount of three parts: accelerators, cores, memory in MiB, in the order of their
scarcity. Times are whole seconds, or any other whole unit. Nothing here knows a job or a policy.

All functions but `new` and `warm` are compiled and may be called from compiled code. A room is
changed in place, and searches write to scratch arrays in it: one thread at a time for each room.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from meyrin.engine.compiled import compiled

NEVER = 1 << 62  # a moment that does not come: an end at it, or later, is no end

Times = NDArray[np.int64]
Index = NDArray[np.int32]


class Room(NamedTuple):
    """What is free on N nodes; make one with `new`. M segments, of which the first N are the
    first segments of the nodes, in order: those reach back for ever.
    """

    time: Times  # [M] when the segment begins
    free: Times  # [M, 3] what is free in it
    next: Index  # [M] the next segment of the same node, -1 after the last; of a spare one, spare
    spare: Times  # [2] the first spare segment or -1, and how many there are
    # scratch of one search, by node
    start: Times  # [N] since when there is room
    reach: Times  # [N] until when that is known
    at: Index  # [N] the segment in which `start` lies
    ahead: Index  # [N] the segment that begins at `reach`, -1 after the last
    order: Times  # [N] for finding the k-th smallest


def new(capacity: NDArray[np.int64], now: int, segments: int = 0) -> Room:
    """All nodes empty from `now` on.

    `capacity` is int64[N, 3]: accelerators, cores and memory of each node. `segments` is for how
    many further segments there is space at first; `ensured` makes more.
    """
    nodes = len(capacity)
    room = Room(
        time=np.full(nodes, now, np.int64),
        free=np.array(capacity, np.int64).reshape(nodes, 3),
        next=np.full(nodes, -1, np.int32),
        spare=np.array([-1, 0], np.int64),
        start=np.zeros(nodes, np.int64),
        reach=np.zeros(nodes, np.int64),
        at=np.zeros(nodes, np.int32),
        ahead=np.zeros(nodes, np.int32),
        order=np.zeros(nodes, np.int64),
    )
    return ensured(room, segments)


@compiled
def ensured(room: Room, segments: int) -> Room:
    """The room with space for at least so many further segments: itself, or a larger copy.

    A `take` or `give` needs at most 2 for each node that it changes.
    """
    if room.spare[1] >= segments:
        return room
    held = len(room.time)
    size = max(2 * held, held + segments)
    time = np.empty(size, np.int64)
    free = np.empty((size, 3), np.int64)
    after = np.empty(size, np.int32)
    time[:held] = room.time
    free[:held] = room.free
    after[:held] = room.next
    for one in range(held, size):
        after[one] = one + 1
    after[size - 1] = room.spare[0]
    spare = np.empty(2, np.int64)
    spare[0] = held
    spare[1] = room.spare[1] + size - held
    return Room(time, free, after, spare, room.start, room.reach, room.at, room.ahead, room.order)


@compiled
def earliest(
    room: Room,
    nodes: Index,
    asked: Times,
    count: int,
    walltime: int,
    not_before: int,
    packed: bool,
    chosen: Index,
) -> int:
    """When `count` of `nodes` have room for `asked` (int64[3], on each) for all of `walltime`.

    The earliest such moment at or after `not_before`, or -1 if there never is one. `chosen`
    (int32, at least `count` long) is filled with the nodes: those with the least free at the
    start (accelerators, then cores, then memory), or with the most where not `packed`; among
    equals those that come first in `nodes`. It is left as it was where the answer is -1.
    Takes nothing. `walltime` counts as 1 at least; `count` is 1 or more.
    """
    begin = first_start(room, nodes, asked, count, walltime, not_before)
    if begin >= 0:
        _choose(room, nodes, begin, count, packed, chosen)
    return begin


@compiled
def first_start(
    room: Room, nodes: Index, asked: Times, count: int, walltime: int, not_before: int
) -> int:
    """The answer of `earliest` without choosing the nodes."""
    if count > len(nodes):
        return -1
    walltime = max(walltime, 1)
    ready = 0
    for node in nodes:
        _begin(room, node, not_before)
        _seek(room, node, asked, walltime, not_before)
        ready += room.start[node] == not_before
    begin = not_before
    while ready < count:
        for place in range(len(nodes)):
            room.order[place] = room.start[nodes[place]]
        begin = _smallest(room.order, len(nodes), count)
        if begin >= NEVER:
            return -1
        ready = 0
        for node in nodes:
            if room.start[node] < begin:
                _seek(room, node, asked, walltime, begin)
            ready += room.start[node] == begin
    return begin


@compiled
def count_with_room(room: Room, nodes: Index, asked: Times, walltime: int, at: int) -> int:
    """How many of `nodes` have room for `asked` from the moment `at` for all of `walltime`."""
    found = 0
    for node in nodes:
        _begin(room, node, at)
        _seek(room, node, asked, max(walltime, 1), at)
        found += room.start[node] == at
    return found


@compiled
def longest(room: Room, nodes: Index, asked: Times, count: int, at: int) -> int:
    """How long `count` of `nodes` have room for `asked` from the moment `at` on.

    0 if they have none then, -1 if they have it without end.
    """
    for place in range(len(nodes)):
        node = nodes[place]
        segment = _holding(room, node, at)
        while segment >= 0 and _fits(room, segment, asked):
            segment = room.next[segment]
        if segment < 0:
            room.order[place] = -NEVER
        else:  # negative: the latest comes first
            room.order[place] = -max(room.time[segment], at)
    if count > len(nodes):
        return 0
    until = -_smallest(room.order, len(nodes), count)
    return -1 if until == NEVER else until - at


@compiled
def free_at(room: Room, nodes: Index, at: int, total: Times) -> None:
    """Write to `total` (int64[3]) what is free at the moment `at` on all of `nodes` together."""
    total[:] = 0
    for node in nodes:
        segment = _holding(room, node, at)
        for part in range(3):
            total[part] += room.free[segment, part]


@compiled
def take(room: Room, chosen: Index, count: int, asked: Times, start: int, end: int) -> None:
    """Take `asked` on each of the first `count` of `chosen`, from `start` until `end`.

    Does not look whether so much is free: that is left below zero where it is not. `end` at
    `NEVER` or later is for ever. Raises ValueError where space for segments lacks (`ensured`).
    """
    for place in range(count):
        _shift(room, chosen[place], start, end, -asked[0], -asked[1], -asked[2])


@compiled
def give(room: Room, chosen: Index, count: int, asked: Times, start: int, end: int) -> None:
    """Give back what `take` took, or that part of it that lies between `start` and `end`."""
    for place in range(count):
        _shift(room, chosen[place], start, end, asked[0], asked[1], asked[2])


@compiled
def squeeze(
    room: Room, nodes: Index, asked: Times, count: int, start: int, end: int, chosen: Index
) -> None:
    """Take `asked` on `count` of `nodes` from `start` until `end`, whether it fits or not.

    For what is known to run, though nobody said where: it is put on the nodes with the least
    free at `start` that have room for it then; where those are too few, it takes what there is on
    the nodes with the most free of the others, and where all are too few, nothing more. `chosen`
    (int32, as long as `nodes`) is scratch.
    """
    fitting = 0
    for node in nodes:
        room.at[node] = _holding(room, node, start)
        room.start[node] = _fits(room, room.at[node], asked)
        fitting += room.start[node]
    fitting = min(fitting, count)
    others = min(count, len(nodes)) - fitting
    _choose(room, nodes, 1, fitting, True, chosen)
    rest = chosen[fitting:]
    _choose(room, nodes, 0, others, False, rest)
    take(room, chosen, fitting, asked, start, end)
    for place in range(others):
        node = rest[place]
        at = room.at[node]
        _shift(
            room,
            node,
            start,
            end,
            -min(asked[0], room.free[at, 0]),
            -min(asked[1], room.free[at, 1]),
            -min(asked[2], room.free[at, 2]),
        )


@compiled
def compact(room: Room, now: int) -> None:
    """Forget what lies before `now`: searches get shorter, and segments spare."""
    for node in range(len(room.start)):
        after = room.next[node]
        while after >= 0 and room.time[after] <= now:
            for part in range(3):
                room.free[node, part] = room.free[after, part]
            room.next[node] = room.next[after]
            _release(room, after)
            after = room.next[node]
        room.time[node] = now


@compiled
def _fits(room: Room, segment: int, asked: Times) -> bool:
    return bool(
        room.free[segment, 0] >= asked[0]
        and room.free[segment, 1] >= asked[1]
        and room.free[segment, 2] >= asked[2]
    )


@compiled
def _holding(room: Room, node: int, at: int) -> int:
    """The segment of the node in which the moment `at` lies."""
    segment = node
    after = room.next[node]
    while after >= 0 and room.time[after] <= at:
        segment = after
        after = room.next[after]
    return segment


@compiled
def _begin(room: Room, node: int, at: int) -> None:
    """Nothing is known of the node at `at` or later."""
    segment = _holding(room, node, at)
    room.start[node] = room.reach[node] = at
    room.at[node] = room.ahead[node] = segment


@compiled
def _seek(room: Room, node: int, asked: Times, walltime: int, not_before: int) -> None:
    """Move the node's `start` to the earliest at or after `not_before`, NEVER if there is none.

    What is known stays known: between `start` and `reach` the node has room.
    """
    start = max(room.start[node], not_before)
    reach, ahead = room.reach[node], room.ahead[node]
    while reach < start + walltime and ahead >= 0:
        after = room.next[ahead]
        if _fits(room, ahead, asked):
            reach = NEVER if after < 0 else room.time[after]
        else:
            start = NEVER if after < 0 else max(start, room.time[after])
            reach = start
            room.at[node] = max(after, 0)
        ahead = after
    if start < NEVER:
        segment = room.at[node]
        after = room.next[segment]
        while after >= 0 and room.time[after] <= start:
            segment = after
            after = room.next[after]
        room.at[node] = segment
    room.start[node], room.reach[node], room.ahead[node] = start, reach, ahead


@compiled
def _smallest(values: Times, size: int, rank: int) -> int:
    """The `rank`-th smallest, from 1, of the first `size` values (Hoare 1961, CACM 4(7), FIND).

    Puts the values in another order.
    """
    low, high, wanted = 0, size - 1, rank - 1
    while low < high:
        pivot = values[(low + high) // 2]
        left, right = low, high
        while left <= right:
            while values[left] < pivot:
                left += 1
            while values[right] > pivot:
                right -= 1
            if left <= right:
                values[left], values[right] = values[right], values[left]
                left += 1
                right -= 1
        if wanted <= right:
            high = right
        elif wanted >= left:
            low = left
        else:
            break
    return int(values[wanted])


@compiled
def _choose(
    room: Room,
    nodes: Index,
    begin: int,
    count: int,
    packed: bool,
    chosen: Index,
) -> None:
    """The first `count` in packing order of the nodes whose `start` is `begin`.

    `chosen` holds places in `nodes` as a heap with the last of the order on top.
    """
    size = 0
    for place in range(len(nodes) if count else 0):
        if room.start[nodes[place]] != begin:
            continue
        if size < count:
            chosen[size] = place
            size += 1
            if size == count:
                for top in range(count // 2 - 1, -1, -1):
                    _sink(room, nodes, packed, chosen, top, count)
        elif _comes_before(room, nodes, packed, place, chosen[0]):
            chosen[0] = place
            _sink(room, nodes, packed, chosen, 0, count)
    for last in range(count - 1, 0, -1):
        chosen[0], chosen[last] = chosen[last], chosen[0]
        _sink(room, nodes, packed, chosen, 0, last)
    for one in range(count):
        chosen[one] = nodes[chosen[one]]


@compiled
def _comes_before(
    room: Room,
    nodes: Index,
    packed: bool,
    one: int,
    other: int,
) -> bool:
    """Whether place `one` is chosen rather than `other`."""
    first, second = room.at[nodes[one]], room.at[nodes[other]]
    for part in range(3):
        difference = room.free[first, part] - room.free[second, part]
        if difference:
            return bool(difference < 0) == packed
    return one < other


@compiled
def _sink(
    room: Room,
    nodes: Index,
    packed: bool,
    heap: Index,
    top: int,
    size: int,
) -> None:
    """Let the entry at `top` sink to where it belongs in a heap of `size`."""
    while True:
        below = 2 * top + 1
        if below >= size:
            return
        if below + 1 < size and _comes_before(room, nodes, packed, heap[below], heap[below + 1]):
            below += 1
        if not _comes_before(room, nodes, packed, heap[top], heap[below]):
            return
        heap[top], heap[below] = heap[below], heap[top]
        top = below


@compiled
def _shift(
    room: Room, node: int, start: int, end: int, accelerators: int, cores: int, memory: int
) -> None:
    """Add to what is free on the node from `start` until `end`, and join equal neighbours."""
    if end <= max(start, room.time[node]) or (accelerators == 0 and cores == 0 and memory == 0):
        return
    before, segment = -1, node
    after = room.next[node]
    while after >= 0 and room.time[after] <= start:
        before, segment = segment, after
        after = room.next[after]
    if room.time[segment] < start:
        before, segment = segment, _split(room, segment, start)
    while True:
        after = room.next[segment]
        if end < NEVER and (after < 0 or room.time[after] > end):
            after = _split(room, segment, end)
        room.free[segment, 0] += accelerators
        room.free[segment, 1] += cores
        room.free[segment, 2] += memory
        if after < 0 or room.time[after] >= end:
            break
        segment = after
    _join(room, segment)
    if before >= 0:
        _join(room, before)


@compiled
def _split(room: Room, segment: int, at: int) -> int:
    """Cut the segment at `at`; the new one, which begins there."""
    fresh = room.spare[0]
    if fresh < 0:
        raise ValueError("no space for another segment: call ensured first")
    room.spare[0] = room.next[fresh]
    room.spare[1] -= 1
    room.time[fresh] = at
    for part in range(3):
        room.free[fresh, part] = room.free[segment, part]
    room.next[fresh] = room.next[segment]
    room.next[segment] = fresh
    return int(fresh)


@compiled
def _join(room: Room, segment: int) -> None:
    """Let the segment last through the next one, where as much is free in both."""
    after = room.next[segment]
    if (
        after >= 0
        and room.free[segment, 0] == room.free[after, 0]
        and room.free[segment, 1] == room.free[after, 1]
        and room.free[segment, 2] == room.free[after, 2]
    ):
        room.next[segment] = room.next[after]
        _release(room, after)


@compiled
def _release(room: Room, segment: int) -> None:
    room.next[segment] = room.spare[0]
    room.spare[0] = segment
    room.spare[1] += 1


def warm() -> None:
    """Compile all of it for arrays as `new` makes them."""
    room = ensured(new(np.ones((2, 3), np.int64), 0), 8)
    nodes, chosen = np.arange(2, dtype=np.int32), np.zeros(2, np.int32)
    asked = np.ones(3, np.int64)
    earliest(room, nodes, asked, 1, 1, 0, True, chosen)
    first_start(room, nodes, asked, 1, 1, 0)
    count_with_room(room, nodes, asked, 1, 0)
    longest(room, nodes, asked, 1, 0)
    free_at(room, nodes, 0, asked)
    take(room, chosen, 1, asked, 0, 1)
    give(room, chosen, 1, asked, 0, 1)
    squeeze(room, nodes, asked, 1, 0, 1, chosen)
    compact(room, 1)
