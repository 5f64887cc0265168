"""A second, independent program: every table of a study's report, worked out again in plain pandas.

    python -m tests.plan.second OUT

reads only the outcome files below OUT/points (and, for countries' weights and names of ranges,
the scenario as text) and compares with OUT/tables. It shares no line with `meyrin.plan`; keep it
so. `differing(folder)` lists what does not agree.
"""

from __future__ import annotations

import functools
import itertools
import json
import sys
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats
from tests.plan.second_point import each_point

AS_IS = "as is"
CLOSE = 1e-9
WORDS = dict.fromkeys(("year", "slice", "size", "country", "site", "option"), str)


class Again:
    """All numbers of the study in `folder`, worked out from its points."""

    def __init__(self, folder: Path) -> None:
        self.scenario = tomllib.loads((folder / "scenario.toml").read_text())
        self.summary = json.loads((folder / "study.json").read_text())
        self.focus = self.summary["focus"]
        self.rule = self.scenario.get("sizes", ["recorded", "grown"])[0]
        self.seed = self.scenario["seeds"][0]
        self.weights = {one["country"]: in_one(one["weight"]) for one in self.scenario["demand"]}
        rows, fair, curves, swings, days, self.about = [], [], [], [], {}, {}
        for about, found, shown, by_hour, asked in each_point(folder):
            who = {"option": about["label"], "size_rule": about["sizes"], "seed": about["seed"]}
            if about["ends"]:
                ((name, end),) = about["ends"].items()
                one = found[found["dimension"] == "all"]
                swings.append(one.assign(quantity=name, end=end, **who))
                continue
            self.about.setdefault(about["label"], about)
            if (about["sizes"], about["seed"]) == (self.rule, self.seed):
                days[about["label"]] = by_hour
                if about["label"] == AS_IS:
                    self.demand = asked
            curve, numbers = evenness(found, self.given(about["sites"]))
            rows.append(shown.assign(**who))
            curves.append(curve.assign(**who))
            fair.append({**who, **numbers})
        most = max(days, key=lambda label: days[label]["held_back_mw"].sum())
        shown = {AS_IS, self.focus} | ({most} if days[most]["held_back_mw"].sum() > 0 else set())
        self.power = pd.concat([days[label].assign(option=label) for label in shown])
        self.seeds = pd.concat(rows, ignore_index=True)
        self.curves = pd.concat(curves, ignore_index=True)
        self.fair = pd.DataFrame(fair)
        self.swings = pd.concat(swings, ignore_index=True) if swings else pd.DataFrame()
        self.names = [
            c for c in self.seeds if c not in ("dimension", "slice", "option", "size_rule", "seed")
        ]

    def given(self, sites: list[dict]) -> dict[str, float]:
        """Contribution by country: own parts of sites, shared parts by weight."""
        total = dict.fromkeys(self.weights, 0.0)
        for site in sites:
            for owner in site["owners"]:
                part = site["accelerators"] * site["speed"] * owner["share"]
                named = owner["countries"]
                who = [c for c in named if c in total] if named else list(total)
                whole = sum(self.weights[c] for c in who)
                for c in who:
                    total[c] += part * (self.weights[c] / whole if whole else 1 / len(who))
        return total

    def chain(self) -> list[str]:
        on = {one["name"]: one.get("on", AS_IS) for one in self.scenario.get("option", [])}
        steps = [self.focus]
        while steps[-1] != AS_IS:
            steps.append(on.get(steps[-1].split(" at ")[0], AS_IS))
        return steps[::-1]

    # --- tables

    @functools.cached_property
    def levels(self) -> pd.DataFrame:
        return interval(self.seeds, ["option", "size_rule", "dimension", "slice"], self.names)

    @functools.cached_property
    def differences(self) -> pd.DataFrame:
        return changes(self.seeds, ["size_rule", "dimension", "slice"], self.names)

    def fairness(self) -> pd.DataFrame:
        names = ["gini", "best_to_worst", "wait_longest_to_shortest"]
        level = interval(self.fair, ["option", "size_rule"], names)
        change = changes(self.fair, ["size_rule"], names).drop(columns="seeds")
        change.columns = [changed(c, names) for c in change]
        return level.merge(change, on=["option", "size_rule"], how="left")

    def beside(self, dimension: str, names: list[str]) -> pd.DataFrame:
        keys = ["option", "size_rule", "slice"]
        level = self.levels[self.levels["dimension"] == dimension]
        change = self.differences[self.differences["dimension"] == dimension]
        change = change[[*keys, *[f"{n}{e}" for n in names for e in ("", "_low", "_high")]]]
        change.columns = [changed(c, names) for c in change]
        return level[[*keys, "seeds", *names]].merge(change, on=keys, how="left")

    def slices(self, dimension: str) -> pd.DataFrame:
        names = ["wait_mean_h", "wait_p90_h", "in_promise_pct", "unserved_pct", "use_pct",
                 "cost_eur_per_acch", "carbon_g_per_acch"]  # fmt: skip
        rows = self.beside(dimension, names)
        rows = rows[rows["option"].isin([AS_IS, self.focus])]
        return rows.rename(columns={"slice": dimension}).dropna(axis="columns", how="all")

    def effort(self) -> pd.DataFrame:
        names = ["use_pct", "away_pct", "data_tb", "restarts", "lost_acch", "energy_mwh",
                 "moved_mwh", "moved_mw"]  # fmt: skip
        rows = self.levels[self.levels["dimension"] == "all"]
        return rows[["option", "size_rule", "seeds", *names]]

    def options(self) -> pd.DataFrame:
        names = ["wait_mean_h", "wait_p50_h", "wait_p90_h", "wait_p99_h", "in_promise_pct",
                 "slowdown_mean", "unserved_pct", "use_pct", "cost_eur", "cost_eur_per_acch",
                 "carbon_t", "carbon_g_per_acch"]  # fmt: skip
        return self.beside("all", names).drop(columns="slice")

    def whole(self) -> pd.DataFrame:
        return self.seeds.query("dimension == 'all' and size_rule == @self.rule")

    def waterfall(self) -> pd.DataFrame:
        waits = self.whole().pivot_table(index="seed", columns="option", values="wait_mean_h")
        steps = self.chain()
        nan = float("nan")
        at = waits[AS_IS].mean()
        rows = [(AS_IS, "today", 0.0, at, nan, nan, nan)]
        for before, after in itertools.pairwise(steps):
            low, mean, high = paired(waits[after] - waits[before])
            rows.append((after, "step", at, at + mean, mean, low, high))
            at += mean
        rows.append((self.focus, "then", 0.0, at, nan, nan, nan))
        return pd.DataFrame(
            rows,
            columns=["option", "kind", "wait_mean_before_h", "wait_mean_after_h", "change_h",
                     "change_low_h", "change_high_h"],
        )  # fmt: skip

    def pareto(self) -> pd.DataFrame:
        names = ["cost_eur_per_acch", "cost_eur", "wait_p90_h", "carbon_g_per_acch", "unserved_pct"]
        rows = self.whole().groupby("option", sort=False)[names].mean().reset_index()
        rows["cost_meur"] = rows.pop("cost_eur") / 1e6
        pairs = rows[["cost_meur", "wait_p90_h"]].to_numpy()
        rows["best"] = [
            not any((other <= own).all() and (other < own).any() for other in pairs)
            for own in pairs
        ]
        return rows

    def years(self) -> pd.DataFrame:
        names = ["wait_mean_h", "wait_p90_h", "unserved_pct", "use_pct", "cost_eur", "carbon_t"]
        rows = self.levels.query("dimension == 'year' and size_rule == @self.rule")
        return rows[["option", "slice", *names]].rename(columns={"slice": "year"})

    def lorenz(self) -> pd.DataFrame:
        rows = self.curves.query("size_rule == @self.rule and seed == @self.seed")
        rows = rows[rows["option"].isin([AS_IS, self.focus])]
        return rows.rename(columns={"given": "given_h100_equivalents", "served": "served_acch",
                                    "per_given": "served_acch_per_given"})  # fmt: skip

    def tornado(self, measure: str) -> pd.DataFrame:
        if self.swings.empty:
            columns = ["quantity", "change", "change_at_low", "change_at_high", "swing"]
            return pd.DataFrame(columns=columns)
        middle = self.whole().query("seed == @self.seed").set_index("option")[measure]
        value = middle[self.focus] - middle[AS_IS]
        ends = self.swings.pivot_table(index=["quantity", "end"], columns="option", values=measure)
        moved = (ends[self.focus] - ends[AS_IS]).unstack("end")
        return pd.DataFrame(
            {
                "quantity": moved.index,
                "change": value,
                "change_at_low": moved["low"],
                "change_at_high": moved["high"],
                "swing": (moved.sub(value).abs()).max(axis="columns"),
            }
        ).reset_index(drop=True)

    def unknowns(self) -> pd.DataFrame:
        wait, cost = self.tornado("wait_mean_h"), self.tornado("cost_eur_per_acch")
        return pd.DataFrame(
            {
                "quantity": wait["quantity"],
                "wait_swing_h": wait["swing"],
                "cost_swing_eur_per_acch": cost.set_index("quantity")["swing"][
                    wait["quantity"]
                ].values,
            }
        )

    def map(self) -> pd.DataFrame:
        today = self.levels.query(
            "dimension == 'site' and size_rule == @self.rule and option == @AS_IS"
        )
        today = today.set_index("slice")
        rows, seen = [], set()
        for label in self.about_order():
            for site in self.about[label]["sites"]:
                if site["name"] in seen or site["latitude"] is None or site["longitude"] is None:
                    continue
                seen.add(site["name"])
                was = today.loc[site["name"]] if site["name"] in today.index else {}
                rows.append({
                    "site": site["name"],
                    "accelerators": site["accelerators"],
                    "h100_equivalents": site["accelerators"] * site["speed"],
                    "power_mw": site["accelerators"] * site["power_w"] / 1e6,
                    "carbon_g_per_kwh": site["carbon"] / 1000,
                    "use_pct": was.get("use_pct", float("nan")),
                    "wait_p90_h": was.get("wait_p90_h", float("nan")),
                })  # fmt: skip
        return pd.DataFrame(rows)

    def about_order(self) -> list[str]:
        named = [one["name"] for one in self.scenario.get("option", [])]
        return sorted(
            self.about, key=lambda o: -1 if o == AS_IS else named.index(self.about[o]["option"])
        )


