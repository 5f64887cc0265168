"""Columns of text made columns of integers: numbers, times, durations, sizes, names.

Each function takes a pandas Series of strings (missing is "" or NA) and returns the numbers, -1
where there was none, and which rows couldn't be understood. Nothing is guessed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from meyrin.sim.trace.model import UNKNOWN

if TYPE_CHECKING:
    import pandas as pd

Numbers: TypeAlias = NDArray[Any]
Bad: TypeAlias = NDArray[np.bool_]

TIME_UNITS = {
    "ns": 1e-9,
    "us": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "min": 60.0,
    "h": 3600.0,
    "d": 86400.0,
}
MEMORY_UNITS = {
    "B": 2.0**-20,
    "KB": 1e3 / 2**20,
    "MB": 1e6 / 2**20,
    "GB": 1e9 / 2**20,
    "KiB": 2.0**-10,
    "MiB": 1.0,
    "GiB": 2.0**10,
    "TiB": 2.0**20,
}
"""Factors to MiB."""

EMPTY = frozenset(
    {
        "",
        "none",
        "unknown",
        "n/a",
        "na",
        "nan",
        "nat",
        "null",
        "unlimited",
        "partition_limit",
        "invalid",
    }
)
"""Words for "there is no value", in any case of letters; Slurm's words among them."""


def as_text(series: pd.Series) -> pd.Series:
    """Trimmed text, "" where there is none."""
    return series.astype(str).fillna("").str.strip()


def is_empty(series: pd.Series) -> Bad:
    low = as_text(series).str.lower()
    return np.asarray(low.isin(EMPTY), dtype=np.bool_)


def numbers(series: pd.Series, factor: float = 1.0) -> tuple[NDArray[np.float64], Bad]:
    """Decimal numbers times a factor, NaN where empty."""
    import pandas as pd  # noqa: PLC0415

    empty = is_empty(series)
    values = np.asarray(pd.to_numeric(series.mask(empty), errors="coerce"), dtype=np.float64)
    bad = (~np.isfinite(values)) & ~empty
    return values * factor, bad


def whole(values: NDArray[np.float64], how: str = "nearest") -> Numbers:
    """float64 to int64, -1 for NaN. Durations are rounded to the nearest second, and a job that
    ran at all ran for at least one; instants ("down") and sizes ("up") as their names say."""
    known = np.isfinite(values)
    rounded = {
        "nearest": lambda: np.where((values > 0) & (values < 1), 1, np.floor(values + 0.5)),
        "down": lambda: np.floor(values),
        "up": lambda: np.ceil(np.round(values, 6)),
    }[how]()
    kept = np.clip(np.where(known, rounded, UNKNOWN), -(2.0**62), 2.0**62)
    return kept.astype(np.int64)


def durations(series: pd.Series, unit: str) -> tuple[NDArray[np.float64], Bad]:
    """Seconds; `unit` is a unit of time, or "slurm" for [days-]hours:minutes:seconds."""
    import pandas as pd  # noqa: PLC0415

    if pd.api.types.is_timedelta64_dtype(series):
        return np.asarray(series.dt.total_seconds()), np.zeros(len(series), dtype=np.bool_)
    if unit != "slurm":
        return numbers(series, TIME_UNITS[unit])
    empty = is_empty(series)
    parts = as_text(series).str.extract(_SLURM_TIME)
    bad = np.asarray(parts["s"].isna()) & ~empty
    values = np.zeros(len(series))
    for name, seconds in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        values += np.asarray(parts[name].fillna("0").astype(float)) * seconds
    values[empty | bad] = np.nan
    return values, bad


# [D-][HH:]MM:SS[.fraction], as sacct prints Elapsed and Timelimit.
_SLURM_TIME = re.compile(
    r"^(?:(?P<d>\d{1,7})-)?(?:(?P<h>\d{1,7}):)?(?P<m>\d{1,7}):(?P<s>\d{1,2}(?:\.\d+)?)$"
)


