"""A federation of sites, each a number of accelerators, replayed under the broker's own rules.

`Federation` holds the state between two instants in arrays and lets a compiled kernel advance it
(`kernel` says by which rules). One order of jobs over sites that share them is the hub's placement
with one reservation for each site; a site with jobs of its own is that site under EASY.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from meyrin.engine.federation import kernel
from meyrin.engine.federation.records import Records, packed
from meyrin.engine.federation.state import (
    DONE,
    ENDED,
    GAP,
    JOB,
    NOW,
    SITE,
    Ints,
    Terms,
    World,
    new_state,
)

MOST_SITES = 62  # a job's sites are bits of one integer
T = TypeVar("T", bound=np.generic)
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
        jobs = {
            "ready": ready,
            "rank": _or(rank, np.arange(jobs_n)),
            "number": _or(number, np.arange(jobs_n)),
            "size": size,
            "run": run,
            "limit": limit,
            "home": _or(home, np.zeros(jobs_n)),
            "away": _or(away, ready),
            "allowed": allowed,
            "group": _or(group, np.zeros(jobs_n)),
            "low": _or(low, np.zeros(jobs_n)),
        }
        sites = {
            "machine": count,
            "node": _or(node, np.ones(sites_n)),
            "whole": _or(whole, np.zeros(sites_n)),
            "backfill": _or(backfill, np.ones(sites_n)),
            "speed": _or(speed, np.ones(sites_n)),
        }
        limits = np.ascontiguousarray(_or(most, np.full((sites_n, 1), NO_LIMIT)), np.int64)
        world = World(
            packed(JOB, "jobs", jobs),
            packed(SITE, "sites", sites),
            limits,
            _closures(gaps),
            Terms(float(rate), repair_s, checkpoint_s, restart_s, seed, end_s),
            None,
        )
        _check(world)
        self._world = world._replace(state=new_state(world))

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
        return self._by_job("start", np.int64)

    @property
    def end(self) -> Ints:
        """End of each job: of the attempt that runs, where one does; -1 where none is known."""
        jobs: Records = self._world.state.job
        return np.where(jobs["end"] >= 0, jobs["end"], jobs["ends"])

    @property
    def site(self) -> npt.NDArray[np.int32]:
        """Where each job ran last, -1 nowhere."""
        return self._by_job("on", np.int32)

    @property
    def restarts(self) -> npt.NDArray[np.int32]:
        """Attempts of each job that a failure or a preemption ended."""
        return self._by_job("restarts", np.int32)

    @property
    def lost(self) -> Ints:
        """Accelerator-seconds that those attempts lost."""
        return self._by_job("lost", np.int64)

    @property
    def running(self) -> npt.NDArray[np.bool_]:
        """Which jobs run at the end of the run."""
        return self._by_job("ends", np.int64) >= 0

    @property
    def used(self) -> Ints:
        """Accelerator-seconds given to jobs, by site and hour."""
        return self._by_hour("used")

    @property
    def wasted(self) -> Ints:
        """Of these the lost ones, in the hour in which they were lost."""
        return self._by_hour("wasted")

    @property
    def closed(self) -> Ints:
        """Accelerator-seconds out of service, by site and hour."""
        return self._by_hour("closed")

    def _by_job(self, name: str, kind: type[T]) -> npt.NDArray[T]:
        return np.array(self._world.state.job[name], kind)

    def _by_hour(self, name: str) -> Ints:
        return np.array(self._world.state.hours[name], np.int64)


def _or(values: npt.ArrayLike | None, default: npt.ArrayLike) -> npt.ArrayLike:
    return default if values is None else values


def _closures(gaps: npt.ArrayLike | None) -> Records:
    """In order of begin; nothing closed is no closure."""
    rows = np.asarray([] if gaps is None else gaps, np.int64).reshape(-1, 4)
    rows = rows[np.lexsort((rows[:, 2], rows[:, 0]))]
    begin, end, site, amount = rows[rows[:, 3] != 0].T
    return packed(GAP, "gaps", {"begin": begin, "end": end, "site": site, "amount": amount})


def _check(world: World) -> None:
    sites, gaps, end_s = world.sites, world.gaps, world.terms.end_s
    places = len(sites)
    if not 1 <= places <= MOST_SITES:
        raise ValueError(f"{places} sites: 1 to {MOST_SITES} are possible")
    if len(world.most) != places:
        raise ValueError(f"sites: {len(world.most)} rows of most for {places}")
    if not 0 < end_s < LONGEST:
        raise ValueError(f"end_s is {end_s}: from 1 to {LONGEST}")
    if any((sites[name] < 1).any() for name in ("machine", "node", "speed")):
        raise ValueError("sites: count, node and speed are 1 or more")
    begin = gaps["begin"]
    if any(wrong.any() for wrong in (gaps["amount"] < 0, gaps["end"] <= begin, begin < 0)):
        raise ValueError("gaps: begin before end, count 0 or more")
    if ((gaps["site"] < 0) | (gaps["site"] >= places)).any():
        raise ValueError("gaps: a site that there is not")
    _check_jobs(world)


def _check_jobs(world: World) -> None:
    jobs, sites = world.jobs, world.sites
    places, whole = len(sites), jobs["size"].astype(np.int64)
    ready, rank, home, group = (jobs[name] for name in ("ready", "rank", "home", "group"))
    ranks = np.zeros(len(jobs), np.int64)
    known = (rank >= 0) & (rank < len(ranks))
    np.add.at(ranks, rank[known], 1)
    wrong = {
        "not in order of ready": np.diff(ready, prepend=ready[:1]) < 0,
        "ready before 0": ready < 0,
        "no size": whole < 1,
        "no run time": jobs["run"] < 1,
        "limit shorter than the run": jobs["limit"] < jobs["run"],
        "limit too long": jobs["limit"] > LONGEST,
        "home is no site": (home < 0) | (home >= places),
        "group is none": (group < 0) | (group >= world.most.shape[1]),
        "allowed at a site that there is not": jobs["allowed"] >> places != 0,
        "ranks are no order": ~known | (ranks != 1),
    }
    for site in range(places):
        node = sites["node"][site] if sites["whole"][site] else 1
        too_large = -(-whole // node) * node > sites["machine"][site]
        may = (jobs["allowed"] >> site) & 1 == 1
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
