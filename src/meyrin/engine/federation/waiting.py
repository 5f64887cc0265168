"""Waiting jobs in order of rank, and which of them a pass has to look at at all.

A tree over ranks (16 children a node) knows of each lane, below each node, the smallest size, the
shortest limit and the sites that anybody may use; `Room` says of each site what could be of use to
anybody now. Together they find the next job that might start or get a reservation, so that a pass
over a deep queue costs what it changes. Who is found may still turn out to be of no use; nobody
who could be is passed over, because room only shrinks during a pass.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from meyrin.engine.compiled import lean

FAN, BITS = 16, 4
NONE = 2**31 - 1
Ints = npt.NDArray[np.int64]
Shorts = npt.NDArray[np.int32]


class Tree(NamedTuple):
    """`job[rank]` waits, -1 none. Level k has `width[k]` nodes, level 0 is the ranks; the nodes of
    level k >= 1 begin at `first[k]`, and each lane has its own. `waiting` says how many by lane."""

    job: Shorts
    size: npt.NDArray[np.int32]
    work: Ints
    allowed: Ints
    width: Ints
    first: Ints
    waiting: Ints


class Room(NamedTuple):
    """By lane and site: a job of at most `any` may be of use, one of at most `short` if its limit
    times its home's speed is at most `window` (by site). `most` is the largest of both by lane."""

    any: Ints
    short: Ints
    window: Ints
    most: Ints


def new_tree(jobs: int, lanes: int) -> Tree:
    """Nobody waits; ranks from 0 to `jobs` - 1."""
    width = [max(jobs, 1)]
    while width[-1] > 1:
        width.append(-(-width[-1] // FAN))
    first = np.concatenate(([0, 0], np.cumsum(width[1:]))).astype(np.int64)
    nodes = (lanes, max(int(first[-1]), 1))
    return Tree(
        job=np.full(width[0], -1, np.int32),
        size=np.full(nodes, NONE, np.int32),
        work=np.full(nodes, 2**62, np.int64),
        allowed=np.zeros(nodes, np.int64),
        width=np.array(width, np.int64),
        first=first,
        waiting=np.zeros(lanes, np.int64),
    )


def new_room(lanes: int, places: int) -> Room:
    """Nothing is of use."""
    return Room(
        any=np.zeros((lanes, places), np.int64),
        short=np.zeros((lanes, places), np.int64),
        window=np.zeros(places, np.int64),
        most=np.zeros(lanes, np.int64),
    )


@lean
def put(t: Tree, lane: int, rank: int, job: int, size: int, work: int, allowed: int) -> None:
    """The job waits from now on."""
    t.job[rank] = job
    t.waiting[lane] += 1
    at = rank
    for level in range(1, len(t.width)):
        at >>= BITS
        node = t.first[level] + at
        t.size[lane, node] = min(t.size[lane, node], size)
        t.work[lane, node] = min(t.work[lane, node], work)
        t.allowed[lane, node] |= allowed


@lean
def above(t: Tree, lane: int, at: int, level: int) -> None:
    """Work out the nodes above a changed one of this level, as far up as anything changes."""
    while level + 1 < len(t.width):
        begin = at >> BITS << BITS
        end = min(begin + FAN, t.width[level])
        size, work, allowed = NONE, 2**62, 0
        for child in range(begin, end):
            node = t.first[level] + child
            size = min(size, t.size[lane, node])
            work = min(work, t.work[lane, node])
            allowed |= t.allowed[lane, node]
        at >>= BITS
        level += 1
        node = t.first[level] + at
        same = t.size[lane, node] == size and t.work[lane, node] == work
        if same and t.allowed[lane, node] == allowed:
            return
        t.size[lane, node] = size
        t.work[lane, node] = work
        t.allowed[lane, node] = allowed


@lean
def useful(r: Room, lane: int, size: int, work: int, allowed: int) -> Any:
    """Whether a job, or anybody below a node, may be of use at any site."""
    if size > r.most[lane] or allowed == 0:
        return False
    for site in range(len(r.window)):
        if (allowed >> site) & 1:
            if size <= r.any[lane, site]:
                return True
            if size <= r.short[lane, site] and work <= r.window[site]:
                return True
    return False


@lean
def measure(r: Room, lane: int) -> None:
    """Work out `most` of a lane."""
    most = 0
    for site in range(len(r.window)):
        most = max(most, r.any[lane, site], r.short[lane, site])
    r.most[lane] = most
