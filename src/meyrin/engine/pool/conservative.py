"""Conservative backfill on identical processors (Mu'alem and Feitelson 2001), with compression.

Every job gets the earliest reservation that delays nobody's. At each instant with a completion
every waiting job, in log order, gives up its reservation and takes the earliest one, which is
never later. A job starts at its reservation, also where nothing else happens then.

A completion that gives nothing back costs no pass: with exact limits nobody ever moves, and an
arrival searches only behind who needs no more (frontier.py). Else a pass looks at every waiting job
but searches only where room has opened (gaps.py). Where limits are too long and thousands wait,
most of them move at each completion, so that the moves alone grow faster than the square of the
queue, and that many steps is what keeping every reservation costs. A move is nearly always a step
to the moment before, since whoever the job waits for has moved as well; it touches the edges of its
reservation only, and takes as long in a long queue as in a short one. Decision 0016 has the
numbers, and why moves can't be put together.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from meyrin.engine.compiled import inner, lean
from meyrin.engine.pool.completions import Completions, next_end, pop, push
from meyrin.engine.pool.frontier import Frontier, behind, forget, know, new_frontier
from meyrin.engine.pool.gaps import (
    Gaps,
    anything_opened,
    begin_pass,
    earlier,
    end_pass,
    new_gaps,
    newly_waits,
    note,
    still_waits,
)
from meyrin.engine.pool.jobs import NEXT, NOW, SHADOW, SPARE, STARTED, WAITING, Jobs
from meyrin.engine.pool.profile import (
    END,
    HEAD,
    NOBODY,
    Profile,
    advance_to,
    earliest,
    give_back,
    new_profile,
    release,
    reserve,
    shift,
)

DUE = SHADOW  # the counter of the first reservation among the waiting jobs
QUEUED = SPARE  # the counter of places of the queue, of which some may have started
# waiting jobs from which on an arrival asks the frontier, and gaps are told apart by length
DEPTHS = (64, 512)
# Moments of a job at once, at most: two of its reservation, and those that it let go since the last
# pass but one began, two at each of two moves, one when it started and one when it ended: gaps,
# which are noted only where a reservation begins or ends, or now, may hold them that long.
MOMENTS = 8


class Conservative(NamedTuple):
    """Everything between two instants; `queue` holds the waiting jobs in log order.

    `first[j]` and `last[j]` are the moments of job j's reservation. `profile.begin[k]` is a
    waiting job whose reservation begins at moment k, from which `later` and `sooner` lead to the
    others.
    A job that starts leaves the queue at the next pass only. `moves` counts passes over the
    queue, jobs looked at and moves; `depths` is DEPTHS.
    """

    jobs: Jobs
    completions: Completions
    profile: Profile
    gaps: Gaps
    frontier: Frontier
    queue: npt.NDArray[np.int32]
    first: npt.NDArray[np.int32]
    last: npt.NDArray[np.int32]
    later: npt.NDArray[np.int32]
    sooner: npt.NDArray[np.int32]
    moves: npt.NDArray[np.int64]
    depths: npt.NDArray[np.int64]
    at: npt.NDArray[np.int64]


def new_state(jobs: Jobs, completions: Any, at: npt.NDArray[np.int64], machine: int) -> Any:
    """The state before the first instant."""
    count = jobs.submit.size
    at[DUE] = END
    longest = int(jobs.limit.max(initial=1))
    return Conservative(
        jobs=jobs,
        completions=completions,
        profile=new_profile(MOMENTS * count + 8, machine),
        gaps=new_gaps(count, machine, longest),
        frontier=new_frontier(count, machine, longest),
        queue=np.zeros(count, np.int32),
        first=np.zeros(count, np.int32),
        last=np.zeros(count, np.int32),
        later=np.zeros(count, np.int32),
        sooner=np.zeros(count, np.int32),
        moves=np.zeros(3, np.int64),
        depths=np.array(DEPTHS),
        at=at,
    )


@lean
def advance(s: Conservative, events: int) -> None:
    """Deal with at most so many instants."""
    at, jobs = s.at, s.jobs
    count = jobs.submit.size
    for _ in range(events):
        ended = next_end(s.completions)
        if at[NEXT] == count and s.completions.size[0] == 0 and at[WAITING] == 0:
            return
        now = min(ended, at[DUE])
        if at[NEXT] < count:
            now = min(now, jobs.submit[at[NEXT]])
        at[NOW] = now
        advance_to(s.profile, now)
        if ended == now:
            _complete(s, now)
            if anything_opened(s.gaps):
                _compress(s)
        if at[DUE] == now:
            _start_due(s, now)
        while at[NEXT] < count and jobs.submit[at[NEXT]] == now:
            _arrive(s, at[NEXT], now)
            at[NEXT] += 1


@inner
def _complete(s: Conservative, now: int) -> None:
    """Give back what the jobs that end now held beyond."""
    p = s.profile
    begin_pass(s.gaps, p, s.at[WAITING] >= s.depths[1])
    while s.completions.size[0] and s.completions.end[0] == now:
        job = pop(s.completions)
        last = s.last[job]
        if p.time[last] > now:
            give_back(p, p.at[HEAD], last, s.jobs.processors[job])
            note(s.gaps, p, p.at[HEAD], last, NOBODY)
        release(p, last)


@inner
def _compress(s: Conservative) -> None:
    """Each waiting job in log order moves to the earliest time."""
    at, jobs, p, gaps = s.at, s.jobs, s.profile, s.gaps
    forget(s.frontier)
    s.moves[0] += 1
    s.moves[1] += at[WAITING]
    kept = 0
    for i in range(at[QUEUED]):
        job = s.queue[i]
        if jobs.start[job] >= 0:
            continue
        processors, limit = jobs.processors[job], jobs.limit[job]
        target = earlier(gaps, p, job, s.first[job], processors, limit)
        if target != NOBODY:
            _move(s, job, target)
        still_waits(gaps, processors, limit)
        s.queue[kept] = job
        kept += 1
    at[QUEUED] = kept
    end_pass(gaps)


@inner
def _move(s: Conservative, job: int, target: int) -> None:
    p = s.profile
    processors, limit = s.jobs.processors[job], s.jobs.limit[job]
    first, last = s.first[job], s.last[job]
    s.moves[2] += 1
    _unlist(s, job)
    _list(s, job, target)
    if p.time[target] + limit > p.time[first]:  # as nearly always: a little earlier than it was
        opened = s.last[job] = shift(p, target, first, last, limit, processors)
    else:
        opened = first
        give_back(p, first, last, processors)
        s.last[job] = reserve(p, target, limit, processors)
    note(s.gaps, p, opened, last, job)
    release(p, first)
    release(p, last)


@inner
def _list(s: Conservative, job: int, moment: int) -> None:
    """A waiting job's reservation begins at this moment."""
    s.first[job] = moment
    other = s.profile.begin[moment]
    s.profile.begin[moment] = job
    s.later[job] = other
    s.sooner[job] = NOBODY
    if other != NOBODY:
        s.sooner[other] = job
    s.at[DUE] = min(s.at[DUE], s.profile.time[moment])


