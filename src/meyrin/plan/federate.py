"""The engine run of a point: sites that share jobs together, the others each alone.

Sites that no job joins are replayed one by one, which is the same and faster. What such a set of
sites made of the same jobs under the same rules is remembered: an option that changes one site
replays that one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meyrin.engine.federation import Federation
from meyrin.plan.scenario import ScenarioFile
from meyrin.plan.sharing import SPEED_UNIT, Sharing
from meyrin.plan.workload import Workload
from meyrin.plan.world import DAY_S, Numbers, World

Ints = NDArray[np.int64]
EVENTS = 1 << 20


@dataclass(frozen=True, slots=True)
class Run:
    """By job: first start, last end (-1 each where there is none), site (-1 nowhere), restarts,
    accelerator-seconds lost. By site and hour: accelerator-seconds used, lost and closed."""

    start: Ints
    end: Ints
    site: NDArray[np.int32]
    restarts: NDArray[np.int32]
    lost: Ints
    used: Ints
    wasted: Ints
    closed: Ints


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """What some sites made of their jobs, as in `Run`; sites by their place among them."""

    start: Ints
    end: Ints
    site: NDArray[np.int32]
    restarts: NDArray[np.int32]
    lost: Ints
    used: Ints
    wasted: Ints
    closed: Ints


_PARTS: dict[Any, _Part] = {}
"""Of the last replays in this process, up to `MOST` times as many jobs as one has."""
MOST = 2


def federate(
    file: ScenarioFile,
    number: Numbers,
    world: World,
    work: Workload,
    rules: Sharing,
    seed: int,
    end_s: int,
    decided: Callable[[list[int]], Any] = lambda _sites: None,
) -> Run:
    """Replay all jobs to the end of the run. `decided` names all that decides the replay of some
    sites; without it nothing is remembered."""
    jobs, places, hours = len(work), len(world.places), -(-end_s // 3600)
    run = Run(
        start=np.full(jobs, -1, np.int64),
        end=np.full(jobs, -1, np.int64),
        site=np.full(jobs, -1, np.int32),
        restarts=np.zeros(jobs, np.int32),
        lost=np.zeros(jobs, np.int64),
        used=np.zeros((places, hours), np.int64),
        wasted=np.zeros((places, hours), np.int64),
        closed=np.zeros((places, hours), np.int64),
    )
    order = np.argsort(rules.ready, kind="stable")
    for sites in joined(rules.allowed, places):
        bits = sum(1 << site for site in sites)
        mine = order[(rules.allowed[order] & bits) != 0]
        key = decided(sites)
        part = _PARTS.pop(key, None)
        if part is None:
            kernel = _kernel(file, number, world, work, rules, seed, end_s, sites, mine)
            while not kernel.done:
                kernel.advance(EVENTS)
            part = _Part(
                start=kernel.start,
                end=kernel.end,
                site=kernel.site,
                restarts=kernel.restarts,
                lost=kernel.lost,
                used=kernel.used,
                wasted=kernel.wasted,
                closed=kernel.closed,
            )
        if key is not None:
            _PARTS[key] = part
        run.start[mine], run.end[mine] = part.start, part.end
        run.site[mine] = np.where(part.site >= 0, np.array(sites, np.int32)[part.site], -1)
        run.restarts[mine], run.lost[mine] = part.restarts, part.lost
        for table, its in (
            (run.used, part.used),
            (run.wasted, part.wasted),
            (run.closed, part.closed),
        ):
            table[sites] = its
    _forget(MOST * jobs)
    return run


def _forget(most: int) -> None:
    """The oldest, until no more than so many jobs are remembered."""
    total = sum(len(part.start) for part in _PARTS.values())
    for key in list(_PARTS):
        if total <= most:
            return
        total -= len(_PARTS.pop(key).start)


def joined(allowed: Ints, places: int) -> list[list[int]]:
    """Sites in sets that no job joins, the largest set first."""
    sets = [1 << site for site in range(places)]
    for mask in np.unique(allowed).tolist():
        touched = [one for one in sets if one & mask]
        if len(touched) > 1:
            sets = [one for one in sets if not one & mask] + [sum(touched)]
    sets.sort(key=lambda one: (-one.bit_count(), one))
    return [[site for site in range(places) if one >> site & 1] for one in sets]


def _kernel(
    file: ScenarioFile,
    number: Numbers,
    world: World,
    work: Workload,
    rules: Sharing,
    seed: int,
    end_s: int,
    sites: list[int],
    mine: Ints,
) -> Federation:
    places = [world.places[site] for site in sites]
    local = np.zeros(len(world.places), np.int32)
    local[sites] = np.arange(len(sites))
    masks = rules.allowed[mine]
    allowed = np.zeros(len(mine), np.int64)
    for at, site in enumerate(sites):
        allowed |= (masks >> site & 1) << at
    rank = np.empty(len(mine), np.int32)
    rank[np.argsort(rules.rank[mine])] = np.arange(len(mine), dtype=np.int32)
    failures = file.failures
    return Federation(
        ready=rules.ready[mine],
        rank=rank,
        number=mine,
        size=work.size[mine],
        run=rules.run[mine],
        limit=rules.limit[mine],
        home=local[rules.home[mine]],
        away=rules.away[mine],
        allowed=allowed,
        group=work.group[mine],
        low=rules.low[mine],
        count=[place.accelerators for place in places],
        node=[place.node for place in places],
        whole=[place.whole for place in places],
        backfill=[world.backfill] * len(places),
        speed=[round(place.speed * SPEED_UNIT) for place in places],
        most=rules.most[sites],
        gaps=[
            (gap.begin_s, gap.end_s, at, gap.accelerators)
            for at, place in enumerate(places)
            for gap in place.gaps
            if gap.begin_s < end_s
        ],
        rate=number(failures.rate) / DAY_S,
        repair_s=round(number(failures.repair)),
        checkpoint_s=round(number(failures.checkpoint)),
        restart_s=round(number(failures.restart)),
        seed=seed,
        end_s=end_s,
    )