def instants(series: pd.Series, form: str, zone: str, unit: str) -> tuple[NDArray[np.float64], Bad]:
    """Seconds from the log's zero ("number") or Unix seconds ("iso", or a strptime format).

    Times without a zone are read in `zone`; an hour that the clocks go through twice is taken as
    the second time, one that they leave out is moved behind the gap.
    """
    import pandas as pd  # noqa: PLC0415

    if pd.api.types.is_datetime64_any_dtype(series):  # Parquet knows what it holds
        return _unix(series, zone), np.zeros(len(series), dtype=np.bool_)
    if form == "number":
        return numbers(series, TIME_UNITS[unit])
    empty = is_empty(series)
    text = series.mask(empty).astype(str)
    given = "ISO8601" if form == "iso" else form
    own_zone = np.asarray(text.str.contains(r"(?:Z|[+-]\d\d:?\d\d)$", regex=True, na=False))
    values = np.full(len(series), np.nan)
    for aware in (True, False):
        rows = (own_zone == aware) & ~empty
        if rows.any():
            found = pd.to_datetime(text[rows], format=given, errors="coerce", utc=aware)
            values[rows] = _unix(found, zone)
    return values, np.isnan(values) & ~empty


def _unix(moments: pd.Series, zone: str) -> NDArray[np.float64]:
    """Unix seconds of a series of moments, NaN where there is none."""
    if moments.dt.tz is None and zone != "UTC":
        second = np.zeros(len(moments), dtype=np.bool_)  # not summer time
        moments = moments.dt.tz_localize(zone, ambiguous=second, nonexistent="shift_forward")
    if moments.dt.tz is not None:
        moments = moments.dt.tz_convert("UTC").dt.tz_localize(None)
    at = moments.to_numpy().astype("datetime64[ms]")
    return np.where(np.isnat(at), np.nan, at.astype(np.int64) / 1000)


_SLURM_SIZE = re.compile(r"^(?P<n>\d+(?:\.\d+)?)(?P<u>[KMGTP]?)(?P<per>[cn]?)$")
_SLURM_UNITS = {"K": 2.0**-10, "M": 1.0, "": 1.0, "G": 2.0**10, "T": 2.0**20, "P": 2.0**30}


def slurm_memory(
    series: pd.Series, processors: NDArray[np.float64], nodes: NDArray[np.float64]
) -> tuple[NDArray[np.float64], Bad]:
    """MiB of the whole job from Slurm's sizes: `4000M`, `4Gc` (per core), `64Gn` (per node)."""
    empty = is_empty(series)
    parts = as_text(series).str.extract(_SLURM_SIZE)
    bad = np.asarray(parts["n"].isna()) & ~empty
    values = np.asarray(parts["n"].astype(float)) * np.asarray(
        parts["u"].fillna("").map(_SLURM_UNITS), dtype=np.float64
    )
    per = np.asarray(parts["per"].fillna(""), dtype=object)
    return values * np.where(per == "c", processors, np.where(per == "n", nodes, 1.0)), bad


def tres(series: pd.Series, what: str) -> pd.Series:
    """What a list like `cpu=4,mem=16G,gres/gpu:a100=2` says of one resource; "" where nothing.

    `gres/gpu` stands for the whole; where only its kinds are listed (`gres/gpu:a100=2`), the sum.
    """
    text = as_text(series)
    own = text.str.extract(rf"(?:^|,){re.escape(what)}=([^,]*)")[0]
    if what != "gres/gpu":
        return own.fillna("")
    kinds = text[own.isna()].str.extractall(r"(?:^|,)gres/gpu:[^=,]+=(\d{1,12})")
    if len(kinds):
        sums = kinds[0].astype("int64").groupby(level=0).sum().astype(str)
        own = own.fillna(sums)
    return own.fillna("")


def codes(series: pd.Series, known: dict[str, int]) -> NDArray[np.int64]:
    """A number for each text, 1 for the first that the file has, -1 for an empty one.

    `known` grows; give the same one for the next block.
    """
    import pandas as pd  # noqa: PLC0415

    text = as_text(series)
    places, labels = pd.factorize(text, use_na_sentinel=True)
    table = np.array(
        [UNKNOWN if not label else known.setdefault(label, len(known) + 1) for label in labels],
        dtype=np.int64,
    )
    return table[places] if len(table) else np.zeros(0, dtype=np.int64)
