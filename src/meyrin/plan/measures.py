"""The numbers of one point of a study, from the files that it left: levels, by slice.

Reads what `plan/outcome.py` describes and nothing else. A measure is worked out for all jobs and
by year, site, country, group, part of the workload and size of job; a job's site is where its user
would have run it today, so that the same jobs are compared in every option.

Waits count each job submitted after the warm-up that some machine could have run. One that did
not start counts with the time until the end of the run, which is less than its true wait.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from meyrin.plan.outcome import ABOUT_FILE, HOURS_FILE, JOBS_FILE, MEASURES_FILE, TOO_LARGE

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TAU_S = 10  # Feitelson's bound for the slowdown of very short jobs, as in `sim.outcome`
FEWEST_USERS = 5  # what fewer people did is not shown
HOUR_S = 3600
QUANTILES = (50, 90, 99)
ALL = "all"
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
    "away_pct": "jobs that ran elsewhere than their user would today, per cent of those that ran",
    "data_tb": "data moved for them, 10^12 bytes",
    "restarts": "attempts that a failure or a preemption ended",
}
OF_HOURS = {
    "use_pct": "accelerator-hours given to jobs over those in service, per cent",
    "cost_eur": "hardware and building written off, upkeep and energy, EUR",
    "energy_mwh": "energy at the meter, MWh",
    "carbon_t": "emissions of that energy, tonnes",
    "moved_mwh": "energy of deferrable jobs moved to other hours on a signal of the grid, MWh",
    "moved_mw": "of it the power: its mean over the hours in which any grid asks for less, MW",
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


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """What jobs say of one dimension: measures by slice, the work served by slice and site, and
    the slices in which fewer than five people had jobs."""

    dimension: str
    names: tuple[str, ...]
    found: Mapping[str, Floats]
    work: Floats
    few: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """`rows`: for each dimension and slice every measure; NaN where one has no meaning. `few`:
    slices by dimension whose numbers would tell what fewer than five people did."""

    about: Mapping[str, Any]
    rows: pd.DataFrame
    few: Mapping[str, tuple[str, ...]]


def read(folder: Path) -> Left:
    """The files of a point's folder."""
    about = json.loads((folder / ABOUT_FILE).read_bytes())
    return Left(about, _columns(folder / JOBS_FILE), _columns(folder / HOURS_FILE))


def worked_out(folder: Path) -> Measured:
    """What is measured of a point, from its jobs and hours."""
    left = read(folder)
    people = people_of(left.about, left.jobs)
    return measured(left.about, people, left.jobs["site"].names, left.hours)


def kept(folder: Path) -> Measured:
    """The same, as the point itself worked it out and left it."""
    about = json.loads((folder / ABOUT_FILE).read_bytes())
    told = json.loads((folder / MEASURES_FILE).read_bytes())
    rows = pd.DataFrame(told["rows"], columns=["dimension", "slice", *MEASURES])
    rows = rows.astype(dict.fromkeys(MEASURES, np.float64))
    return Measured(about, rows, {name: tuple(few) for name, few in told["few"].items()})


def measures_bytes(found: Measured) -> bytes:
    """`measures.json`: numbers to the last bit, null where there is none."""
    rows = [
        [None if isinstance(one, float) and one != one else one for one in row]  # noqa: PLR0124
        for row in found.rows.itertuples(index=False)
    ]
    told = {"few": {name: list(few) for name, few in found.few.items()}, "rows": rows}
    return (json.dumps(told, separators=(",", ":"), ensure_ascii=False) + "\n").encode()


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


def people_of(about: Mapping[str, Any], jobs: Mapping[str, Any]) -> list[People]:
    """What the jobs of a point say, by dimension."""
    counted = np.flatnonzero(jobs["counted"])
    every = _Jobs(about, jobs, counted)
    return [_people(every, name, slices) for name, slices in _slices(about, jobs)]


def _slices(about: Mapping[str, Any], jobs: Mapping[str, Any]) -> Iterator[tuple[str, Coded]]:
    """Each dimension with the slice of each job."""
    yield ALL, Coded(np.zeros(len(jobs["submit_s"]), np.int16), (ALL,))
    yield "year", _years(about, jobs["submit_s"])
    yield "site", jobs["home"]
    for name in ("country", "group", "kind"):
        yield name, jobs[name]
    exponent = _exponents(jobs["accelerators"])
    names = tuple(size_name(e) for e in range(int(exponent.max(initial=0)) + 1))
    yield "size", Coded(exponent, names)


def _exponents(sizes: Ints) -> Ints:
    """The power of two from each size on."""
    known = np.arange(int(sizes.max(initial=1)) + 1)
    table: Ints = np.ceil(np.log2(np.maximum(known, 1))).astype(np.int64)
    return table[sizes]


