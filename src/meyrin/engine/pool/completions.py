"""The jobs that run, by when they really end: a binary heap (Williams 1964, Algorithm 232)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from meyrin.engine.compiled import inner

NEVER = 2**62


class Completions(NamedTuple):
    """Room for `capacity` running jobs: `end[0]` is the next completion, `size[0]` their number."""

    end: npt.NDArray[np.int64]
    job: npt.NDArray[np.int32]
    size: npt.NDArray[np.int64]


def new_completions(capacity: int) -> Completions:
    """An empty heap for at most `capacity` jobs."""
    return Completions(
        np.zeros(capacity, np.int64), np.zeros(capacity, np.int32), np.zeros(1, np.int64)
    )


@inner
def next_end(heap: Completions) -> Any:
    """The time of the next completion; NEVER when nothing runs."""
    return heap.end[0] if heap.size[0] else NEVER


@inner
def push(heap: Completions, end: int, job: int) -> None:
    """Add a job that ends at `end`."""
    hole = heap.size[0]
    heap.size[0] = hole + 1
    while hole > 0:
        parent = (hole - 1) >> 1
        if heap.end[parent] <= end:
            break
        heap.end[hole] = heap.end[parent]
        heap.job[hole] = heap.job[parent]
        hole = parent
    heap.end[hole] = end
    heap.job[hole] = job


@inner
def pop(heap: Completions) -> Any:
    """Take out a job whose end is next."""
    size = heap.size[0] - 1
    heap.size[0] = size
    job = heap.job[0]
    end, last = heap.end[size], heap.job[size]
    hole = 0
    child = 1
    while child < size:
        if child + 1 < size and heap.end[child + 1] < heap.end[child]:
            child += 1
        if heap.end[child] >= end:
            break
        heap.end[hole] = heap.end[child]
        heap.job[hole] = heap.job[child]
        hole = child
        child = 2 * hole + 1
    heap.end[hole] = end
    heap.job[hole] = last
    return job
