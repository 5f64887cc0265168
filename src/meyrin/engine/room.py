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

All functions but `new` and `warm` are compiled late and may be called from compiled code. A room
is changed in place, and searches write to scratch arrays in it: one thread at a time for each.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from meyrin.engine.late import late
from meyrin.engine.rank import smallest

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


@late
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


@late
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


@late
def first_start(
    room: Room, nodes: Index, asked: Times, count: int, walltime: int, not_before: int
) -> int:
    """The answer of `earliest` without choosing the nodes."""
    if count > len(nodes):
        return -1
    start, order = room.start, room.order
    begin = not_before
    ready = _seek(room, nodes, asked, max(walltime, 1), begin, True)
    while ready < count:
        for place in range(len(nodes)):
            order[place] = start[nodes[place]]
        begin = smallest(order, len(nodes), count)
        if begin >= NEVER:
            return -1
        ready = _seek(room, nodes, asked, max(walltime, 1), begin, False)
    return begin


@late
def count_with_room(room: Room, nodes: Index, asked: Times, walltime: int, at: int) -> int:
    """How many of `nodes` have room for `asked` from the moment `at` for all of `walltime`."""
    time, free, following = room.time, room.free, room.next
    accelerators, cores, memory = asked[0], asked[1], asked[2]
    until = at + max(walltime, 1)
    found = 0
    for node in nodes:
        segment, after = _holding(time, following, node, at)
        while (
            free[segment, 0] >= accelerators
            and free[segment, 1] >= cores
            and free[segment, 2] >= memory
        ):
            if after < 0 or time[after] >= until:
                found += 1
                break
            segment, after = after, following[after]
    return found


@late
def longest(room: Room, nodes: Index, asked: Times, count: int, at: int) -> int:
    """How long `count` of `nodes` have room for `asked` from the moment `at` on.

    0 if they have none then, -1 if they have it without end.
    """
    time, free, following, order = room.time, room.free, room.next, room.order
    for place in range(len(nodes)):
        segment, _ = _holding(time, following, nodes[place], at)
        until = max(time[segment], at)
        while _fits(free, segment, asked):
            segment = following[segment]
            if segment < 0:
                until = NEVER
                break
            until = time[segment]
        order[place] = -until  # negative: the latest comes first
    if count > len(nodes):
        return 0
    last = -smallest(order, len(nodes), count)
    return -1 if last == NEVER else last - at


@late
def free_at(room: Room, nodes: Index, at: int, total: Times) -> None:
    """Write to `total` (int64[3]) what is free at the moment `at` on all of `nodes` together."""
    time, free, following = room.time, room.free, room.next
    total[:] = 0
    for node in nodes:
        segment, _ = _holding(time, following, node, at)
        for part in range(3):
            total[part] += free[segment, part]


@late
def take(room: Room, chosen: Index, count: int, asked: Times, start: int, end: int) -> None:
    """Take `asked` on each of the first `count` of `chosen`, from `start` until `end`.

    Does not look whether so much is free: that is left below zero where it is not. `end` at
    `NEVER` or later is for ever. Raises ValueError where space for segments lacks (`ensured`).
    """
    for place in range(count):
        _shift(room, chosen[place], start, end, -asked[0], -asked[1], -asked[2])


@late
def give(room: Room, chosen: Index, count: int, asked: Times, start: int, end: int) -> None:
    """Give back what `take` took, or that part of it that lies between `start` and `end`."""
    for place in range(count):
        _shift(room, chosen[place], start, end, asked[0], asked[1], asked[2])


@late
def squeeze(
    room: Room, nodes: Index, asked: Times, count: int, start: int, end: int, chosen: Index
) -> None:
    """Take `asked` on `count` of `nodes` from `start` until `end`, whether it fits or not.

    For what is known to run, though nobody said where: it is put on the nodes with the least
    free at `start` that have room for it then; where those are too few, it takes what there is on
    the nodes with the most free of the others, and where all are too few, nothing more. `chosen`
    (int32, as long as `nodes`) is scratch.
    """
    time, free, following = room.time, room.free, room.next
    held, fits = room.at, room.start
    fitting = 0
    for node in nodes:
        held[node], _ = _holding(time, following, node, start)
        fits[node] = _fits(free, held[node], asked)
        fitting += fits[node]
    fitting = min(fitting, count)
    others = min(count, len(nodes)) - fitting
    _choose(room, nodes, 1, fitting, True, chosen)
    rest = chosen[fitting:]
    _choose(room, nodes, 0, others, False, rest)
    take(room, chosen, fitting, asked, start, end)
    for place in range(others):
        node = rest[place]
        left = free[held[node]]
        _shift(
            room, node, start, end,
            -min(asked[0], left[0]), -min(asked[1], left[1]), -min(asked[2], left[2]),
        )  # fmt: skip


@late
def compact(room: Room, now: int) -> None:
    """Forget what lies before `now`: searches get shorter, and segments spare."""
    time, free, following, spare = room.time, room.free, room.next, room.spare
    for node in range(len(room.start)):
        after = following[node]
        while after >= 0 and time[after] <= now:
            free[node] = free[after]
            following[node] = following[after]
            _release(following, spare, after)
            after = following[node]
        time[node] = now


# Below, arrays are handed over one by one: a named tuple counts references to each of its arrays
# whenever it goes from one compiled function to another, which costs more than the work.


@late
def _fits(free: Times, segment: int, asked: Times) -> bool:
    return bool(
        free[segment, 0] >= asked[0]
        and free[segment, 1] >= asked[1]
        and free[segment, 2] >= asked[2]
    )


@late
def _holding(time: Times, following: Index, node: int, at: int) -> tuple[int, int]:
    """The segment of the node in which the moment `at` lies, and the next one."""
    segment = node
    after = following[node]
    while after >= 0 and time[after] <= at:
        segment, after = after, following[after]
    return segment, after


