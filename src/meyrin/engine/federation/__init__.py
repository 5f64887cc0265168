"""A federation of sites, each a number of accelerators, replayed under the broker's own rules.

`Federation` holds the state between two instants in arrays and lets a compiled kernel advance it
(`kernel` says by which rules). One order of jobs over sites that share them is the hub's placement
with one reservation for each site; a site with jobs of its own is that site under EASY.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from meyrin.engine.federation import kernel
from meyrin.engine.federation.state import (
    DONE,
    ENDED,
    NOW,
    Gaps,
    Ints,
    Jobs,
    Sites,
    Terms,
    World,
    new_state,
)

MOST_SITES = 62  # a job's sites are bits of one integer
LONGEST = 2**40  # seconds: no sum of times overflows
NO_LIMIT = 2**40


class Federation:
    """A replay that stops and goes on at will.

    Jobs, int64 of one length, in order of `ready`, the moment from which a job may start: `size`
    in accelerators; `run` and `limit` in seconds at its `home` site's speed; `allowed`, a bit for
    each site. By default a job is looked at in order of `ready`, then of its place; `rank` (all
    different) is another order, `number` what chance is drawn by. `away`: from when it may start
    away from home. `group`: a column of `most`, what groups may hold at each site. `low`: may be
    put off. Sites, in order of name: `count`, `node` (accelerators), `whole` (nothing less than
    nodes), `backfill`, `speed` (any unit). `gaps`: rows of begin, end, site, count.

    Raises ValueError for arrays that don't fit, and for a job that is allowed where it never fits.
    """

    def __init__(
        self,
        *,
        ready: npt.ArrayLike,
        size: npt.ArrayLike,
        run: npt.ArrayLike,
        limit: npt.ArrayLike,
        allowed: npt.ArrayLike,
        count: npt.ArrayLike,
        end_s: int,
        home: npt.ArrayLike | None = None,
        rank: npt.ArrayLike | None = None,
        number: npt.ArrayLike | None = None,
        away: npt.ArrayLike | None = None,
        group: npt.ArrayLike | None = None,
        low: npt.ArrayLike | None = None,
        node: npt.ArrayLike | None = None,
        whole: npt.ArrayLike | None = None,
        backfill: npt.ArrayLike | None = None,
        speed: npt.ArrayLike | None = None,
        most: npt.ArrayLike | None = None,
        gaps: npt.ArrayLike | None = None,
        rate: float = 0.0,
        repair_s: int = 0,
        checkpoint_s: int = 0,
        restart_s: int = 0,
        seed: int = 0,
    ) -> None:
        jobs_n, sites_n = len(np.asarray(ready)), len(np.asarray(count))
        jobs = Jobs(
            ready=_column(ready, np.int64),
            rank=_or(rank, np.arange(jobs_n), np.int32),
            number=_or(number, np.arange(jobs_n), np.int64),
            size=_column(size, np.int32),
            run=_column(run, np.int64),
            limit=_column(limit, np.int64),
            home=_or(home, np.zeros(jobs_n), np.int32),
            away=_or(away, ready, np.int64),
            allowed=_column(allowed, np.int64),
            group=_or(group, np.zeros(jobs_n), np.int32),
            low=_or(low, np.zeros(jobs_n), np.int8),
        )
        sites = Sites(
            machine=_column(count, np.int64),
            node=_or(node, np.ones(sites_n), np.int64),
            whole=_or(whole, np.zeros(sites_n), np.int8),
            backfill=_or(backfill, np.ones(sites_n), np.int8),
            speed=_or(speed, np.ones(sites_n), np.int64),
            most=_or(most, np.full((sites_n, 1), NO_LIMIT), np.int64),
        )
        rows = np.asarray([] if gaps is None else gaps, np.int64).reshape(-1, 4)
        rows = rows[np.lexsort((rows[:, 2], rows[:, 0]))]
        rows = rows[rows[:, 3] != 0]  # nothing closed is no closure
        closures = Gaps(
            begin=_column(rows[:, 0], np.int64),
            end=_column(rows[:, 1], np.int64),
            site=_column(rows[:, 2], np.int32),
            amount=_column(rows[:, 3], np.int64),
        )
        _check(jobs, sites, closures, end_s)
        terms = Terms(float(rate), repair_s, checkpoint_s, restart_s, seed, end_s)
        self._world = World(jobs, sites, closures, terms, new_state(jobs, sites, closures, terms))

    def advance(self, events: int) -> None:
        """Deal with at most `events` instants; nothing happens once `done`."""
        kernel.advance(self._world, events)

    @property
    def done(self) -> bool:
        """Whether the end of the run is reached."""
        return bool(self._world.state.at[DONE])

    @property
    def finished(self) -> int:
        """How many jobs have come to their end."""
        return int(self._world.state.at[ENDED])

    @property
    def now(self) -> int:
        """The instant that was dealt with last."""
        return int(self._world.state.at[NOW])

    @property
    def start(self) -> Ints:
        """First start of each job, -1 where it has none."""
        return self._world.state.start

    @property
    def end(self) -> Ints:
        """End of each job: of the attempt that runs, where one does; -1 where none is known."""
        state = self._world.state
        return np.where(state.end >= 0, state.end, state.ends)

    @property
    def site(self) -> npt.NDArray[np.int32]:
        """Where each job ran last, -1 nowhere."""
        return self._world.state.on

    @property
    def restarts(self) -> npt.NDArray[np.int32]:
        """Attempts of each job that a failure or a preemption ended."""
        return self._world.state.restarts

    @property
    def lost(self) -> Ints:
        """Accelerator-seconds that those attempts lost."""
        return self._world.state.lost

    @property
    def running(self) -> npt.NDArray[np.bool_]:
        """Which jobs run at the end of the run."""
        return self._world.state.ends >= 0

    @property
    def used(self) -> Ints:
        """Accelerator-seconds given to jobs, by site and hour."""
        return self._world.state.used

    @property
    def wasted(self) -> Ints:
        """Of these the lost ones, in the hour in which they were lost."""
        return self._world.state.wasted

    @property
    def closed(self) -> Ints:
        """Accelerator-seconds out of service, by site and hour."""
        return self._world.state.closed


def _column(values: npt.ArrayLike, kind: Any) -> Any:
    return np.ascontiguousarray(values, kind)


def _or(values: npt.ArrayLike | None, default: npt.ArrayLike, kind: Any) -> Any:
    return _column(default if values is None else values, kind)


def _check(jobs: Jobs, sites: Sites, gaps: Gaps, end_s: int) -> None:
    if len({len(column) for column in jobs}) > 1:
        raise ValueError(f"jobs: columns of unequal length {[len(one) for one in jobs]}")
    places = len(sites.machine)
    if not 1 <= places <= MOST_SITES:
        raise ValueError(f"{places} sites: 1 to {MOST_SITES} are possible")
    if any(len(column) != places for column in sites):
        raise ValueError(f"sites: columns of unequal length {[len(one) for one in sites]}")
    if not 0 < end_s < LONGEST:
        raise ValueError(f"end_s is {end_s}: from 1 to {LONGEST}")
    if any((column < 1).any() for column in (sites.machine, sites.node, sites.speed)):
        raise ValueError("sites: count, node and speed are 1 or more")
    if any(wrong.any() for wrong in (gaps.amount < 0, gaps.end <= gaps.begin, gaps.begin < 0)):
        raise ValueError("gaps: begin before end, count 0 or more")
    if ((gaps.site < 0) | (gaps.site >= places)).any():
        raise ValueError("gaps: a site that there is not")
    _check_jobs(jobs, sites)


def _check_jobs(jobs: Jobs, sites: Sites) -> None:
    places = len(sites.machine)
    whole = jobs.size.astype(np.int64)
    ranks = np.zeros(len(jobs.rank), np.int64)
    known = (jobs.rank >= 0) & (jobs.rank < len(ranks))
    np.add.at(ranks, jobs.rank[known], 1)
    wrong = {
        "not in order of ready": np.diff(jobs.ready, prepend=jobs.ready[:1]) < 0,
        "ready before 0": jobs.ready < 0,
        "no size": jobs.size < 1,
        "no run time": jobs.run < 1,
        "limit shorter than the run": jobs.limit < jobs.run,
        "limit too long": jobs.limit > LONGEST,
        "home is no site": (jobs.home < 0) | (jobs.home >= places),
        "group is none": (jobs.group < 0) | (jobs.group >= sites.most.shape[1]),
        "allowed at a site that there is not": jobs.allowed >> places != 0,
        "ranks are no order": ~known | (ranks != 1),
    }
    for site in range(places):
        node = sites.node[site] if sites.whole[site] else 1
        too_large = -(-whole // node) * node > sites.machine[site]
        may = (jobs.allowed >> site) & 1 == 1
        wrong[f"allowed at site {site}, where it never fits"] = may & too_large
    for why, which in wrong.items():
        if which.any():
            raise ValueError(f"jobs: {why}: index {int(which.argmax())}")


def warm() -> None:
    """Compile the kernel."""
    Federation(
        ready=[0, 0],
        size=[1, 1],
        run=[1, 1],
        limit=[1, 1],
        allowed=[1, 1],
        count=[1],
        end_s=10,
        low=[0, 1],
    ).advance(10)
