"""The replay of one point: a workload through a world, and its two tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meyrin.engine.pool import Pool
from meyrin.plan import outcome, power
from meyrin.plan.outcome import Words
from meyrin.plan.scenario import Scenario
from meyrin.plan.workload import Workload
from meyrin.plan.world import Numbers, Place, World

Ints = NDArray[np.int64]


def replay(
    scenario: Scenario,
    number: Numbers,
    world: World,
    work: Workload,
    seed: int,  # noqa: ARG001 - failures will draw from it
    shapes: tuple[Path | None, Path | None],
) -> tuple[dict[str, bytes], Mapping[str, int]]:
    """The tables of a point by file name, and how many jobs came to what."""
    hours = round(number(scenario.file.length)) // 3600
    start = np.full(len(work), -1, np.int64)
    used = np.zeros((len(world.places), hours), np.int64)
    place_of = {place.name: at for at, place in enumerate(world.places)}
    fits = np.zeros(len(work), np.bool_)
    for home, name in enumerate(work.homes):
        place = world.places[place_of[name]]
        mine = (work.home == home) & (work.size <= place.accelerators)
        fits |= mine
        columns = [column[mine] for column in (work.submit, work.size, work.run, work.limit)]
        policy = "easy" if world.backfill else "fcfs"
        submit, size, run, limit = columns
        pool = Pool(policy, submit, size, run, limit, place.accelerators)
        while not pool.done:
            pool.advance(1 << 20)
        start[mine] = pool.start
        _spread(used[place_of[name]], pool.start, pool.start + columns[2], columns[1])
    end_s = hours * 3600
    start[start >= end_s] = -1
    end = np.where(start >= 0, start + work.run, -1)
    tables = {
        outcome.JOBS_FILE: _jobs(scenario, number, work, start, end, fits, end_s),
        outcome.HOURS_FILE: _hours(scenario, number, world, used, shapes),
    }
    counts = {
        "jobs": len(work),
        "started": int((start >= 0).sum()),
        "ended": int(((end >= 0) & (end <= end_s)).sum()),
    }
    return tables, counts


def _spread(used: Ints, begin: Ints, end: Ints, size: NDArray[np.int32]) -> None:
    """Add accelerator-seconds to the hours in which they were used."""
    edges = np.arange(len(used) + 1) * 3600
    for moments, sign in ((begin, 1), (end, -1)):
        order = np.argsort(moments, kind="stable")
        at, weight = moments[order], size[order].astype(np.int64)
        level = np.concatenate([[0], np.cumsum(weight)])
        moment = np.concatenate([[0], np.cumsum(weight * at)])
        place = np.searchsorted(at, edges)
        area = level[place] * edges - moment[place]
        used += sign * np.diff(area)


def _jobs(
    scenario: Scenario,
    number: Numbers,
    work: Workload,
    start: Ints,
    end: Ints,
    fits: NDArray[np.bool_],
    end_s: int,
) -> bytes:
    why = np.where(~fits, 1, np.where(start < 0, 2, np.where(end > end_s, 3, 0)))
    nothing = np.zeros(len(work), np.int64)
    columns: dict[str, Any] = {
        "job": np.arange(len(work)),
        "home": Words(work.homes, work.home),
        "site": Words(("", *work.homes), np.where(start >= 0, work.home + 1, 0)),
        "country": Words(work.countries, work.country),
        "group": Words(work.groups, work.group),
        "user": work.user,
        "kind": Words(work.kinds, work.kind),
        "accelerators": work.size,
        "submit_s": work.submit,
        "start_s": start,
        "end_s": end,
        "requested_s": work.limit,
        "run_s": work.run,
        "restarts": nothing,
        "lost_s": nothing,
        "moved_mb": nothing,
        "deferred_s": nothing,
        "counted": work.submit >= round(number(scenario.file.warm_up)),
        "unserved": Words(("", *outcome.UNSERVED), why),
    }
    return outcome.table_bytes(columns, outcome.JOBS)


def _hours(
    scenario: Scenario,
    number: Numbers,
    world: World,
    used: Ints,
    shape_files: tuple[Path | None, Path | None],
) -> bytes:
    shapes = tuple(power.read_shape(path) if path is not None else {} for path in shape_files)
    flexible = scenario.file.flexible
    called = number(flexible.called) if flexible is not None else 0.0
    count = used.shape[1]
    parts = []
    for at, place in enumerate(world.places):
        hours = power.hours_of(
            place,
            scenario.facility,
            number,
            scenario.file.begin,
            count,
            (shapes[0], shapes[1]),
            called,
        )
        parts.append(_site_hours(at, place, scenario, number, used[at], hours))
    columns: dict[str, Any] = {
        name: np.concatenate([part[name] for part in parts]) for name in parts[0]
    }
    columns["site"] = Words(tuple(place.name for place in world.places), columns["site"])
    return outcome.table_bytes(columns, outcome.SITE_HOURS)


def _site_hours(
    at: int, place: Place, scenario: Scenario, number: Numbers, used: Ints, hours: power.Hours
) -> dict[str, Any]:
    count = len(used)
    installed = np.full(count, place.accelerators * 3600, np.int64)
    idle = number(scenario.facility.climate.idle)
    load_w_s = place.power_w * (idle * installed + (1 - idle) * used)
    energy = np.rint(load_w_s * hours.pue).astype(np.int64)
    kwh = energy / 3.6e6
    price, carbon = np.rint(hours.price), np.rint(hours.carbon)
    nothing = np.zeros(count, np.int64)
    return {
        "site": np.full(count, at, np.int32),
        "hour": np.arange(count),
        "used_s": used,
        "lost_s": nothing,
        "available_s": installed,
        "installed_s": installed,
        "energy_j": energy,
        "pue_milli": np.rint(hours.pue * 1000),
        "price_millicents_per_kwh": price,
        "energy_millicents": np.rint(kwh * price),
        "capital_millicents": np.rint(installed / 3600 * place.capital_millicents_h),
        "carbon_mg_per_kwh": carbon,
        "carbon_mg": np.rint(kwh * carbon),
        "signal": hours.signal,
        "moved_out_j": nothing,
        "moved_in_j": nothing,
    }
