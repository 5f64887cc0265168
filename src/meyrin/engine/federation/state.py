"""What the kernel of a federation knows: jobs, sites, and everything between two instants."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from meyrin.engine.federation.profile import Profile, new_profile
from meyrin.engine.federation.waiting import Room, Tree, new_room, new_tree
from meyrin.engine.pool.completions import Completions, new_completions

Ints = npt.NDArray[np.int64]
Shorts = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.int8]

FAR = 2**60
SLOTS = 1024  # waiting jobs whose earliest starts are remembered
LOOKS = 100  # waiting jobs that a pass may look at for a reservation and find none
HOUR_S = 3600

# places in `State.at`
NOW, NEXT, GAP, WAKE, LAST, OPEN_SLOTS, FREE_REPAIRS, ENDED, OPEN, DONE = range(10)
TIDY_FROM = 10  # so many ends in the heap leave no room for more than what may run at once
BOUNDED = 11  # 1 where groups have limits
VAIN = 12  # such looks of this pass
COUNTERS = 13


class Jobs(NamedTuple):
    """Jobs in order of `ready`. `rank` is a job's place in the order in which they are looked at,
    `number` its number for chance; `allowed` has a bit for each site; `low` may be put off."""

    ready: Ints
    rank: Shorts
    number: Ints
    size: Shorts
    run: Ints
    limit: Ints
    home: Shorts
    away: Ints
    allowed: Ints
    group: Shorts
    low: Bytes


class Sites(NamedTuple):
    """Sites in order of name, `machine` accelerators each; `most[s, g]` is for a group at once."""

    machine: Ints
    node: Ints
    whole: Bytes
    backfill: Bytes
    speed: Ints
    most: Ints


class Gaps(NamedTuple):
    """Closures known before, in order of their begin."""

    begin: Ints
    end: Ints
    site: Shorts
    amount: Ints


class Terms(NamedTuple):
    """Failures: rate by accelerator-second, and the times that belong to them; the run's end."""

    rate: float
    repair_s: int
    checkpoint_s: int
    restart_s: int
    seed: int
    end_s: int


class State(NamedTuple):
    """All that changes. By job: `left` run time and `believed` limit at home speed, `begun` and
    `ends` of the attempt that runs (-1: none), `on` its site, `failing` whether it will fail,
    `slot` where its earliest starts are remembered. By site: `free` for jobs that are not low,
    `low_used` of it by low ones, and the reservation of `kept` from `shadow` to
    `until`, beside which `spare` more are free then. Who waits is in `tree`: a lane for each group
    where groups have limits, else one for all, and the last one for low jobs; `room` is a pass's
    scratch, `found` the next rank to look at in each lane.
    """

    start: Ints
    end: Ints
    on: Shorts
    restarts: Shorts
    lost: Ints
    left: Ints
    believed: Ints
    begun: Ints
    ends: Ints
    failing: Bytes
    slot: Shorts
    before: Shorts
    behind: Shorts

    tree: Tree
    room: Room
    found: Ints
    free: Ints
    low_used: Ints
    held: Ints
    version: Ints
    shadow: Ints
    spare: Ints
    until: Ints
    kept: Ints
    tail: Shorts
    open_slots: Shorts
    known_at: Ints
    known: Ints
    heap: Completions
    profile: Profile
    repair_site: Shorts
    repair_count: Ints
    free_repairs: Shorts
    wakes: Ints
    used: Ints
    wasted: Ints
    closed: Ints
    at: Ints


class World(NamedTuple):
    """What `advance` takes."""

    jobs: Jobs
    sites: Sites
    gaps: Gaps
    terms: Terms
    state: State


def bounded(sites: Sites) -> bool:
    """Whether what groups may hold is ever less than what there is."""
    return bool((sites.most < sites.machine[:, None]).any())


def new_state(jobs: Jobs, sites: Sites, gaps: Gaps, terms: Terms) -> State:
    """Nothing runs, nobody waits."""
    count, places = len(jobs.ready), len(sites.machine)
    hours = -(-terms.end_s // HOUR_S)
    machine = int(sites.machine.sum())
    closures = len(gaps.begin)
    repairs = machine + closures if terms.rate > 0 else closures
    running = min(count, machine) + repairs
    low = int(jobs.low.sum())
    elsewhere = jobs.allowed & ~(np.int64(1) << jobs.home.astype(np.int64)) != 0
    late = (jobs.away > jobs.ready) & (jobs.away < terms.end_s)
    wakes = np.unique(jobs.away[late & elsewhere])
    limits = bounded(sites)
    lanes = 1 + (sites.most.shape[1] if limits else 1)
    at = np.zeros(COUNTERS, np.int64)
    at[[OPEN_SLOTS, FREE_REPAIRS, OPEN, LAST]] = SLOTS, repairs, -1, -1
    at[BOUNDED] = limits
    ends = 2 * running + 2 * low + 2
    at[TIDY_FROM] = ends - running - 1
    by_site = np.minimum(sites.machine, count) + repairs
    return State(
        start=np.full(count, -1, np.int64),
        end=np.full(count, -1, np.int64),
        on=np.full(count, -1, np.int32),
        restarts=np.zeros(count, np.int32),
        lost=np.zeros(count, np.int64),
        left=jobs.run.copy(),
        believed=jobs.limit.copy(),
        begun=np.full(count, -1, np.int64),
        ends=np.full(count, -1, np.int64),
        failing=np.zeros(count, np.int8),
        slot=np.full(count, -1, np.int32),
        before=np.full(count if low else 0, -1, np.int32),
        behind=np.full(count if low else 0, -1, np.int32),
        tree=new_tree(count, lanes),
        room=new_room(lanes, places),
        found=np.zeros(lanes, np.int64),
        free=sites.machine.copy(),
        low_used=np.zeros(places, np.int64),
        held=np.zeros(sites.most.shape, np.int64),
        version=np.zeros(places, np.int64),
        shadow=np.full(places, FAR, np.int64),
        spare=np.zeros(places, np.int64),
        until=np.full(places, FAR, np.int64),
        kept=np.zeros(places, np.int64),
        tail=np.full(places, -1, np.int32),
        open_slots=np.arange(SLOTS, dtype=np.int32),
        known_at=np.full((SLOTS, places), -1, np.int64),
        known=np.zeros((SLOTS, places), np.int64),
        heap=new_completions(ends),
        profile=new_profile(by_site),
        repair_site=np.zeros(repairs, np.int32),
        repair_count=np.zeros(repairs, np.int64),
        free_repairs=np.arange(repairs, dtype=np.int32),
        wakes=wakes,
        used=np.zeros((places, hours), np.int64),
        wasted=np.zeros((places, hours), np.int64),
        closed=np.zeros((places, hours), np.int64),
        at=at,
    )
