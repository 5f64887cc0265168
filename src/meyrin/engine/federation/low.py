"""Preemptible jobs: they use what the others leave, and give way, the youngest first.

They change nothing for the others: their room counts as free there. Looked at in order of rank;
one that fits starts where most is left.
"""

from __future__ import annotations

from typing import Any

from meyrin.engine.compiled import lean
from meyrin.engine.federation.queue import following, join, leave
from meyrin.engine.federation.state import TIDY_FROM, World
from meyrin.engine.federation.steps import (
    from_checkpoint,
    log_hours,
    need,
    plan_end,
)
from meyrin.engine.federation.waiting import NONE, measure
from meyrin.engine.pool.completions import push


@lean
def low_pass(w: World, now: int) -> None:
    """After a pass: put off whoever is in the way, then start whoever fits."""
    st = w.state
    lane = len(st.tree.waiting) - 1
    for site in range(len(st.free)):
        while st.tail[site] >= 0 and st.free[site] < st.low_used[site]:
            _put_off(w, st.tail[site], site, now)
        st.room.any[lane, site] = max(0, st.free[site] - st.low_used[site])
    rank = -1
    while True:
        measure(st.room, lane)
        rank = following(w, lane, rank + 1)
        if rank == NONE:
            return
        job = st.tree.job[rank] + 0
        site = _roomiest(w, job, now)
        if site >= 0:
            leave(w, job)
            _start(w, job, site, now)
            st.room.any[lane, site] = max(0, st.free[site] - st.low_used[site])


@lean
def _roomiest(w: World, job: int, now: int) -> Any:
    st = w.state
    best, most = -1, -1.0
    for site in range(len(st.free)):
        if (w.jobs.allowed[job] >> site) & 1 == 0:
            continue
        if now < w.jobs.away[job] and site != w.jobs.home[job]:
            continue
        left = st.free[site] - st.low_used[site] - need(w, job, site)
        if left >= 0 and left / w.sites.machine[site] > most:
            best, most = site, left / w.sites.machine[site]
    return best


@lean
def _start(w: World, job: int, site: int, now: int) -> None:
    st = w.state
    wanted = need(w, job, site)
    ends = plan_end(w, job, site, wanted, now)
    if st.start[job] < 0:
        st.start[job] = now
    st.on[job] = site
    st.begun[job] = now
    st.ends[job] = ends
    st.low_used[site] += wanted
    st.before[job] = st.tail[site]
    st.behind[job] = -1
    if st.tail[site] >= 0:
        st.behind[st.tail[site]] = job
    st.tail[site] = job
    if st.heap.size[0] >= w.state.at[TIDY_FROM]:
        _forget_stale(w)
    push(st.heap, ends, job)


@lean
def _forget_stale(w: World) -> None:
    """Take out of the heap the ends of attempts that were put off."""
    st = w.state
    kept = 0
    size = st.heap.size[0]
    for i in range(size):
        job = st.heap.job[i]
        if job < 0 or st.ends[job] == st.heap.end[i]:
            st.heap.job[kept] = job
            st.heap.end[kept] = st.heap.end[i]
            kept += 1
    st.heap.size[0] = 0
    for i in range(kept):
        push(st.heap, st.heap.end[i], st.heap.job[i])


@lean
def _leave(w: World, job: int, site: int, wanted: int, now: int) -> None:
    st = w.state
    st.low_used[site] -= wanted
    log_hours(st.used, site, st.begun[job], now, wanted, w.terms.end_s)
    if st.behind[job] >= 0:
        st.before[st.behind[job]] = st.before[job]
    else:
        st.tail[site] = st.before[job]
    if st.before[job] >= 0:
        st.behind[st.before[job]] = st.behind[job]


@lean
def low_ended(w: World, job: int, site: int, wanted: int, now: int) -> None:
    """A preemptible job's attempt came to its end, good or bad."""
    _leave(w, job, site, wanted, now)
    w.state.ends[job] = -1


@lean
def _put_off(w: World, job: int, site: int, now: int) -> None:
    """The job gives way and waits again from its last checkpoint."""
    wanted = need(w, job, site)
    _leave(w, job, site, wanted, now)
    from_checkpoint(w, job, site, wanted, now)
    join(w, job)


@lean
def low_finish(w: World) -> None:
    """At the end of the run: count what those that still run have used."""
    st = w.state
    for site in range(len(st.free)):
        job = st.tail[site]
        while job >= 0:
            wanted = need(w, job, site)
            log_hours(st.used, site, st.begun[job], w.terms.end_s, wanted, w.terms.end_s)
            job = st.before[job]
