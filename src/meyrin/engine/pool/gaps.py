"""Where room has opened in a profile since the waiting jobs were last asked.

A job that could not start earlier a moment ago can do so now only where something was given
back: just before its own reservation, which is one look, or in a gap that has opened or grown.
Gaps are noted by size class (powers of two), and only those that are long enough for the
shortest job waiting in the class; so a pass asks few jobs to search, and tells them where. Where
many wait, gaps of a class are also told apart by length: nobody asks a shorter class than its own
limit's, and a gap that has been filled meanwhile goes to a shorter class or away.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from meyrin.engine.compiled import inner
from meyrin.engine.pool.profile import END, HEAD, NOBODY, Profile, release

CLASSES = 31
ANY = 63  # the length class of all gaps while few wait: to find the class costs more then
LENGTHS = 64
FEWEST = 2**12  # gaps of one pass, and places of the table of those noted lately, at the least
MOST_KEPT = 2**22  # beyond as many everybody searches everything


class Gaps(NamedTuple):
    """Gaps of this pass and of the last: rows `turn[0]` and its other of `first`, `end`, `chain`.

    `of_class[row, c, b]` is the last gap of 2^c processors and 2^b length (b is ANY where
    `by_length` is 0), `chain` leads to the others; bit b of `lengths[row, c]` says that there is
    one. `seen` finds a gap noted lately again, by its moment and `size_class`. `noted[row]` above
    the room says that gaps were lost, `opened[row]` that anything was given back. A class is known
    by the fewest processors and the shortest limit that wait in it: `least` and `shortest`;
    `next_least` and `next_shortest` collect them anew.
    """

    first: npt.NDArray[np.int32]
    size_class: npt.NDArray[np.int8]
    seen: npt.NDArray[np.int32]
    end: npt.NDArray[np.int64]
    chain: npt.NDArray[np.int32]
    of_class: npt.NDArray[np.int32]
    lengths: npt.NDArray[np.int64]
    noted: npt.NDArray[np.int64]
    opened: npt.NDArray[np.int64]
    turn: npt.NDArray[np.int64]
    by_length: npt.NDArray[np.int64]
    least: npt.NDArray[np.int64]
    shortest: npt.NDArray[np.int64]
    next_least: npt.NDArray[np.int64]
    next_shortest: npt.NDArray[np.int64]


def new_gaps(jobs: int) -> Gaps:
    """No gaps noted, nobody waiting. What is not used of the room for gaps takes no memory."""
    kept = min(max(8 * jobs, FEWEST), MOST_KEPT)
    seen = 1 << (kept - 1).bit_length()
    return Gaps(
        first=np.empty((2, kept), np.int32),
        size_class=np.empty((2, kept), np.int8),
        seen=np.zeros(seen, np.int32),
        end=np.empty((2, kept), np.int64),
        chain=np.empty((2, kept), np.int32),
        of_class=np.full((2, CLASSES, LENGTHS), NOBODY, np.int32),
        lengths=np.zeros((2, CLASSES), np.int64),
        noted=np.zeros(2, np.int64),
        opened=np.zeros(2, np.int64),
        turn=np.zeros(1, np.int64),
        by_length=np.zeros(1, np.int64),
        least=np.full(CLASSES, END),
        shortest=np.full(CLASSES, END),
        next_least=np.full(CLASSES, END),
        next_shortest=np.full(CLASSES, END),
    )


@inner
def class_of(number: int) -> int:
    """The power of two at or below a positive number."""
    power = 0
    for step in (32, 16, 8, 4, 2, 1):
        if number >> step:
            number >>= step
            power += step
    return power


@inner
def begin_pass(g: Gaps, p: Profile, by_length: bool) -> None:
    """Forget the gaps of the pass before the last; tell new ones apart by length or not."""
    g.by_length[0] = by_length
    g.turn[0] = 1 - g.turn[0]
    row = g.turn[0]
    g.opened[row] = 0
    if g.noted[row] == 0:
        return
    for i in range(min(g.noted[row], g.first.shape[1])):
        release(p, g.first[row, i])
    g.noted[row] = 0
    for c in range(CLASSES):
        g.of_class[row, c, ANY] = NOBODY
        if g.lengths[row, c]:
            g.of_class[row, c] = NOBODY
            g.lengths[row, c] = 0


@inner
def anything_opened(g: Gaps) -> bool:
    """Whether anybody could move: else all reservations are the earliest as they stand."""
    return bool(g.opened[0] + g.opened[1] > 0)


@inner
def still_waits(g: Gaps, processors: int, limit: int) -> None:
    """Tell the next pass that such a job waits."""
    c = class_of(processors)
    g.next_least[c] = min(g.next_least[c], processors)
    g.next_shortest[c] = min(g.next_shortest[c], limit)


@inner
def newly_waits(g: Gaps, processors: int, limit: int) -> None:
    """A job joined between two passes."""
    c = class_of(processors)
    g.least[c] = min(g.least[c], processors)
    g.shortest[c] = min(g.shortest[c], limit)


@inner
def end_pass(g: Gaps) -> None:
    """Know the classes as they are after it."""
    for c in range(CLASSES):
        g.least[c] = g.next_least[c]
        g.shortest[c] = g.next_shortest[c]
        g.next_least[c] = END
        g.next_shortest[c] = END


@inner
def note(g: Gaps, p: Profile, first: int, last: int) -> None:
    """Note every gap that touches the moments from `first` to `last`, where room opened."""
    g.opened[g.turn[0]] = 1
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


@inner
def _note(g: Gaps, p: Profile, c: int, first: int, end: Any) -> None:
    row = g.turn[0]
    i = g.noted[row]
    kept = g.first.shape[1]
    place = (first * CLASSES + c) & (g.seen.size - 1)
    seen = g.seen[place]
    if seen < min(i, kept) and g.first[row, seen] == first and g.size_class[row, seen] == c:
        if end <= g.end[row, seen] or not g.by_length[0]:
            g.end[row, seen] = max(g.end[row, seen], end)
            return
        # the smaller one stays where it is, and nobody asks it
        g.end[row, seen] = -END
    if i >= kept:
        g.noted[row] = kept + 1
        return
    g.noted[row] = i + 1
    p.held[first] += 1
    g.first[row, i] = first
    g.end[row, i] = end
    g.size_class[row, i] = c
    g.seen[place] = i
    _link(g, row, c, class_of(end - p.time[first]) if g.by_length[0] else ANY, i)


@inner
def _link(g: Gaps, row: int, c: int, b: int, i: int) -> None:
    g.chain[row, i] = g.of_class[row, c, b]
    g.of_class[row, c, b] = i
    if b != ANY:
        g.lengths[row, c] |= 1 << b


@inner
def earlier(g: Gaps, p: Profile, own: int, processors: int, limit: int) -> Any:
    """The earliest moment before its own to which a waiting job can move; NOBODY if none."""
    head = p.at[HEAD]
    if own == head:
        return NOBODY
    best = own
    while best != head and p.free[p.prev[best]] >= processors:
        best = p.prev[best]
    kept = g.first.shape[1]
    if g.noted[0] > kept or g.noted[1] > kept:
        best = _window(p, head, END, own, best, limit, processors)
    else:
        c = class_of(processors)
        for row in range(2):
            best = _ask_any(g, p, row, c, own, best, limit, processors)
            left = g.lengths[row, c]
            if left == 0:
                continue
            b = class_of(limit)
            left >>= b
            while left:
                if left & 1:
                    best = _ask(g, p, row, c, b, own, best, limit, processors)
                b += 1
                left >>= 1
    return best if best != own else NOBODY


@inner
def _ask_any(
    g: Gaps, p: Profile, row: int, c: int, own: int, best: int, limit: int, processors: int
) -> Any:
    """`best`, or the earlier window that the gaps of any length offer."""
    head = p.at[HEAD]
    i = g.of_class[row, c, ANY]
    while i != NOBODY:
        first, end = g.first[row, i], g.end[row, i]
        if p.time[first] < p.time[head]:
            first = head
        if p.time[first] < p.time[best] and end - p.time[first] >= limit:
            best = _window(p, first, end, own, best, limit, processors)
        i = g.chain[row, i]
    return best


@inner
def _ask(
    g: Gaps, p: Profile, row: int, c: int, b: int, own: int, best: int, limit: int, processors: int
) -> Any:
    """`best`, or the earlier window that the gaps of one chain offer.

    A gap that has become too short for its chain goes to another, or away.
    """
    head = p.at[HEAD]
    before = NOBODY
    i = g.of_class[row, c, b]
    while i != NOBODY:
        after = g.chain[row, i]
        first, end = g.first[row, i], g.end[row, i]
        if p.time[first] < p.time[head]:
            first = head
        length = 0
        gone = end <= p.time[first]
        if not gone and p.time[first] < p.time[best] and end - p.time[first] >= limit:
            found = _window(p, first, end, own, best, limit, processors)
            if found == best:
                length = _longest(p, first, end, g.least[c])
                gone = length < 1 << b
            best = found
        if not gone:
            before = i
        elif before != NOBODY:
            g.chain[row, before] = after
        else:
            g.of_class[row, c, b] = after
            if after == NOBODY:
                g.lengths[row, c] &= ~(1 << b)
        if gone:
            g.size_class[row, i] = NOBODY  # so that it is noted anew if it grows again
            if length >= g.shortest[c]:
                _link(g, row, c, class_of(length), i)
        i = after
    return best


@inner
def _longest(p: Profile, first: Any, end: Any, level: Any) -> Any:
    """The longest stretch that begins in a gap and has so many free; END if it goes on behind."""
    longest = 0
    found = k = first
    while k != NOBODY and p.time[k] < end:
        after = p.next[k]
        if p.free[k] < level:
            found = after
        elif after == NOBODY or p.time[after] >= end:
            if after == NOBODY or p.free[after] >= level:
                return END
            longest = max(longest, p.time[after] - p.time[found])
        else:
            longest = max(longest, p.time[after] - p.time[found])
        k = after
    return longest


@inner
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
