"""Behind which moment jobs of a size and length fit, while nothing is given back.

Nobody who needs as much for as long as another starts before it. So an arrival searches behind
the latest reservation among the jobs that need no more: a maximum over a quadrant, kept in a
Fenwick tree of two dimensions (Fenwick 1994) over classes of size and length. The classes are the
finer the more jobs there are, so that the stretch left to search stays a small part of the whole.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from meyrin.engine.compiled import inner
from meyrin.engine.pool.classes import class_of

COARSEST, FINEST = 2, 7  # binary digits behind the first that a class tells apart


class Frontier(NamedTuple):
    """A time and its job a cell, of round `age`; what is of another round than `now[0]` is empty.

    Classes tell `digits[0]` binary digits behind the first apart.
    """

    time: npt.NDArray[np.int64]
    job: npt.NDArray[np.int32]
    age: npt.NDArray[np.int32]
    now: npt.NDArray[np.int32]
    digits: npt.NDArray[np.int64]


def new_frontier(jobs: int, machine: int, longest: int) -> Frontier:
    """Nobody known of so many jobs of at most these processors and this limit.

    A cell that is not used takes no memory.
    """
    digits = min(max(jobs.bit_length() // 2 - 3, COARSEST), FINEST)
    sizes, lengths = (max(most.bit_length() - digits, 1) << digits for most in (machine, longest))
    cells = (sizes + (1 << digits) + 1, lengths + (1 << digits) + 1)
    return Frontier(
        time=np.zeros(cells, np.int64),
        job=np.zeros(cells, np.int32),
        age=np.zeros(cells, np.int32),
        now=np.ones(1, np.int32),
        digits=np.array([digits]),
    )


@inner
def forget(f: Frontier) -> None:
    """Room has opened: nothing is known."""
    f.now[0] += 1


@inner
def behind(f: Frontier, processors: int, limit: int, now: int) -> Any:
    """The job of the latest reservation after `now` that needs no more; -1 if none is known."""
    latest, job = now, -1
    size = min(class_of(processors + 1, f.digits[0]), f.age.shape[0]) - 1
    length = min(class_of(limit + 1, f.digits[0]), f.age.shape[1]) - 1
    a = size
    while a > 0:
        b = length
        while b > 0:
            if f.age[a, b] == f.now[0] and f.time[a, b] > latest:
                latest, job = f.time[a, b], f.job[a, b]
            b -= b & -b
        a -= a & -a
    return job


@inner
def know(f: Frontier, job: int, processors: int, limit: int, time: int) -> None:
    """A job waits for `time`."""
    length = class_of(limit, f.digits[0])
    a = class_of(processors, f.digits[0])
    while a < f.age.shape[0]:
        b = length
        while b < f.age.shape[1]:
            if f.age[a, b] != f.now[0] or f.time[a, b] < time:
                f.age[a, b], f.time[a, b], f.job[a, b] = f.now[0], time, job
            b += b & -b
        a += a & -a