@inner
def _unlist(s: Conservative, job: int) -> None:
    before, after = s.sooner[job], s.later[job]
    if before != NOBODY:
        s.later[before] = after
    else:
        s.profile.begin[s.first[job]] = after
    if after != NOBODY:
        s.sooner[after] = before


@inner
def _start(s: Conservative, job: int, now: int) -> None:
    s.jobs.start[job] = now
    s.at[STARTED] += 1
    push(s.completions, now + s.jobs.duration[job], job)
    release(s.profile, s.first[job])


@inner
def _start_due(s: Conservative, now: int) -> None:
    """Start whose reservation begins now, and find the next one."""
    at, p = s.at, s.profile
    head = p.at[HEAD]
    job = s.profile.begin[head]
    s.profile.begin[head] = NOBODY
    while job != NOBODY:
        after = s.later[job]
        _start(s, job, now)
        at[WAITING] -= 1
        job = after
    at[DUE] = END
    if at[WAITING] == 0:
        at[QUEUED] = 0
        return
    k = head
    while s.profile.begin[k] == NOBODY:
        k = p.next[k]
    at[DUE] = p.time[k]


@inner
def _arrive(s: Conservative, job: int, now: int) -> None:
    """The job takes the earliest reservation behind everybody's."""
    at, p = s.at, s.profile
    processors, limit = s.jobs.processors[job], s.jobs.limit[job]
    deep = at[WAITING] >= s.depths[0]
    other = behind(s.frontier, processors, limit, now) if deep else NOBODY
    first = earliest(p, p.at[HEAD] if other == NOBODY else s.first[other], limit, processors)
    s.first[job] = first
    s.last[job] = reserve(p, first, limit, processors)
    if p.time[first] == now:
        _start(s, job, now)
        return
    if deep:
        know(s.frontier, job, processors, limit, p.time[first])
    newly_waits(s.gaps, processors, limit)
    _list(s, job, first)
    s.queue[at[QUEUED]] = job
    at[QUEUED] += 1
    at[WAITING] += 1
