"""The replay of a federation: many sites, one order of jobs, the broker's rules of placement.

At an instant: what ends, closures that begin, arrivals, then one pass over the waiting jobs in
order of rank. In the pass, as `engine.decide` with one reservation for each site:

- a job that fits somewhere now goes there: where the largest part is still free once it is there,
  among equals to the first site;
- else the site where it would start first is kept for it, if nothing is kept there yet. Jobs
  behind may use what leaves that start untouched (EASY, on every site). Without backfill nobody
  behind it starts at that site. A pass gives up looking for sites to keep after a hundred jobs
  that would start sooner where something is kept already.

A job that only its home may run makes its home a site with a queue of its own. Sites that no job
joins with another are best replayed one by one: it is the same, and faster.

Beyond `decide`: what a group may hold at once, data that has to arrive before a job may run away
from home, failures and repairs, and `low` jobs, which use what the others leave and are put off,
the youngest first, as soon as one of the others needs the room.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from meyrin.engine.compiled import inner, lean
from meyrin.engine.federation.low import low_ended, low_finish, low_pass
from meyrin.engine.federation.profile import add, remove, shadow
from meyrin.engine.federation.queue import following, join, leave, refresh, waits
from meyrin.engine.federation.state import (
    ANY_LOW,
    BOUNDED,
    DONE,
    ENDED,
    FAR,
    FREE_REPAIRS,
    LAST,
    LOOKS,
    NEXT,
    NEXT_GAP,
    NOW,
    OPEN,
    OPEN_SLOTS,
    VAIN,
    WAKE,
    World,
)
from meyrin.engine.federation.steps import (
    from_checkpoint,
    length,
    log_hours,
    need,
    plan_end,
)
from meyrin.engine.federation.waiting import NONE
from meyrin.engine.pool.completions import next_end, pop, push


@lean
def advance(w: World, events: int) -> None:
    """Deal with at most so many instants."""
    st, at = w.state, w.state.at
    for _ in range(events):
        now = _next(w)
        if now >= w.terms.end_s:
            if at[ANY_LOW] and at[DONE] == 0:
                low_finish(w)
            at[DONE] = 1
            return
        at[NOW] = now
        changed = False
        while st.heap.size[0] and st.heap.end[0] == now:
            changed = _ended(w, pop(st.heap), now) or changed
        while at[NEXT_GAP] < len(w.gaps) and w.gaps[at[NEXT_GAP]].begin == now:
            gap = w.gaps[at[NEXT_GAP]]
            site: Any = np.int64(gap.site)
            _close(w, site, gap.amount, now, gap.end)
            at[NEXT_GAP] += 1
            changed = True
        while at[WAKE] < len(st.wakes) and st.wakes[at[WAKE]] == now:
            at[WAKE] += 1
            changed = True
        _arrivals(w, now, changed)
        if at[ANY_LOW]:
            low_pass(w, now)


@inner
def _next(w: World) -> Any:
    """The next instant at which something happens."""
    st, at = w.state, w.state.at
    now = next_end(st.heap)
    if at[NEXT] < len(w.jobs):
        now = min(now, w.jobs[at[NEXT]].ready)
    if at[NEXT_GAP] < len(w.gaps):
        now = min(now, w.gaps[at[NEXT_GAP]].begin)
    if at[WAKE] < len(st.wakes):
        now = min(now, st.wakes[at[WAKE]])
    return now


@inner
def _arrivals(w: World, now: int, changed: Any) -> None:
    """All that is ready now joins, and one pass is made, unless it could change nothing.

    Who comes when nobody waits starts or waits. At one site alone nothing got better for who
    waited if nothing ended, so only arrivals are tried; but where groups have limits, a start may
    take somebody's reservation away.
    """
    at, jobs = w.state.at, w.jobs
    count = len(jobs)
    alone = len(w.sites) == 1 and at[BOUNDED] == 0
    whole = changed and waits(w) > 0
    sorted_ = _in_order(w, now)
    while at[NEXT] < count and jobs[at[NEXT]].ready == now:
        job = at[NEXT]
        at[NEXT] += 1
        # alone, or with nobody before it: whether it starts changes nothing for who waits
        nobody = waits(w) == 0
        behind = alone and at[OPEN] == 0 and jobs[job].rank > at[LAST]
        tried = sorted_ and not whole and jobs[job].low == 0 and (nobody or behind)
        site = _best_now(w, job, now) if tried else -1
        if site >= 0:
            _start(w, job, site, now)
            continue
        join(w, job)
        if jobs[job].low == 0 and (nobody or not tried):
            whole = True
    if whole:
        _pass(w, now)


@inner
def _in_order(w: World, now: int) -> Any:
    """Whether all that is ready now comes in order of rank."""
    jobs, job = w.jobs, w.state.at[NEXT] + 1
    while job < len(jobs) and jobs[job].ready == now:
        if jobs[job].rank < jobs[job - 1].rank:
            return False
        job += 1
    return True


@inner
def _fits(w: World, job: int, site: int, now: int) -> Any:
    """Whether it may start there now."""
    st, mine, place = w.state, w.jobs[job], w.state.place[site]
    wanted = need(w, job, site)
    if wanted > place.free or (now < mine.away and site != mine.home):
        return False
    if st.held[site, mine.group] + wanted > w.most[site, mine.group]:
        return False
    if place.shadow == FAR:
        return True
    if not w.sites[site].backfill:
        return False
    return wanted <= place.spare or (
        now + length(w, job, site, st.job[job].believed) <= place.shadow
    )


@inner
def _start(w: World, job: int, site: int, now: int) -> None:
    """An attempt begins."""
    st, at = w.state, w.state.at
    mine, place = st.job[job], st.place[site]
    wanted = need(w, job, site)
    believed = now + length(w, job, site, mine.believed)
    if place.shadow < FAR and believed > place.shadow:
        place.spare -= wanted
    ends = plan_end(w, job, site, wanted, now)
    if mine.start < 0:
        mine.start = now
    mine.on = site
    mine.begun = now
    mine.ends = ends
    place.free -= wanted
    st.held[site, w.jobs[job].group] += wanted
    place.version += 1
    if mine.slot >= 0:
        st.open_slots[at[OPEN_SLOTS]] = mine.slot
        at[OPEN_SLOTS] += 1
        mine.slot = -1
    push(st.heap, ends, job)
    add(st.profile, site, believed, wanted)
    log_hours(w, site, now, ends, wanted, 0)


@inner
def _ended(w: World, what: int, now: int) -> Any:
    """Something ends; whether room came free for jobs that are not low."""
    st, at = w.state, w.state.at
    if what < 0:
        repair = st.repairs[-1 - what]
        site: Any = np.int64(repair.site)
        place = st.place[site]
        place.free += repair.count
        place.version += 1
        remove(st.profile, site, now, repair.count)
        st.repairs[at[FREE_REPAIRS]].unused = -1 - what
        at[FREE_REPAIRS] += 1
        return True
    job, mine = what, st.job[what]
    if mine.ends != now:
        return False  # it was put off before
    site = np.int64(mine.on)
    wanted = need(w, job, site)
    if w.jobs[job].low:
        low_ended(w, job, site, wanted, now)
    else:
        believed = mine.begun + length(w, job, site, mine.believed)
        remove(st.profile, site, believed, wanted)
        place = st.place[site]
        place.free += wanted
        place.version += 1
        st.held[site, w.jobs[job].group] -= wanted
        mine.ends = -1
    if not mine.failing:
        mine.end = now
        mine.left = 0
        at[ENDED] += 1
        return True
    _failed(w, job, site, wanted, now)
    return True


@inner
def _failed(w: World, job: int, site: int, wanted: int, now: int) -> None:
    """The attempt is lost but for its last checkpoint; a node is repaired, the job waits again."""
    from_checkpoint(w, job, site, wanted, now)
    closed = min(wanted, w.sites[site].node)
    if w.terms.repair_s > 0 and w.state.at[FREE_REPAIRS] > 0:
        _close(w, site, closed, now, now + w.terms.repair_s)
    join(w, job)


@inner
def _close(w: World, site: int, count: int, now: int, until: int) -> None:
    """Accelerators leave service; the scheduler knows when they come back."""
    st, at = w.state, w.state.at
    at[FREE_REPAIRS] -= 1
    row = st.repairs[at[FREE_REPAIRS]].unused + 0
    repair, place = st.repairs[row], st.place[site]
    repair.site = site
    repair.count = count
    place.free -= count
    place.version += 1
    push(st.heap, until, -1 - row)
    add(st.profile, site, until, count)
    log_hours(w, site, now, until, 0, count)


@inner
def _pass(w: World, now: int) -> None:
    """Look in order of rank at who may be of use: start it, or keep the site of its first start."""
    st, at = w.state, w.state.at
    places, lanes = len(w.sites), len(st.lane) - 1
    opened = (1 << places) - 1
    at[VAIN] = 0
    for site in range(places):
        st.place[site].shadow = FAR
        st.place[site].spare = st.place[site].free
    for lane in range(lanes):
        st.lane[lane].found = -1  # under zero: look again from the rank -1 - found on
    first, last = 0, places
    while True:
        for site in range(first, last):
            refresh(w, site, now, opened if at[VAIN] < LOOKS else 0)
        lane = _first(w)
        rank = st.lane[lane].found
        if rank == NONE:
            break
        st.lane[lane].found = -2 - rank
        site, kept = _look(w, st.tree.job[rank] + 0, now, opened)
        if kept:
            opened &= ~(1 << site)
        first, last = site, site + 1
        if site < 0:
            first, last = 0, places if at[VAIN] == LOOKS else 0
    at[OPEN] = opened


@inner
def _first(w: World) -> Any:
    """The lane whose next job is first."""
    lanes = w.state.lane
    best = 0
    for lane in range(len(lanes) - 1):
        if lanes[lane].found < 0:
            lanes[lane].found = following(w, lane, -1 - lanes[lane].found)
        if lanes[lane].found < lanes[best].found:
            best = lane
    return best


@inner
def _look(w: World, job: int, now: int, opened: Any) -> tuple[int, bool]:
    """Start the job, or keep a site for it, or do nothing; at which site (-1: none), and whether
    it is kept."""
    at = w.state.at
    site = _best_now(w, job, now)
    if site >= 0:
        leave(w, job)
        _start(w, job, site, now)
        return site, False
    if at[VAIN] >= LOOKS or w.jobs[job].allowed & opened == 0:
        return -1, False
    site = _best_later(w, job, now)
    if site >= 0 and (opened >> site) & 1:
        _keep(w, job, site, now)
        return site, True
    if site >= 0 and _may_open(w, job, opened):
        at[VAIN] += 1
    return -1, False


@inner
def _may_open(w: World, job: int, opened: Any) -> Any:
    """Whether its group's part leaves room for it at a site where nothing is kept."""
    group, allowed = w.jobs[job].group, w.jobs[job].allowed & opened
    for site in range(len(w.sites)):
        left = w.most[site, group] - w.state.held[site, group]
        if (allowed >> site) & 1 and need(w, job, site) <= left:
            return True
    return False


