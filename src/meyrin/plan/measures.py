"""The numbers of one point of a study, from the files that it left: levels, by slice.

Reads what `plan/outcome.py` describes and nothing else. A measure is worked out for all jobs and
by year, site, country, group and size of job; a job's site is where its user would have run it
today, so that the same jobs are compared in every option.

Waits count each job submitted after the warm-up that some machine could have run. One that did
not start counts with the time until the end of the run, which is less than its true wait.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from meyrin.plan.outcome import ABOUT_FILE, HOURS_FILE, JOBS_FILE, TOO_LARGE

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TAU_S = 10  # Feitelson's bound for the slowdown of very short jobs, as in `sim.outcome`
FEWEST_USERS = 5  # what fewer people did is not shown
HOUR_S = 3600
QUANTILES = (50, 90, 99)
ALL = "all"
DIMENSIONS = (ALL, "year", "site", "country", "group", "size")
PEOPLE = ("site", "country", "group")  # slices that may be a few people

OF_JOBS = {
    "jobs": "jobs submitted after the warm-up",
    "wait_mean_h": "mean wait, hours",
    "wait_p50_h": "half of the jobs waited at most this, hours",
    "wait_p90_h": "90 % of the jobs waited at most this, hours",
    "wait_p99_h": "99 % of the jobs waited at most this, hours",
    "in_promise_pct": "jobs that started within the promised time, per cent",
    "slowdown_mean": "mean bounded slowdown: wait and run time over the run time, at least 10 s",
    "unserved_pct": "work without a result by the end of the run, per cent of the work asked for",
    "asked_acch": "work asked for, accelerator-hours",
    "served_acch": "work with a result by the end of the run, accelerator-hours",
}
OF_HOURS = {
    "use_pct": "accelerator-hours given to jobs over those in service, per cent",
    "cost_eur": "hardware and building written off, upkeep and energy, EUR",
    "energy_mwh": "energy at the meter, MWh",
    "carbon_t": "emissions of that energy, tonnes",
    "moved_mwh": "energy of deferrable jobs moved to other hours on a signal of the grid, MWh",
    "lost_acch": "accelerator-hours lost to failures and preemption",
}
OF_BOTH = {
    "cost_eur_per_acch": "cost for each useful accelerator-hour, EUR; of users: of the sites where"
    " their jobs ran, by work",
    "carbon_g_per_acch": "emissions for each useful accelerator-hour, grams; of users as above",
}
MEASURES = OF_JOBS | OF_HOURS | OF_BOTH


@dataclass(frozen=True, slots=True)
class Coded:
    """A class of each row: `names[of[i]]`."""

    of: Ints
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Left:
    """What a point left, as columns. Words are `Coded`."""

    about: Mapping[str, Any]
    jobs: Mapping[str, Any]
    hours: Mapping[str, Any]

    @property
    def end_s(self) -> int:
        """The end of the run."""
        return int(self.about["hours"]) * HOUR_S


def read(folder: Path) -> Left:
    """The files of a point's folder."""
    about = json.loads((folder / ABOUT_FILE).read_bytes())
    return Left(about, _columns(folder / JOBS_FILE), _columns(folder / HOURS_FILE))


def _columns(path: Path) -> dict[str, Any]:
    import pyarrow as pa  # noqa: PLC0415 - takes a while to load
    import pyarrow.parquet as pq  # noqa: PLC0415

    found: dict[str, Any] = {}
    for field, column in zip((table := pq.read_table(path)).schema, table.columns, strict=True):
        whole = column.combine_chunks()
        if pa.types.is_dictionary(field.type):
            whole = whole.unify_dictionaries() if hasattr(whole, "unify_dictionaries") else whole
            names = tuple(whole.dictionary.to_pylist())
            found[field.name] = Coded(whole.indices.to_numpy().astype(np.int64), names)
        else:
            found[field.name] = whole.to_numpy(zero_copy_only=False)
    return found


# --- jobs


def of_point(left: Left, promise_s: int) -> pd.DataFrame:
    """A row for each dimension and slice with every measure; NaN where a measure has no meaning,
    or would tell what fewer than five people did."""
    rates = _site_rates(left)
    frames = []
    for dimension, jobs, hours in _slices(left):
        measured = _measured(left, jobs, rates, promise_s)
        if hours is not None:
            # a site's own rate comes before the mean of its users'
            measured = measured.drop(columns=list(OF_BOTH))
            measured = measured.join(_of_hours(left, hours), how="outer")
        measured = measured.reindex(columns=list(MEASURES)).rename_axis("slice").reset_index()
        measured.insert(0, "dimension", dimension)
        frames.append(measured)
    return pd.concat(frames, ignore_index=True)


