"""Preemptible jobs: they use what the others leave, and give way, the youngest first.

They change nothing for the others: their room counts as free there. Looked at in order of rank;
one that fits starts where most is left.
"""

from __future__ import annotations

from typing import Any

from meyrin.engine.compiled import inner
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


@inner
def low_pass(w: World, now: int) -> None:
    """After a pass: put off whoever is in the way, then start whoever fits."""
    st = w.state
    lane = len(st.lane) - 1
    for site in range(len(w.sites)):
        place = st.place[site]
        while place.tail >= 0 and place.free < place.low_used:
            _put_off(w, place.tail, site, now)
        st.room[lane, site].any = max(0, place.free - place.low_used)
    rank = -1
    while True:
        st.lane[lane].most = measure(st.room, lane)
        rank = following(w, lane, rank + 1)
        if rank == NONE:
            return
        job = st.tree.job[rank] + 0
        site = _roomiest(w, job, now)
        if site >= 0:
            leave(w, job)
            _start(w, job, site, now)
            st.room[lane, site].any = max(0, st.place[site].free - st.place[site].low_used)


@inner
def _roomiest(w: World, job: int, now: int) -> Any:
    st = w.state
    best, most = -1, -1.0
    for site in range(len(w.sites)):
        if (w.jobs[job].allowed >> site) & 1 == 0:
            continue
        if now < w.jobs[job].away and site != w.jobs[job].home:
            continue
        left = st.place[site].free - st.place[site].low_used - need(w, job, site)
        if left >= 0 and left / w.sites[site].machine > most:
            best, most = site, left / w.sites[site].machine
    return best


@inner
def _start(w: World, job: int, site: int, now: int) -> None:
    st = w.state
    wanted = need(w, job, site)
    ends = plan_end(w, job, site, wanted, now)
    mine, place = st.job[job], st.place[site]
    if mine.start < 0:
        mine.start = now
    mine.on = site
    mine.begun = now
    mine.ends = ends
    place.low_used += wanted
    mine.before = place.tail
    mine.behind = -1
    if place.tail >= 0:
        st.job[place.tail].behind = job
    place.tail = job
    if st.heap.size[0] >= w.state.at[TIDY_FROM]:
        _forget_stale(w)
    push(st.heap, ends, job)


@inner
def _forget_stale(w: World) -> None:
    """Take out of the heap the ends of attempts that were put off."""
    st = w.state
    kept = 0
    size = st.heap.size[0]
    for i in range(size):
        job = st.heap.job[i]
        if job < 0 or st.job[job].ends == st.heap.end[i]:
            st.heap.job[kept] = job
            st.heap.end[kept] = st.heap.end[i]
            kept += 1
    st.heap.size[0] = 0
    for i in range(kept):
        push(st.heap, st.heap.end[i], st.heap.job[i])


@inner
def _leave(w: World, job: int, site: int, wanted: int, now: int) -> None:
    st = w.state
    mine, place = st.job[job], st.place[site]
    place.low_used -= wanted
    log_hours(w, site, mine.begun, now, wanted, 0)
    if mine.behind >= 0:
        st.job[mine.behind].before = mine.before
    else:
        place.tail = mine.before
    if mine.before >= 0:
        st.job[mine.before].behind = mine.behind


@inner
def low_ended(w: World, job: int, site: int, wanted: int, now: int) -> None:
    """A preemptible job's attempt came to its end, good or bad."""
    _leave(w, job, site, wanted, now)
    w.state.job[job].ends = -1


@inner
def _put_off(w: World, job: int, site: int, now: int) -> None:
    """The job gives way and waits again from its last checkpoint."""
    wanted = need(w, job, site)
    _leave(w, job, site, wanted, now)
    from_checkpoint(w, job, site, wanted, now)
    join(w, job)


@inner
def low_finish(w: World) -> None:
    """At the end of the run: count what those that still run have used."""
    st = w.state
    for site in range(len(w.sites)):
        job = st.place[site].tail
        while job >= 0:
            wanted = need(w, job, site)
            log_hours(w, site, st.job[job].begun, w.terms.end_s, wanted, 0)
            job = st.job[job].before