def _years(about: Mapping[str, Any], seconds: Ints) -> Coded:
    begin = np.datetime64(str(about["begin"])[:10], "s")
    first, last = (
        int((begin + np.timedelta64(at, "s")).astype("datetime64[Y]").astype(np.int64)) + 1970
        for at in (0, int(about["hours"]) * HOUR_S - 1)
    )
    if first == last:
        return Coded(np.zeros(len(seconds), np.int16), (str(first),))
    begins = [
        (np.datetime64(f"{year}-01-01", "s") - begin).astype(np.int64)
        for year in range(first + 1, last + 1)
    ]
    return Coded(
        np.searchsorted(np.array(begins), seconds, side="right"),
        tuple(str(year) for year in range(first, last + 1)),
    )


def size_name(exponent: int) -> str:
    """Powers of two: 1, 2, 3-4, 5-8 and so on."""
    high = 2**exponent
    return str(high) if exponent < 2 else f"{high // 2 + 1}-{high}"


class _Jobs:
    """Columns of the counted jobs that all dimensions need; waits in rising order once for all."""

    def __init__(self, about: Mapping[str, Any], jobs: Mapping[str, Any], counted: Ints) -> None:
        self.counted = counted
        why = jobs["unserved"]
        number = why.of[counted]
        self.served = np.flatnonzero(np.array([not name for name in why.names])[number])
        self.user = jobs["user"][counted].astype(np.int64)
        run = jobs["run_s"][counted].astype(np.int64)
        self.work = jobs["accelerators"][counted].astype(np.int64) * run / HOUR_S
        self.site = jobs["site"].of[counted].astype(np.int64)
        self.sites = len(jobs["site"].names)
        self.restarts = jobs["restarts"][counted].astype(np.float64)
        self.moved = jobs["moved_mb"][counted].astype(np.float64)
        started = jobs["start_s"][counted].astype(np.int64)
        home = np.array([_place(jobs["site"].names, name) for name in jobs["home"].names])
        self.ran = started >= 0
        self.away = np.flatnonzero(self.ran & (home[jobs["home"].of[counted]] != self.site))
        self.again = np.flatnonzero(self.restarts)
        self.came = np.flatnonzero(self.moved)
        large = np.array([name == TOO_LARGE for name in why.names])[number]
        self.waited = np.flatnonzero(~large)
        submit = jobs["submit_s"][counted].astype(np.int64)
        end_s = int(about["hours"]) * HOUR_S
        self.wait = (np.where(self.ran, started, end_s) - submit)[self.waited].astype(np.float64)
        run = run[self.waited]
        self.slow = np.maximum(1.0, (self.wait + run) / np.maximum(run, TAU_S))
        quick = self.ran[self.waited] & (self.wait <= int(about["promise_s"]))
        self.quick = np.flatnonzero(quick)
        self.rising = np.argsort(self.wait, kind="stable")


def _place(names: tuple[str, ...], name: str) -> int:
    return names.index(name) if name in names else -1


def _people(every: _Jobs, dimension: str, slices: Coded) -> People:
    """Measures of the counted jobs for each slice."""
    count = len(slices.names)
    of = slices.of[every.counted].astype(np.int64)
    work = every.work
    asked = np.bincount(of, work, count)
    at = of[every.served] * every.sites + every.site[every.served]
    paid = _sums(at, work[every.served], count * every.sites).reshape(count, -1)
    served = paid.sum(axis=1)
    ran = np.bincount(of[every.ran], minlength=count)
    found = {
        "jobs": np.bincount(of, minlength=count).astype(np.float64),
        "asked_acch": asked,
        "served_acch": served,
        "unserved_pct": _over(100 * (asked - served), asked),
        "away_pct": _over(100 * np.bincount(of[every.away], minlength=count), ran),
        "data_tb": _sums(of[every.came], every.moved[every.came], count) / 1e6,
        "restarts": _sums(of[every.again], every.restarts[every.again], count),
    }
    found |= _waits(every, of[every.waited], count)
    few: tuple[str, ...] = ()
    if dimension in PEOPLE:
        most = int(every.user.max(initial=0)) + 1
        pairs = np.bincount(of * most + every.user, minlength=count * most)
        people = np.count_nonzero(pairs.reshape(-1, most), axis=1)
        named = zip(slices.names, people, strict=True)
        few = tuple(name for name, number in named if 0 < number < FEWEST_USERS)
    return People(dimension, slices.names, found, paid, few)


def _waits(every: _Jobs, of: Ints, count: int) -> dict[str, Floats]:
    number = np.bincount(of, minlength=count)
    if count == 1:
        return _quantiled(every, of, number, every.rising)
    narrow = of[every.rising].astype(np.int16)  # sorted by counting
    return _quantiled(every, of, number, every.rising[np.argsort(narrow, kind="stable")])


