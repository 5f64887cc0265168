"""Who waits in a federation: joining, leaving, and the next one worth a look in order of rank."""

from __future__ import annotations

from typing import Any

from meyrin.engine.compiled import inner
from meyrin.engine.federation.state import BOUNDED, FAR, LAST, OPEN_SLOTS, World
from meyrin.engine.federation.waiting import BITS, FAN, NOBODY, NONE, above, measure, put, useful


@inner
def lane_of(w: World, job: int) -> Any:
    """The lane in which it waits."""
    if w.jobs[job].low:
        return len(w.state.lane) - 1
    return w.jobs[job].group + 0 if w.state.at[BOUNDED] else 0


@inner
def waits(w: World) -> Any:
    """How many wait that are not low."""
    lanes = w.state.lane
    count = 0
    for lane in range(len(lanes) - 1):
        count += lanes[lane].waiting
    return count


@inner
def join(w: World, job: int) -> None:
    """It waits from now on."""
    st, at, mine = w.state, w.state.at, w.jobs[job]
    if not mine.low:
        if waits(w) == 0:
            at[LAST] = -1
        at[LAST] = max(at[LAST], mine.rank)
        if at[OPEN_SLOTS] and st.job[job].slot < 0:
            at[OPEN_SLOTS] -= 1
            slot = st.open_slots[at[OPEN_SLOTS]]
            st.job[job].slot = slot
            for site in range(len(w.sites)):
                st.known[slot, site].at = -1
    lane = lane_of(w, job)
    st.lane[lane].waiting += 1
    put(st.tree, lane, mine.rank + 0, job, mine.size, _work(w, job), mine.allowed)


@inner
def leave(w: World, job: int) -> None:
    """It waits no longer."""
    t = w.state.tree
    lane, rank = lane_of(w, job), w.jobs[job].rank + 0
    t.job[rank] = -1
    w.state.lane[lane].waiting -= 1
    if len(t.level) == 1:
        return
    begin = rank >> BITS << BITS
    end = min(begin + FAN, t.level[0].width)
    size, work, allowed = NONE, NOBODY, 0
    for child in range(begin, end):
        other = t.job[child] + 0
        if other >= 0 and lane_of(w, other) == lane:
            size = min(size, w.jobs[other].size)
            work = min(work, _work(w, other))
            allowed |= w.jobs[other].allowed
    node = t.node[lane, t.level[1].first + (rank >> BITS)]
    node.size = size
    node.work = work
    node.allowed = allowed
    above(t, lane, rank >> BITS, 1)


@inner
def following(w: World, lane: int, rank: int) -> Any:
    """The rank of the first in this lane, from `rank` on, that may be of use; NONE without any."""
    t, room, mine = w.state.tree, w.state.room, w.state.lane[lane]
    most = mine.most
    if mine.waiting == 0 or most == 0:
        return NONE
    level, at = 0, rank
    while at < t.level[level].width:
        if level == 0:
            job = t.job[at] + 0
            if job >= 0 and lane_of(w, job) == lane:
                size, allowed = w.jobs[job].size, w.jobs[job].allowed
                if useful(room, lane, most, size, _work(w, job), allowed):
                    return at
        else:
            node = t.node[lane, t.level[level].first + at]
            if useful(room, lane, most, node.size, node.work, node.allowed):
                level -= 1
                at <<= BITS
                continue
        at += 1
        while at & (FAN - 1) == 0 and level + 1 < len(t.level):
            at >>= BITS
            level += 1
    return NONE


@inner
def refresh(w: World, site: int, now: int, opened: Any) -> None:
    """Work out what room there is at a site, for all lanes but the low one."""
    st = w.state
    mine, place = w.sites[site], st.place[site]
    kept = place.shadow < FAR
    for lane in range(len(st.lane) - 1):
        quota = mine.machine
        if st.at[BOUNDED]:
            quota = w.most[site, lane] - st.held[site, lane]
        free = max(0, min(place.free, quota))
        spare = min(free, place.spare)
        if mine.whole:  # a part of a node is of use to nobody
            quota -= quota % mine.node
            free -= free % mine.node
            spare -= spare % mine.node
        room = st.room[lane, site]
        room.window = (place.shadow - now) * mine.speed if kept else 0
        room.any = 0
        room.short = 0
        if not kept:
            room.any = quota if (opened >> site) & 1 else free
        elif mine.backfill:
            room.any = spare
            room.short = free
        st.lane[lane].most = measure(st.room, lane)


@inner
def _work(w: World, job: int) -> Any:
    """Its limit times its home's speed: over a site's speed, its time there."""
    return w.state.job[job].believed * w.sites[w.jobs[job].home].speed
