"""What a person would ask of a log: how long, how many, how large, how busy, by whom.

Everything is counted from the trace alone; nothing is replayed. `describe` gives plain data (the
object of `meyrin trace describe --json`), units at the end of each name. Load is what jobs bring:
size times run time, in the week of their submission.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from meyrin.sim.trace.model import STATUS, TIME_MAX, Trace, unusable

Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]

DAY_S, WEEK_S = 86_400, 7 * 86_400
QUANTILES = {"p10": 0.1, "p50": 0.5, "p90": 0.9, "p99": 0.99}
WEEKS_MAX = 5_200
TOP = 10
KINDS = ("user", "group", "queue", "partition")
BOUND_S = 10
"""Run times under this count as this in a bounded slowdown (Feitelson and Rudolph, 1998)."""
LATEST_S = 32_503_680_000
"""The year 3000: later moments are no dates."""


def describe(trace: Trace) -> dict[str, Any]:
    """The description of a trace, as data that JSON can hold."""
    left_out = unusable(trace)
    usable = np.ones(len(trace), dtype=np.bool_)
    for rows in left_out.values():
        usable &= ~rows
    jobs = trace.select(usable)
    return {
        "trace": trace.source,
        "format": trace.format,
        "computer": trace.header.get("Computer"),
        "installation": trace.header.get("Installation"),
        "acknowledge": trace.header.get("Acknowledge"),
        "rows": trace.rows,
        "announced": _announced(trace),
        "jobs": len(trace),
        "skipped": dict(trace.skipped),
        "mended": dict(trace.mended),
        "usable": int(usable.sum()),
        "unusable": {reason: int(rows.sum()) for reason, rows in left_out.items()},
        "backwards": int((np.diff(trace.submit_s) < 0).sum()),
        "notes": list(trace.notes),
        "span": _span(trace),
        "unit": trace.pool_unit,
        "machine": trace.pool_total(),
        "sizes": _quantiles(jobs.sizes()) | {"classes": _size_classes(jobs)},
        "run_s": _quantiles(jobs.run_s),
        "limits": _limits(jobs),
        "waits": _waits(jobs),
        "load": _load(jobs),
        "arrivals": _arrivals(trace),
        "status": _status(trace),
        **{f"{kind}s": _top(trace, jobs, kind) for kind in KINDS},
    }


def _announced(trace: Trace) -> int | None:
    text = trace.header.get("MaxRecords", "").split()
    return int(text[0]) if text and text[0].isdecimal() and len(text[0]) < 16 else None


def zone(trace: Trace) -> tzinfo:
    """The time zone that the header names; UTC where it names none that is known here."""
    import zoneinfo  # noqa: PLC0415

    name = trace.header.get("TimeZoneString", "").strip()
    try:
        if name:
            return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        pass
    text = trace.header.get("TimeZone", "").split()
    offset = int(text[0]) if text and text[0].lstrip("-").isdecimal() and len(text[0]) < 8 else 0
    return timezone(timedelta(seconds=offset)) if 0 < abs(offset) < DAY_S else UTC


def _date(trace: Trace, at_s: int) -> str | None:
    if trace.epoch_s is None or trace.epoch_s + at_s > LATEST_S:
        return None
    when = datetime.fromtimestamp(trace.epoch_s + at_s, tz=zone(trace))
    return when.isoformat(timespec="seconds")


def _span(trace: Trace) -> dict[str, Any] | None:
    if not len(trace):
        return None
    first, last = int(trace.submit_s.min()), int(trace.submit_s.max())
    ended = trace.submit_s + np.maximum(trace.wait_s, 0) + np.maximum(trace.run_s, 0)
    return {
        "first_submit_s": first,
        "last_submit_s": last,
        "last_end_s": int(ended.max()) if (trace.wait_s >= 0).any() else None,
        "days": round((last - first) / DAY_S, 3),
        "first_submit": _date(trace, first),
        "last_submit": _date(trace, last),
    }


def _quantiles(values: Ints) -> dict[str, Any]:
    """Least, quantiles, largest and mean of what is known (-1 isn't)."""
    known = values[values >= 0]
    if not len(known):
        return {"known": 0}
    cuts = np.quantile(known, list(QUANTILES.values()), method="inverted_cdf")
    return {
        "known": len(known),
        "min": int(known.min()),
        **{name: int(cut) for name, cut in zip(QUANTILES, cuts, strict=True)},
        "max": int(known.max()),
        "mean": round(float(known.mean()), 3),
    }


def area(trace: Trace) -> Floats:
    """Size times run time of each job, in seconds of one processor (or accelerator)."""
    return np.maximum(trace.sizes(), 0).astype(np.float64) * np.maximum(trace.run_s, 0)


def _size_classes(jobs: Trace) -> list[dict[str, Any]]:
    """Powers of two: 1, 2, 3-4, 5-8, ...; the share of jobs and of the load in each."""
    if not len(jobs):
        return []
    exponent = np.ceil(np.log2(np.maximum(jobs.sizes(), 1))).astype(np.int64)
    work = area(jobs)
    found = []
    for each in np.unique(exponent).tolist():
        mine = exponent == each
        low, high = 2 ** (each - 1) + 1 if each else 1, 2**each
        found.append(
            {
                "size": str(high) if each < 2 else f"{int(low)}-{high}",
                "jobs": int(mine.sum()),
                "load_share": _share(work[mine].sum(), work.sum()),
            }
        )
    return found


def _share(part: float, whole: float) -> float:
    return round(float(part / whole), 5) if whole else 0.0


def _limits(jobs: Trace) -> dict[str, Any]:
    """How users' limits compare with what ran."""
    known = jobs.limit_s > 0
    if not known.any():
        return {"known": 0}
    limit, run = jobs.limit_s[known], jobs.run_s[known]
    ratio = limit / run
    return {
        "known": int(known.sum()),
        "limit_s": _quantiles(limit),
        "over_estimation_p50": round(float(np.median(ratio)), 3),
        "over_estimation_p90": round(float(np.quantile(ratio, 0.9)), 3),
        "over_limit": int((run > limit).sum()),
        "over_limit_share": _share(int((run > limit).sum()), len(run)),
        "exact_share": _share(int((run == limit).sum()), len(run)),
    }


def _waits(jobs: Trace) -> dict[str, Any]:
    known = jobs.wait_s >= 0
    if not known.any():
        return {"known": 0}
    wait, run = jobs.wait_s[known], jobs.run_s[known]
    slowdown = np.maximum((wait + run) / np.maximum(run, BOUND_S), 1.0)
    return {
        "known": int(known.sum()),
        "wait_s": _quantiles(wait),
        "at_once_share": _share(int((wait <= BOUND_S).sum()), len(wait)),
        "mean_bounded_slowdown": round(float(slowdown.mean()), 3),
    }


def _load(jobs: Trace) -> dict[str, Any] | None:
    """Load by week from the first submission on; the last week may be cut short.

    What jobs bring in less than a day says nothing of how busy a machine is: None.
    """
    if not len(jobs):
        return None
    first, last = int(jobs.submit_s.min()), int(jobs.submit_s.max())
    work, total = area(jobs), jobs.pool_total()
    span = max(last - first, 1)
    week = (jobs.submit_s - first) // WEEK_S
    weeks = []
    present, place = np.unique(week, return_inverse=True)
    if present[-1] < WEEKS_MAX:  # weeks without a submission count; holes of centuries don't
        present, place = np.arange(present[-1] + 1), week
    sums, counts = np.bincount(place, weights=work), np.bincount(place)
    for number, worked, count in zip(present.tolist(), sums, counts.tolist(), strict=True):
        start = first + number * WEEK_S
        covered = min(WEEK_S, last - start + 1)
        weeks.append(
            {
                "week": number + 1,
                "start_s": start,
                "start": _date(jobs, start),
                "days": round(covered / DAY_S, 3),
                "jobs": count,
                "load_h": round(worked / 3600, 3),
                "mean_busy": round(worked / covered, 3) if covered >= DAY_S else None,
                "offered": round(worked / covered / total, 5)
                if total and covered >= DAY_S
                else None,
            }
        )
    return {
        "load_h": round(float(work.sum()) / 3600, 3),
        "mean_busy": round(float(work.sum()) / span, 3) if span >= DAY_S else None,
        "offered": round(float(work.sum()) / span / total, 5) if total and span >= DAY_S else None,
        "largest_job_share": _share(float(work.max()), float(work.sum())),
        "weeks": weeks,
    }


def _arrivals(trace: Trace) -> dict[str, Any] | None:
    """Jobs by hour and weekday of their submission, local time; None where no date is known."""
    if trace.epoch_s is None or not len(trace):
        return None
    if trace.epoch_s + int(trace.submit_s.max()) > min(LATEST_S, TIME_MAX):
        return None
    import pandas as pd  # noqa: PLC0415 - takes a second to load

    at = pd.DatetimeIndex((trace.epoch_s + trace.submit_s).astype("datetime64[s]"), tz="UTC")
    local = at.tz_convert(zone(trace))
    hour, day = np.asarray(local.hour), np.asarray(local.day_of_week)
    return {
        "time_zone": str(zone(trace)),
        "by_hour": np.bincount(hour, minlength=24).tolist(),
        "by_weekday": np.bincount(day, minlength=7).tolist(),
        "by_weekday_and_hour": np.bincount(day * 24 + hour, minlength=168).reshape(7, 24).tolist(),
    }


def _status(trace: Trace) -> dict[str, int]:
    found, counts = np.unique(trace.status, return_counts=True)
    names = {-1: "unknown", **STATUS}
    return {
        names.get(status, str(status)): count
        for status, count in zip(found.tolist(), counts.tolist(), strict=True)
    }


def _top(trace: Trace, jobs: Trace, kind: str) -> dict[str, Any]:
    """How many there are, and the ten with the largest load."""
    everyone: Ints = getattr(trace, kind)
    who: Ints = getattr(jobs, kind)
    known = who >= 0
    count = len(np.unique(everyone[everyone >= 0]))
    if not known.any():
        return {"count": count, "top": []}
    numbers, place = np.unique(who[known], return_inverse=True)
    work = area(jobs)
    load = np.bincount(place, weights=work[known])
    many = np.bincount(place)
    order = np.lexsort((numbers, -many, -load))[:TOP]
    return {
        "count": count,
        "top": [
            {
                "name": trace.label(kind, int(numbers[each])),
                "jobs": int(many[each]),
                "load_share": _share(load[each], work.sum()),
            }
            for each in order.tolist()
        ],
    }
