"""Where room has opened in a profile since the waiting jobs were last asked.

A job that could not start earlier a moment ago can do so now only where something was given
back: just before its own reservation, which is one look, or in a gap that has opened or grown.
Gaps are noted by size class (two to each doubling), and only those that are long enough for the
shortest job waiting in the class; so a pass asks few jobs to search, and tells them where. Where
many wait, gaps of a class are also told apart by length: nobody asks a shorter class than its own
limit's, and a gap that has been filled meanwhile goes to a shorter class or away.

The gaps of one class and length stand in a heap by time, so that nobody looks at those behind its
own reservation, which are nearly all: a skew heap (Sleator and Tarjan 1986), from whose midst a gap
leaves as easily as from its top. A gap of the last pass is for those who were asked before it
opened; in log order, so that nobody behind the first whom it is not for looks at it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from meyrin.engine.compiled import inner
from meyrin.engine.pool.classes import class_of
from meyrin.engine.pool.profile import END, HEAD, NOBODY, Profile, release

CLASSES = 64  # of size, at most
ANY = 63  # the length class of all gaps while few wait: to find the class costs more then
LENGTHS = 64
TOPS = CLASSES * LENGTHS
LONGEST = 62  # the class of whatever is longer than every limit
# Binary digits behind the first that a class tells apart. With fewer, gaps are asked in vain, the
# more the longer the queue; with more, each gap is noted in more classes.
SIZE_DIGITS = 1
LENGTH_DIGITS = 2
FEWEST = 2**12  # gaps of one pass, and places of the table of those noted lately, at the least
MOST_KEPT = 2**22  # beyond as many everybody searches everything


class Gaps(NamedTuple):
    """Gaps of this pass and of the last: rows `turn[0]` and its other of `first`, `end`, `heap`.

    `heap[row]` names at `_top(c, b)` the first gap of size class c and length class b (ANY where
    `by_length` is 0), and at `_beneath(i)` and behind it the two gaps beneath gap i.
    `soonest[row, c, b]` is the time of the first one; bit b of `lengths[row, c]` says that there is
    one. `by` is who opened a gap: the job that moved, NOBODY for one that ended. Lengths of class
    `shortest_class[0]` and below share one class.
    `seen` finds a gap noted lately again, by its moment and `size_class`. `noted[row]` above
    the room says that gaps were lost, `opened[row]` that anything was given back. A class is known
    by the fewest processors and the shortest limit that wait in it: `least` and `shortest`;
    `next_least` and `next_shortest` collect them anew. `still` holds places left to look at, and
    `asked[0]` counts the gaps that were looked at.
    """

    first: npt.NDArray[np.int32]
    size_class: npt.NDArray[np.int8]
    by: npt.NDArray[np.int32]
    seen: npt.NDArray[np.int32]
    end: npt.NDArray[np.int64]
    heap: npt.NDArray[np.int32]
    still: npt.NDArray[np.int32]
    asked: npt.NDArray[np.int64]
    soonest: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    noted: npt.NDArray[np.int64]
    opened: npt.NDArray[np.int64]
    turn: npt.NDArray[np.int64]
    by_length: npt.NDArray[np.int64]
    shortest_class: npt.NDArray[np.int64]
    least: npt.NDArray[np.int64]
    shortest: npt.NDArray[np.int64]
    next_least: npt.NDArray[np.int64]
    next_shortest: npt.NDArray[np.int64]


def new_gaps(jobs: int, machine: int, longest: int) -> Gaps:
    """No gaps noted, nobody waiting of so many jobs of at most these processors and this limit.

    What is not used of the room for gaps takes no memory.
    """
    kept = min(max(8 * jobs, FEWEST), MOST_KEPT)
    seen = 1 << (kept // 4 - 1).bit_length()
    heap = np.empty((2, TOPS + 2 * kept), np.int32)
    heap[:, :TOPS] = NOBODY
    sizes = machine.bit_length() << SIZE_DIGITS
    lengths = (longest.bit_length() - 1) << LENGTH_DIGITS
    return Gaps(
        first=np.empty((2, kept), np.int32),
        size_class=np.empty((2, kept), np.int8),
        by=np.empty((2, kept), np.int32),
        seen=np.zeros(seen, np.int32),
        end=np.empty((2, kept), np.int64),
        heap=heap,
        still=np.empty(kept + 1, np.int32),
        asked=np.zeros(1, np.int64),
        soonest=np.full((2, sizes, LENGTHS), END),
        lengths=np.zeros((2, sizes), np.int64),
        noted=np.zeros(2, np.int64),
        opened=np.zeros(2, np.int64),
        turn=np.zeros(1, np.int64),
        by_length=np.zeros(1, np.int64),
        shortest_class=np.array([max(lengths - LONGEST, 0)]),
        least=np.full(sizes, END),
        shortest=np.full(sizes, END),
        next_least=np.full(sizes, END),
        next_shortest=np.full(sizes, END),
    )


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
    for c in range(g.least.size):
        if g.soonest[row, c, ANY] != END:
            _empty(g, row, c, ANY)
        if g.lengths[row, c]:
            for b in range(ANY):
                _empty(g, row, c, b)
            g.lengths[row, c] = 0


@inner
def anything_opened(g: Gaps) -> bool:
    """Whether anybody could move: else all reservations are the earliest as they stand."""
    return bool(g.opened[0] + g.opened[1] > 0)


@inner
def still_waits(g: Gaps, processors: int, limit: int) -> None:
    """Tell the next pass that such a job waits."""
    c = class_of(processors, SIZE_DIGITS)
    g.next_least[c] = min(g.next_least[c], processors)
    g.next_shortest[c] = min(g.next_shortest[c], limit)


@inner
def newly_waits(g: Gaps, processors: int, limit: int) -> None:
    """A job joined between two passes."""
    c = class_of(processors, SIZE_DIGITS)
    g.least[c] = min(g.least[c], processors)
    g.shortest[c] = min(g.shortest[c], limit)


@inner
def end_pass(g: Gaps) -> None:
    """Know the classes as they are after it."""
    for c in range(g.least.size):
        g.least[c] = g.next_least[c]
        g.shortest[c] = g.next_shortest[c]
        g.next_least[c] = END
        g.next_shortest[c] = END


@inner
def note(g: Gaps, p: Profile, first: int, last: int, by: int) -> None:
    """Note every gap that touches the moments from `first` to `last`, where room opened."""
    g.opened[g.turn[0]] = 1
    fewest = most = p.free[first]
    k = p.next[first]
    while k != last:
        fewest = min(fewest, p.free[k])
        most = max(most, p.free[k])
        k = p.next[k]
    # the fewer processors a class needs, the further its gap reaches: on from the last one's ends
    left, right = first, last
    c = class_of(most, SIZE_DIGITS)
    while c >= 0:
        level = g.least[c]
        if level <= fewest:
            while left != p.at[HEAD] and p.free[p.prev[left]] >= level:
                left = p.prev[left]
            while right != NOBODY and p.free[right] >= level:
                right = p.next[right]
            end = p.time[right] if right != NOBODY else END
            if end - p.time[left] >= g.shortest[c]:
                _note(g, p, c, left, end, by)
        elif level <= most:
            _note_each(g, p, c, first, last, by)
        c -= 1


@inner
def _note_each(g: Gaps, p: Profile, c: int, first: int, last: int, by: int) -> None:
    """Note the gaps of a class for which not all the room that opened is enough."""
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
            _note(g, p, c, left, end, by)
        while k != NOBODY and p.free[k] < level and p.time[k] < p.time[last]:
            k = p.next[k]
        if k == NOBODY or p.time[k] >= p.time[last]:
            break


@inner
def _note(g: Gaps, p: Profile, c: int, first: int, end: Any, by: int) -> None:
    row = g.turn[0]
    i = g.noted[row]
    kept = g.first.shape[1]
    place = (first * g.least.size + c) & (g.seen.size - 1)
    seen = g.seen[place]
    if seen < min(i, kept) and g.first[row, seen] == first and g.size_class[row, seen] == c:
        if end <= g.end[row, seen] or not g.by_length[0]:
            g.end[row, seen] = max(g.end[row, seen], end)
            g.by[row, seen] = by
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
    g.by[row, i] = by
    g.seen[place] = i
    _add(g, p, row, c, _length_class(g, end - p.time[first]) if g.by_length[0] else ANY, i)


@inner
def _length_class(g: Gaps, length: int) -> Any:
    return min(max(class_of(length, LENGTH_DIGITS) - g.shortest_class[0], 0), LONGEST)


@inner
def _top(c: int, b: int) -> int:
    return c * LENGTHS + b


@inner
def _beneath(i: int) -> int:
    return TOPS + 2 * i


@inner
def _empty(g: Gaps, row: int, c: int, b: int) -> None:
    g.heap[row, _top(c, b)] = NOBODY
    g.soonest[row, c, b] = END


@inner
def _add(g: Gaps, p: Profile, row: int, c: int, b: int, i: int) -> None:
    g.heap[row, _beneath(i)] = NOBODY
    g.heap[row, _beneath(i) + 1] = NOBODY
    top = _top(c, b)
    g.heap[row, top] = _joined(g, p, row, g.heap[row, top], i)
    g.soonest[row, c, b] = min(g.soonest[row, c, b], p.time[g.first[row, i]])
    if b != ANY:
        g.lengths[row, c] |= 1 << b


@inner
def _joined(g: Gaps, p: Profile, row: int, one: int, other: int) -> Any:
    """The first gap of two heaps that are one from now on; NOBODY is a heap of none."""
    if one == NOBODY:
        return other
    if other == NOBODY:
        return one
    if p.time[g.first[row, other]] < p.time[g.first[row, one]]:
        one, other = other, one
    top = one
    while True:
        place = _beneath(one)
        beneath = g.heap[row, place + 1]
        g.heap[row, place + 1] = g.heap[row, place]
        if beneath == NOBODY:
            g.heap[row, place] = other
            return top
        if p.time[g.first[row, other]] < p.time[g.first[row, beneath]]:
            beneath, other = other, beneath
        g.heap[row, place] = beneath
        one = beneath


@inner
def earlier(g: Gaps, p: Profile, job: int, own: int, processors: int, limit: int) -> Any:
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
        c = class_of(processors, SIZE_DIGITS)
        for row in range(2):
            if g.soonest[row, c, ANY] < p.time[best]:
                best = _ask(g, p, row, c, ANY, job, own, best, limit, processors)
            left = g.lengths[row, c]
            if left == 0:
                continue
            b = _length_class(g, limit)
            left >>= b
            while left:
                if left & 1 and g.soonest[row, c, b] < p.time[best]:
                    best = _ask(g, p, row, c, b, job, own, best, limit, processors)
                b += 1
                left >>= 1
    return best if best != own else NOBODY


@inner
def _ask(
    g: Gaps,
    p: Profile,
    row: int,
    c: int,
    b: int,
    job: int,
    own: int,
    best: int,
    limit: int,
    processors: int,
) -> Any:
    """`best`, or the earlier window that the gaps of one heap offer.

    A gap that has become too short for its class goes to another, or away.
    """
    top = _top(c, b)
    g.still[0] = top
    waiting = 1
    while waiting:
        waiting -= 1
        place = g.still[waiting]
        i = g.heap[row, place]
        while i != NOBODY and p.time[g.first[row, i]] < p.time[best]:
            g.asked[0] += 1
            best, length = _ask_one(g, p, row, c, b, i, job, own, best, limit, processors)
            if length == END or (length and _length_class(g, length) >= b):
                g.still[waiting] = _beneath(i) + 1
                waiting += 1
                place = _beneath(i)
            else:
                one, other = g.heap[row, _beneath(i)], g.heap[row, _beneath(i) + 1]
                g.heap[row, place] = _joined(g, p, row, one, other)
                g.size_class[row, i] = NOBODY  # so that it is noted anew if it grows again
                if length >= g.shortest[c]:
                    _add(g, p, row, c, _length_class(g, length), i)
            i = g.heap[row, place]
    i = g.heap[row, top]
    if i != NOBODY:
        g.soonest[row, c, b] = p.time[g.first[row, i]]
    else:
        g.soonest[row, c, b] = END
        if b != ANY:
            g.lengths[row, c] &= ~(1 << b)
    return best


@inner
def _ask_one(
    g: Gaps,
    p: Profile,
    row: int,
    c: int,
    b: int,
    i: int,
    job: int,
    own: int,
    best: int,
    limit: int,
    processors: int,
) -> tuple[Any, Any]:
    """`best` or the earlier window that a gap offers, and its length: END as far as is known."""
    first, end = g.first[row, i], g.end[row, i]
    if p.time[first] < p.time[p.at[HEAD]]:
        first = p.at[HEAD]
    if end <= p.time[first] or (row != g.turn[0] and g.by[row, i] <= job):
        return best, 0
    if end - p.time[first] < limit:
        return best, END
    found = _window(p, first, end, own, best, limit, processors)
    if found != best or b == ANY:
        return found, END
    return best, _longest(p, first, end, g.least[c])


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
