"""The plain twin of `meyrin.engine.timeline`: sets of nodes as integers, segments in a list.

Time is cut into segments in which nothing changes; the last one lasts for ever. In a segment
nodes with equally much free stand together: `{(accelerators, cores, memory_mb): nodes}`, where a
set of nodes is an integer with one bit a node, so that "free all the while" is one `&`.

It packs by the rules that the engine's module states.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

from meyrin.domain.site import Partition
from meyrin.domain.units import NodeShape
from meyrin.engine.model import Occupied

Amount = tuple[int, int, int]  # accelerators, cores, memory_mb: in the order of their scarcity
Groups = dict[Amount, int]


class PlainTimelines:
    """One `Timeline` for each partition, with the methods of `engine.timeline.Timelines`."""

    def __init__(self, places, now_s):
        self.now_s = now_s
        self.lines = [Timeline(place.partition, place.occupied, now_s) for place in places]
        self.queued = [line.queued for line in self.lines]
        self.reserved = [0] * len(self.lines)

    def wants(self, shaped):
        return list(shaped), [-1] * len(self.lines)

    def starts(self, wants):
        found = []
        for line, one, at in zip(self.lines, wants[0], range(len(self.lines)), strict=True):
            start_s = line.start_s(one.asked, one.nodes, one.walltime_s) if one else 0
            if start_s > self.now_s and wants[1][at] < 0:
                wants[1][at] = line.room_now(one.asked, one.walltime_s)
            found.append((start_s, wants[1][at]))
        return found

    def reserve(self, at, wants):
        one = wants[0][at]
        self.lines[at].reserve(one.asked, one.nodes, one.walltime_s)

    def longest_now_s(self, at, asked, nodes):
        return self.lines[at].longest_now_s(asked, nodes)

    def free_now(self, at):
        return self.lines[at].free_now()


def amount(shape: NodeShape) -> Amount:
    return shape.accelerators, shape.cores, shape.memory_mb


class Timeline:
    """Free room of one partition; `queued` counts the jobs that wait in the site's queue."""

    def __init__(self, partition: Partition, occupied: Iterable[Occupied], now_s: int) -> None:
        self._all = (1 << partition.nodes) - 1
        self._times = [now_s]
        self._frees: list[Groups] = [{amount(partition.node): self._all}]
        self._drops = [False]  # whether something is taken at the beginning of the segment
        self._touched: list[int] = []  # the nodes that each reservation changed
        self._found: dict[tuple[Amount, int, int], tuple[int, int, int]] = {}
        self._totals_at = -1
        self._totals: Amount = (0, 0, 0)
        self.queued = 0
        jobs = list(occupied)
        self._pack([job for job in jobs if job.end_s is not None])
        self._queue([job for job in jobs if job.end_s is None])

    def start_s(self, asked: NodeShape, nodes: int, walltime_s: int) -> int:
        """The earliest time at which `nodes` nodes have room for `asked` for the wall time.

        The shape must fit an empty partition. Room only ever shrinks within a decision: an answer
        stands while enough of its nodes are untouched, and is else a lower bound for the next.
        """
        key = (amount(asked), nodes, walltime_s)
        known = self._found.get(key)
        if known is None:
            start_s, among = self._first(key, self._times[0])
        else:
            version, start_s, among = known
            for touched in self._touched[version:]:
                among &= ~touched
            if among.bit_count() < nodes:
                start_s, among = self._first(key, start_s)
        self._found[key] = (len(self._touched), start_s, among)
        return start_s

    def reserve(self, asked: NodeShape, nodes: int, walltime_s: int) -> None:
        """Take the room that `start_s` finds, on the nodes with the least free."""
        key = (amount(asked), nodes, walltime_s)
        start_s, among = self._first(key, self.start_s(asked, nodes, walltime_s))
        self._take(key[0], nodes, start_s, start_s + walltime_s, among)

    def room_now(self, asked: NodeShape, walltime_s: int) -> int:
        """On how many nodes a job of one node could start now without delaying anybody."""
        mask = self._all
        for groups in self._between(self._times[0], self._times[0] + walltime_s):
            mask &= _fitting(groups, amount(asked))
            if not mask:
                break
        return mask.bit_count()

    def longest_now_s(self, asked: NodeShape, nodes: int) -> int | None:
        """How long such a job could run if it started now, in seconds; None: without end."""
        mask = self._all
        for time_s, groups in zip(self._times, self._frees, strict=True):
            mask &= _fitting(groups, amount(asked))
            if mask.bit_count() < nodes:
                return time_s - self._times[0]
        return None

    def free_now(self) -> Amount:
        """What is free now on all nodes together."""
        if self._totals_at != len(self._touched):
            held = [(free, nodes.bit_count()) for free, nodes in self._frees[0].items()]
            self._totals = (
                sum(free[0] * count for free, count in held),
                sum(free[1] * count for free, count in held),
                sum(free[2] * count for free, count in held),
            )
            self._totals_at = len(self._touched)
        return self._totals

    def _pack(self, running: list[Occupied]) -> None:
        """Put running jobs on nodes until they end; one past its end leaves within a second."""
        now_s, groups = self._times[0], self._frees[0]
        leaving: dict[int, list[tuple[Amount, int]]] = {}
        for job in sorted(running, key=_size_first):
            end_s = max(job.end_s or 0, now_s + 1)
            for taken, nodes in _squeeze(groups, amount(job.asked), job.nodes):
                groups = _shifted(groups, nodes, taken, -1)
                leaving.setdefault(end_s, []).append((taken, nodes))
        self._frees[0] = groups
        for end_s in sorted(leaving):
            for taken, nodes in leaving[end_s]:
                groups = _shifted(groups, nodes, taken, 1)
            self._times.append(end_s)
            self._frees.append(groups)
            self._drops.append(False)

    def _queue(self, queued: list[Occupied]) -> None:
        """Let jobs that the site has not started yet start first come, first served.

        One that can't fit even when the partition is empty waits for ever and blocks nobody.
        """
        not_before_s = self._times[0]
        for job in sorted(queued, key=lambda job: job.job):
            asked = amount(job.asked)
            found = self._search(asked, job.nodes, job.walltime_s, not_before_s)
            if found is None:
                self.queued += 1
                continue
            not_before_s = found[0]
            self.queued += not_before_s > self._times[0]
            self._take(asked, job.nodes, not_before_s, not_before_s + job.walltime_s, found[1])

    def _first(self, key: tuple[Amount, int, int], not_before_s: int) -> tuple[int, int]:
        found = self._search(*key, not_before_s)
        assert found is not None, "admitted although it never fits"
        return found

    def _search(
        self, asked: Amount, nodes: int, walltime_s: int, not_before_s: int
    ) -> tuple[int, int] | None:
        """The earliest start and the nodes with room all the while; None if there never is.

        Where nothing is taken, a segment has at least the room of the one before it, so only
        the first segment of a window is looked at, and those in which something is taken.
        """
        times, drops = self._times, self._drops
        first = last = bisect_right(times, not_before_s) - 1
        start_s, common = not_before_s, self._all
        while True:
            if first == last or drops[last]:
                common &= _fitting(self._frees[last], asked)
                if common.bit_count() < nodes:
                    first, common = self._resume(asked, nodes, first, last)
                    if first == len(times):
                        return None
                    start_s = times[first]
            last += 1
            if first < last and (last == len(times) or times[last] >= start_s + walltime_s):
                return start_s, common

    def _resume(self, asked: Amount, nodes: int, first: int, last: int) -> tuple[int, int]:
        """After a start in `first` failed at `last`: the next segment to start in, its nodes."""
        common, at = self._all, last + 1
        while at > first + 1:
            also = common & _fitting(self._frees[at - 1], asked)
            if also.bit_count() < nodes:
                break
            common, at = also, at - 1
        return at, common

    def _take(self, asked: Amount, nodes: int, start_s: int, end_s: int, among: int) -> None:
        first, last = self._cut(start_s), self._cut(end_s)
        chosen = _tightest(self._frees[first], among, nodes)
        self._drops[first] = True
        for at in range(first, last):
            self._frees[at] = _shifted(self._frees[at], chosen, asked, -1)
        self._touched.append(chosen)

    def _cut(self, at_s: int) -> int:
        """The segment that begins at `at_s`, made if there is none."""
        at = bisect_left(self._times, at_s)
        if at == len(self._times) or self._times[at] != at_s:
            self._times.insert(at, at_s)
            self._frees.insert(at, self._frees[at - 1])
            self._drops.insert(at, False)
        return at

    def _between(self, start_s: int, end_s: int) -> Iterator[Groups]:
        for at in range(bisect_right(self._times, start_s) - 1, bisect_left(self._times, end_s)):
            yield self._frees[at]