def _quantiled(every: _Jobs, of: Ints, number: Ints, order: Ints) -> dict[str, Floats]:
    """Waits by slice, with the jobs in order of slice, then wait."""
    count = len(number)
    first = np.concatenate(([0], np.cumsum(number)[:-1]))
    found = {
        "wait_mean_h": _over(np.bincount(of, every.wait, count) / HOUR_S, number),
        "in_promise_pct": _over(100 * np.bincount(of[every.quick], minlength=count), number),
        "slowdown_mean": _over(np.bincount(of, every.slow, count), number),
    }
    for percent in QUANTILES:
        found[f"wait_p{percent}_h"] = _quantiles(every.wait, order, first, number, percent) / HOUR_S
    return found


def _quantiles(values: Ints, order: Ints, first: Ints, number: Ints, percent: int) -> Floats:
    """The quantile of each run of `values` in this `order`, linear between neighbours (type 7 of
    Hyndman and Fan 1996); NaN for an empty run."""
    result = np.full(len(number), np.nan)
    some = number > 0
    at = (number[some] - 1) * (percent / 100)
    low = np.floor(at).astype(np.int64)
    high = np.minimum(low + 1, number[some] - 1)
    below, above = (values[order[first[some] + each]] for each in (low, high))
    result[some] = below + (above - below) * (at - low)
    return result


def _sums(of: Ints, weights: Floats, count: int) -> Floats:
    """Sums by slice, numbers also where there is nothing to add."""
    return np.bincount(of, weights, count).astype(np.float64)


def _over(above: Any, below: Any) -> Floats:
    """Quotients, NaN where nothing is below."""
    above, below = np.asarray(above, np.float64), np.asarray(below, np.float64)
    result = np.full(len(above), np.nan)
    np.divide(above, below, out=result, where=below > 0)
    return result


# --- site-hours


def measured(
    about: Mapping[str, Any],
    people: Sequence[People],
    sites: tuple[str, ...],
    hours: Mapping[str, Any],
) -> Measured:
    """What is measured of a point; `sites` are the names of the jobs' column `site`."""
    rates = _of_hours(hours, hours["site"])[list(OF_BOTH)]
    machines = {
        ALL: Coded(np.zeros(len(hours["hour"]), np.int16), (ALL,)),
        "year": _years(about, hours["hour"].astype(np.int64) * HOUR_S),
        "site": hours["site"],
    }
    frames = []
    for one in people:
        frame = pd.DataFrame(one.found, index=list(one.names))
        for name in OF_BOTH:
            rate = np.nan_to_num(rates[name].reindex(list(sites)).to_numpy(np.float64))
            frame[name] = _over(one.work @ rate, one.work.sum(axis=1))
        frame = frame[frame["jobs"] > 0]
        if one.dimension in machines:
            # a site's own rate comes before the mean of its users'
            own = _of_hours(hours, machines[one.dimension])
            frame = frame.drop(columns=list(OF_BOTH)).join(own, how="outer")
        frame = frame.reindex(columns=list(MEASURES)).rename_axis("slice").reset_index()
        frame.insert(0, "dimension", one.dimension)
        frames.append(frame)
    rows = pd.concat(frames, ignore_index=True)
    return Measured(about, rows, {one.dimension: one.few for one in people if one.few})


def _of_hours(hours: Mapping[str, Any], slices: Coded) -> pd.DataFrame:
    """Measures of machines for each slice."""
    count = len(slices.names)
    total = {
        name: np.bincount(slices.of, hours[name].astype(np.float64), count)
        for name in (
            "used_s", "lost_s", "available_s", "energy_j", "energy_millicents",
            "capital_millicents", "carbon_mg", "moved_out_j",
        )
    }  # fmt: skip
    useful = (total["used_s"] - total["lost_s"]) / HOUR_S
    cost = (total["energy_millicents"] + total["capital_millicents"]) / 1e5
    last = int(hours["hour"].max(initial=0)) + 1
    called = np.zeros((count, last), np.bool_)
    asking = np.flatnonzero(hours["signal"])
    called[slices.of[asking], hours["hour"][asking]] = True
    found = {
        "use_pct": _over(100 * total["used_s"], total["available_s"]),
        "cost_eur": cost,
        "energy_mwh": total["energy_j"] / 3.6e9,
        "carbon_t": total["carbon_mg"] / 1e9,
        "moved_mwh": total["moved_out_j"] / 3.6e9,
        "moved_mw": _over(total["moved_out_j"] / 3.6e9, called.sum(axis=1)),
        "lost_acch": total["lost_s"] / HOUR_S,
        "cost_eur_per_acch": _over(cost, useful),
        "carbon_g_per_acch": _over(total["carbon_mg"] / 1e3, useful),
    }
    return pd.DataFrame(found, index=list(slices.names))


# --- who got what


def mask(found: Measured) -> pd.DataFrame:
    """The rows without the numbers of slices in which fewer than five people had jobs."""
    shown = found.rows.copy()
    for dimension, few in found.few.items():
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