def _slices(left: Left) -> Iterator[tuple[str, Coded, Coded | None]]:
    """Each dimension with the slice of each job and, where it has one, of each site-hour."""
    jobs, hours = left.jobs, left.hours
    one = np.zeros(len(jobs["submit_s"]), np.int64), np.zeros(len(hours["hour"]), np.int64)
    yield ALL, Coded(one[0], (ALL,)), Coded(one[1], (ALL,))
    begin = np.datetime64(str(left.about["begin"])[:10], "s")
    years = [
        (begin + at.astype("timedelta64[s]")).astype("datetime64[Y]").astype(np.int64) + 1970
        for at in (jobs["submit_s"], hours["hour"].astype(np.int64) * HOUR_S)
    ]
    first, last = int(years[1].min()), int(years[1].max())
    names = tuple(str(year) for year in range(first, last + 1))
    yield "year", Coded(years[0] - first, names), Coded(years[1] - first, names)
    homes, sites = _aligned(jobs["home"], hours["site"])
    yield "site", homes, sites
    yield "country", jobs["country"], None
    yield "group", jobs["group"], None
    sizes = jobs["accelerators"].astype(np.int64)
    exponent = np.ceil(np.log2(np.maximum(sizes, 1))).astype(np.int64)
    yield (
        "size",
        Coded(exponent, tuple(size_name(e) for e in range(int(exponent.max(initial=0)) + 1))),
        None,
    )


def size_name(exponent: int) -> str:
    """Powers of two: 1, 2, 3-4, 5-8 and so on."""
    high = 2**exponent
    return str(high) if exponent < 2 else f"{high // 2 + 1}-{high}"


def _aligned(*columns: Coded) -> tuple[Coded, ...]:
    """The same names, in order, for all of them."""
    names = tuple(sorted({name for column in columns for name in column.names}))
    place = {name: number for number, name in enumerate(names)}
    return tuple(
        Coded(np.array([place[name] for name in column.names] or [0], np.int64)[column.of], names)
        for column in columns
    )


def _measured(
    left: Left, slices: Coded, rates: Mapping[str, Floats], promise_s: int
) -> pd.DataFrame:
    """Measures of jobs for each slice that has any."""
    jobs = left.jobs
    counted = jobs["counted"].astype(np.bool_)
    unserved = np.array([bool(name) for name in jobs["unserved"].names])[jobs["unserved"].of]
    too_large = np.array([name == TOO_LARGE for name in jobs["unserved"].names])[
        jobs["unserved"].of
    ]
    count = len(slices.names)
    of = slices.of[counted]
    work = (jobs["accelerators"].astype(np.int64) * jobs["run_s"])[counted] / HOUR_S
    asked = np.bincount(of, work, count)
    served = np.bincount(of, np.where(unserved[counted], 0.0, work), count)
    found = {
        "jobs": np.bincount(of, minlength=count).astype(np.float64),
        "asked_acch": asked,
        "served_acch": served,
        "unserved_pct": _over(100 * (asked - served), asked),
    }
    waited = counted & ~too_large
    found |= _waits(left, slices.of[waited], waited, count, promise_s)
    ran = counted & ~unserved
    for name, rate in rates.items():
        mine = np.where(ran, jobs["accelerators"].astype(np.int64) * jobs["run_s"], 0) / HOUR_S
        at = rate[jobs["site"].of]
        paid = np.bincount(slices.of, np.where(ran, mine * np.nan_to_num(at), 0.0), count)
        found[name] = _over(paid, np.bincount(slices.of, mine, count))
    frame = pd.DataFrame(found, index=list(slices.names))
    return frame[frame["jobs"] > 0]


def _waits(
    left: Left, of: Ints, which: NDArray[np.bool_], count: int, promise_s: int
) -> dict[str, Floats]:
    jobs = left.jobs
    submit, start, run = (
        jobs[name][which].astype(np.int64) for name in ("submit_s", "start_s", "run_s")
    )
    began = start >= 0
    wait = np.where(began, start, left.end_s) - submit
    slow = np.maximum(1.0, (wait + run) / np.maximum(run, TAU_S))
    number = np.bincount(of, minlength=count)
    order = np.lexsort((wait, of))
    first = np.concatenate(([0], np.cumsum(number)[:-1]))
    found = {
        "wait_mean_h": _over(np.bincount(of, wait, count) / HOUR_S, number),
        "in_promise_pct": _over(100 * np.bincount(of, began & (wait <= promise_s), count), number),
        "slowdown_mean": _over(np.bincount(of, slow, count), number),
    }
    for percent in QUANTILES:
        found[f"wait_p{percent}_h"] = _quantiles(wait[order], first, number, percent) / HOUR_S
    return found


def _quantiles(values: Ints, first: Ints, number: Ints, percent: int) -> Floats:
    """The quantile of each run of sorted `values`, linear between neighbours (type 7 of Hyndman
    and Fan 1996); NaN for an empty run."""
    result = np.full(len(number), np.nan)
    some = number > 0
    at = (number[some] - 1) * (percent / 100)
    low = np.floor(at).astype(np.int64)
    high = np.minimum(low + 1, number[some] - 1)
    below, above = values[first[some] + low], values[first[some] + high]
    result[some] = below + (above - below) * (at - low)
    return result


