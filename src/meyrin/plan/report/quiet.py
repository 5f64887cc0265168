"""Options that change nothing, and why: a reader must not take them for a mistake."""

from __future__ import annotations

from typing import Any

import pandas as pd

from meyrin.plan.measures import ALL
from meyrin.plan.report.gather import Study
from meyrin.plan.scenario import AS_IS

SEEN = ("wait_mean_h", "wait_p99_h", "unserved_pct", "use_pct", "energy_mwh", "cost_eur")
SAME = 1e-12


def quiet(study: Study) -> list[str]:
    """A sentence for each option that changes no number against what it builds on."""
    rows = study.per_seed[study.per_seed["dimension"] == ALL]
    found = []
    for choice in study.options:
        if choice.label == AS_IS:
            continue
        same = [rule for rule in study.rules if _same(rows, choice.label, choice.on, rule)]
        if not same:
            continue
        where = "" if len(same) == len(study.rules) else f" with job sizes {' and '.join(same)}"
        on = "today" if choice.on == AS_IS else f"“{choice.on}”"
        why = _why(study, choice.label, choice.on)
        found.append(f"“{choice.label}” changes nothing against {on}{where}: {why}.")
    return found


def _same(rows: pd.DataFrame, option: str, on: str, rule: str) -> bool:
    mine = rows[rows["size_rule"] == rule].set_index(["option", "seed"])[list(SEEN)]
    a, b = mine.loc[option], mine.loc[on]
    return bool(((a - b).abs() <= SAME * b.abs()).all(axis=None))


def _why(study: Study, label: str, on: str) -> str:
    """From what the worlds of both say, and how many jobs a rule met."""
    now, before = (study.played[one] for one in (label, on))
    new, old = now["switches"], before["switches"]
    met = {"pacing": "behind", "filling": "low", "flexible": "deferred"}
    said = {
        "pacing": "nobody asked for more than a fair part",
        "filling": "no job may be put off",
        "flexible": "no job may wait for the grid, or the grid never asks",
    }
    for name, count in met.items():
        if new[name] and not old[name] and not int(now["counts"].get(count, 0)):
            return said[name]
    if new["one_queue"] and not old["one_queue"]:
        return "fewer than two sites share, or all jobs found room at home"
    sites: tuple[dict[str, Any], ...] = tuple(
        {one["name"]: one["accelerators"] for one in each["sites"]} for each in (now, before)
    )
    if sites[0] != sites[1]:
        return "nobody had waited there"
    if new == old:
        return "what it would bring is the rule already"
    return "nobody's start depended on it"