# --- countries


def evenness(found: pd.DataFrame, given: dict[str, float]) -> tuple[pd.DataFrame, dict[str, float]]:
    mine = found[found["dimension"] == "country"].set_index("slice")
    curve = pd.DataFrame(
        [(c, g, mine["served_acch"].get(c, 0.0)) for c, g in given.items() if g > 0],
        columns=["country", "given", "served"],
    )
    curve["per_given"] = curve["served"] / curve["given"]
    curve = curve.sort_values(["per_given", "country"]).reset_index(drop=True)
    curve["given_share"] = curve["given"].cumsum() / curve["given"].sum()
    curve["served_share"] = curve["served"].cumsum() / curve["served"].sum()
    x, y = [0.0, *curve["given_share"]], [0.0, *curve["served_share"]]
    curve["gini"] = 1 - 2 * np.trapezoid(y, x)
    waits = mine["wait_mean_h"].dropna()
    numbers = {
        "gini": curve["gini"].iloc[0] if len(curve) else np.nan,
        "best_to_worst": over(curve["per_given"].max(), curve["per_given"].min()),
        "wait_longest_to_shortest": over(waits.max(), waits.min()),
    }
    return curve, numbers


def over(a: float, b: float) -> float:
    return a / b if b > 0 else float("nan")


