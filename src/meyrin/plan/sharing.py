"""Who may run where, in which order, from when: what an option's rules mean for each job.

Everything is worked out before the replay, so that the engine sees numbers and bits only. Chance
is drawn by user from the seed, so a user is the same in every option.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from meyrin.plan.power import Hours
from meyrin.plan.scenario import ScenarioFile
from meyrin.plan.workload import Workload, draws
from meyrin.plan.world import Numbers, Place, World

Ints = NDArray[np.int64]
HOUR_S = 3600
SPEED_UNIT = 1000
NO_LIMIT = 2**40


@dataclass(frozen=True, slots=True)
class Sharing:
    """By job: `home` among the world's places, `run` and `limit` there, `allowed` sites as bits,
    `ready` and `away` from when, `rank` in which order, `low`, `moved_mb` if away from home.
    By site and group: `most` at once."""

    home: NDArray[np.int32]
    run: Ints
    limit: Ints
    allowed: Ints
    ready: Ints
    away: Ints
    rank: NDArray[np.int32]
    low: NDArray[np.bool_]
    moved_mb: Ints
    most: Ints


def share(
    file: ScenarioFile,
    number: Numbers,
    as_is: World,
    world: World,
    work: Workload,
    seed: int,
    hours: list[Hours],
) -> Sharing:
    """What the rules of a world mean for each job of a workload."""
    place_of = {place.name: at for at, place in enumerate(world.places)}
    where = np.array([place_of[name] for name in work.homes], np.int32)
    home = where[work.home]
    was = {place.name: place.speed for place in as_is.places}
    run, limit = work.run, work.limit
    for at, place in enumerate(world.places):
        if was.get(place.name, place.speed) != place.speed:
            mine = home == at
            factor = was[place.name] / place.speed
            run = np.where(mine, np.ceil(run * factor).astype(np.int64), run)
            limit = np.where(mine, np.ceil(limit * factor).astype(np.int64), limit)
    most = _most(file, number, world)
    moved_mb = np.rint(number(file.transfer.data) * work.size * (work.run / HOUR_S)).astype(
        np.int64
    )
    ready = _ready(file, number, world, work, seed, hours, home)
    return Sharing(
        home=home,
        run=run,
        limit=np.maximum(limit, run),
        allowed=_allowed(world, work, home, most),
        ready=ready,
        away=ready + _moving_s(file, number, world, home, moved_mb),
        rank=_rank(file, number, world, work, home),
        low=_willing(file, number, world, work, seed),
        moved_mb=moved_mb,
        most=most,
    )


def _most(file: ScenarioFile, number: Numbers, world: World) -> Ints:
    """What each group may hold at each site at once; at least one node."""
    if not world.hard_shares:
        return np.full((len(world.places), len(file.group)), NO_LIMIT)
    rows = [
        [
            min(place.accelerators, max(place.node, int(place.accelerators * number(one.share))))
            for one in file.group
        ]
        for place in world.places
    ]
    return np.array(rows, np.int64)


def _allowed(world: World, work: Workload, home: NDArray[np.int32], most: Ints) -> Ints:
    """The sites of each job: home; with one queue all that share; new ones for their countries."""
    places = world.places
    shared = sum(1 << at for at, place in enumerate(places) if place.shared)
    table = np.zeros((len(places), len(work.countries)), np.int64)
    for at, place in enumerate(places):
        table[at] = 1 << at
        if world.one_queue and place.shared:
            table[at] |= shared
        for other, new in enumerate(places):
            if new.new and place.shared:
                for country, code in enumerate(work.countries):
                    if _open_to(new, code):
                        table[at, country] |= 1 << other
    sizes = np.arange(int(work.size.max(initial=0)) + 1)
    fitting = np.zeros((len(sizes), most.shape[1]), np.int64)
    for at, place in enumerate(places):
        node = place.node if place.whole else 1
        taken = -(-sizes // node) * node
        for group in range(most.shape[1]):
            fits = taken <= min(place.accelerators, int(most[at, group]))
            fitting[:, group] |= fits.astype(np.int64) << at
    allowed: Ints = table[home, work.country] & fitting[work.size, work.group]
    return allowed


def _open_to(place: Place, code: str) -> bool:
    return any(not codes or code in codes for _, _, codes in place.owners)


def _moving_s(
    file: ScenarioFile,
    number: Numbers,
    world: World,
    home: NDArray[np.int32],
    moved_mb: Ints,
) -> Ints:
    """How long a job's data takes over its home's link; it is sent when the job is ready."""
    speed = np.array([place.link_mb_s for place in world.places]) * number(file.transfer.use)
    speed = np.where(speed > 0, speed, 1.0)  # a site without a link shares nothing
    return np.ceil(moved_mb / speed[home]).astype(np.int64)


def _ready(
    file: ScenarioFile,
    number: Numbers,
    world: World,
    work: Workload,
    seed: int,
    hours: list[Hours],
    home: NDArray[np.int32],
) -> Ints:
    """When each job may start: at once, or when the grid at home no longer asks for less."""
    if not world.flexible:
        return work.submit
    assert file.flexible is not None
    ready = work.submit.copy()
    waits = _users(work, seed, "flexible") < number(file.flexible.share)
    longest = round(number(file.flexible.most))
    for at, here in enumerate(hours):
        count = len(here.signal)
        later = np.where(here.signal, count, np.arange(count))
        quiet = np.minimum.accumulate(later[::-1])[::-1]
        mine = (home == at) & waits[work.user]
        submit = work.submit[mine]
        until = quiet[submit // HOUR_S] * HOUR_S
        ready[mine] = np.clip(until, submit, submit + longest)
    return ready


def _rank(
    file: ScenarioFile,
    number: Numbers,
    world: World,
    work: Workload,
    home: NDArray[np.int32],
) -> NDArray[np.int32]:
    """The order in which jobs are looked at: of submission, but for users over their pace.

    A user's part is what the home site could do in a window over the users it has. Jobs of a
    window behind that part count as submitted `behind` later.
    """
    key = work.submit
    if world.pacing:
        assert file.pacing is not None
        window = round(number(file.pacing.window))
        users = np.zeros(len(world.places))
        np.add.at(users, home[np.unique(work.user, return_index=True)[1]], 1)
        count = np.array([place.accelerators for place in world.places])
        part = (count * window / np.maximum(users, 1))[home]
        order = np.lexsort((work.submit, work.submit // window, work.user))
        asked = (work.size * work.run)[order]
        before = np.cumsum(asked) - asked
        same = work.user[order].astype(np.int64) * 2**31 + (work.submit // window)[order]
        first = np.flatnonzero(np.diff(same, prepend=-1))
        before -= np.repeat(before[first], np.diff([*first, len(same)]))
        over = np.zeros(len(work), np.bool_)
        over[order] = before > part[order]
        key = key + over * round(number(file.pacing.behind))
    rank = np.empty(len(work), np.int32)
    rank[np.argsort(key, kind="stable")] = np.arange(len(work), dtype=np.int32)
    return rank


def _willing(
    file: ScenarioFile, number: Numbers, world: World, work: Workload, seed: int
) -> NDArray[np.bool_]:
    """Jobs of users who let them be put off."""
    if not world.filling:
        return np.zeros(len(work), np.bool_)
    assert file.filling is not None
    willing = _users(work, seed, "filling") < number(file.filling.share)
    return np.asarray(willing[work.user], np.bool_)


def _users(work: Workload, seed: int, word: str) -> NDArray[np.float64]:
    return draws(seed, word).random(int(work.user.max(initial=-1)) + 1)
