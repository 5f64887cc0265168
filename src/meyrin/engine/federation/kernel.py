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

from meyrin.engine.compiled import lean
from meyrin.engine.federation.low import low_ended, low_finish, low_pass
from meyrin.engine.federation.profile import add, remove, shadow
from meyrin.engine.federation.queue import following, join, leave, refresh, waits
from meyrin.engine.federation.state import (
    BOUNDED,
    DONE,
    ENDED,
    FAR,
    FREE_REPAIRS,
    GAP,
    LAST,
    LOOKS,
    NEXT,
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
            if len(st.before) and at[DONE] == 0:
                low_finish(w)
            at[DONE] = 1
            return
        at[NOW] = now
        changed = False
        while st.heap.size[0] and st.heap.end[0] == now:
            changed = _ended(w, pop(st.heap), now) or changed
        while at[GAP] < len(w.gaps.begin) and w.gaps.begin[at[GAP]] == now:
            gap = at[GAP]
            _close(w, w.gaps.site[gap], w.gaps.amount[gap], now, w.gaps.end[gap])
            at[GAP] += 1
            changed = True
        while at[WAKE] < len(st.wakes) and st.wakes[at[WAKE]] == now:
            at[WAKE] += 1
            changed = True
        _arrivals(w, now, changed)
        if len(st.before):
            low_pass(w, now)


@lean
def _next(w: World) -> Any:
    """The next instant at which something happens."""
    st, at = w.state, w.state.at
    now = next_end(st.heap)
    if at[NEXT] < len(w.jobs.ready):
        now = min(now, w.jobs.ready[at[NEXT]])
    if at[GAP] < len(w.gaps.begin):
        now = min(now, w.gaps.begin[at[GAP]])
    if at[WAKE] < len(st.wakes):
        now = min(now, st.wakes[at[WAKE]])
    return now


@lean
def _arrivals(w: World, now: int, changed: Any) -> None:
    """All that is ready now joins, and one pass is made, unless it could change nothing.

    Who comes when nobody waits starts or waits. At one site alone nothing got better for who
    waited if nothing ended, so only arrivals are tried; but where groups have limits, a start may
    take somebody's reservation away.
    """
    st, at, jobs = w.state, w.state.at, w.jobs
    count = len(jobs.ready)
    alone = len(st.free) == 1 and at[BOUNDED] == 0
    whole = changed and waits(w) > 0
    sorted_ = _in_order(w, now)
    while at[NEXT] < count and jobs.ready[at[NEXT]] == now:
        job = at[NEXT]
        at[NEXT] += 1
        # alone, or with nobody before it: whether it starts changes nothing for who waits
        nobody = waits(w) == 0
        behind = alone and at[OPEN] == 0 and jobs.rank[job] > at[LAST]
        tried = sorted_ and not whole and jobs.low[job] == 0 and (nobody or behind)
        site = _best_now(w, job, now) if tried else -1
        if site >= 0:
            _start(w, job, site, now)
            continue
        join(w, job)
        if jobs.low[job] == 0 and (nobody or not tried):
            whole = True
    if whole:
        _pass(w, now)


@lean
def _in_order(w: World, now: int) -> Any:
    """Whether all that is ready now comes in order of rank."""
    jobs, job = w.jobs, w.state.at[NEXT] + 1
    while job < len(jobs.ready) and jobs.ready[job] == now:
        if jobs.rank[job] < jobs.rank[job - 1]:
            return False
        job += 1
    return True


@lean
def _fits(w: World, job: int, site: int, now: int) -> Any:
    """Whether it may start there now."""
    st, jobs = w.state, w.jobs
    wanted = need(w, job, site)
    if wanted > st.free[site] or (now < jobs.away[job] and site != jobs.home[job]):
        return False
    if st.held[site, jobs.group[job]] + wanted > w.sites.most[site, jobs.group[job]]:
        return False
    if st.shadow[site] == FAR:
        return True
    if not w.sites.backfill[site]:
        return False
    return wanted <= st.spare[site] or (
        now + length(w, job, site, st.believed[job]) <= st.shadow[site]
    )


@lean
def _start(w: World, job: int, site: int, now: int) -> None:
    """An attempt begins."""
    st, at = w.state, w.state.at
    wanted = need(w, job, site)
    believed = now + length(w, job, site, st.believed[job])
    if st.shadow[site] < FAR and believed > st.shadow[site]:
        st.spare[site] -= wanted
    ends = plan_end(w, job, site, wanted, now)
    if st.start[job] < 0:
        st.start[job] = now
    st.on[job] = site
    st.begun[job] = now
    st.ends[job] = ends
    st.free[site] -= wanted
    st.held[site, w.jobs.group[job]] += wanted
    st.version[site] += 1
    if st.slot[job] >= 0:
        st.open_slots[at[OPEN_SLOTS]] = st.slot[job]
        at[OPEN_SLOTS] += 1
        st.slot[job] = -1
    push(st.heap, ends, job)
    add(st.profile, site, believed, wanted)
    log_hours(st.used, site, now, ends, wanted, w.terms.end_s)


@lean
def _ended(w: World, what: int, now: int) -> Any:
    """Something ends; whether room came free for jobs that are not low."""
    st, at, jobs = w.state, w.state.at, w.jobs
    if what < 0:
        repair = -1 - what
        site = st.repair_site[repair]
        st.free[site] += st.repair_count[repair]
        remove(st.profile, site, now, st.repair_count[repair])
        st.free_repairs[at[FREE_REPAIRS]] = repair
        at[FREE_REPAIRS] += 1
        st.version[site] += 1
        return True
    job = what
    if st.ends[job] != now:
        return False  # it was put off before
    site = st.on[job]
    wanted = need(w, job, site)
    if jobs.low[job]:
        low_ended(w, job, site, wanted, now)
    else:
        believed = st.begun[job] + length(w, job, site, st.believed[job])
        remove(st.profile, site, believed, wanted)
        st.free[site] += wanted
        st.held[site, jobs.group[job]] -= wanted
        st.version[site] += 1
        st.ends[job] = -1
    if not st.failing[job]:
        st.end[job] = now
        st.left[job] = 0
        at[ENDED] += 1
        return True
    _failed(w, job, site, wanted, now)
    return True


@lean
def _failed(w: World, job: int, site: int, wanted: int, now: int) -> None:
    """The attempt is lost but for its last checkpoint; a node is repaired, the job waits again."""
    from_checkpoint(w, job, site, wanted, now)
    closed = min(wanted, w.sites.node[site])
    if w.terms.repair_s > 0 and w.state.at[FREE_REPAIRS] > 0:
        _close(w, site, closed, now, now + w.terms.repair_s)
    join(w, job)


@lean
def _close(w: World, site: int, count: int, now: int, until: int) -> None:
    """Accelerators leave service; the scheduler knows when they come back."""
    st, at = w.state, w.state.at
    at[FREE_REPAIRS] -= 1
    repair = st.free_repairs[at[FREE_REPAIRS]]
    st.repair_site[repair] = site
    st.repair_count[repair] = count
    st.free[site] -= count
    st.version[site] += 1
    push(st.heap, until, -1 - repair)
    add(st.profile, site, until, count)
    log_hours(st.closed, site, now, until, count, w.terms.end_s)


@lean
def _pass(w: World, now: int) -> None:
    """Look in order of rank at who may be of use: start it, or keep the site of its first start."""
    st, at = w.state, w.state.at
    places, lanes = len(st.free), len(st.tree.waiting) - 1
    opened = (1 << places) - 1
    at[VAIN] = 0
    for site in range(places):
        st.shadow[site] = FAR
        st.spare[site] = st.free[site]
    for lane in range(lanes):
        st.found[lane] = -1  # under zero: look again from the rank -1 - found on
    first, last = 0, places
    while True:
        for site in range(first, last):
            refresh(w, site, now, opened if at[VAIN] < LOOKS else 0)
        lane = _first(w)
        rank = st.found[lane]
        if rank == NONE:
            break
        st.found[lane] = -2 - rank
        site, kept = _look(w, st.tree.job[rank] + 0, now, opened)
        if kept:
            opened &= ~(1 << site)
        first, last = site, site + 1
        if site < 0:
            first, last = 0, places if at[VAIN] == LOOKS else 0
    at[OPEN] = opened


@lean
def _first(w: World) -> Any:
    """The lane whose next job is first."""
    found = w.state.found
    best = 0
    for lane in range(len(found) - 1):
        if found[lane] < 0:
            found[lane] = following(w, lane, -1 - found[lane])
        if found[lane] < found[best]:
            best = lane
    return best


@lean
def _look(w: World, job: int, now: int, opened: Any) -> tuple[int, bool]:
    """Start the job, or keep a site for it, or do nothing; at which site (-1: none), and whether
    it is kept."""
    at = w.state.at
    site = _best_now(w, job, now)
    if site >= 0:
        leave(w, job)
        _start(w, job, site, now)
        return site, False
    if at[VAIN] >= LOOKS or w.jobs.allowed[job] & opened == 0:
        return -1, False
    site = _best_later(w, job, now)
    if site >= 0 and (opened >> site) & 1:
        _keep(w, job, site, now)
        return site, True
    if site >= 0 and _may_open(w, job, opened):
        at[VAIN] += 1
    return -1, False


@lean
def _may_open(w: World, job: int, opened: Any) -> Any:
    """Whether its group's part leaves room for it at a site where nothing is kept."""
    st, group = w.state, w.jobs.group[job]
    for site in range(len(st.free)):
        left = w.sites.most[site, group] - st.held[site, group]
        if (w.jobs.allowed[job] & opened) >> site & 1 and need(w, job, site) <= left:
            return True
    return False


@lean
def _best_now(w: World, job: int, now: int) -> Any:
    """The site where it fits now and most is left; -1 if there is none."""
    st = w.state
    best, most = -1, -1.0
    allowed = w.jobs.allowed[job]
    for site in range(len(st.free)):
        if (allowed >> site) & 1 and _fits(w, job, site, now):
            left = (st.free[site] - need(w, job, site)) / w.sites.machine[site]
            if left > most:
                best, most = site, left
    return best


@lean
def _best_later(w: World, job: int, now: int) -> Any:
    """The site where it would start first, by what is known; -1 if there is none."""
    st = w.state
    best, first = -1, FAR
    allowed = w.jobs.allowed[job]
    for site in range(len(st.free)):
        if (allowed >> site) & 1 == 0:
            continue
        wanted = need(w, job, site)
        group = w.jobs.group[job]
        if st.held[site, group] + wanted > w.sites.most[site, group]:
            continue
        start = _earliest(w, job, site, wanted, now)
        if site != w.jobs.home[job]:
            start = max(start, w.jobs.away[job])
        if start >= first:
            continue
        if st.shadow[site] < FAR:
            start = _beside_reservation(w, job, site, wanted, start)
        if start < first:
            best, first = site, start
    return best


@lean
def _earliest(w: World, job: int, site: int, wanted: int, now: int) -> Any:
    """When so many are free for sure, whatever is kept for others; remembered for some jobs."""
    st = w.state
    if wanted <= st.free[site]:
        return now
    slot = st.slot[job]
    if slot >= 0 and st.known_at[slot, site] == st.version[site]:
        return st.known[slot, site]
    start, _ = shadow(st.profile, site, st.free[site], wanted)
    if slot >= 0:
        st.known_at[slot, site] = st.version[site]
        st.known[slot, site] = start
    return start


@lean
def _beside_reservation(w: World, job: int, site: int, wanted: int, start: int) -> Any:
    """The earliest start from `start` on that leaves the site's reservation as it is."""
    st = w.state
    ends = start + length(w, job, site, st.believed[job])
    if start >= st.until[site] or ends <= st.shadow[site] or wanted <= st.spare[site]:
        return start
    if not w.sites.backfill[site]:
        return max(start, st.until[site])
    if st.until[site] >= FAR:
        return FAR
    both = wanted + st.kept[site]
    if both > w.sites.machine[site]:
        return max(start, st.until[site])
    later, _ = shadow(st.profile, site, st.free[site], both)
    return min(max(later, start), max(start, st.until[site]))


@lean
def _keep(w: World, job: int, site: int, now: int) -> None:
    """Keep the site for the job from its earliest start to the end of its limit."""
    st = w.state
    wanted = need(w, job, site)
    if wanted <= st.free[site]:
        start, spare = now, st.free[site] - wanted
    else:
        start, spare = shadow(st.profile, site, st.free[site], wanted)
    if site != w.jobs.home[job] and w.jobs.away[job] > start:
        start = w.jobs.away[job]
    st.shadow[site] = start
    st.spare[site] = spare
    st.kept[site] = wanted
    st.until[site] = start + length(w, job, site, st.believed[job])
