"""The replay of one point: a workload through a world, and its tables.

workload, world → rules for each job (`sharing`) → engine (`federate`) → tables (here)

What money, power and climate are changes no start, so a point that differs from one played before
in such numbers only is not played again: its hours are worked out anew, its jobs are the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meyrin.plan import measures, outcome, power
from meyrin.plan.facility import quantities
from meyrin.plan.federate import Run, federate
from meyrin.plan.measures import Coded, People
from meyrin.plan.outcome import Words
from meyrin.plan.scenario import Scenario
from meyrin.plan.sharing import HOUR_S, Sharing, share
from meyrin.plan.workload import Workload
from meyrin.plan.world import Numbers, Place, World

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Deferred:
    """Jobs that were held back and made up for it: how long, where and when."""

    seconds: Ints
    size: Ints
    home: Ints
    submit: Ints
    site: Ints
    start: Ints


@dataclass(frozen=True, slots=True, eq=False)
class Played:
    """What the engine made of a point: the jobs' table and measures, and what sites gave."""

    jobs: bytes
    people: Sequence[People]
    sites: tuple[str, ...]
    counts: Mapping[str, int]
    used: Ints
    wasted: Ints
    closed: Ints
    deferred: Deferred


_PLAYED: dict[Any, Played] = {}
KEPT = 3
"""So many points of this process are remembered: played anew they would be the same."""


def replay(
    scenario: Scenario,
    number: Numbers,
    as_is: World,
    world: World,
    work: Workload,
    made_by: Any,
    seed: int,
    shape_files: tuple[Path | None, Path | None],
    about: Mapping[str, Any],
) -> tuple[dict[str, bytes], Mapping[str, int]]:
    """The tables of a point by file name, and how many jobs came to what.

    `made_by` is all that decides the workload.
    """
    count = round(number(scenario.file.length)) // HOUR_S
    hours = hours_of(scenario, number, world, count, shape_files)
    signals = b"".join(one.signal.tobytes() for one in hours) if world.flexible else b""
    numbers = _numbers(scenario, number, world)
    common = (made_by, seed, signals, numbers, _without_money(as_is), _without_places(world))
    places = _without_money(world)
    key = (common, places)
    if key not in _PLAYED:
        while len(_PLAYED) >= KEPT:
            del _PLAYED[next(iter(_PLAYED))]
        rules = share(scenario.file, number, as_is, world, work, seed, hours)
        run = federate(
            scenario.file, number, world, work, rules, seed, count * HOUR_S,
            lambda sites: (common, tuple(places[site] for site in sites)),
        )  # fmt: skip
        _PLAYED[key] = _played(scenario, number, world, work, rules, run, count * HOUR_S, about)
    played = _PLAYED[key]
    columns = _hours(scenario, number, world, played, hours)
    found = measures.measured(about, played.people, played.sites, _coded(columns))
    tables = {
        outcome.JOBS_FILE: played.jobs,
        outcome.HOURS_FILE: outcome.table_bytes(columns, outcome.SITE_HOURS),
        outcome.MEASURES_FILE: measures.measures_bytes(found),
    }
    return tables, played.counts


# What decides a replay beside the workload: worlds but for money, power and climate, and every
# number of the scenario outside its options, which are in the worlds.


def _without_money(world: World) -> tuple[Place, ...]:
    """The places but for what money, power and climate are, and links that nothing uses."""
    moving = _moving(world)
    return tuple(
        replace(
            place,
            price=0.0,
            carbon=0.0,
            temperature=0.0,
            power_w=0.0,
            capital_millicents_h=0.0,
            link_mb_s=place.link_mb_s if moving else 0.0,
        )
        for place in world.places
    )


def _numbers(scenario: Scenario, number: Numbers, world: World) -> tuple[float, ...]:
    """Numbers of the scenario but for options, which are in the worlds, and what is not in use."""
    unused = {"option"}
    if not _moving(world):
        unused.add("transfer")
    unused |= {name for name in ("pacing", "filling", "flexible") if not getattr(world, name)}
    return tuple(number(one) for loc, one in quantities(scenario.file) if loc[0] not in unused)


