"""The tables of a report, one for each figure and a few for all numbers, units in column names."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import pandas as pd

from meyrin.plan.differences import differences, levels
from meyrin.plan.measures import ALL, MEASURES, gini
from meyrin.plan.report.gather import FAIR, Study
from meyrin.plan.scenario import AS_IS

Tables = Mapping[str, pd.DataFrame]
NAMES = list(MEASURES)
TORNADO = {"wait": "wait_mean_h", "cost": "cost_eur_per_acch"}
FULL = ("levels", "differences", "per-seed", "fairness", "effort")
"""Tables of all numbers; the others have a figure of their name."""


def tables(study: Study) -> dict[str, pd.DataFrame]:
    """Every table by name. Rows in a fixed order, so that the same study gives the same bytes."""
    level = levels(study.per_seed, NAMES)
    change = differences(study.per_seed, NAMES, AS_IS)
    found = {
        "map": _map(study, level),
        "options": _options(study, level, change),
        "waterfall": _waterfall(study),
        "pareto": _pareto(study, level),
        "sizes": _slices(study, level, change, "size"),
        "groups": _slices(study, level, change, "group"),
        "kinds": _slices(study, level, change, "kind"),
        "countries": _slices(study, level, change, "country"),
        "years": _years(study, level),
        "sites": _slices(study, level, change, "site"),
        "lorenz": _lorenz(study),
        "unknowns": _unknowns(study),
        "demand": study.asked,
        "power": study.day,
        "effort": _effort(level),
    }
    for name, measure in TORNADO.items():
        found[f"tornado-{name}"] = tornado(study, measure)
    found |= {
        "levels": level,
        "differences": change,
        "per-seed": study.per_seed,
        "fairness": fairness(study),
    }
    return found


def fairness(study: Study) -> pd.DataFrame:
    """Gini and ratios of each option, and what the option changes in them."""
    level = levels(study.fair, FAIR, by=())
    change = differences(study.fair, FAIR, AS_IS, by=())
    renamed = change.rename(
        columns={
            f"{name}{end}": f"{name}_change{end}" for name in FAIR for end in ("", "_low", "_high")
        }
    ).drop(columns="seeds")
    return level.merge(renamed, on=["option", "size_rule"], how="left")


def _map(study: Study, level: pd.DataFrame) -> pd.DataFrame:
    """Sites of today, and those that an option adds, with what they are like today."""
    today = _all_of(level, study.rule, "site")
    now = today[today["option"] == AS_IS].set_index("slice")
    rows: dict[str, dict[str, Any]] = {}
    for label, sites in study.sites.items():
        for site in sites:
            if site["name"] in rows or site["latitude"] is None or site["longitude"] is None:
                continue
            known = site["name"] in now.index
            rows[site["name"]] = {
                "site": site["name"],
                "title": site["title"],
                "country": site["country"],
                "latitude_deg": site["latitude"],
                "longitude_deg": site["longitude"],
                "accelerators": site["accelerators"],
                "h100_equivalents": site["accelerators"] * site["speed"],
                "power_mw": site["accelerators"] * site["power_w"] / 1e6,
                "number_known": site["known"],
                "option": label,
                "carbon_g_per_kwh": site["carbon"] / 1000,
                "use_pct": now["use_pct"].get(site["name"]) if known else float("nan"),
                "wait_p90_h": now["wait_p90_h"].get(site["name"]) if known else float("nan"),
            }
    columns = ["site", "title", "country", "latitude_deg", "longitude_deg", "accelerators",
               "h100_equivalents", "power_mw", "number_known", "option", "carbon_g_per_kwh",
               "use_pct", "wait_p90_h"]  # fmt: skip
    return pd.DataFrame(list(rows.values()), columns=columns)


SHOWN = ("wait_mean_h", "wait_p50_h", "wait_p90_h", "wait_p99_h", "in_promise_pct",
         "slowdown_mean", "unserved_pct", "use_pct", "cost_eur", "cost_eur_per_acch",
         "carbon_t", "carbon_g_per_acch")  # fmt: skip


def _all_of(frame: pd.DataFrame, rule: str | None, dimension: str) -> pd.DataFrame:
    mine = frame[frame["dimension"] == dimension]
    return mine if rule is None else mine[mine["size_rule"] == rule]


def _with_change(level: pd.DataFrame, change: pd.DataFrame, names: tuple[str, ...]) -> pd.DataFrame:
    """Levels with the changes beside them as `NAME_change`, `NAME_change_low`, `…_high`."""
    keys = ["option", "size_rule", "slice"]
    ends = [
        (f"{name}{end}", f"{name}_change{end}") for name in names for end in ("", "_low", "_high")
    ]
    beside = change[keys + [old for old, _ in ends]].rename(columns=dict(ends))
    return level[[*keys, "seeds", *names]].merge(beside, on=keys, how="left")


def _options(study: Study, level: pd.DataFrame, change: pd.DataFrame) -> pd.DataFrame:
    """Each option over all jobs, under both size rules."""
    whole = _with_change(_all_of(level, None, ALL), _all_of(change, None, ALL), SHOWN)
    whole = whole.drop(columns="slice")
    titles = {each.label: each.title for each in study.options}
    whole.insert(1, "title", whole["option"].map(titles))
    return whole


EFFORT = ("use_pct", "away_pct", "data_tb", "restarts", "lost_acch", "energy_mwh", "moved_mwh",
          "moved_mw")  # fmt: skip


def _effort(level: pd.DataFrame) -> pd.DataFrame:
    """What each option asks of machines, networks and grids, under both size rules."""
    whole = _all_of(level, None, ALL)
    return whole[["option", "size_rule", "seeds", *EFFORT]].reset_index(drop=True)


def _waterfall(study: Study) -> pd.DataFrame:
    """From today's mean wait to that of the focus, a row for each step; each step's change is
    against the step before, on the same seeds, with its interval."""
    steps = study.chain(study.focus)
    every = study.per_seed[study.per_seed["size_rule"] == study.rule]
    every = every[every["dimension"] == ALL]
    rows = []
    first = levels(every[every["option"] == AS_IS], ["wait_mean_h"]).iloc[0]
    at = float(first["wait_mean_h"])
    rows.append(_step(AS_IS, "today", 0.0, at, (float("nan"),) * 2))
    for before, label in itertools.pairwise(steps):
        two = every[every["option"].isin([before, label])]
        step = differences(two, ["wait_mean_h"], before).iloc[0]
        moved = float(step["wait_mean_h"])
        ends = float(step["wait_mean_h_low"]), float(step["wait_mean_h_high"])
        rows.append(_step(label, "step", at, at + moved, ends))
        at += moved
    rows.append(_step(study.focus, "then", 0.0, at, (float("nan"),) * 2))
    return pd.DataFrame(rows)


def _step(
    option: str, kind: str, begin: float, end: float, ends: tuple[float, float]
) -> dict[str, Any]:
    return {
        "option": option,
        "kind": kind,
        "wait_mean_before_h": begin,
        "wait_mean_after_h": end,
        "change_h": end - begin if kind == "step" else float("nan"),
        "change_low_h": ends[0],
        "change_high_h": ends[1],
    }


def _pareto(study: Study, level: pd.DataFrame) -> pd.DataFrame:
    """Cost and wait of each option; `best` where no other is both cheaper and quicker."""
    mine = _all_of(level, study.rule, ALL)
    names = ["cost_eur_per_acch", "cost_eur", "wait_p90_h", "carbon_g_per_acch", "unserved_pct"]
    frame = mine[["option", *names]].reset_index(drop=True)
    frame["cost_meur"] = frame.pop("cost_eur") / 1e6
    cost, wait = frame["cost_meur"].to_numpy(), frame["wait_p90_h"].to_numpy()
    frame["best"] = [
        not bool(((cost <= c) & (wait <= w) & ((cost < c) | (wait < w))).any())
        for c, w in zip(cost, wait, strict=True)
    ]
    return frame


def _slices(
    study: Study, level: pd.DataFrame, change: pd.DataFrame, dimension: str
) -> pd.DataFrame:
    """As things are and the focus, by slice, under every size rule."""
    both = _with_change(
        _all_of(level, None, dimension),
        _all_of(change, None, dimension),
        ("wait_mean_h", "wait_p90_h", "in_promise_pct", "unserved_pct", "use_pct",
         "cost_eur_per_acch", "carbon_g_per_acch"),
    )  # fmt: skip
    both = both[both["option"].isin([AS_IS, study.focus])]
    return both.rename(columns={"slice": dimension}).dropna(axis="columns", how="all")


def _years(study: Study, level: pd.DataFrame) -> pd.DataFrame:
    names = ["wait_mean_h", "wait_p90_h", "unserved_pct", "use_pct", "cost_eur", "carbon_t"]
    mine = _all_of(level, study.rule, "year")
    return mine[["option", "slice", *names]].rename(columns={"slice": "year"})


def _lorenz(study: Study) -> pd.DataFrame:
    """The Lorenz curve of the first seed, as things are and with the focus, with its Gini."""
    mine = study.served[
        (study.served["size_rule"] == study.rule)
        & (study.served["seed"] == study.seeds[0])
        & study.served["option"].isin([AS_IS, study.focus])
    ]
    parts = []
    for _, curve in mine.groupby("option", sort=False):
        parts.append(curve.assign(gini=gini(curve)))
    named = {"given": "given_h100_equivalents", "served": "served_acch",
             "per_given": "served_acch_per_given"}  # fmt: skip
    return pd.concat(parts, ignore_index=True).rename(columns=named)


def tornado(study: Study, measure: str) -> pd.DataFrame:
    """What the focus changes when one number is at an end of its range; widest first."""
    columns = ["quantity", "unit", "low", "value", "high", "unknown", "change", "change_at_low",
               "change_at_high", "swing"]  # fmt: skip
    if study.swings.empty:
        return pd.DataFrame(columns=columns)
    plain = study.per_seed[study.per_seed["dimension"] == ALL]
    rows = []
    for each in study.ranges:
        found = {}
        for end in ("low", "high"):
            two = study.swings[study.swings["quantity"].eq(each.name) & study.swings["end"].eq(end)]
            found[end] = _paired(two, study.focus, measure)
        seeds = sorted(set(study.swings["seed"]))
        at_value = plain[plain["seed"].isin(seeds) & plain["size_rule"].eq(study.rule)]
        middle = _paired(at_value, study.focus, measure)
        rows.append(
            {
                "quantity": each.name,
                "unit": each.unit,
                "low": each.low,
                "value": each.value,
                "high": each.high,
                "unknown": each.unknown,
                "change": middle,
                "change_at_low": found["low"],
                "change_at_high": found["high"],
                "swing": max(abs(found["low"] - middle), abs(found["high"] - middle)),
            }
        )
    frame = pd.DataFrame(rows, columns=columns)
    return frame.sort_values(["swing", "quantity"], ascending=[False, True], ignore_index=True)


def _paired(rows: pd.DataFrame, option: str, measure: str) -> float:
    if rows.empty:
        return float("nan")
    wide = rows.pivot_table(index="seed", columns="option", values=measure)
    return float((wide[option] - wide[AS_IS]).mean())


def _unknowns(study: Study) -> pd.DataFrame:
    """Every number that is not known exactly, what not knowing it may be worth, and its source."""
    swings = {
        name: tornado(study, measure).set_index("quantity")["swing"]
        for name, measure in TORNADO.items()
    }
    rows = [
        {
            "quantity": each.name,
            "nobody_says": each.unknown,
            "low": each.low,
            "taken": each.value,
            "high": each.high,
            "unit": each.unit,
            "wait_swing_h": swings["wait"].get(each.name, float("nan")),
            "cost_swing_eur_per_acch": swings["cost"].get(each.name, float("nan")),
            "source": study.sources.get(each.source, each.source),
            "note": each.note,
        }
        for each in study.ranges
    ]
    columns = ["quantity", "nobody_says", "low", "taken", "high", "unit", "wait_swing_h",
               "cost_swing_eur_per_acch", "source", "note"]  # fmt: skip
    frame = pd.DataFrame(rows, columns=columns)
    by = ["nobody_says", "wait_swing_h", "cost_swing_eur_per_acch", "quantity"]
    return frame.sort_values(by, ascending=[False, False, False, True], ignore_index=True)


def csv_bytes(table: pd.DataFrame) -> bytes:
    """The table as CSV (RFC 4180); numbers as they are, empty where there is none."""
    text: str = table.to_csv(index=False, lineterminator="\r\n")
    return text.encode()