def _size_first(job: Occupied) -> tuple[int, int, int, int, int]:
    accelerators, cores, memory_mb = amount(job.asked)
    return -accelerators, -cores, -memory_mb, -job.nodes, job.job


def _fitting(groups: Groups, asked: Amount) -> int:
    """The nodes that have room for `asked`."""
    accelerators, cores, memory_mb = asked
    fitting = 0
    for free, nodes in groups.items():
        if free[0] >= accelerators and free[1] >= cores and free[2] >= memory_mb:
            fitting |= nodes
    return fitting


def _tightest(groups: Groups, among: int, nodes: int) -> int:
    """`nodes` of the nodes `among`: those with the least free, then the lowest numbers."""
    chosen = 0
    for free in sorted(groups):
        bits = groups[free] & among
        spare = bits.bit_count() - nodes
        if spare <= 0:
            chosen |= bits
            nodes -= bits.bit_count()
            continue
        return chosen | _lowest(bits, nodes)
    return chosen


def _lowest(bits: int, count: int) -> int:
    chosen = 0
    for _ in range(count):
        low = bits & -bits
        chosen |= low
        bits ^= low
    return chosen


def _squeeze(groups: Groups, asked: Amount, nodes: int) -> list[tuple[Amount, int]]:
    """Where a running job is taken to be: what it takes, on which nodes."""
    fitting = _fitting(groups, asked)
    chosen = _tightest(groups, fitting, nodes)
    taken = [(asked, chosen)] if chosen else []
    missing = nodes - chosen.bit_count()
    for free in sorted(groups, reverse=True):
        if missing <= 0:
            break
        bits = _lowest(groups[free] & ~fitting, missing)
        if bits:
            part = (min(free[0], asked[0]), min(free[1], asked[1]), min(free[2], asked[2]))
            taken.append((part, bits))
            missing -= bits.bit_count()
    return taken


def _shifted(groups: Groups, nodes: int, by: Amount, sign: int) -> Groups:
    """The groups after `by` was given back to (1) or taken from (-1) each of `nodes`."""
    changed: Groups = {}
    for free, members in groups.items():
        moving = members & nodes
        staying = members ^ moving
        if staying:
            changed[free] = changed.get(free, 0) | staying
        if moving:
            after = (free[0] + sign * by[0], free[1] + sign * by[1], free[2] + sign * by[2])
            changed[after] = changed.get(after, 0) | moving
    return changed
