"""Who waits in a federation: joining, leaving, and the next one worth a look in order of rank."""

from __future__ import annotations

from typing import Any

from meyrin.engine.compiled import lean
from meyrin.engine.federation.state import BOUNDED, FAR, LAST, OPEN_SLOTS, World
from meyrin.engine.federation.waiting import BITS, FAN, NONE, above, measure, put, useful


@lean
def lane_of(w: World, job: int) -> Any:
    """The lane in which it waits."""
    if w.jobs.low[job]:
        return len(w.state.tree.waiting) - 1
    return w.jobs.group[job] + 0 if w.state.at[BOUNDED] else 0


@lean
def waits(w: World) -> Any:
    """How many wait that are not low."""
    count = 0
    for lane in range(len(w.state.tree.waiting) - 1):
        count += w.state.tree.waiting[lane]
    return count


@lean
def join(w: World, job: int) -> None:
    """It waits from now on."""
    st, at = w.state, w.state.at
    rank = w.jobs.rank[job] + 0
    if not w.jobs.low[job]:
        if waits(w) == 0:
            at[LAST] = -1
        at[LAST] = max(at[LAST], rank)
        if at[OPEN_SLOTS] and st.slot[job] < 0:
            at[OPEN_SLOTS] -= 1
            st.slot[job] = st.open_slots[at[OPEN_SLOTS]]
            for site in range(len(st.free)):
                st.known_at[st.slot[job], site] = -1
    work = _work(w, job)
    put(st.tree, lane_of(w, job), rank, job, w.jobs.size[job], work, w.jobs.allowed[job])


@lean
def leave(w: World, job: int) -> None:
    """It waits no longer."""
    t = w.state.tree
    lane, rank = lane_of(w, job), w.jobs.rank[job] + 0
    t.job[rank] = -1
    t.waiting[lane] -= 1
    if len(t.width) == 1:
        return
    begin = rank >> BITS << BITS
    end = min(begin + FAN, t.width[0])
    size, work, allowed = NONE, 2**62, 0
    for child in range(begin, end):
        other = t.job[child] + 0
        if other >= 0 and lane_of(w, other) == lane:
            size = min(size, w.jobs.size[other])
            work = min(work, _work(w, other))
            allowed |= w.jobs.allowed[other]
    node = t.first[1] + (rank >> BITS)
    t.size[lane, node] = size
    t.work[lane, node] = work
    t.allowed[lane, node] = allowed
    above(t, lane, rank >> BITS, 1)


@lean
def following(w: World, lane: int, rank: int) -> Any:
    """The rank of the first in this lane, from `rank` on, that may be of use; NONE without any."""
    t, room = w.state.tree, w.state.room
    if t.waiting[lane] == 0 or room.most[lane] == 0:
        return NONE
    level, at = 0, rank
    while at < t.width[level]:
        if level == 0:
            job = t.job[at] + 0
            if job >= 0 and lane_of(w, job) == lane:
                size, allowed = w.jobs.size[job] + 0, w.jobs.allowed[job]
                if useful(room, lane, size, _work(w, job), allowed):
                    return at
        else:
            node = t.first[level] + at
            if useful(room, lane, t.size[lane, node], t.work[lane, node], t.allowed[lane, node]):
                level -= 1
                at <<= BITS
                continue
        at += 1
        while at & (FAN - 1) == 0 and level + 1 < len(t.width):
            at >>= BITS
            level += 1
    return NONE


@lean
def refresh(w: World, site: int, now: int, opened: Any) -> None:
    """Work out what room there is at a site, for all lanes but the low one."""
    st = w.state
    room, last = st.room, len(st.tree.waiting) - 1
    kept = st.shadow[site] < FAR
    room.window[site] = (st.shadow[site] - now) * w.sites.speed[site] if kept else 0
    for lane in range(last):
        quota = w.sites.machine[site]
        if st.at[BOUNDED]:
            quota = w.sites.most[site, lane] - st.held[site, lane]
        free = max(0, min(st.free[site], quota))
        if not kept:
            room.any[lane, site] = quota if (opened >> site) & 1 else free
            room.short[lane, site] = 0
        elif w.sites.backfill[site]:
            room.any[lane, site] = min(free, st.spare[site])
            room.short[lane, site] = free
        else:
            room.any[lane, site] = 0
            room.short[lane, site] = 0
        measure(room, lane)


@lean
def _work(w: World, job: int) -> Any:
    """Its limit times its home's speed: over a site's speed, its time there."""
    return w.state.believed[job] * w.sites.speed[w.jobs.home[job]]