@late
def _seek(
    room: Room,
    nodes: Index,
    asked: Times,
    walltime: int,
    not_before: int,
    afresh: bool,
) -> int:
    """Move the `start` of each of `nodes` to the earliest at or after `not_before`, to NEVER if
    there is none; how many are at `not_before` now.

    What is known stays known unless `afresh`: between `start` and `reach` the node has room.
    """
    time, free, following = room.time, room.free, room.next
    starts, reaches, ats, aheads = room.start, room.reach, room.at, room.ahead
    accelerators, cores, memory = asked[0], asked[1], asked[2]
    ready = 0
    for node in nodes:
        if afresh:
            segment, _ = _holding(time, following, node, not_before)
            start, reach, ahead = not_before, not_before, segment
        elif starts[node] >= not_before:
            ready += starts[node] == not_before
            continue
        else:
            start, reach = not_before, reaches[node]
            segment, ahead = ats[node], aheads[node]
        while ahead >= 0 and reach < start + walltime:
            after = following[ahead]
            if (
                free[ahead, 0] >= accelerators
                and free[ahead, 1] >= cores
                and free[ahead, 2] >= memory
            ):
                reach = NEVER if after < 0 else time[after]
            elif after < 0:
                start = NEVER
            else:
                start = max(start, time[after])
                reach, segment = start, after
            ahead = after
        if start < NEVER:
            segment, _ = _holding(time, following, segment, start)
        ready += start == not_before
        starts[node], reaches[node], ats[node], aheads[node] = start, reach, segment, ahead
    return ready


@late
def _choose(room: Room, nodes: Index, begin: int, count: int, packed: bool, chosen: Index) -> None:
    """The first `count` in packing order of the nodes whose `start` is `begin`.

    `chosen` holds places in `nodes` as a heap with the last of the order on top.
    """
    free, starts, ats = room.free, room.start, room.at
    size = 0
    for place in range(len(nodes) if count else 0):
        if starts[nodes[place]] != begin:
            continue
        if size < count:
            chosen[size] = place
            size += 1
            if size == count:
                for top in range(count // 2 - 1, -1, -1):
                    _sink(free, ats, nodes, packed, chosen, top, count)
        elif _comes_before(free, ats, nodes, packed, place, chosen[0]):
            chosen[0] = place
            _sink(free, ats, nodes, packed, chosen, 0, count)
    for last in range(count - 1, 0, -1):
        chosen[0], chosen[last] = chosen[last], chosen[0]
        _sink(free, ats, nodes, packed, chosen, 0, last)
    for one in range(count):
        chosen[one] = nodes[chosen[one]]


@late
def _comes_before(
    free: Times, ats: Index, nodes: Index, packed: bool, one: int, other: int
) -> bool:
    """Whether place `one` is chosen rather than `other`."""
    first, second = ats[nodes[one]], ats[nodes[other]]
    for part in range(3):
        difference = free[first, part] - free[second, part]
        if difference:
            return bool(difference < 0) == packed
    return one < other


@late
def _sink(
    free: Times, ats: Index, nodes: Index, packed: bool, heap: Index, top: int, size: int
) -> None:
    """Let the entry at `top` sink to where it belongs in a heap of `size`."""
    while True:
        below = 2 * top + 1
        if below >= size:
            return
        if below + 1 < size and _comes_before(
            free, ats, nodes, packed, heap[below], heap[below + 1]
        ):
            below += 1
        if not _comes_before(free, ats, nodes, packed, heap[top], heap[below]):
            return
        heap[top], heap[below] = heap[below], heap[top]
        top = below


@late
def _shift(
    room: Room, node: int, start: int, end: int, accelerators: int, cores: int, memory: int
) -> None:
    """Add to what is free on the node from `start` until `end`, and join equal neighbours."""
    time, free, following, spare = room.time, room.free, room.next, room.spare
    if end <= max(start, time[node]) or (accelerators == 0 and cores == 0 and memory == 0):
        return
    before, segment = -1, node
    after = following[node]
    while after >= 0 and time[after] <= start:
        before, segment = segment, after
        after = following[after]
    if time[segment] < start:
        before, segment = segment, _split(time, free, following, spare, segment, start)
    while True:
        after = following[segment]
        if end < NEVER and (after < 0 or time[after] > end):
            after = _split(time, free, following, spare, segment, end)
        free[segment, 0] += accelerators
        free[segment, 1] += cores
        free[segment, 2] += memory
        if after < 0 or time[after] >= end:
            break
        segment = after
    _join(free, following, spare, segment)
    if before >= 0:
        _join(free, following, spare, before)


@late
def _split(time: Times, free: Times, following: Index, spare: Times, segment: int, at: int) -> int:
    """Cut the segment at `at`; the new one, which begins there."""
    fresh = spare[0]
    if fresh < 0:
        raise ValueError("no space for another segment: call ensured first")
    spare[0] = following[fresh]
    spare[1] -= 1
    time[fresh] = at
    for part in range(3):
        free[fresh, part] = free[segment, part]
    following[fresh] = following[segment]
    following[segment] = fresh
    return int(fresh)


@late
def _join(free: Times, following: Index, spare: Times, segment: int) -> None:
    """Let the segment last through the next one, where as much is free in both."""
    after = following[segment]
    if (
        after >= 0
        and free[segment, 0] == free[after, 0]
        and free[segment, 1] == free[after, 1]
        and free[segment, 2] == free[after, 2]
    ):
        following[segment] = following[after]
        _release(following, spare, after)


@late
def _release(following: Index, spare: Times, segment: int) -> None:
    following[segment] = spare[0]
    spare[0] = segment
    spare[1] += 1


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
