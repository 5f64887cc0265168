"""The processors that run, by when they should be free at the latest: start plus limit.

A sorted list in blocks, as the leaves of a B-tree (Bayer and McCreight 1972): with few running
jobs it is one sorted array, with a million the search skips whole blocks by their sums.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from meyrin.engine.compiled import inner

BLOCK = 32


class Running(NamedTuple):
    """Times in ascending order with the processors that come free at each.

    `order[:used[0]]` names the blocks from early to late; block b holds `filled[b]` entries from
    index b * BLOCK on, `total[b]` processors together. `unused[:used[1]]` are blocks to take.
    """

    end: npt.NDArray[np.int64]
    processors: npt.NDArray[np.int64]
    filled: npt.NDArray[np.int64]
    total: npt.NDArray[np.int64]
    order: npt.NDArray[np.int64]
    unused: npt.NDArray[np.int64]
    used: npt.NDArray[np.int64]


def new_running(capacity: int) -> Running:
    """Nothing runs; room for `capacity` different times."""
    # two neighbours always hold more than half a block together
    blocks = 4 * capacity // BLOCK + 4
    return Running(
        end=np.zeros(blocks * BLOCK, np.int64),
        processors=np.zeros(blocks * BLOCK, np.int64),
        filled=np.zeros(blocks, np.int64),
        total=np.zeros(blocks, np.int64),
        order=np.zeros(blocks, np.int64),
        unused=np.arange(blocks)[::-1].copy(),
        used=np.array([0, blocks]),
    )


@inner
def add(run: Running, end: int, processors: int) -> None:
    """`processors` more come free at `end`."""
    if run.used[0] == 0:
        _open_block(run, 0)
    place = _block_of(run, end)
    block = run.order[place]
    if run.filled[block] == BLOCK:
        _split(run, place)
        if run.end[block * BLOCK + run.filled[block] - 1] < end:
            block = run.order[place + 1]
    first = block * BLOCK
    last = first + run.filled[block]
    run.total[block] += processors
    at = last
    while at > first and run.end[at - 1] > end:
        at -= 1
    if at > first and run.end[at - 1] == end:
        run.processors[at - 1] += processors
        return
    for i in range(last, at, -1):
        run.end[i] = run.end[i - 1]
        run.processors[i] = run.processors[i - 1]
    run.end[at] = end
    run.processors[at] = processors
    run.filled[block] += 1


@inner
def remove(run: Running, end: int, processors: int) -> None:
    """Take back what `add` was told."""
    place = _block_of(run, end)
    block = run.order[place]
    at = block * BLOCK
    while run.end[at] < end:
        at += 1
    run.total[block] -= processors
    run.processors[at] -= processors
    if run.processors[at] > 0:
        return
    run.filled[block] -= 1
    for i in range(at, block * BLOCK + run.filled[block]):
        run.end[i] = run.end[i + 1]
        run.processors[i] = run.processors[i + 1]
    if run.used[0] > 1:
        _merge(run, place)


@inner
def shadow(run: Running, free: int, needed: int) -> tuple[int, int]:
    """When `needed` processors are free for sure, and how many are spare then.

    `needed` is more than `free` and at most what is free once nothing runs.
    """
    place = 0
    while free + run.total[run.order[place]] < needed:
        free += run.total[run.order[place]]
        place += 1
    at = run.order[place] * BLOCK
    while True:
        free += run.processors[at]
        if free >= needed:
            return run.end[at], free - needed
        at += 1


@inner
def _block_of(run: Running, end: int) -> Any:
    """The place of the first block whose last time is not before `end`, or of the last block."""
    low, high = 0, run.used[0] - 1
    while low < high:
        middle = (low + high) >> 1
        block = run.order[middle]
        if run.end[block * BLOCK + run.filled[block] - 1] < end:
            low = middle + 1
        else:
            high = middle
    return low


@inner
def _open_block(run: Running, place: int) -> Any:
    """A new, empty block at this place in the order."""
    run.used[1] -= 1
    block = run.unused[run.used[1]]
    run.filled[block] = 0
    run.total[block] = 0
    for i in range(run.used[0], place, -1):
        run.order[i] = run.order[i - 1]
    run.order[place] = block
    run.used[0] += 1
    return block


@inner
def _split(run: Running, place: int) -> None:
    """Move the later half of a full block into a new one behind it."""
    old, new = run.order[place], _open_block(run, place + 1)
    half = BLOCK // 2
    _move(run, old * BLOCK + half, new * BLOCK, half)
    run.filled[old] = half
    run.filled[new] = half
    moved = 0
    for i in range(half):
        moved += run.processors[new * BLOCK + i]
    run.total[new] = moved
    run.total[old] -= moved


@inner
def _merge(run: Running, place: int) -> None:
    """Join the block with a neighbour if both fill half a block at most, or one of them nothing."""
    for left in (place - 1, place):
        if left < 0 or left + 1 >= run.used[0]:
            continue
        old, gone = run.order[left], run.order[left + 1]
        least = min(run.filled[old], run.filled[gone])
        if least == 0 or run.filled[old] + run.filled[gone] <= BLOCK // 2:
            _move(run, gone * BLOCK, old * BLOCK + run.filled[old], run.filled[gone])
            run.filled[old] += run.filled[gone]
            run.total[old] += run.total[gone]
            run.unused[run.used[1]] = gone
            run.used[1] += 1
            run.used[0] -= 1
            for i in range(left + 1, run.used[0]):
                run.order[i] = run.order[i + 1]
            return


@inner
def _move(run: Running, source: int, target: int, count: int) -> None:
    for i in range(count):
        run.end[target + i] = run.end[source + i]
        run.processors[target + i] = run.processors[source + i]
