"""Of the second program: a day by hour, in plain pandas."""

from __future__ import annotations

import pandas as pd


def day(hours: pd.DataFrame) -> pd.DataFrame:
    """Means by hour of the day, all sites together."""
    at = hours["hour"] % 24
    t = hours.drop(columns=["hour", "site"]).astype(float).groupby(at).sum()
    days = hours.drop_duplicates("hour").groupby(at)["hour"].count()
    return pd.DataFrame({
        "power_mw": t["energy_j"] / 3.6e9 / days,
        "held_back_mw": t["moved_out_j"] / 3.6e9 / days,
        "used_later_mw": t["moved_in_j"] / 3.6e9 / days,
        "price_eur_per_mwh": t["energy_millicents"] / 1e5 / (t["energy_j"] / 3.6e9),
        "carbon_g_per_kwh": t["carbon_mg"] / 1e3 / (t["energy_j"] / 3.6e6),
        "sites_asked": t["signal"] / days,
    }).rename_axis("hour_utc").reset_index()  # fmt: skip


def demand(about: dict, jobs: pd.DataFrame) -> pd.DataFrame:
    """Work asked for in an hour of an average day, by part of the workload."""
    mine = jobs[jobs["counted"]]
    work = mine["accelerators"] * mine["run_s"] / 3600
    asked = work.groupby([mine["kind"].astype(str), mine["submit_s"] // 3600 % 24]).sum()
    names = sorted(jobs["kind"].astype(str).unique())
    every = pd.MultiIndex.from_product([names, range(24)], names=["kind", "hour_utc"])
    days = about["hours"] / 24 - about["warm_up_s"] / 86400
    return (asked.reindex(every, fill_value=0.0) / days).rename("asked_acch_per_day").reset_index()
