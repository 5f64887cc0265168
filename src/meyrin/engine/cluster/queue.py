"""The lists of the kernel: who waits, in order, and who runs, by end."""

from __future__ import annotations

from meyrin.engine.cluster.model import Index, Whole
from meyrin.engine.cluster.world import (
    BUSY,
    DURATION,
    HEAP,
    IN_LINE,
    LATER,
    LIMIT,
    LINE,
    LINE_NODES,
    MULTIFACTOR,
    NODES,
    OFF,
    PRIORITY,
    QUEUE,
    RANK,
    SIZES,
    START,
    STARTED,
    STATUS,
    VICTIMS,
    WAITING,
    Play,
    World,
)
from meyrin.engine.compiled import compiled, inner


@inner
def put(world: World, which: int, job: int) -> None:
    """Add a job at the end of a list."""
    size = world.now[SIZES + which]
    world.lists[which, size] = job
    world.now[SIZES + which] = size + 1


@inner
def push(world: World, job: int) -> None:
    """A job runs: it enters the heap."""
    put(world, BUSY, job)
    _rise(world.jobs, world.lists[BUSY], world.now[SIZES + BUSY] - 1)


@inner
def pull(world: World, job: int) -> None:
    """A job runs no more: it leaves the heap."""
    jobs, heap = world.jobs, world.lists[BUSY]
    size = world.now[SIZES + BUSY] - 1
    world.now[SIZES + BUSY] = size
    at, last = jobs[job, HEAP], heap[size]
    jobs[job, HEAP] = -1
    if last == job:
        return
    heap[at] = last
    jobs[last, HEAP] = at
    _rise(jobs, heap, at)
    _sink(jobs, heap, jobs[last, HEAP], size)


@inner
def _ends_first(jobs: Whole, one: int, other: int) -> bool:
    ends = jobs[one, START] + jobs[one, DURATION]
    ends_other = jobs[other, START] + jobs[other, DURATION]
    return bool(ends < ends_other or (ends == ends_other and one < other))


@inner
def _rise(jobs: Whole, heap: Index, at: int) -> None:
    job = heap[at]
    while at > 0 and _ends_first(jobs, job, heap[(at - 1) // 2]):
        heap[at] = heap[(at - 1) // 2]
        jobs[heap[at], HEAP] = at
        at = (at - 1) // 2
    heap[at] = job
    jobs[job, HEAP] = at


@inner
def _sink(jobs: Whole, heap: Index, at: int, size: int) -> None:
    job = heap[at]
    while 2 * at + 1 < size:
        below = 2 * at + 1
        if below + 1 < size and _ends_first(jobs, heap[below + 1], heap[below]):
            below += 1
        if not _ends_first(jobs, heap[below], job):
            break
        heap[at] = heap[below]
        jobs[heap[at], HEAP] = at
        at = below
    heap[at] = job
    jobs[job, HEAP] = at


@inner
def _goes_first(jobs: Whole, ranked: bool, weighed: bool, one: int, other: int) -> bool:
    """Which of two waiting jobs stands first in the line."""
    if ranked and jobs[one, RANK] != jobs[other, RANK]:
        return bool(jobs[one, RANK] > jobs[other, RANK])
    if weighed and jobs[one, PRIORITY] != jobs[other, PRIORITY]:
        return bool(jobs[one, PRIORITY] > jobs[other, PRIORITY])
    return one < other


@inner
def enqueue(rules: Play, world: World, job: int) -> bool:
    """Put a job in its place among the waiting; whether that is behind all of them."""
    jobs, line, size = world.jobs, world.lists[LINE], world.now[SIZES + LINE]
    ranked, weighed = rules.preemption != OFF, rules.order == MULTIFACTOR
    low, high = 0, size
    if size and _goes_first(jobs, ranked, weighed, line[size - 1], job):
        low = size
    while low < high:
        middle = (low + high) // 2
        if _goes_first(jobs, ranked, weighed, line[middle], job):
            low = middle + 1
        else:
            high = middle
    for at in range(size, low, -1):
        line[at] = line[at - 1]
    line[low] = job
    world.now[SIZES + LINE] = size + 1
    world.now[LINE_NODES] += jobs[job, NODES]
    world.kinds[world.kind[job], IN_LINE] += 1
    return bool(low == size)


@compiled
def sort_line(rules: Play, world: World) -> None:
    """Put the waiting in order again."""
    ranked, weighed = rules.preemption != OFF, rules.order == MULTIFACTOR
    line, scratch = world.lists[LINE], world.lists[QUEUE]
    _sort(world.jobs, line, world.now[SIZES + LINE], scratch, ranked, weighed, False)


@compiled
def sort_later(world: World, count: int) -> None:
    """Put the first `count` of LATER in order of their limits; equal ones stay in order."""
    later, scratch = world.lists[LATER], world.lists[VICTIMS]
    _sort(world.jobs, later, count, scratch, False, False, True)


@compiled
def _sort(
    jobs: Whole, line: Index, size: int, left: Index, ranked: bool, weighed: bool, short: bool
) -> None:
    """A merge sort that leaves alone what is in order; `left` is scratch."""
    width = 1
    while width < size:
        for begin in range(0, size - width, 2 * width):
            middle, end = begin + width, min(begin + 2 * width, size)
            if not _moves(jobs, ranked, weighed, short, line[middle], line[middle - 1]):
                continue
            for at in range(width):
                left[at] = line[begin + at]
            one, other, at = 0, middle, begin
            while one < width:
                if other < end and _moves(jobs, ranked, weighed, short, line[other], left[one]):
                    line[at] = line[other]
                    other += 1
                else:
                    line[at] = left[one]
                    one += 1
                at += 1
        width *= 2


@inner
def _moves(jobs: Whole, ranked: bool, weighed: bool, short: bool, one: int, other: int) -> bool:
    """Whether a job that stands behind another has to move before it."""
    if short:
        return bool(jobs[one, LIMIT] < jobs[other, LIMIT])
    return _goes_first(jobs, ranked, weighed, one, other)


@inner
def drop_started(world: World) -> None:
    """Remove from the line whoever waits no more."""
    jobs, line, size = world.jobs, world.lists[LINE], world.now[SIZES + LINE]
    gone = world.now[STARTED]
    world.now[STARTED] = 0
    kept = at = 0
    while at - kept < gone:  # what comes after the last of them only moves up
        job = line[at]
        if jobs[job, STATUS] == WAITING:
            line[kept] = job
            kept += 1
        at += 1
    while gone and at < size:
        line[kept] = line[at]
        kept += 1
        at += 1
    world.now[SIZES + LINE] = size - gone
