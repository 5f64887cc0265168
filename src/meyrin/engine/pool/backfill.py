"""EASY backfill on identical processors (Lifka 1995; Mu'alem and Feitelson 2001).

At each instant: completions, then arrivals, then one pass. The pass starts jobs in log order
until one does not fit, the head. The head's shadow time is when enough processors are free for
it by the limits of the running jobs. A job behind the head may start if it fits now and either
ends by the shadow time, by its limit, or needs only processors that the head leaves spare.
They are tried in log order, or by shortest limit first (easy-sjf), ties in log order.

Two facts save most of the work and change no answer. Without a completion nothing about the head
or the free processors improves, so only the new arrivals are tried. And a pass only uses up
processors, so that whoever did not fit once need not be tried again.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from meyrin.engine.compiled import inner, lean
from meyrin.engine.pool.completions import Completions, next_end, pop, push
from meyrin.engine.pool.jobs import (
    FREE,
    HEAD,
    LISTED,
    NEXT,
    NOW,
    SHADOW,
    SPARE,
    STARTED,
    WAITING,
    Jobs,
)
from meyrin.engine.pool.running import Running, add, remove, shadow
from meyrin.engine.pool.waiting import SHORT, Short, Tree, enter, first_fit, leave


class Backfill(NamedTuple):
    """Everything between two instants. `rank` and `ranked` are empty unless shortest go first.

    `rank[j]` is job j's place by limit, `ranked[p]` the job at place p.
    """

    jobs: Jobs
    completions: Completions
    running: Running
    tree: Tree
    short: Short
    rank: npt.NDArray[np.int32]
    ranked: npt.NDArray[np.int32]
    at: npt.NDArray[np.int64]


@lean
def advance(s: Backfill, events: int) -> None:
    """Deal with at most so many instants."""
    at, jobs = s.at, s.jobs
    count = jobs.submit.size
    for _ in range(events):
        ended = next_end(s.completions)
        now = min(ended, jobs.submit[at[NEXT]]) if at[NEXT] < count else ended
        if at[NEXT] == count and s.completions.size[0] == 0:
            return
        at[NOW] = now
        while s.completions.size[0] and s.completions.end[0] == now:
            job = pop(s.completions)
            at[FREE] += jobs.processors[job]
            remove(s.running, jobs.start[job] + jobs.limit[job], jobs.processors[job])
        if ended == now and at[WAITING]:
            _arrivals(s, now)
            _full_pass(s, now)
        else:
            _pass_of_arrivals(s, now)


@inner
def _start(s: Backfill, job: int, now: int) -> None:
    jobs = s.jobs
    jobs.start[job] = now
    s.at[FREE] -= jobs.processors[job]
    s.at[STARTED] += 1
    push(s.completions, now + jobs.duration[job], job)
    add(s.running, now + jobs.limit[job], jobs.processors[job])


@inner
def _arrivals(s: Backfill, now: int) -> None:
    """All jobs submitted now join the queue."""
    at = s.at
    while at[NEXT] < s.jobs.submit.size and s.jobs.submit[at[NEXT]] == now:
        _join(s, at[NEXT])
        at[NEXT] += 1


@inner
def _join(s: Backfill, job: int) -> None:
    at, jobs = s.at, s.jobs
    if at[WAITING] == 0:
        at[HEAD] = job
        at[LISTED] = 1
    if at[LISTED] and at[WAITING] == SHORT:
        at[LISTED] = 0
        for i in range(SHORT):
            _enter(s, s.short.job[i])
    if at[LISTED]:
        i = at[WAITING]
        s.short.job[i] = job
        s.short.need[i] = jobs.processors[job]
        s.short.limit[i] = jobs.limit[job]
    else:
        _enter(s, job)
    at[WAITING] += 1


@inner
def _enter(s: Backfill, job: int) -> None:
    place = s.rank[job] if s.rank.size else job
    enter(s.tree, place, s.jobs.processors[job], s.jobs.limit[job])


@inner
def _leave(s: Backfill, job: int) -> None:
    leave(s.tree, s.rank[job] if s.rank.size else job)


@inner
def _pass_of_arrivals(s: Backfill, now: int) -> None:
    """Nothing ended while jobs waited: start arrivals that fit, try the others for backfill."""
    at, jobs = s.at, s.jobs
    count = jobs.submit.size
    while at[WAITING] == 0 and at[NEXT] < count and jobs.submit[at[NEXT]] == now:
        job = at[NEXT]
        if jobs.processors[job] > at[FREE]:
            _join(s, job)
            _see_shadow(s)
        else:
            _start(s, job, now)
        at[NEXT] += 1
    first = at[NEXT]
    while at[NEXT] < count and jobs.submit[at[NEXT]] == now:
        at[NEXT] += 1
    if s.rank.size and at[NEXT] - first > 1:
        at[NEXT] = first
        _arrivals(s, now)
        _backfill(s, now)
        return
    for job in range(first, at[NEXT]):
        if _may_start(s, job, now):
            _start_early(s, job, now)
        else:
            _join(s, job)


@inner
def _may_start(s: Backfill, job: int, now: int) -> Any:
    need = s.jobs.processors[job]
    if need > s.at[FREE]:
        return False
    return need <= s.at[SPARE] or now + s.jobs.limit[job] <= s.at[SHADOW]


@inner
def _start_early(s: Backfill, job: int, now: int) -> None:
    """Start a job before the head."""
    _start(s, job, now)
    if now + s.jobs.limit[job] > s.at[SHADOW]:
        s.at[SPARE] -= s.jobs.processors[job]


@inner
def _see_shadow(s: Backfill) -> None:
    s.at[SHADOW], s.at[SPARE] = shadow(s.running, s.at[FREE], s.jobs.processors[s.at[HEAD]])


@inner
def _full_pass(s: Backfill, now: int) -> None:
    """Start the heads that fit, then backfill."""
    at, jobs, short = s.at, s.jobs, s.short
    if at[LISTED]:
        gone = 0
        while gone < at[WAITING] and short.need[gone] <= at[FREE]:
            _start(s, short.job[gone], now)
            gone += 1
        if gone:
            at[WAITING] -= gone
            for i in range(at[WAITING]):
                short.job[i] = short.job[i + gone]
                short.need[i] = short.need[i + gone]
                short.limit[i] = short.limit[i + gone]
            at[HEAD] = short.job[0]
    else:
        while at[WAITING] and jobs.processors[at[HEAD]] <= at[FREE]:
            _start(s, at[HEAD], now)
            _leave(s, at[HEAD])
            at[WAITING] -= 1
            while at[WAITING] and jobs.start[at[HEAD]] >= 0:
                at[HEAD] += 1
    if at[WAITING]:
        _see_shadow(s)
        _backfill(s, now)


@inner
def _backfill(s: Backfill, now: int) -> None:
    """Start every job behind the head that delays it by nothing."""
    if s.at[FREE] == 0 or s.at[WAITING] < 2:
        return
    if not s.at[LISTED]:
        _search_tree(s, now)
    elif s.rank.size:
        _shortest_of_list(s, now)
    else:
        _sweep_list(s, now)


@inner
def _sweep_list(s: Backfill, now: int) -> None:
    at, short = s.at, s.short
    kept = 1
    for i in range(1, at[WAITING]):
        job = short.job[i]
        fits = short.need[i] <= at[FREE]
        if fits and (short.need[i] <= at[SPARE] or now + short.limit[i] <= at[SHADOW]):
            _start_early(s, job, now)
        else:
            if kept < i:
                short.job[kept] = job
                short.need[kept] = short.need[i]
                short.limit[kept] = short.limit[i]
            kept += 1
    at[WAITING] = kept


@inner
def _shortest_of_list(s: Backfill, now: int) -> None:
    at, short = s.at, s.short
    while at[FREE]:
        best = 0
        for i in range(1, at[WAITING]):
            if (best == 0 or short.limit[i] < short.limit[best]) and _may_start(
                s, short.job[i], now
            ):
                best = i
        if best == 0:
            return
        _start_early(s, short.job[best], now)
        at[WAITING] -= 1
        for i in range(best, at[WAITING]):
            short.job[i] = short.job[i + 1]
            short.need[i] = short.need[i + 1]
            short.limit[i] = short.limit[i + 1]


@inner
def _search_tree(s: Backfill, now: int) -> None:
    at, tree = s.at, s.tree
    place = 0 if s.rank.size else at[HEAD] + 1
    while at[FREE] and place >= 0:
        spare = min(at[SPARE], at[FREE])
        place = first_fit(tree, place, at[FREE], at[SHADOW] - now, spare)
        if place >= 0:
            job = s.ranked[place] if s.rank.size else place
            _start_early(s, job, now)
            leave(tree, place)
            at[WAITING] -= 1
    # half the list's length apart, so that a queue about as long does not go to and fro
    if at[WAITING] <= SHORT // 4:
        _list_again(s)


@inner
def _list_again(s: Backfill) -> None:
    """Take the waiting jobs out of the tree into the short list."""
    at, jobs, short = s.at, s.jobs, s.short
    at[LISTED] = 1
    job = at[HEAD]
    for i in range(at[WAITING]):
        while jobs.start[job] >= 0:
            job += 1
        _leave(s, job)
        short.job[i] = job
        short.need[i] = jobs.processors[job]
        short.limit[i] = jobs.limit[job]
        job += 1
