"""Of the second program: every measure of one point, in plain pandas."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
from tests.plan.second_day import day, demand

MANY = 40  # points from which on further processes are worth their start


def each_point(folder: Path) -> Iterator[tuple]:
    """Each point's description, measures, measures as they may be shown, day and demand."""
    paths = sorted((folder / "points").glob("*/*/point.json"))
    if len(paths) < MANY:
        yield from map(read_point, paths)
        return
    with ProcessPoolExecutor(mp_context=get_context("forkserver")) as pool:
        yield from pool.map(read_point, paths)


def read_point(path: Path) -> tuple:
    about = json.loads(path.read_text())
    jobs = pd.read_parquet(path.parent / "jobs.parquet")
    hours = pd.read_parquet(path.parent / "site_hours.parquet")
    found = point(about, jobs, hours)
    return about, found, masked(found, jobs), day(hours), demand(about, jobs)


def point(about: dict, jobs: pd.DataFrame, hours: pd.DataFrame) -> pd.DataFrame:
    """Every measure of a point by dimension and slice."""
    begin = pd.Timestamp(about["begin"])
    names = {
        column: named(jobs[column])
        for column in ("home", "site", "country", "group", "kind", "unserved")
    }
    sites = names["home"].cat.categories.union(names["site"].cat.categories)
    home, site = (names[column].cat.set_categories(sites).cat.codes for column in ("home", "site"))
    jobs = jobs.assign(
        **names,
        work=jobs["accelerators"].astype(float) * jobs["run_s"] / 3600,
        failed=names["unserved"] != "",
        year=named((begin + pd.to_timedelta(jobs["submit_s"], unit="s")).dt.year),
        size=named(jobs["accelerators"], size),
        away=home != site,
        all=pd.Categorical.from_codes(np.zeros(len(jobs), dtype=int), ["all"]),
    )
    hours = hours.assign(
        all="all",
        site=hours["site"].astype(str),
        year=(begin + pd.to_timedelta(hours["hour"], unit="h")).dt.year.astype(str),
    )
    rate = machines(hours, "site")[["cost_eur_per_acch", "carbon_g_per_acch"]]
    for name in rate:  # by where it ran
        jobs[name] = jobs["site"].map(rate[name]).astype(float) * jobs["work"]
    parts = Parts.of(jobs, about)
    frames = []
    for dimension in ("all", "year", "site", "country", "group", "kind", "size"):
        column = "home" if dimension == "site" else dimension
        people = users(parts, column, list(rate))
        if dimension in ("all", "year", "site"):
            of = machines(hours, dimension)
            people = people.drop(columns=list(rate)).join(of, how="outer")
        frames.append(people.rename_axis("slice").reset_index().assign(dimension=dimension))
    return pd.concat(frames, ignore_index=True)


@dataclass(frozen=True)
class Parts:
    """Jobs that count, those of them that ran, that came through, and that could be waited for."""

    counted: pd.DataFrame
    ran: pd.DataFrame
    done: pd.DataFrame
    waited: pd.DataFrame

    @staticmethod
    def of(jobs: pd.DataFrame, about: dict) -> Parts:
        end = about["hours"] * 3600
        counted = jobs[jobs["counted"]]
        waited = counted[counted["unserved"] != "too large"].copy()
        begun = waited["start_s"] >= 0
        waited["wait"] = np.where(begun, waited["start_s"], end) - waited["submit_s"]
        waited["in_time"] = begun & (waited["wait"] <= about["promise_s"])
        run = waited["run_s"]
        waited["slow"] = ((waited["wait"] + run) / run.clip(lower=10)).clip(lower=1.0)
        ran = counted[counted["start_s"] >= 0]
        return Parts(counted, ran, counted[~counted["failed"]], waited)


def named(values: pd.Series, name: Callable[[object], str] = str) -> pd.Series:
    """Each value's name; of millions of values there are few."""
    codes, kinds = pd.factorize(values)
    names, which = np.unique([name(kind) for kind in kinds], return_inverse=True)
    return pd.Series(pd.Categorical.from_codes(which[codes], names), index=values.index)


def users(parts: Parts, column: str, rates: list[str]) -> pd.DataFrame:
    by = parts.counted.groupby(column, observed=True)
    asked = by["work"].sum()
    done = parts.done.groupby(column, observed=True)["work"].sum()
    served = done.reindex(asked.index, fill_value=0.0)
    found = pd.DataFrame(
        {"jobs": by.size().astype(float), "asked_acch": asked, "served_acch": served}
    )
    found["unserved_pct"] = 100 * (asked - served) / asked
    away = parts.ran.groupby(column, observed=True)["away"].mean()
    found["away_pct"] = 100 * away.reindex(asked.index)
    found["data_tb"] = by["moved_mb"].sum() / 1e6
    found["restarts"] = by["restarts"].sum().astype(float)
    by = parts.waited.groupby(column, observed=True)
    found["wait_mean_h"] = by["wait"].mean() / 3600
    for percent in (50, 90, 99):
        found[f"wait_p{percent}_h"] = by["wait"].quantile(percent / 100) / 3600
    found["in_promise_pct"] = 100 * by["in_time"].mean()
    found["slowdown_mean"] = by["slow"].mean()
    for name in rates:
        found[name] = parts.done.groupby(column, observed=True)[name].sum() / done
    found.index = found.index.astype(str)
    return found


def machines(hours: pd.DataFrame, column: str) -> pd.DataFrame:
    t = hours.drop(columns=[c for c in ("all", "site", "year") if c != column]).groupby(column).sum(
        numeric_only=True
    ).astype(float)  # fmt: skip
    called = hours[hours["signal"]].groupby(column)["hour"].nunique()
    useful = (t["used_s"] - t["lost_s"]) / 3600
    cost = (t["energy_millicents"] + t["capital_millicents"]) / 100_000
    return pd.DataFrame({
        "use_pct": 100 * t["used_s"] / t["available_s"],
        "cost_eur": cost,
        "energy_mwh": t["energy_j"] / 3.6e9,
        "carbon_t": t["carbon_mg"] / 1e9,
        "moved_mwh": t["moved_out_j"] / 3.6e9,
        "moved_mw": t["moved_out_j"] / 3.6e9 / called.reindex(t.index),
        "lost_acch": t["lost_s"] / 3600,
        "cost_eur_per_acch": cost / useful,
        "carbon_g_per_acch": t["carbon_mg"] / 1000 / useful,
    }).replace([np.inf, -np.inf], np.nan)  # fmt: skip


def size(accelerators: int) -> str:
    high = 1
    while high < accelerators:
        high *= 2
    return str(high) if high < 4 else f"{high // 2 + 1}-{high}"


def masked(found: pd.DataFrame, jobs: pd.DataFrame) -> pd.DataFrame:
    """Without what fewer than five people did."""
    found = found.copy()
    hidden = ["wait_mean_h", "wait_p50_h", "wait_p90_h", "wait_p99_h", "in_promise_pct",
              "slowdown_mean", "unserved_pct", "asked_acch", "served_acch", "cost_eur_per_acch",
              "carbon_g_per_acch", "away_pct", "data_tb", "restarts"]  # fmt: skip
    for dimension, column in (("site", "home"), ("country", "country"), ("group", "group")):
        people = jobs[jobs["counted"]].groupby(column, observed=True)["user"].nunique()
        few = people[people < 5].index.astype(str)
        found.loc[(found["dimension"] == dimension) & found["slice"].isin(few), hidden] = np.nan
    return found