@inner
def _best_now(w: World, job: int, now: int) -> Any:
    """The site where it fits now and most is left; -1 if there is none."""
    st = w.state
    best, most = -1, -1.0
    allowed = w.jobs[job].allowed
    for site in range(len(w.sites)):
        if (allowed >> site) & 1 and _fits(w, job, site, now):
            left = (st.place[site].free - need(w, job, site)) / w.sites[site].machine
            if left > most:
                best, most = site, left
    return best


@inner
def _best_later(w: World, job: int, now: int) -> Any:
    """The site where it would start first, by what is known; -1 if there is none."""
    mine = w.jobs[job]
    best, first = -1, FAR
    for site in range(len(w.sites)):
        if (mine.allowed >> site) & 1 == 0:
            continue
        wanted = need(w, job, site)
        if w.state.held[site, mine.group] + wanted > w.most[site, mine.group]:
            continue
        start = _earliest(w, job, site, wanted, now)
        if site != mine.home:
            start = max(start, mine.away)
        if start >= first:
            continue
        if w.state.place[site].shadow < FAR:
            start = _beside_reservation(w, job, site, wanted, start)
        if start < first:
            best, first = site, start
    return best


@inner
def _earliest(w: World, job: int, site: int, wanted: int, now: int) -> Any:
    """When so many are free for sure, whatever is kept for others; remembered for some jobs."""
    st, place = w.state, w.state.place[site]
    if wanted <= place.free:
        return now
    slot = st.job[job].slot + 0
    if slot >= 0 and st.known[slot, site].at == place.version:
        return st.known[slot, site].start
    start, _ = shadow(st.profile, site, place.free, wanted)
    if slot >= 0:
        st.known[slot, site].at = place.version
        st.known[slot, site].start = start
    return start


@inner
def _beside_reservation(w: World, job: int, site: int, wanted: int, start: int) -> Any:
    """The earliest start from `start` on that leaves the site's reservation as it is."""
    st, place = w.state, w.state.place[site]
    ends = start + length(w, job, site, st.job[job].believed)
    if start >= place.until or ends <= place.shadow or wanted <= place.spare:
        return start
    if not w.sites[site].backfill:
        return max(start, place.until)
    if place.until >= FAR:
        return FAR
    both = wanted + place.kept
    if both > w.sites[site].machine:
        return max(start, place.until)
    later, _ = shadow(st.profile, site, place.free, both)
    return min(max(later, start), max(start, place.until))


@inner
def _keep(w: World, job: int, site: int, now: int) -> None:
    """Keep the site for the job from its earliest start to the end of its limit."""
    st, mine, place = w.state, w.jobs[job], w.state.place[site]
    wanted = need(w, job, site)
    if wanted <= place.free:
        start, spare = now, place.free - wanted
    else:
        start, spare = shadow(st.profile, site, place.free, wanted)
    if site != mine.home and mine.away > start:
        start = mine.away
    place.shadow = start
    place.spare = spare
    place.kept = wanted
    place.until = start + length(w, job, site, st.job[job].believed)
