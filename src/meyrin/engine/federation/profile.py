"""What comes free at each site, by when it should at the latest: running jobs and closures.

The sorted list in blocks of `engine.pool.running` (Bayer and McCreight 1972), one for each site,
all in one set of arrays, so that a kernel can go from site to site.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from meyrin.engine.compiled import inner
from meyrin.engine.federation.records import Records, record

BLOCK = 128
Ints = npt.NDArray[np.int64]


COMES = record(end="i8", amount="i8")
"""So many accelerators come free then."""
PART = record(filled="i8", total="i8", unused="i8")
"""A block of so many entries with so many accelerators together; and, of no block in particular,
a list of blocks to take."""


class Profile(NamedTuple):
    """`order[site, :used[site]]` names a site's blocks from early to late; block b has its entries
    from index b * BLOCK on. The first `top[0]` of `unused` are blocks to take.
    """

    entry: Records
    block: Records
    order: Ints
    used: Ints
    top: Ints


def new_profile(entries: Ints) -> Profile:
    """Nothing runs; room for so many different times at each site."""
    # two neighbours always hold more than half a block together
    blocks = 4 * np.asarray(entries, np.int64) // BLOCK + 4
    whole = int(blocks.sum())
    parts = np.zeros(whole, PART)
    parts["unused"] = np.arange(whole)[::-1]
    return Profile(
        entry=np.zeros(whole * BLOCK, COMES),
        block=parts,
        order=np.zeros((len(blocks), int(blocks.max())), np.int64),
        used=np.zeros(len(blocks), np.int64),
        top=np.array([whole]),
    )


@inner
def add(p: Profile, site: int, end: int, count: int) -> None:
    """So many more come free at `end`."""
    if p.used[site] == 0:
        _open_block(p, site, 0)
    place = _block_of(p, site, end)
    block = p.order[site, place]
    if p.block[block].filled == BLOCK:
        _split(p, site, place)
        if p.entry[block * BLOCK + p.block[block].filled - 1].end < end:
            block = p.order[site, place + 1]
    first = block * BLOCK
    last = first + p.block[block].filled
    p.block[block].total += count
    at = last
    while at > first and p.entry[at - 1].end > end:
        at -= 1
    if at > first and p.entry[at - 1].end == end:
        p.entry[at - 1].amount += count
        return
    for i in range(last, at, -1):
        p.entry[i].end = p.entry[i - 1].end
        p.entry[i].amount = p.entry[i - 1].amount
    p.entry[at].end = end
    p.entry[at].amount = count
    p.block[block].filled += 1


@inner
def remove(p: Profile, site: int, end: int, count: int) -> None:
    """Take back what `add` was told."""
    place = _block_of(p, site, end)
    block = p.order[site, place]
    at = block * BLOCK
    while p.entry[at].end < end:
        at += 1
    p.block[block].total -= count
    p.entry[at].amount -= count
    if p.entry[at].amount > 0:
        return
    p.block[block].filled -= 1
    for i in range(at, block * BLOCK + p.block[block].filled):
        p.entry[i].end = p.entry[i + 1].end
        p.entry[i].amount = p.entry[i + 1].amount
    if p.used[site] > 1:
        _merge(p, site, place)


@inner
def shadow(p: Profile, site: int, free: int, needed: int) -> tuple[int, int]:
    """When `needed` are free for sure, and how many more than that are free then.

    `needed` is more than `free` and at most what is free once nothing runs.
    """
    place = 0
    while free + p.block[p.order[site, place]].total < needed:
        free += p.block[p.order[site, place]].total
        place += 1
    at = p.order[site, place] * BLOCK
    while True:
        free += p.entry[at].amount
        if free >= needed:
            return p.entry[at].end, free - needed
        at += 1


@inner
def _block_of(p: Profile, site: int, end: int) -> Any:
    """The place of the first block whose last time is not before `end`, or of the last block."""
    low, high = 0, p.used[site] - 1
    while low < high:
        middle = (low + high) >> 1
        block = p.order[site, middle]
        if p.entry[block * BLOCK + p.block[block].filled - 1].end < end:
            low = middle + 1
        else:
            high = middle
    return low


@inner
def _open_block(p: Profile, site: int, place: int) -> Any:
    """A new, empty block at this place in a site's order."""
    p.top[0] -= 1
    block = p.block[p.top[0]].unused
    p.block[block].filled = 0
    p.block[block].total = 0
    for i in range(p.used[site], place, -1):
        p.order[site, i] = p.order[site, i - 1]
    p.order[site, place] = block
    p.used[site] += 1
    return block


@inner
def _split(p: Profile, site: int, place: int) -> None:
    """Move the later half of a full block into a new one behind it."""
    old, new = p.order[site, place], _open_block(p, site, place + 1)
    half = BLOCK // 2
    moved = 0
    for i in range(half):
        p.entry[new * BLOCK + i].end = p.entry[old * BLOCK + half + i].end
        p.entry[new * BLOCK + i].amount = p.entry[old * BLOCK + half + i].amount
        moved += p.entry[new * BLOCK + i].amount
    p.block[old].filled = half
    p.block[new].filled = half
    p.block[new].total = moved
    p.block[old].total -= moved


@inner
def _merge(p: Profile, site: int, place: int) -> None:
    """Join the block with a neighbour if both fill half a block at most, or one of them nothing."""
    for left in (place - 1, place):
        if left < 0 or left + 1 >= p.used[site]:
            continue
        old, gone = p.order[site, left], p.order[site, left + 1]
        least = min(p.block[old].filled, p.block[gone].filled)
        if least == 0 or p.block[old].filled + p.block[gone].filled <= BLOCK // 2:
            for i in range(p.block[gone].filled):
                p.entry[old * BLOCK + p.block[old].filled + i].end = p.entry[gone * BLOCK + i].end
                p.entry[old * BLOCK + p.block[old].filled + i].amount = p.entry[
                    gone * BLOCK + i
                ].amount
            p.block[old].filled += p.block[gone].filled
            p.block[old].total += p.block[gone].total
            p.block[p.top[0]].unused = gone
            p.top[0] += 1
            p.used[site] -= 1
            for i in range(left + 1, p.used[site]):
                p.order[site, i] = p.order[site, i + 1]
            return
