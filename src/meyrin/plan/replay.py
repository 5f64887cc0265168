"""The replay of one point: a workload through a world, and its two tables.

workload, world → rules for each job (`sharing`) → engine (`federate`) → tables (here)
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meyrin.plan import outcome, power
from meyrin.plan.federate import Run, federate
from meyrin.plan.outcome import Words
from meyrin.plan.scenario import Scenario
from meyrin.plan.sharing import HOUR_S, Sharing, share
from meyrin.plan.workload import Workload
from meyrin.plan.world import Numbers, Place, World

Ints = NDArray[np.int64]


def replay(
    scenario: Scenario,
    number: Numbers,
    as_is: World,
    world: World,
    work: Workload,
    seed: int,
    shape_files: tuple[Path | None, Path | None],
    threads: int = 1,
) -> tuple[dict[str, bytes], Mapping[str, int]]:
    """The tables of a point by file name, and how many jobs came to what."""
    count = round(number(scenario.file.length)) // HOUR_S
    end_s = count * HOUR_S
    hours = hours_of(scenario, number, world, count, shape_files)
    rules = share(scenario.file, number, as_is, world, work, seed, hours)
    run = federate(scenario.file, number, world, work, rules, seed, end_s, threads)
    tables = {
        outcome.JOBS_FILE: _jobs(scenario, number, world, work, rules, run, end_s),
        outcome.HOURS_FILE: _hours(scenario, number, world, work, rules, run, hours),
    }
    started = run.start >= 0
    counts = {
        "jobs": len(work),
        "started": int(started.sum()),
        "ended": int((started & (run.end >= 0) & (run.end <= end_s)).sum()),
        "restarts": int(run.restarts.sum()),
        "away": int((started & (run.site != rules.home)).sum()),
    }
    return tables, counts


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
) -> bytes:
    never = run.start < 0
    late = (run.end < 0) | (run.end > end_s)
    why = np.where(rules.allowed == 0, 1, np.where(never, 2, np.where(late, 3, 0)))
    names = tuple(place.name for place in world.places)
    away = ~never & (run.site != rules.home)
    columns: dict[str, Any] = {
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
    return outcome.table_bytes(columns, outcome.JOBS)


def _hours(
    scenario: Scenario,
    number: Numbers,
    world: World,
    work: Workload,
    rules: Sharing,
    run: Run,
    hours: list[power.Hours],
) -> bytes:
    out, moved_in = _moved(scenario, number, world, work, rules, run)
    parts = []
    for at, place in enumerate(world.places):
        columns = _site_hours(place, scenario, number, run, at, hours[at])
        columns["site"] = np.full(len(columns["hour"]), at, np.int32)
        columns["moved_out_j"], columns["moved_in_j"] = out[at], moved_in[at]
        parts.append(columns)
    whole: dict[str, Any] = {
        name: np.concatenate([part[name] for part in parts]) for name in parts[0]
    }
    whole["site"] = Words(tuple(place.name for place in world.places), whole["site"])
    return outcome.table_bytes(whole, outcome.SITE_HOURS)


def _site_hours(
    place: Place, scenario: Scenario, number: Numbers, run: Run, at: int, hours: power.Hours
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


def _moved(
    scenario: Scenario,
    number: Numbers,
    world: World,
    work: Workload,
    rules: Sharing,
    run: Run,
) -> tuple[Ints, Ints]:
    """Energy held back and used later, by site and hour, at the meter of home without cooling.

    A job held back for d seconds moves the first d seconds of its run. Only jobs that made up for
    it within the run count, so both tables have the same sum but for rounding.
    """
    places, count = run.used.shape
    tables = np.zeros((2, places, count))
    held = rules.ready - work.submit
    end_s = count * HOUR_S
    for job in np.flatnonzero((held > 0) & (run.start >= 0)):
        moved = min(int(held[job]), int(rules.run[job]))
        if run.start[job] + moved > end_s:
            continue
        home = rules.home[job]
        watts = world.places[home].power_w * (1 - number(scenario.facility.climate.idle))
        for table, site, begin in ((0, home, work.submit[job]), (1, run.site[job], run.start[job])):
            _add(tables[table, site], int(begin), moved, watts * work.size[job])
    return np.rint(tables[0]).astype(np.int64), np.rint(tables[1]).astype(np.int64)


def _add(hours: NDArray[np.float64], begin: int, seconds: int, watts: float) -> None:
    end = begin + seconds
    while begin < end:
        until = min(end, (begin // HOUR_S + 1) * HOUR_S)
        hours[begin // HOUR_S] += (until - begin) * watts
        begin = until