def _over(above: Any, below: Any) -> Floats:
    """Quotients, NaN where nothing is below."""
    above, below = np.asarray(above, np.float64), np.asarray(below, np.float64)
    result = np.full(len(above), np.nan)
    np.divide(above, below, out=result, where=below > 0)
    return result


# --- site-hours


def _of_hours(left: Left, slices: Coded) -> pd.DataFrame:
    """Measures of machines for each slice."""
    total = {
        name: np.bincount(slices.of, left.hours[name].astype(np.float64), len(slices.names))
        for name in (
            "used_s", "lost_s", "available_s", "energy_j", "energy_millicents",
            "capital_millicents", "carbon_mg", "moved_out_j",
        )
    }  # fmt: skip
    useful = (total["used_s"] - total["lost_s"]) / HOUR_S
    cost = (total["energy_millicents"] + total["capital_millicents"]) / 1e5
    found = {
        "use_pct": _over(100 * total["used_s"], total["available_s"]),
        "cost_eur": cost,
        "energy_mwh": total["energy_j"] / 3.6e9,
        "carbon_t": total["carbon_mg"] / 1e9,
        "moved_mwh": total["moved_out_j"] / 3.6e9,
        "lost_acch": total["lost_s"] / HOUR_S,
        "cost_eur_per_acch": _over(cost, useful),
        "carbon_g_per_acch": _over(total["carbon_mg"] / 1e3, useful),
    }
    return pd.DataFrame(found, index=list(slices.names))


def _site_rates(left: Left) -> dict[str, Floats]:
    """What a useful accelerator-hour costs and emits at each site of the jobs' column `site`."""
    rates = _of_hours(left, left.hours["site"])
    names = list(left.jobs["site"].names)
    return {name: rates[name].reindex(names).to_numpy(np.float64) for name in OF_BOTH}


# --- who got what


def mask(left: Left, measured: pd.DataFrame) -> pd.DataFrame:
    """`measured` without the numbers of slices in which fewer than five people had jobs."""
    shown = measured.copy()
    counted = left.jobs["counted"].astype(np.bool_)
    users = left.jobs["user"][counted].astype(np.int64)
    for dimension, slices, _ in _slices(left):
        if dimension in PEOPLE:
            most = int(users.max(initial=0)) + 1
            pairs = np.bincount(
                slices.of[counted] * most + users, minlength=len(slices.names) * most
            )
            people = np.count_nonzero(pairs.reshape(-1, most), axis=1)
            few = [
                name for name, n in zip(slices.names, people, strict=True) if 0 < n < FEWEST_USERS
            ]
            rows = (shown["dimension"] == dimension) & shown["slice"].isin(few)
            shown.loc[rows, [name for name in (*OF_JOBS, *OF_BOTH) if name != "jobs"]] = np.nan
    return shown


def lorenz(served: Mapping[str, float], given: Mapping[str, float]) -> pd.DataFrame:
    """The Lorenz curve of hours per contribution: countries from the worst served on, columns
    `country, given, served, per_given` and the running shares `given_share, served_share`.

    Countries that gave nothing have no place on it.
    """
    rows = [(name, given[name], served.get(name, 0.0)) for name in given if given[name] > 0]
    frame = pd.DataFrame(rows, columns=["country", "given", "served"])
    frame["per_given"] = frame["served"] / frame["given"]
    frame = frame.sort_values(["per_given", "country"], kind="stable", ignore_index=True)
    total = frame["served"].sum()
    frame["given_share"] = frame["given"].cumsum() / frame["given"].sum()
    frame["served_share"] = frame["served"].cumsum() / total if total else 0.0
    return frame


def gini(curve: pd.DataFrame) -> float:
    """Twice the area between the Lorenz curve and the diagonal: 0 is in proportion to what was
    given, 1 is all for one (C. Gini, 1912). NaN without any."""
    if not len(curve):
        return float("nan")
    at = np.concatenate(([0.0], curve["given_share"].to_numpy()))
    height = np.concatenate(([0.0], curve["served_share"].to_numpy()))
    return float(1.0 - np.sum(np.diff(at) * (height[1:] + height[:-1])))


def fairness(measured: pd.DataFrame, given: Mapping[str, float]) -> dict[str, float]:
    """How evenly countries fare: Gini of hours per contribution, best over worst of it, and the
    longest mean wait of a country over the shortest."""
    mine = measured[measured["dimension"] == "country"].set_index("slice")
    curve = lorenz(mine["served_acch"].dropna().to_dict(), given)
    per, waits = curve["per_given"], mine["wait_mean_h"].dropna()
    return {
        "gini": gini(curve),
        "best_to_worst": _ratio(per),
        "wait_longest_to_shortest": _ratio(waits),
    }


def _ratio(values: pd.Series) -> float:
    lowest = float(values.min()) if len(values) else float("nan")
    return float(values.max()) / lowest if lowest > 0 else float("nan")
