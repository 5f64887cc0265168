"""What the kernel of a federation knows: jobs, sites, and everything between two instants."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from meyrin.engine.federation.profile import Profile, new_profile
from meyrin.engine.federation.records import Records, record
from meyrin.engine.federation.waiting import LANE, ROOM, Tree, new_tree
from meyrin.engine.pool.completions import Completions, new_completions

Ints = npt.NDArray[np.int64]
Shorts = npt.NDArray[np.int32]

FAR = 2**60
SLOTS = 1024  # waiting jobs whose earliest starts are remembered
LOOKS = 100  # waiting jobs that a pass may look at for a reservation and find none
HOUR_S = 3600

# places in `State.at`
NOW, NEXT, NEXT_GAP, WAKE, LAST, OPEN_SLOTS, FREE_REPAIRS, ENDED, OPEN, DONE = range(10)
TIDY_FROM = 10  # so many ends in the heap leave no room for more than what may run at once
BOUNDED = 11  # 1 where groups have limits
VAIN = 12  # such looks of this pass
ANY_LOW = 13  # 1 where there are low jobs
COUNTERS = 14


# Columns of what comes together are records of one array, not arrays: each array that a kernel is
# handed costs the compiler half a second, and what is asked of one job lies together.
JOB = record(
    ready="i8", run="i8", limit="i8", away="i8", allowed="i8", number="i8",
    rank="i4", size="i4", home="i4", group="i4", low="i1",
)  # fmt: skip
"""A job, in order of `ready`. `rank` is its place in the order in which jobs are looked at,
`number` its number for chance; `allowed` has a bit for each site; `low` may be put off."""

SITE = record(machine="i8", node="i8", speed="i8", whole="i1", backfill="i1")
"""A site, in order of name, of `machine` accelerators."""

GAP = record(begin="i8", end="i8", amount="i8", site="i4")
"""A closure known before, in order of begin."""

LEFT = record(
    start="i8", end="i8", lost="i8", left="i8", believed="i8", begun="i8", ends="i8",
    on="i4", restarts="i4", slot="i4", before="i4", behind="i4", failing="i1",
)  # fmt: skip
"""Of a job: `left` run time and `believed` limit at home speed, `begun` and `ends` of the attempt
that runs (-1: none), `on` its site, `failing` whether it will fail, `slot` where its earliest
starts are remembered; of a low one who runs `before` and `behind` it, by age."""

PLACE = record(
    free="i8", low_used="i8", version="i8", shadow="i8", spare="i8", until="i8", kept="i8",
    tail="i4",
)  # fmt: skip
"""Of a site: `free` for jobs that are not low, `low_used` of it by low ones, the youngest of them
`tail`; the reservation of `kept` from `shadow` to `until`, beside which `spare` more are free
then."""

KNOWN = record(at="i8", start="i8")
"""The earliest start of a job at a site, as of a version of the site."""

REPAIR = record(count="i8", site="i4", unused="i4")
"""What is closed and comes back; and, of no row in particular, a list of rows to take."""

HOUR = record(used="i8", wasted="i8", closed="i8")
"""Accelerator-seconds of a site in an hour: given to jobs, of these lost, out of service."""


class Terms(NamedTuple):
    """Failures: rate by accelerator-second, and the times that belong to them; the run's end."""

    rate: float
    repair_s: int
    checkpoint_s: int
    restart_s: int
    seed: int
    end_s: int


class State(NamedTuple):
    """All that changes. Who waits is in `tree`: a lane for each group where groups have limits,
    else one for all, and the last one for low jobs; `room` is a pass's scratch. `held` is what
    groups have, by site."""

    job: Records
    place: Records
    lane: Records
    room: Records
    held: Ints
    tree: Tree
    open_slots: Shorts
    known: Records
    heap: Completions
    profile: Profile
    repairs: Records
    wakes: Ints
    hours: Records
    at: Ints


class World(NamedTuple):
    """What `advance` takes. `most[s, g]` is for a group at once; `state` is None at first."""

    jobs: Records
    sites: Records
    most: Ints
    gaps: Records
    terms: Terms
    state: Any


def new_state(world: World) -> State:
    """Nothing runs, nobody waits."""
    jobs, sites, most, gaps, terms, _ = world
    count, places = len(jobs), len(sites)
    hours = -(-terms.end_s // HOUR_S)
    machine = int(sites["machine"].sum())
    repairs = len(gaps) + (machine if terms.rate > 0 else 0)
    running = min(count, machine) + repairs
    low = int(jobs["low"].sum())
    limits = bool((most < sites["machine"][:, None]).any())  # ever less than what there is
    lanes = 1 + (most.shape[1] if limits else 1)
    ends = 2 * running + 2 * low + 2
    at = np.zeros(COUNTERS, np.int64)
    at[[OPEN_SLOTS, FREE_REPAIRS, OPEN, LAST]] = SLOTS, repairs, -1, -1
    at[BOUNDED], at[ANY_LOW] = limits, low > 0
    at[TIDY_FROM] = ends - running - 1
    by_site = np.minimum(sites["machine"], count) + repairs
    return State(
        job=_new_left(jobs),
        place=_new_places(sites),
        lane=np.zeros(lanes, LANE),
        room=np.zeros((lanes, places), ROOM),
        held=np.zeros(most.shape, np.int64),
        tree=new_tree(count, lanes),
        open_slots=np.arange(SLOTS, dtype=np.int32),
        known=np.full((SLOTS, places), -1, KNOWN),
        heap=new_completions(ends),
        profile=new_profile(by_site),
        repairs=_new_repairs(repairs),
        wakes=_wakes(jobs, terms),
        hours=np.zeros((places, hours), HOUR),
        at=at,
    )


def _new_left(jobs: Records) -> Records:
    found = np.full(len(jobs), -1, LEFT)
    found["left"], found["believed"] = jobs["run"], jobs["limit"]
    found["lost"] = found["restarts"] = found["failing"] = 0
    return found


def _new_places(sites: Records) -> Records:
    found = np.zeros(len(sites), PLACE)
    found["free"], found["tail"] = sites["machine"], -1
    found["shadow"] = found["until"] = FAR
    return found


def _new_repairs(rows: int) -> Records:
    found = np.zeros(rows, REPAIR)
    found["unused"] = np.arange(rows)
    return found


def _wakes(jobs: Records, terms: Terms) -> Ints:
    """Moments from which somebody may start away from home."""
    elsewhere = jobs["allowed"] & ~(np.int64(1) << jobs["home"].astype(np.int64)) != 0
    late = (jobs["away"] > jobs["ready"]) & (jobs["away"] < terms.end_s)
    moments = np.sort(jobs["away"][late & elsewhere])
    return moments[np.diff(moments, prepend=-1) > 0]  # a tenth of what np.unique takes