def in_one(quantity: dict) -> float:
    value = quantity.get("value", (quantity.get("low", 0) + quantity.get("high", 0)) / 2)
    return value / 100 if quantity["unit"] == "%" else value


# --- over seeds


def paired(values: pd.Series) -> tuple[float, float, float]:
    """Low end, mean and high end of the 95 % interval."""
    values = values.dropna()
    if not len(values):
        return (float("nan"),) * 3
    mean, n = values.mean(), len(values)
    if n == 1:
        return float("nan"), mean, float("nan")
    half = student(n - 1) * values.std() / n**0.5
    return mean - half, mean, mean + half


@functools.cache
def student(freedom: int) -> float:
    return float(stats.t.ppf(0.975, freedom))


def interval(rows: pd.DataFrame, keys: list[str], names: list[str]) -> pd.DataFrame:
    found = []
    for key, group in rows.groupby(keys, sort=False):
        row = dict(zip(keys, key, strict=True)) | {"seeds": group["seed"].nunique()}
        for name in names:
            row[f"{name}_low"], row[name], row[f"{name}_high"] = paired(group[name])
        found.append(row)
    return pd.DataFrame(found)


def changes(rows: pd.DataFrame, keys: list[str], names: list[str]) -> pd.DataFrame:
    base = rows[rows["option"] == AS_IS].set_index(["seed", *keys])[names]
    parts = []
    for option, group in rows[rows["option"] != AS_IS].groupby("option", sort=False):
        own = group.set_index(["seed", *keys])[names]
        both = own.index.intersection(base.index)
        parts.append((own.loc[both] - base.loc[both]).reset_index().assign(option=option))
    return interval(pd.concat(parts, ignore_index=True), ["option", *keys], names)


