"""The lists of the kernel: who waits, in order, and who runs, by end."""

from __future__ import annotations

from meyrin.engine.cluster.model import Index, Whole
from meyrin.engine.cluster.world import (
    BUSY,
    DURATION,
    HEAP,
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
    WAITING,
    Play,
    World,
)
from meyrin.engine.compiled import compiled


@compiled
def put(world: World, which: int, job: int) -> None:
    """Add a job at the end of a list."""
    size = world.now[SIZES + which]
    world.lists[which, size] = job
    world.now[SIZES + which] = size + 1


@compiled
def push(world: World, job: int) -> None:
    """A job runs: it enters the heap."""
    put(world, BUSY, job)
    _rise(world.jobs, world.lists[BUSY], world.now[SIZES + BUSY] - 1)


@compiled
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


@compiled
def _ends_first(jobs: Whole, one: int, other: int) -> bool:
    ends = jobs[one, START] + jobs[one, DURATION]
    ends_other = jobs[other, START] + jobs[other, DURATION]
    return bool(ends < ends_other or (ends == ends_other and one < other))


@compiled
def _rise(jobs: Whole, heap: Index, at: int) -> None:
    job = heap[at]
    while at > 0 and _ends_first(jobs, job, heap[(at - 1) // 2]):
        heap[at] = heap[(at - 1) // 2]
        jobs[heap[at], HEAP] = at
        at = (at - 1) // 2
    heap[at] = job
    jobs[job, HEAP] = at


@compiled
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


@compiled
def _goes_first(jobs: Whole, ranked: bool, weighed: bool, one: int, other: int) -> bool:
    """Which of two waiting jobs stands first in the line."""
    if ranked and jobs[one, RANK] != jobs[other, RANK]:
        return bool(jobs[one, RANK] > jobs[other, RANK])
    if weighed and jobs[one, PRIORITY] != jobs[other, PRIORITY]:
        return bool(jobs[one, PRIORITY] > jobs[other, PRIORITY])
    return one < other


@compiled
def enqueue(rules: Play, world: World, job: int) -> None:
    """Put a job in its place among the waiting."""
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


@compiled
def sort_line(rules: Play, world: World) -> None:
    """Put the waiting in order again: a merge sort that leaves alone what is in order."""
    jobs, line, left = world.jobs, world.lists[LINE], world.lists[QUEUE]
    ranked, weighed = rules.preemption != OFF, rules.order == MULTIFACTOR
    size, width = world.now[SIZES + LINE], 1
    while width < size:
        for begin in range(0, size - width, 2 * width):
            middle, end = begin + width, min(begin + 2 * width, size)
            if _goes_first(jobs, ranked, weighed, line[middle - 1], line[middle]):
                continue
            left[:width] = line[begin:middle]
            one, other, at = 0, middle, begin
            while one < width:
                if other < end and _goes_first(jobs, ranked, weighed, line[other], left[one]):
                    line[at] = line[other]
                    other += 1
                else:
                    line[at] = left[one]
                    one += 1
                at += 1
        width *= 2


@compiled
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
    if gone:
        line[kept : size - gone] = line[at:size]
    world.now[SIZES + LINE] = size - gone
