"""Free processors over the time to come: a chain of moments at which they change.

Each reservation holds its first and its last moment, so that taking it back and asking what is
free just before it need no search. A moment that nobody holds any more leaves the chain.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from meyrin.engine.compiled import inner

END = 2**62
NOBODY = -1

# Places in `at`.
HEAD = 0  # the moment that stands for now
UNUSED = 1  # first of the moments to take again, chained by `next`
FRESH = 2  # the first moment that was never used


class Profile(NamedTuple):
    """`free[k]` processors from `time[k]` to `time[next[k]]`; `held[k]` counts the holders.

    `begin[k]` is for whoever keeps a list of what begins at the moment: NOBODY when it is made.
    """

    time: npt.NDArray[np.int64]
    free: npt.NDArray[np.int32]
    next: npt.NDArray[np.int32]
    prev: npt.NDArray[np.int32]
    held: npt.NDArray[np.int32]
    begin: npt.NDArray[np.int32]
    at: npt.NDArray[np.int64]


def new_profile(moments: int, machine: int) -> Profile:
    """All `machine` processors free for ever; room for so many moments.

    What is not used of the room takes no memory.
    """
    made = Profile(
        time=np.empty(moments, np.int64),
        free=np.empty(moments, np.int32),
        next=np.empty(moments, np.int32),
        prev=np.empty(moments, np.int32),
        held=np.empty(moments, np.int32),
        begin=np.empty(moments, np.int32),
        at=np.array([0, NOBODY, 1]),
    )
    made.time[0], made.free[0] = -END, machine
    made.next[0] = made.prev[0] = made.begin[0] = NOBODY
    made.held[0] = 1  # now never leaves
    return made


@inner
def advance_to(p: Profile, now: int) -> None:
    """Forget what was before `now`."""
    head = p.at[HEAD]
    while p.next[head] != NOBODY and p.time[p.next[head]] <= now:
        later = p.next[head]
        p.held[later] += 1
        p.prev[later] = NOBODY
        p.at[HEAD] = later
        p.held[head] -= 1
        if p.held[head] == 0:
            p.next[head] = p.at[UNUSED]
            p.at[UNUSED] = head
        head = later
    p.time[head] = now


@inner
def release(p: Profile, moment: int) -> None:
    """One holder less; the last one takes the moment out of the chain."""
    p.held[moment] -= 1
    if p.held[moment] == 0:
        before, after = p.prev[moment], p.next[moment]
        if before != NOBODY:  # else it lies in the past, out of the chain
            p.next[before] = after
            if after != NOBODY:
                p.prev[after] = before
        p.next[moment] = p.at[UNUSED]
        p.at[UNUSED] = moment


@inner
def reserve(p: Profile, first: int, length: int, processors: int) -> Any:
    """Take processors from the moment `first` on; hold both ends; the moment of the end."""
    end = p.time[first] + length
    p.held[first] += 1
    k = first
    while True:
        p.free[k] -= processors
        after = p.next[k]
        if after == NOBODY or p.time[after] >= end:
            break
        k = after
    if after == NOBODY or p.time[after] > end:
        after = _insert(p, k, end, p.free[k] + processors)
    p.held[after] += 1
    return after


@inner
def shift(p: Profile, target: int, first: int, last: int, length: int, processors: int) -> Any:
    """Take a reservation from `first` to `last` to begin at `target`, an earlier moment.

    It holds both its new ends; who holds the old ones still does. The moment of the new end, which
    lies behind `first`: only the two edges of the reservation are touched.
    """
    end = p.time[target] + length
    p.held[target] += 1
    k = target
    while k != first:
        p.free[k] -= processors
        k = p.next[k]
    made = last
    before = p.prev[made]
    while p.time[before] >= end:
        made = before
        p.free[made] += processors
        before = p.prev[made]
    if p.time[made] > end:
        made = _insert(p, before, end, p.free[before] + processors)
    p.held[made] += 1
    return made


@inner
def give_back(p: Profile, first: int, last: int, processors: int) -> None:
    """Free the processors between two moments; who holds the moments still does."""
    k = first
    while k != last:
        p.free[k] += processors
        k = p.next[k]


@inner
def earliest(p: Profile, first: int, length: int, processors: int) -> Any:
    """The first moment from `first` on from which so many stay free for `length`."""
    found = first
    k = first
    while True:
        after = p.next[k]
        if p.free[k] < processors:
            found = after
        elif after == NOBODY or p.time[after] - p.time[found] >= length:
            return found
        k = after


@inner
def _insert(p: Profile, before: int, time: int, free: int) -> Any:
    made = p.at[UNUSED]
    if made == NOBODY:
        made = p.at[FRESH]
        p.at[FRESH] += 1
    else:
        p.at[UNUSED] = p.next[made]
    after = p.next[before]
    p.time[made] = time
    p.free[made] = free
    p.held[made] = 0
    p.begin[made] = NOBODY
    p.prev[made] = before
    p.next[made] = after
    p.next[before] = made
    if after != NOBODY:
        p.prev[after] = made
    return made