def _moving(world: World) -> bool:
    """Whether any job may run away from home."""
    return world.one_queue or any(place.new for place in world.places)


def _without_places(world: World) -> World:
    return replace(world, places=())


def _played(
    scenario: Scenario,
    number: Numbers,
    world: World,
    work: Workload,
    rules: Sharing,
    run: Run,
    end_s: int,
    about: Mapping[str, Any],
) -> Played:
    columns = _jobs(scenario, number, world, work, rules, run, end_s)
    started = run.start >= 0
    coded = _coded(columns)
    held = rules.ready - work.submit
    seconds = np.minimum(held, rules.run)
    moved = np.flatnonzero((held > 0) & started & (run.start + seconds <= end_s))
    return Played(
        jobs=outcome.table_bytes(columns, outcome.JOBS),
        people=measures.people_of(about, coded),
        sites=coded["site"].names,
        counts={
            "jobs": len(work),
            "started": int(started.sum()),
            "ended": int((started & (run.end >= 0) & (run.end <= end_s)).sum()),
            "restarts": int(run.restarts.sum()),
            "away": int((started & (run.site != rules.home)).sum()),
            "behind": int((rules.rank[1:] < rules.rank[:-1]).sum()),
            "low": int(rules.low.sum()),
            "deferred": int((held > 0).sum()),
        },
        used=run.used,
        wasted=run.wasted,
        closed=run.closed,
        deferred=Deferred(
            seconds=seconds[moved],
            size=work.size[moved].astype(np.int64),
            home=rules.home[moved].astype(np.int64),
            submit=work.submit[moved],
            site=run.site[moved].astype(np.int64),
            start=run.start[moved],
        ),
    )