def changed(column: str, names: list[str]) -> str:
    for end in ("_low", "_high", ""):
        name = column.removesuffix(end)
        if column.endswith(end) and name in names:
            return f"{name}_change{end}"
    return column


# --- comparing


def differing(folder: Path) -> list[str]:
    """What in the tables of `folder` is not what its points say, in words; empty is good."""
    return compared(told(folder), own(folder))


def own(folder: Path) -> dict[str, pd.DataFrame]:
    """Every table, worked out from the points."""
    again = Again(folder)
    return {
        "levels": again.levels, "differences": again.differences, "per-seed": again.seeds,
        "fairness": again.fairness(), "options": again.options(), "waterfall": again.waterfall(),
        "pareto": again.pareto(), "years": again.years(), "lorenz": again.lorenz(),
        "sites": again.slices("site"), "countries": again.slices("country"),
        "groups": again.slices("group"), "sizes": again.slices("size"),
        "kinds": again.slices("kind"), "effort": again.effort(),
        "demand": again.demand, "power": again.power,
        "tornado-wait": again.tornado("wait_mean_h"),
        "tornado-cost": again.tornado("cost_eur_per_acch"),
        "unknowns": again.unknowns(), "map": again.map(),
    }  # fmt: skip


def told(folder: Path) -> dict[str, pd.DataFrame]:
    """Every table as the report has it."""
    return {
        path.stem: pd.read_csv(path, dtype=WORDS, keep_default_na=False, na_values=[""])
        for path in sorted((folder / "tables").glob("*.csv"))
    }


def compared(there: dict[str, pd.DataFrame], made: dict[str, pd.DataFrame]) -> list[str]:
    found = [f"no second opinion on {name}.csv" for name in sorted(set(there) - set(made))]
    for name in sorted(set(there) & set(made)):
        found += compare(name, there[name].copy(), made[name].copy())
    return found


KEYS = ("option", "size_rule", "seed", "dimension", "slice", "quantity", "site", "country",
        "group", "size", "year", "kind", "hour_utc")  # fmt: skip


def compare(name: str, told: pd.DataFrame, own: pd.DataFrame) -> list[str]:
    keys = [k for k in KEYS if k in told.columns and k in own.columns]
    numbers = [c for c in own.columns if c not in keys]
    missing = [c for c in numbers if c not in told.columns]
    extra = [
        c for c in told.columns
        if c not in own.columns and c not in GIVEN
        and pd.api.types.is_numeric_dtype(told[c]) and told[c].notna().any()
    ]  # fmt: skip
    found = [f"{name}.csv: column {c}" for c in missing + extra]
    if len(told) != len(own):
        return [*found, f"{name}.csv has {len(told)} rows, {len(own)} are right"]
    for frame in (told, own):
        for key in keys:
            frame[key] = frame[key].astype(str)
    a = told.set_index(keys).sort_index()
    b = own.set_index(keys).sort_index()
    if not a.index.equals(b.index):
        return [*found, f"{name}.csv: other rows"]
    for column in numbers:
        if column in missing:
            continue
        assert b[column].ndim == 1, (name, column)
        x, y = a[column].astype(float).to_numpy(), b[column].astype(float).to_numpy()
        scale = np.nanmax(np.abs(y), initial=1e-9)
        wrong = ~np.isclose(x, y, rtol=CLOSE, atol=CLOSE * scale, equal_nan=True)
        if wrong.any():
            at = int(wrong.argmax())
            found.append(f"{name}.csv, {column}, {a.index[at]}: {x[at]!r}, {y[at]!r} is right")
    return found


GIVEN = {"low", "value", "high", "taken", "unknown", "nobody_says", "latitude_deg",
         "longitude_deg", "number_known"}  # as the scenario says  # fmt: skip


if __name__ == "__main__":
    wrong = differing(Path(sys.argv[1]))
    print("\n".join(wrong) or "every number agrees")
    sys.exit(bool(wrong))
