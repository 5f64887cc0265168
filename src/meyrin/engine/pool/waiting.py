"""The waiting queue of backfill: the first job, in a fixed order, that may start without delay.

A tree over all places of the order, sixteen children a node, keeps the fewest processors and the
shortest limit below each node, so that a search enters only parts that could hold such a job.
The idea is a segment tree (Bentley 1977); the fan-out keeps a node's children in one cache line.
It keeps how far need and limit stay below a bound, so that a place of zeros is one where nobody
waits: memory that comes as zeros costs nothing where nobody ever does.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from meyrin.engine.compiled import inner

FAN = 16
SHORT = 64  # up to here a plain list of the waiting jobs is faster than the tree
MOST_NEED = 2**31  # one more than a machine may have
MOST_LIMIT = 2**62


class Tree(NamedTuple):
    """`small` is MOST_NEED less the fewest processors below a node, `brief` MOST_LIMIT less the
    shortest limit; `base[k]` is where level k begins in both, and level 0 holds the places."""

    small: npt.NDArray[np.int32]
    brief: npt.NDArray[np.int64]
    base: npt.NDArray[np.int64]


def new_tree(places: int) -> Tree:
    """A tree of so many places, with nobody waiting."""
    sizes = [places]
    while sizes[-1] > FAN:
        sizes.append(-(-sizes[-1] // FAN))
    base = np.cumsum([0, *sizes])
    return Tree(np.zeros(base[-1], np.int32), np.zeros(base[-1], np.int64), base)


class Short(NamedTuple):
    """The waiting jobs in log order, while they are few."""

    job: npt.NDArray[np.int32]
    need: npt.NDArray[np.int32]
    limit: npt.NDArray[np.int64]


def new_short() -> Short:
    """An empty list."""
    return Short(np.zeros(SHORT, np.int32), np.zeros(SHORT, np.int32), np.zeros(SHORT, np.int64))


@inner
def enter(tree: Tree, place: int, need: int, limit: int) -> None:
    """A job waits at this place."""
    small, brief = MOST_NEED - need, MOST_LIMIT - limit
    for level in range(tree.base.size - 1):
        node = tree.base[level] + place
        if level and tree.small[node] >= small and tree.brief[node] >= brief:
            return
        tree.small[node] = max(tree.small[node], small)
        tree.brief[node] = max(tree.brief[node], brief)
        place //= FAN


@inner
def leave(tree: Tree, place: int) -> None:
    """The job at this place waits no longer."""
    tree.small[place] = 0
    tree.brief[place] = 0
    for level in range(tree.base.size - 2):
        place //= FAN
        first = tree.base[level] + place * FAN
        small, brief = 0, 0
        for child in range(first, min(first + FAN, tree.base[level + 1])):
            small = max(small, tree.small[child])
            brief = max(brief, tree.brief[child])
        node = tree.base[level + 1] + place
        if tree.small[node] == small and tree.brief[node] == brief:
            return
        tree.small[node] = small
        tree.brief[node] = brief


@inner
def first_fit(tree: Tree, place: int, free: int, slack: int, spare: int) -> int:
    """The first place from `place` on with a job that may start; -1 if there is none.

    It needs at most `spare` processors, or at most `free` and its limit is at most `slack`.
    """
    level = 0
    in_spare, in_free, in_slack = MOST_NEED - spare, MOST_NEED - free, MOST_LIMIT - slack
    while True:
        base, stop = tree.base[level], tree.base[level + 1]
        node = base + place
        end = min(base + (place // FAN + 1) * FAN, stop)
        while node < end:
            small = tree.small[node]
            if small >= in_spare or (small >= in_free and tree.brief[node] >= in_slack):
                break
            node += 1
        if node < end:
            place = node - base
            if level == 0:
                return place
            level -= 1
            place *= FAN
        elif end == stop:
            return -1
        else:
            place = (end - base) // FAN
            level += 1
