"""What comes free at each site, by when it should at the latest: running jobs and closures.

The sorted list in blocks of `engine.pool.running` (Bayer and McCreight 1972), one for each site,
all in one set of arrays, so that a kernel can go from site to site.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from meyrin.engine.compiled import lean

BLOCK = 128
Ints = npt.NDArray[np.int64]


class Profile(NamedTuple):
    """`order[site, :used[site]]` names a site's blocks from early to late; block b holds
    `filled[b]` entries from index b * BLOCK on, `total[b]` accelerators together.
    `unused[:top[0]]` are blocks to take.
    """

    end: Ints
    amount: Ints
    filled: Ints
    total: Ints
    order: npt.NDArray[np.int64]
    used: Ints
    unused: Ints
    top: Ints


def new_profile(entries: Ints) -> Profile:
    """Nothing runs; room for so many different times at each site."""
    # two neighbours always hold more than half a block together
    blocks = 4 * np.asarray(entries, np.int64) // BLOCK + 4
    whole = int(blocks.sum())
    return Profile(
        end=np.zeros(whole * BLOCK, np.int64),
        amount=np.zeros(whole * BLOCK, np.int64),
        filled=np.zeros(whole, np.int64),
        total=np.zeros(whole, np.int64),
        order=np.zeros((len(blocks), int(blocks.max())), np.int64),
        used=np.zeros(len(blocks), np.int64),
        unused=np.arange(whole)[::-1].copy(),
        top=np.array([whole]),
    )


@lean
def add(p: Profile, site: int, end: int, count: int) -> None:
    """So many more come free at `end`."""
    if p.used[site] == 0:
        _open_block(p, site, 0)
    place = _block_of(p, site, end)
    block = p.order[site, place]
    if p.filled[block] == BLOCK:
        _split(p, site, place)
        if p.end[block * BLOCK + p.filled[block] - 1] < end:
            block = p.order[site, place + 1]
    first = block * BLOCK
    last = first + p.filled[block]
    p.total[block] += count
    at = last
    while at > first and p.end[at - 1] > end:
        at -= 1
    if at > first and p.end[at - 1] == end:
        p.amount[at - 1] += count
        return
    for i in range(last, at, -1):
        p.end[i] = p.end[i - 1]
        p.amount[i] = p.amount[i - 1]
    p.end[at] = end
    p.amount[at] = count
    p.filled[block] += 1


@lean
def remove(p: Profile, site: int, end: int, count: int) -> None:
    """Take back what `add` was told."""
    place = _block_of(p, site, end)
    block = p.order[site, place]
    at = block * BLOCK
    while p.end[at] < end:
        at += 1
    p.total[block] -= count
    p.amount[at] -= count
    if p.amount[at] > 0:
        return
    p.filled[block] -= 1
    for i in range(at, block * BLOCK + p.filled[block]):
        p.end[i] = p.end[i + 1]
        p.amount[i] = p.amount[i + 1]
    if p.used[site] > 1:
        _merge(p, site, place)


@lean
def shadow(p: Profile, site: int, free: int, needed: int) -> tuple[int, int]:
    """When `needed` are free for sure, and how many more than that are free then.

    `needed` is more than `free` and at most what is free once nothing runs.
    """
    place = 0
    while free + p.total[p.order[site, place]] < needed:
        free += p.total[p.order[site, place]]
        place += 1
    at = p.order[site, place] * BLOCK
    while True:
        free += p.amount[at]
        if free >= needed:
            return p.end[at], free - needed
        at += 1


@lean
def _block_of(p: Profile, site: int, end: int) -> Any:
    """The place of the first block whose last time is not before `end`, or of the last block."""
    low, high = 0, p.used[site] - 1
    while low < high:
        middle = (low + high) >> 1
        block = p.order[site, middle]
        if p.end[block * BLOCK + p.filled[block] - 1] < end:
            low = middle + 1
        else:
            high = middle
    return low


@lean
def _open_block(p: Profile, site: int, place: int) -> Any:
    """A new, empty block at this place in a site's order."""
    p.top[0] -= 1
    block = p.unused[p.top[0]]
    p.filled[block] = 0
    p.total[block] = 0
    for i in range(p.used[site], place, -1):
        p.order[site, i] = p.order[site, i - 1]
    p.order[site, place] = block
    p.used[site] += 1
    return block


@lean
def _split(p: Profile, site: int, place: int) -> None:
    """Move the later half of a full block into a new one behind it."""
    old, new = p.order[site, place], _open_block(p, site, place + 1)
    half = BLOCK // 2
    moved = 0
    for i in range(half):
        p.end[new * BLOCK + i] = p.end[old * BLOCK + half + i]
        p.amount[new * BLOCK + i] = p.amount[old * BLOCK + half + i]
        moved += p.amount[new * BLOCK + i]
    p.filled[old] = half
    p.filled[new] = half
    p.total[new] = moved
    p.total[old] -= moved


@lean
def _merge(p: Profile, site: int, place: int) -> None:
    """Join the block with a neighbour if both fill half a block at most, or one of them nothing."""
    for left in (place - 1, place):
        if left < 0 or left + 1 >= p.used[site]:
            continue
        old, gone = p.order[site, left], p.order[site, left + 1]
        least = min(p.filled[old], p.filled[gone])
        if least == 0 or p.filled[old] + p.filled[gone] <= BLOCK // 2:
            for i in range(p.filled[gone]):
                p.end[old * BLOCK + p.filled[old] + i] = p.end[gone * BLOCK + i]
                p.amount[old * BLOCK + p.filled[old] + i] = p.amount[gone * BLOCK + i]
            p.filled[old] += p.filled[gone]
            p.total[old] += p.total[gone]
            p.unused[p.top[0]] = gone
            p.top[0] += 1
            p.used[site] -= 1
            for i in range(left + 1, p.used[site]):
                p.order[site, i] = p.order[site, i + 1]
            return
