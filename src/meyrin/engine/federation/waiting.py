"""Waiting jobs in order of rank, and which of them a pass has to look at at all.

A tree over ranks (16 children a node) knows of each lane, below each node, the smallest size, the
shortest limit and the sites that anybody may use; `ROOM` says of each site what could be of use to
anybody now. Together they find the next job that might start or get a reservation, so that a pass
over a deep queue costs what it changes. Who is found may still turn out to be of no use; nobody
who could be is passed over, because room only shrinks during a pass.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from meyrin.engine.compiled import inner
from meyrin.engine.federation.records import Records, record

FAN, BITS = 16, 4
NONE = 2**31 - 1
NOBODY = 2**62  # work of nobody


NODE = record(work="i8", allowed="i8", size="i4")
"""Of those who wait below it."""
LEVEL = record(width="i8", first="i8")
"""So many nodes of a lane, from an index on."""
LANE = record(waiting="i8", found="i8", most="i8")
"""So many wait; the next rank to look at; the largest `any` or `short` of all its sites."""
ROOM = record(any="i8", short="i8", window="i8")
"""By lane and site: a job of at most `any` may be of use, one of at most `short` if its limit times
its home's speed is at most `window`."""


class Tree(NamedTuple):
    """`job[rank]` waits, -1 none. Level 0 is the ranks; from level 1 on each lane has its nodes."""

    job: npt.NDArray[np.int32]
    node: Records
    level: Records


def new_tree(jobs: int, lanes: int) -> Tree:
    """Nobody waits; ranks from 0 to `jobs` - 1."""
    width = [max(jobs, 1)]
    while width[-1] > 1:
        width.append(-(-width[-1] // FAN))
    first = np.concatenate(([0, 0], np.cumsum(width[1:])))
    level = np.zeros(len(width), LEVEL)
    level["width"], level["first"] = width, first[: len(width)]
    node = np.zeros((lanes, max(int(first[-1]), 1)), NODE)
    node["size"], node["work"] = NONE, NOBODY
    return Tree(job=np.full(width[0], -1, np.int32), node=node, level=level)


@inner
def put(t: Tree, lane: int, rank: int, job: int, size: int, work: int, allowed: int) -> None:
    """The job waits from now on."""
    t.job[rank] = job
    at = rank
    for level in range(1, len(t.level)):
        at >>= BITS
        node = t.node[lane, t.level[level].first + at]
        node.size = min(node.size, size)
        node.work = min(node.work, work)
        node.allowed |= allowed


@inner
def above(t: Tree, lane: int, at: int, level: int) -> None:
    """Work out the nodes above a changed one of this level, as far up as anything changes."""
    while level + 1 < len(t.level):
        begin = at >> BITS << BITS
        end = min(begin + FAN, t.level[level].width)
        size, work, allowed = NONE, NOBODY, 0
        for child in range(begin, end):
            node = t.node[lane, t.level[level].first + child]
            size = min(size, node.size)
            work = min(work, node.work)
            allowed |= node.allowed
        at >>= BITS
        level += 1
        node = t.node[lane, t.level[level].first + at]
        if node.size == size and node.work == work and node.allowed == allowed:
            return
        node.size = size
        node.work = work
        node.allowed = allowed


@inner
def useful(room: Records, lane: int, most: int, size: int, work: int, allowed: int) -> Any:
    """Whether a job, or anybody below a node, may be of use at any site; `most` is the lane's."""
    if size > most or allowed == 0:
        return False
    for site in range(room.shape[1]):
        if (allowed >> site) & 1:
            here = room[lane, site]
            if size <= here.any:
                return True
            if size <= here.short and work <= here.window:
                return True
    return False


@inner
def measure(room: Records, lane: int) -> Any:
    """What `most` of a lane is."""
    most = 0
    for site in range(room.shape[1]):
        most = max(most, room[lane, site].any, room[lane, site].short)
    return most