def _coded(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Columns as `measures` reads them back from a file."""
    return {
        name: Coded(one.number, one.names) if isinstance(one, Words) else one
        for name, one in columns.items()
    }


def hours_of(
    scenario: Scenario,
    number: Numbers,
    world: World,
    count: int,
    shape_files: tuple[Path | None, Path | None],
) -> list[power.Hours]:
    """Price, carbon, PUE and signal of each place by hour."""
    carbon, price = (power.read_shape(path) if path is not None else {} for path in shape_files)
    flexible = scenario.file.flexible
    called = number(flexible.called) if flexible is not None else 0.0
    facility, begin = scenario.facility, scenario.file.begin
    return [
        power.hours_of(place, facility, number, begin, count, (carbon, price), called)
        for place in world.places
    ]


def _jobs(
    scenario: Scenario,
    number: Numbers,
    world: World,
    work: Workload,
    rules: Sharing,
    run: Run,
    end_s: int,
) -> dict[str, Any]:
    never = run.start < 0
    late = (run.end < 0) | (run.end > end_s)
    why = np.where(rules.allowed == 0, 1, np.where(never, 2, np.where(late, 3, 0)))
    names = tuple(place.name for place in world.places)
    away = ~never & (run.site != rules.home)
    return {
        "job": np.arange(len(work)),
        "home": Words(work.homes, work.home),
        "site": Words(("", *names), np.where(never, 0, run.site + 1)),
        "country": Words(work.countries, work.country),
        "group": Words(work.groups, work.group),
        "user": work.user,
        "kind": Words(work.kinds, work.kind),
        "accelerators": work.size,
        "submit_s": work.submit,
        "start_s": run.start,
        "end_s": run.end,
        "requested_s": work.limit,
        "run_s": work.run,
        "restarts": run.restarts,
        "lost_s": run.lost,
        "moved_mb": np.where(away, rules.moved_mb, 0),
        "deferred_s": rules.ready - work.submit,
        "counted": work.submit >= round(number(scenario.file.warm_up)),
        "unserved": Words(("", *outcome.UNSERVED), why),
    }


def _hours(
    scenario: Scenario, number: Numbers, world: World, played: Played, hours: list[power.Hours]
) -> dict[str, Any]:
    out, moved_in = _moved(scenario, number, world, played)
    parts = []
    for at, place in enumerate(world.places):
        columns = _site_hours(place, scenario, number, played, at, hours[at])
        columns["site"] = np.full(len(columns["hour"]), at, np.int32)
        columns["moved_out_j"], columns["moved_in_j"] = out[at], moved_in[at]
        parts.append(columns)
    whole: dict[str, Any] = {
        name: np.concatenate([part[name] for part in parts]) for name in parts[0]
    }
    for name, (kind, _) in outcome.SITE_HOURS.items():
        if kind.startswith("int"):
            whole[name] = whole[name].astype(np.int64)
    whole["site"] = Words(tuple(place.name for place in world.places), whole["site"])
    return whole


def _site_hours(
    place: Place, scenario: Scenario, number: Numbers, run: Played, at: int, hours: power.Hours
) -> dict[str, Any]:
    used = run.used[at]
    full = np.full(len(used), place.accelerators * HOUR_S, np.int64)
    installed = full - np.minimum(full, unbuilt(place, len(used)))
    available = np.maximum(used, full - np.minimum(full, run.closed[at]))
    idle = number(scenario.facility.climate.idle)
    load_w_s = place.power_w * (idle * available + (1 - idle) * used)
    energy = np.rint(load_w_s * hours.pue).astype(np.int64)
    kwh = energy / 3.6e6
    price, carbon = np.rint(hours.price), np.rint(hours.carbon)
    return {
        "hour": np.arange(len(used)),
        "used_s": used,
        "lost_s": run.wasted[at],
        "available_s": available,
        "installed_s": np.maximum(installed, available),
        "energy_j": energy,
        "pue_milli": np.rint(hours.pue * 1000),
        "price_millicents_per_kwh": price,
        "energy_millicents": np.rint(kwh * price),
        "capital_millicents": np.rint(installed / HOUR_S * place.capital_millicents_h),
        "carbon_mg_per_kwh": carbon,
        "carbon_mg": np.rint(kwh * carbon),
        "signal": hours.signal,
    }


def unbuilt(place: Place, hours: int) -> Ints:
    """Accelerator-seconds by hour that are not there yet, or no longer."""
    table = np.zeros(hours, np.int64)
    for gap in place.gaps:
        if not gap.built:
            begin = np.arange(hours) * HOUR_S
            inside = np.minimum(begin + HOUR_S, gap.end_s) - np.maximum(begin, gap.begin_s)
            table += np.maximum(inside, 0) * gap.accelerators
    return table


def _moved(scenario: Scenario, number: Numbers, world: World, played: Played) -> tuple[Ints, Ints]:
    """Energy held back and used later, by site and hour, at the meter of home without cooling.

    A job held back for d seconds moves the first d seconds of its run. Only jobs that made up for
    it within the run count, so both tables have the same sum but for rounding.
    """
    moved = played.deferred
    tables = np.zeros((2, *played.used.shape))
    busy = 1 - number(scenario.facility.climate.idle)
    watts = np.array([place.power_w * busy for place in world.places])[moved.home] * moved.size
    for table, site, begin in (
        (tables[0], moved.home, moved.submit),
        (tables[1], moved.site, moved.start),
    ):
        first, last = begin // HOUR_S, (begin + moved.seconds - 1) // HOUR_S
        number_of = last - first + 1
        job = np.repeat(np.arange(len(begin)), number_of)
        hour = (
            first[job]
            + np.arange(len(job))
            - np.repeat(np.cumsum(number_of) - number_of, number_of)
        )
        ends = (begin + moved.seconds)[job]
        seconds = np.minimum(ends, (hour + 1) * HOUR_S) - np.maximum(begin[job], hour * HOUR_S)
        np.add.at(table, (site[job], hour), seconds * watts[job])
    return np.rint(tables[0]).astype(np.int64), np.rint(tables[1]).astype(np.int64)
