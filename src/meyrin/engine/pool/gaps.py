"""Where room has opened in a profile since the waiting jobs were last asked.

A job that could not start earlier a moment ago can do so now only where something was given
back: just before its own reservation, which is one look, or in a gap that has opened or grown.
Gaps are noted by size class (powers of two), and only those that are long enough for the
shortest job waiting in the class; so a pass asks few jobs to search, and tells them where.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from meyrin.engine.compiled import lean
from meyrin.engine.pool.profile import END, HEAD, NOBODY, Profile, release

CLASSES = 31
KEPT = 2**15  # gaps of one pass; beyond them everybody searches everything
SEEN = 2**12  # places of a table of gaps noted lately
LENGTHS = 64


class Gaps(NamedTuple):
    """Gaps of this pass and of the last: rows `turn[0]` and its other of `first`, `end`, `chain`.

    `of_class[row, c]` is the last gap of a class, `chain` leads to the others; `seen` finds a gap
    noted lately again, by its moment and `size_class`. `noted[row]` above
    KEPT says that gaps were lost. A class is known by the fewest processors and the shortest
    limit that wait in it: `least` and `shortest`; `next_least` and `next_shortest` collect them
    anew. `hint[a, b]`: no job of 2^a processors and 2^b length starts before this moment.
    """

    first: npt.NDArray[np.int32]
    size_class: npt.NDArray[np.int8]
    seen: npt.NDArray[np.int32]
    end: npt.NDArray[np.int64]
    chain: npt.NDArray[np.int32]
    of_class: npt.NDArray[np.int32]
    noted: npt.NDArray[np.int64]
    turn: npt.NDArray[np.int64]
    least: npt.NDArray[np.int64]
    shortest: npt.NDArray[np.int64]
    next_least: npt.NDArray[np.int64]
    next_shortest: npt.NDArray[np.int64]
    hint: npt.NDArray[np.int32]


def new_gaps() -> Gaps:
    """No gaps noted, nobody waiting."""
    return Gaps(
        first=np.full((2, KEPT), NOBODY, np.int32),
        size_class=np.zeros((2, KEPT), np.int8),
        seen=np.zeros(SEEN, np.int32),
        end=np.zeros((2, KEPT), np.int64),
        chain=np.full((2, KEPT), NOBODY, np.int32),
        of_class=np.full((2, CLASSES), NOBODY, np.int32),
        noted=np.zeros(2, np.int64),
        turn=np.zeros(1, np.int64),
        least=np.full(CLASSES, END),
        shortest=np.full(CLASSES, END),
        next_least=np.full(CLASSES, END),
        next_shortest=np.full(CLASSES, END),
        hint=np.full((CLASSES + 1, LENGTHS), NOBODY, np.int32),
    )


@lean
def class_of(number: int) -> int:
    """The power of two at or below a positive number."""
    power = 0
    for step in (32, 16, 8, 4, 2, 1):
        if number >> step:
            number >>= step
            power += step
    return power


@lean
def begin_pass(g: Gaps, p: Profile) -> None:
    """Forget the gaps of the pass before the last, and where nothing fits."""
    g.turn[0] = 1 - g.turn[0]
    row = g.turn[0]
    for i in range(min(g.noted[row], KEPT)):
        release(p, g.first[row, i])
    g.noted[row] = 0
    g.of_class[row] = NOBODY
    for a in range(CLASSES + 1):
        for b in range(LENGTHS):
            if g.hint[a, b] != NOBODY:
                release(p, g.hint[a, b])
                g.hint[a, b] = NOBODY
    g.next_least[:] = END
    g.next_shortest[:] = END


@lean
def still_waits(g: Gaps, processors: int, limit: int) -> None:
    """Tell the next pass that such a job waits."""
    c = class_of(processors)
    g.next_least[c] = min(g.next_least[c], processors)
    g.next_shortest[c] = min(g.next_shortest[c], limit)


@lean
def newly_waits(g: Gaps, processors: int, limit: int) -> None:
    """A job joined between two passes."""
    c = class_of(processors)
    g.least[c] = min(g.least[c], processors)
    g.shortest[c] = min(g.shortest[c], limit)


@lean
def end_pass(g: Gaps) -> None:
    """Know the classes as they are after it."""
    for c in range(CLASSES):
        g.least[c] = g.next_least[c]
        g.shortest[c] = g.next_shortest[c]


@lean
def note(g: Gaps, p: Profile, first: int, last: int) -> None:
    """Note every gap that touches the moments from `first` to `last`, where room opened."""
    for c in range(CLASSES):
        if g.least[c] == END:
            continue
        level = g.least[c]
        k = first
        while p.free[k] >= level and k != p.at[HEAD] and p.free[p.prev[k]] >= level:
            k = p.prev[k]
        while True:
            left = k
            while k != NOBODY and p.free[k] >= level:
                k = p.next[k]
            end = p.time[k] if k != NOBODY else END
            if left != k and end - p.time[left] >= g.shortest[c]:
                _note(g, p, c, left, end)
            while k != NOBODY and p.free[k] < level and p.time[k] < p.time[last]:
                k = p.next[k]
            if k == NOBODY or p.time[k] >= p.time[last]:
                break


@lean
def _note(g: Gaps, p: Profile, c: int, first: int, end: Any) -> None:
    row = g.turn[0]
    i = g.noted[row]
    place = (first * CLASSES + c) % SEEN
    seen = g.seen[place]
    if seen < min(i, KEPT) and g.first[row, seen] == first and g.size_class[row, seen] == c:
        g.end[row, seen] = max(g.end[row, seen], end)
        return
    if i >= KEPT:
        g.noted[row] = KEPT + 1
        return
    g.noted[row] = i + 1
    p.held[first] += 1
    g.first[row, i] = first
    g.end[row, i] = end
    g.size_class[row, i] = c
    g.seen[place] = i
    g.chain[row, i] = g.of_class[row, c]
    g.of_class[row, c] = i


@lean
def earlier(g: Gaps, p: Profile, own: int, processors: int, limit: int) -> Any:
    """The earliest moment before its own to which a waiting job can move; NOBODY if none."""
    head = p.at[HEAD]
    if own == head:
        return NOBODY
    best = own
    while best != head and p.free[p.prev[best]] >= processors:
        best = p.prev[best]
    if g.noted[0] > KEPT or g.noted[1] > KEPT:
        best = _window(p, head, END, own, best, limit, processors)
    else:
        c = class_of(processors)
        for row in range(2):
            i = g.of_class[row, c]
            while i != NOBODY:
                first, end = g.first[row, i], g.end[row, i]
                if p.time[first] < p.time[head]:
                    first = head
                if p.time[first] < p.time[best] and end - p.time[first] >= limit:
                    best = _window(p, first, end, own, best, limit, processors)
                i = g.chain[row, i]
    return best if best != own else NOBODY


@lean
def _window(
    p: Profile, first: Any, end: Any, own: int, best: int, limit: int, processors: int
) -> Any:
    """The first window from `first` on that begins before `best` and before `end`; else `best`."""
    found = k = first
    end = min(end, p.time[best])
    while k != own and p.time[found] < end:
        after = p.next[k]
        if p.free[k] < processors:
            found = after
        elif p.time[after] - p.time[found] >= limit:
            return found
        k = after
    return best
