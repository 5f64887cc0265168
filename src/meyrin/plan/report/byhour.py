"""A day at the sites and a day of demand, by hour, from what a point left.

Power, price and carbon over all sites, and energy held back and used later, are means of the hours
of all days. Demand is what counted jobs asked for in the hour in which they were submitted.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from meyrin.plan.outcome import ABOUT_FILE, HOURS_FILE, JOBS_FILE

DAY = 24
HOUR_S = 3600
HELD = ("energy_j", "moved_out_j", "moved_in_j", "energy_millicents", "carbon_mg", "signal")


def sites_by_hour(folder: Path) -> pd.DataFrame:
    """Rows by hour of the day (UTC): power, what was moved, and what the hour's energy costs."""
    import pyarrow.parquet as pq  # noqa: PLC0415 - takes a while to load

    table = pq.read_table(folder / HOURS_FILE, columns=["hour", *HELD])
    hour = table["hour"].to_numpy()
    days = np.bincount(np.unique(hour) % DAY, minlength=DAY)
    total = {
        name: np.bincount(hour % DAY, table[name].to_numpy().astype(np.float64), DAY)
        for name in HELD
    }
    some = np.flatnonzero(days)
    mw = 1 / (HOUR_S * 1e6 * days[some])
    kwh = total["energy_j"][some] / 3.6e6
    return pd.DataFrame(
        {
            "hour_utc": some,
            "power_mw": total["energy_j"][some] * mw,
            "held_back_mw": total["moved_out_j"][some] * mw,
            "used_later_mw": total["moved_in_j"][some] * mw,
            "price_eur_per_mwh": total["energy_millicents"][some] / 100 / kwh,
            "carbon_g_per_kwh": total["carbon_mg"][some] / 1000 / kwh,
            "sites_asked": total["signal"][some] / days[some],
        }
    )


def demand_by_hour(folder: Path, about: Mapping[str, Any]) -> pd.DataFrame:
    """Rows by part of the workload and hour of the day (UTC): accelerator-hours asked for."""
    import pyarrow.parquet as pq  # noqa: PLC0415

    assert (folder / ABOUT_FILE).is_file()
    names = ["kind", "submit_s", "accelerators", "run_s", "counted"]
    table = pq.read_table(folder / JOBS_FILE, columns=names)
    counted = table["counted"].to_numpy()
    kind = table["kind"].combine_chunks()
    words = kind.dictionary.to_pylist()
    begin = int(about["warm_up_s"])
    days = (int(about["hours"]) * HOUR_S - begin) / 86400
    hour = table["submit_s"].to_numpy()[counted] // HOUR_S % DAY
    work = table["accelerators"].to_numpy()[counted].astype(np.float64)
    work *= table["run_s"].to_numpy()[counted] / HOUR_S
    cell = kind.indices.to_numpy()[counted].astype(np.int64) * DAY + hour
    asked = np.bincount(cell, work, len(words) * DAY) / days
    return pd.DataFrame(
        {
            "kind": np.repeat(words, DAY),
            "hour_utc": np.tile(np.arange(DAY), len(words)),
            "asked_acch_per_day": asked,
        }
    ).sort_values(["kind", "hour_utc"], ignore_index=True)
