"""Conservative backfill on identical processors (Mu'alem and Feitelson 2001), with compression.

Every job gets the earliest reservation that delays nobody's. At each instant with a completion
every waiting job, in log order, gives up its reservation and takes the earliest one, which is
never later. A job starts at its reservation, also where nothing else happens then.

A pass looks at every waiting job but searches only where room has opened (gaps.py): a look a job
and a short walk a move where few move. Where thousands wait and many of them move at once, each
asks all gaps of its size class, and a pass grows faster than the queue.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from meyrin.engine.compiled import lean
from meyrin.engine.pool.completions import Completions, next_end, pop, push
from meyrin.engine.pool.gaps import (
    Gaps,
    begin_pass,
    class_of,
    earlier,
    end_pass,
    new_gaps,
    newly_waits,
    note,
    still_waits,
)
from meyrin.engine.pool.jobs import NEXT, NOW, SHADOW, STARTED, WAITING, Jobs
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
)

DUE = SHADOW  # the counter of the first reservation among the waiting jobs


class Conservative(NamedTuple):
    """Everything between two instants; `queue` holds the waiting jobs in log order.

    `first[j]` and `last[j]` are the moments of job j's reservation.
    """

    jobs: Jobs
    completions: Completions
    profile: Profile
    gaps: Gaps
    queue: npt.NDArray[np.int32]
    first: npt.NDArray[np.int32]
    last: npt.NDArray[np.int32]
    at: npt.NDArray[np.int64]


def new_state(jobs: Jobs, completions: Any, at: npt.NDArray[np.int64], machine: int) -> Any:
    """The state before the first instant."""
    count = jobs.submit.size
    at[DUE] = END
    return Conservative(
        jobs=jobs,
        completions=completions,
        profile=new_profile(2 * count + 8, machine),
        gaps=new_gaps(),
        queue=np.zeros(count, np.int32),
        first=np.zeros(count, np.int32),
        last=np.zeros(count, np.int32),
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
            _compress(s, now)
        elif at[DUE] == now:
            _start_due(s, now)
        while at[NEXT] < count and jobs.submit[at[NEXT]] == now:
            _arrive(s, at[NEXT], now)
            at[NEXT] += 1


@lean
def _complete(s: Conservative, now: int) -> None:
    """Give back what the jobs that end now held beyond."""
    p = s.profile
    begin_pass(s.gaps, p)
    while s.completions.size[0] and s.completions.end[0] == now:
        job = pop(s.completions)
        last = s.last[job]
        if p.time[last] > now:
            give_back(p, p.at[HEAD], last, s.jobs.processors[job])
            note(s.gaps, p, p.at[HEAD], last)
        release(p, last)


@lean
def _compress(s: Conservative, now: int) -> None:
    """Each waiting job in log order moves to the earliest time; those that reach now start."""
    at, jobs, p, gaps = s.at, s.jobs, s.profile, s.gaps
    kept = 0
    due = END
    for i in range(at[WAITING]):
        job = s.queue[i]
        processors, limit = jobs.processors[job], jobs.limit[job]
        target = earlier(gaps, p, s.first[job], processors, limit)
        if target != NOBODY:
            _move(s, job, target)
        begin = p.time[s.first[job]]
        if begin == now:
            _start(s, job, now)
        else:
            still_waits(gaps, processors, limit)
            due = min(due, begin)
            s.queue[kept] = job
            kept += 1
    at[WAITING] = kept
    at[DUE] = due
    end_pass(gaps)


@lean
def _move(s: Conservative, job: int, target: int) -> None:
    p = s.profile
    processors, limit = s.jobs.processors[job], s.jobs.limit[job]
    first, last = s.first[job], s.last[job]
    give_back(p, first, last, processors)
    s.first[job] = target
    s.last[job] = reserve(p, target, limit, processors)
    opened = first if p.time[s.last[job]] <= p.time[first] else s.last[job]
    note(s.gaps, p, opened, last)
    release(p, first)
    release(p, last)


@lean
def _start(s: Conservative, job: int, now: int) -> None:
    s.jobs.start[job] = now
    s.at[STARTED] += 1
    push(s.completions, now + s.jobs.duration[job], job)
    release(s.profile, s.first[job])


@lean
def _start_due(s: Conservative, now: int) -> None:
    """A reservation has come that no completion announced."""
    at, p = s.at, s.profile
    kept = 0
    due = END
    for i in range(at[WAITING]):
        job = s.queue[i]
        begin = p.time[s.first[job]]
        if begin == now:
            _start(s, job, now)
        else:
            due = min(due, begin)
            s.queue[kept] = job
            kept += 1
    at[WAITING] = kept
    at[DUE] = due


@lean
def _arrive(s: Conservative, job: int, now: int) -> None:
    """The job takes the earliest reservation behind everybody's."""
    at, p, hint = s.at, s.profile, s.gaps.hint
    processors, limit = s.jobs.processors[job], s.jobs.limit[job]
    a, b = class_of(processors), class_of(limit)
    from_here = hint[a, b]
    if from_here == NOBODY or p.time[from_here] < now:
        from_here = p.at[HEAD]
    first = earliest(p, from_here, limit, processors)
    s.first[job] = first
    s.last[job] = reserve(p, first, limit, processors)
    if p.time[first] == now:
        _start(s, job, now)
        return
    # whoever needs as much for as long fits no earlier, until something is given back
    a += processors > 1 << a
    b += limit > 1 << b
    known = hint[a, b]
    if known == NOBODY or p.time[known] < p.time[first]:
        p.held[first] += 1
        hint[a, b] = first
        if known != NOBODY:
            release(p, known)
    newly_waits(s.gaps, processors, limit)
    s.queue[at[WAITING]] = job
    at[WAITING] += 1
    at[DUE] = min(at[DUE], p.time[first])
