"""What is free in each partition of a state from now on. It knows no project and no hours.

The site knows on which nodes its jobs run, we only how many they have. The model packs them: the
largest first, each on the nodes with the least free that still fit, then by node number. A job
that does not fit in this packing takes what is left on the emptiest nodes.

All partitions lie in one `engine.room`, and what one job asks of each of them is one array, so
that a look at a job is one call into compiled code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from meyrin.engine import room as rooms
from meyrin.engine.late import late, load
from meyrin.engine.room import Room

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meyrin.domain.site import Partition
    from meyrin.domain.units import NodeShape
    from meyrin.engine.admission import Shaped
    from meyrin.engine.model import Occupied, PartitionState

Amount = tuple[int, int, int]  # accelerators, cores, memory_mb: in the order of their scarcity
Numbers = NDArray[np.int64]
Index = NDArray[np.int32]

# the columns of what is asked of one partition; the first three are an amount
NODES, WALLTIME, START, SEEN, ROOM, COLUMNS = 3, 4, 5, 6, 7, 8
# the columns of an occupied part of a partition; the first three are an amount
COUNT, LENGTH, END, PLACE, OCCUPIED_COLUMNS = 3, 4, 5, 6, 7


def amount(shape: NodeShape) -> Amount:
    return shape.accelerators, shape.cores, shape.memory_mb


class Timelines:
    """Free room of all partitions, changed by `reserve` in the course of one decision.

    Partitions are counted in the order of `places`. `queued` counts the jobs that the model lets
    wait in the site's queue, `reserved` the waiting jobs whose expected start is kept here.
    """

    def __init__(self, places: Sequence[PartitionState], now_s: int) -> None:
        partitions = [place.usable for place in places]
        self._now_s = now_s
        self._nodes = [partition.nodes for partition in partitions]
        self._first = np.array([0, *np.cumsum(self._nodes)], np.int64)
        self._every = np.arange(self._first[-1], dtype=np.int32)
        occupied = _occupied([place.occupied for place in places])
        changes = 2 * int(np.minimum(occupied[:, COUNT], self._first[-1]).sum())
        self._room = rooms.new(_capacity(partitions), now_s, changes)
        self.reserved = [0] * len(partitions)
        queued = np.zeros(len(partitions), np.int64)
        _occupy(self._room, self._every, self._first, occupied, now_s, queued)
        self.queued: list[int] = queued.tolist()
        free = np.zeros((len(partitions), 3), np.int64)
        _free_now(self._room, self._every, self._first, now_s, free)
        self._free: list[list[int]] = free.tolist()
        self._version = np.zeros(len(partitions), np.int64)

    def wants(self, shaped: Sequence[Shaped | None]) -> Numbers:
        """What a job asks of each partition, None where it may not go: for `starts`.

        Each shape must fit its partition when empty. Equal jobs share one such array: it keeps
        what was found. Room only ever shrinks within a decision, so an answer stands until the
        partition changes and is a lower bound afterwards.
        """
        rows = [
            (*amount(one.asked), one.nodes, one.walltime_s, self._now_s, -1, -1)
            if one is not None
            else (0, 0, 0, 0, 0, 0, 0, 0)
            for one in shaped
        ]
        return np.array(rows, np.int64).reshape(len(rows), COLUMNS)

    def starts(self, wants: Numbers) -> list[tuple[int, int]]:
        """For each partition the earliest start, and if that is later than now, on how many
        nodes there was room for one node of it when such a start was found first."""
        _look(self._room, self._every, self._first, self._version, wants, self._now_s)
        found: list[tuple[int, int]] = wants[:, [START, ROOM]].tolist()
        return found

    def reserve(self, at: int, wants: Numbers) -> None:
        """Take the room that `starts` found in one partition, on the nodes with the least free."""
        nodes = int(wants[at, NODES])
        if self._room.spare[1] < 2 * nodes:
            self._room = rooms.ensured(self._room, 2 * nodes)
        start_s = _reserve(self._room, self._every, self._first, wants, at)
        self._version[at] += 1
        if start_s == self._now_s:
            free = self._free[at]
            for part, taken in enumerate(wants[at, :3].tolist()):
                free[part] -= nodes * taken

    def longest_now_s(self, at: int, asked: NodeShape, nodes: int) -> int | None:
        """How long such a job could run if it started now, in seconds; None: without end."""
        mine = self._every[self._first[at] : self._first[at + 1]]
        wanted = np.array(amount(asked), np.int64)
        longest_s = int(rooms.longest(self._room, mine, wanted, nodes, self._now_s))
        return None if longest_s < 0 else longest_s

    def free_now(self, at: int) -> Sequence[int]:
        """What is free now on all nodes of the partition together, as an amount."""
        return self._free[at]


def _capacity(partitions: Sequence[Partition]) -> Numbers:
    nodes = [partition.nodes for partition in partitions]
    amounts = np.array([amount(partition.node) for partition in partitions], np.int64)
    return np.repeat(amounts.reshape(-1, 3), nodes, axis=0)


def _occupied(places: Sequence[Sequence[Occupied]]) -> Numbers:
    """What is occupied in each partition, a row each: running ones by size, then queued ones."""
    rows = []
    for at, occupied in enumerate(places):
        running = sorted((job for job in occupied if job.end_s is not None), key=_size_first)
        queued = sorted((job for job in occupied if job.end_s is None), key=lambda job: job.job)
        for job in (*running, *queued):
            end_s = -1 if job.end_s is None else max(job.end_s, 0)
            rows.append((*amount(job.asked), job.nodes, job.walltime_s, end_s, at))
    return np.array(rows, np.int64).reshape(len(rows), OCCUPIED_COLUMNS)


def _size_first(job: Occupied) -> tuple[int, int, int, int, int]:
    accelerators, cores, memory_mb = amount(job.asked)
    return -accelerators, -cores, -memory_mb, -job.nodes, job.job


@late
def _occupy(
    room: Room, every: Index, first: Numbers, occupied: Numbers, now: int, queued: Numbers
) -> None:
    """Put running jobs on nodes until they end, then queued ones where they will start.

    A running job past its end leaves within a second. What the site has not started yet starts
    first come, first served; one that can't fit even when the partition is empty waits for ever
    and blocks nobody. `queued` counts those of each partition that do not start now.
    """
    chosen = np.empty(len(every), np.int32)
    place, not_before = -1, now
    for row in occupied:
        if row[PLACE] != place:
            place, not_before = row[PLACE], now
        mine = every[first[place] : first[place + 1]]
        if row[END] >= 0:
            end = max(row[END], now + 1)
            rooms.squeeze(room, mine, row[:3], row[COUNT], now, end, chosen)
            continue
        start = rooms.earliest(
            room, mine, row[:3], row[COUNT], row[LENGTH], not_before, True, chosen
        )
        if start < 0:
            queued[place] += 1
            continue
        not_before = start
        queued[place] += start > now
        rooms.take(room, chosen, row[COUNT], row[:3], start, start + row[LENGTH])


@late
def _free_now(room: Room, every: Index, first: Numbers, now: int, free: Numbers) -> None:
    for place in range(len(free)):
        rooms.free_at(room, every[first[place] : first[place + 1]], now, free[place])


@late
def _look(
    room: Room, every: Index, first: Numbers, version: Numbers, wants: Numbers, now: int
) -> None:
    """Write the earliest start into each row that asks for something, where it may have moved."""
    for place in range(len(wants)):
        want = wants[place]
        if want[NODES] == 0 or want[SEEN] == version[place]:
            continue
        mine = every[first[place] : first[place + 1]]
        want[START] = rooms.first_start(
            room, mine, want[:3], want[NODES], want[WALLTIME], want[START]
        )
        want[SEEN] = version[place]
        if want[START] > now and want[ROOM] < 0:
            want[ROOM] = rooms.count_with_room(room, mine, want[:3], want[WALLTIME], now)


@late
def _reserve(room: Room, every: Index, first: Numbers, wants: Numbers, place: int) -> int:
    want = wants[place]
    mine = every[first[place] : first[place + 1]]
    chosen = np.empty(want[NODES], np.int32)
    start = rooms.earliest(
        room, mine, want[:3], want[NODES], want[WALLTIME], want[START], True, chosen
    )
    rooms.take(room, chosen, want[NODES], want[:3], start, start + want[WALLTIME])
    return int(start)


def warm() -> None:
    """Compile all of it: one job that runs, one in the site's queue, one that looks."""
    from meyrin.domain.site import Partition  # noqa: PLC0415 - else for types only
    from meyrin.domain.units import NodeShape  # noqa: PLC0415
    from meyrin.engine.admission import Shaped  # noqa: PLC0415
    from meyrin.engine.model import Occupied, PartitionState  # noqa: PLC0415

    load()
    core = NodeShape(1, 1)
    occupied = (Occupied(1, 1, core, 1, 1), Occupied(2, 1, core, 1, None))
    timelines = Timelines([PartitionState("any", Partition("any", 1, 1, 1), occupied=occupied)], 0)
    wants = timelines.wants([Shaped(1, core, 1, 1, "core", 1)])
    timelines.starts(wants)
    timelines.reserve(0, wants)
    timelines.longest_now_s(0, core, 1)
