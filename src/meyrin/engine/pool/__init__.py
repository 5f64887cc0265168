"""One pool of identical processors, replayed at the speed of C under the four classic policies.

`Pool` holds the state between two instants in arrays and lets a compiled kernel advance it.
At an instant first all completions count, then all arrivals in log order, then one pass.
What runs where is not its business: nodes, partitions and accounts are the cluster kernel's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from meyrin.engine.pool import backfill, conservative, fcfs
from meyrin.engine.pool.completions import new_completions
from meyrin.engine.pool.jobs import COUNTERS, FREE, LISTED, NEXT, NOW, STARTED, Jobs, Times
from meyrin.engine.pool.running import new_running
from meyrin.engine.pool.waiting import new_short, new_tree

POLICIES = ("fcfs", "easy", "conservative", "easy-sjf")
LONGEST = 2**60  # times and limits stay below, so that no sum overflows
MOST = 2**31 - 1  # processors of a job and of the machine


class Pool:
    """A replay of jobs on `machine` identical processors that stops and goes on at will.

    `submit`, `processors`, `duration` and `limit` are integers of shape (jobs,) in log order,
    which is an order of ascending `submit`; times are in any one unit. `duration` is how long a
    job runs, `limit` how long the scheduler believes that it may run. `policy` is one of

    - "fcfs": nobody starts before who came earlier;
    - "easy": backfill that never delays the first waiting job (Lifka 1995);
    - "easy-sjf": EASY that tries candidates by shortest limit first;
    - "conservative": backfill that delays no job beyond its reservation, with compression
      (Mu'alem and Feitelson 2001).

    Raises ValueError for arrays of unequal shape, a submit time before its predecessor's, and a
    job without processors or larger than the machine, without duration, or longer than its limit.
    """

    def __init__(
        self,
        policy: str,
        submit: npt.ArrayLike,
        processors: npt.ArrayLike,
        duration: npt.ArrayLike,
        limit: npt.ArrayLike,
        machine: int,
    ) -> None:
        if policy not in POLICIES:
            raise ValueError(f"policy is {policy!r}: one of {', '.join(POLICIES)}")
        given = [_times(each) for each in (submit, processors, duration, limit)]
        _check(given, machine)
        self.start: Times = np.full(given[0].size, -1, np.int64)
        """When each job starts; -1 while that is not known."""
        self._at = np.zeros(COUNTERS, np.int64)
        self._at[[FREE, LISTED]] = machine, 1
        jobs = Jobs(given[0], given[1], given[2], given[3], self.start)
        self._completions = new_completions(min(given[0].size, machine) + 1)
        self._advance, self._state = _kernel(policy, jobs, self._completions, self._at, machine)

    def advance(self, events: int) -> None:
        """Deal with at most `events` instants; nothing happens once `done`."""
        self._advance(self._state, events)

    @property
    def done(self) -> bool:
        """Whether every job has come to its end."""
        return bool(self._at[NEXT] == self.start.size and self._completions.size[0] == 0)

    @property
    def finished(self) -> int:
        """The number of jobs whose start is known."""
        return int(self._at[STARTED])

    @property
    def now(self) -> int:
        """The instant that was dealt with last; 0 before the first."""
        return int(self._at[NOW])


def _times(values: npt.ArrayLike) -> Times:
    array = np.asarray(values)
    if array.ndim != 1 or not (array.dtype.kind in "iu" or array.size == 0):
        raise ValueError("submit, processors, duration and limit are integers of shape (jobs,)")
    return np.ascontiguousarray(array, np.int64)


def _check(given: list[Times], machine: int) -> None:
    submit, processors, duration, limit = given
    if len({each.size for each in given}) > 1:
        raise ValueError(f"arrays of unequal length: {[each.size for each in given]}")
    if not 1 <= machine <= MOST:
        raise ValueError(f"machine is {machine} processors: 1 to {MOST}")
    if not submit.size:
        return
    for index, why in (
        (_outside(submit, -LONGEST, LONGEST), f"submit time beyond {LONGEST}"),
        (_first(submit[1:] < submit[:-1], 1), "submit time before its predecessor's"),
        (_outside(processors, 1, MOST), "job without processors"),
        (_outside(processors, 1, machine), f"job larger than the machine's {machine} processors"),
        (_outside(duration, 1, LONGEST), "job without duration"),
        (_first(limit < duration), "job longer than its limit"),
    ):
        if index is not None:
            raise ValueError(f"{why}: index {index}")
    # a conservative queue may come to last the sum of all limits; added up only where it matters
    last = int(submit[-1]) + int(limit.max()) * limit.size
    if last > LONGEST and int(submit[-1]) + float(limit.sum(dtype=np.float64)) > LONGEST:
        raise ValueError(f"submit times and limits that go beyond {LONGEST}")


def _first(wrong: npt.NDArray[np.bool_], shift: int = 0) -> int | None:
    """The index of the first that is wrong, `shift` added."""
    return int(wrong.argmax()) + shift if wrong.any() else None


def _outside(values: Times, least: int, most: int) -> int | None:
    """The index of the first value that isn't in the range; makes no array where all are."""
    if least <= values.min() and values.max() <= most:
        return None
    return _first((values < least) | (values > most))


def _kernel(policy: str, jobs: Jobs, completions: Any, at: Times, machine: int) -> tuple[Any, Any]:
    """The compiled `advance` of the policy, and the state that it takes."""
    if policy == "fcfs":
        return fcfs.advance, fcfs.Fcfs(jobs, completions, at)
    if policy == "conservative":
        return conservative.advance, conservative.new_state(jobs, completions, at, machine)
    rank = ranked = np.zeros(0, np.int32)
    if policy == "easy-sjf":
        ranked = np.argsort(jobs.limit, kind="stable").astype(np.int32)
        rank = np.empty_like(ranked)
        rank[ranked] = np.arange(ranked.size, dtype=np.int32)
    running = new_running(min(jobs.submit.size, machine))
    state = backfill.Backfill(
        jobs, completions, running, new_tree(jobs.submit.size), new_short(), rank, ranked, at
    )
    return backfill.advance, state


def warm() -> None:
    """Compile every kernel of this room."""
    for policy in POLICIES:
        Pool(policy, [0], [1], [1], [1], 1).advance(1)
