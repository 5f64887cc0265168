"""From the numbers of single points to what an option changes, and how sure that is.

A difference is option less as-is on the same seed and size rule, so that chance which both share
cancels out. Its interval is the paired Student t interval over seeds at 95 % (A. M. Law,
Simulation Modeling and Analysis, 5th edition, section 10.2, with common random numbers). It tells
how far other draws of the same demand would move the number, and nothing about wrong assumptions.
One seed has no interval: the cells stay empty.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

LEVEL = 0.95
CASE = ["option", "size_rule"]
SLICE = ["dimension", "slice"]


def t_factor(seeds: int) -> float:
    """Half an interval's width in standard errors; NaN for one seed."""
    from scipy import stats  # noqa: PLC0415 - takes a while to load

    return float(stats.t.ppf((1 + LEVEL) / 2, seeds - 1)) if seeds > 1 else float("nan")


def levels(per_seed: pd.DataFrame, names: Sequence[str], by: Sequence[str] = SLICE) -> pd.DataFrame:
    """The mean over seeds of each measure, with its interval as `NAME_low` and `NAME_high`."""
    keys = [*CASE, *by]
    return _interval(per_seed.groupby(keys, sort=False, dropna=False), names).reset_index()


def differences(
    per_seed: pd.DataFrame, names: Sequence[str], base: str, by: Sequence[str] = SLICE
) -> pd.DataFrame:
    """What each option changes against `base`, seed by seed; `NAME`, `NAME_low`, `NAME_high`.

    A slice that only one side has (a new site) has no difference.
    """
    keys = ["size_rule", "seed", *by]
    before = per_seed[per_seed["option"] == base].set_index(keys)[list(names)]
    others = per_seed[per_seed["option"] != base]
    paired = others.join(before.add_suffix("_before"), on=keys, how="inner")
    for name in names:
        paired[name] = paired[name] - paired.pop(f"{name}_before")
    return _interval(paired.groupby([*CASE, *by], sort=False), names).reset_index()


def _interval(groups: pd.core.groupby.DataFrameGroupBy, names: Sequence[str]) -> pd.DataFrame:
    means, deviations, counts = (
        getattr(groups[list(names)], f)() for f in ("mean", "std", "count")
    )
    found = pd.DataFrame({"seeds": groups["seed"].nunique()})
    factors = {n: t_factor(n) for n in np.unique(counts.to_numpy()).tolist()}
    for name in names:
        half = counts[name].map(factors) * deviations[name] / np.sqrt(counts[name])
        found[name] = means[name]
        found[f"{name}_low"] = means[name] - half
        found[f"{name}_high"] = means[name] + half
    return found
