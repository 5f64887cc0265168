"""How well generated jobs stand for the log that they were fitted to, as numbers and pictures.

The log's own jobs are laid beside five draws of the fit, each as long and with as much work, and
both are played under EASY on the log's machine: what a planner needs is that they wait alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meyrin.plan.fitted import DAY_S, HOUR_S, WEEK_H, Fit, draw
from meyrin.plan.workload import Log, draws

Values = NDArray[Any]
PERCENTS = (10, 25, 50, 75, 90, 99)
FAR = 0.1  # a distance of distributions that the page calls large
MOST = 200_000  # jobs that are played: enough to tell, in seconds


@dataclass(frozen=True, slots=True)
class Measure:
    """One thing that jobs have: its values in the log, and in each draw."""

    name: str
    unit: str
    log: Values
    drawn: tuple[Values, ...]

    @property
    def distance(self) -> tuple[float, float]:
        """The least and the largest distance of a draw's distribution from the log's: the largest
        difference of the two distribution functions (Kolmogorov and Smirnov)."""
        found = [apart(self.log, one) for one in self.drawn]
        return min(found), max(found)


@dataclass(frozen=True, slots=True)
class Check:
    """A fit beside its log."""

    fit: Fit
    seeds: tuple[int, ...]
    measures: tuple[Measure, ...]
    week: Measure
    left_out: int
    """Jobs of the log after those that were played."""

    def measure(self, name: str) -> Measure:
        return next(each for each in self.measures if each.name == name)


def apart(one: Values, other: Values) -> float:
    """The largest difference between the distribution functions of two samples, 0 to 1."""
    if not len(one) or not len(other):
        return 0.0 if len(one) == len(other) else 1.0
    one, other = np.sort(one), np.sort(other)
    at = np.concatenate([one, other])
    lower = np.searchsorted(one, at, "right") / len(one)
    upper = np.searchsorted(other, at, "right") / len(other)
    return float(np.abs(lower - upper).max())


def _silent(_done: int, _of: int) -> None:
    """Nobody listens."""


def check(
    fit: Fit, log: Log, seeds: tuple[int, ...], told: Callable[[int, int], None] = _silent
) -> Check:
    """The fit's draws of these seeds beside the log. `told` hears how many of how many are done."""
    jobs = {name: getattr(log, name) for name in ("submit", "size", "run", "limit", "user")}
    left_out = max(0, len(log.submit) - MOST)
    span = log.span_s
    if left_out:
        jobs = {name: column[:MOST] for name, column in jobs.items()}
        span = -(-int(jobs["submit"][-1] + 1) // DAY_S) * DAY_S
    work = float((jobs["size"] * jobs["run"]).sum())
    mine = dict(_measured(jobs, span, log.machine))
    told(1, len(seeds) + 1)
    drawn = []
    for done, seed in enumerate(seeds):
        made = draw(fit, draws(seed, "fit"), work, span)
        made["size"] = np.minimum(made["size"], log.machine)
        drawn.append(dict(_measured(made, span, log.machine)))
        told(done + 2, len(seeds) + 1)
    found = [
        Measure(name, unit, values, tuple(each[name, unit] for each in drawn))
        for (name, unit), values in mine.items()
    ]
    week = next(each for each in found if each.name == "hour of the week")
    return Check(fit, seeds, tuple(each for each in found if each is not week), week, left_out)


def _measured(
    jobs: Mapping[str, Values], span_s: int, machine: int
) -> Iterator[tuple[tuple[str, str], Values]]:
    submit, size, run, limit = (jobs[name] for name in ("submit", "size", "run", "limit"))
    days = max(1, span_s // DAY_S)
    yield ("run time", "s"), run
    yield ("size", "accelerators"), size
    yield ("work", "accelerator-s"), size * run
    yield ("limit over run time", ""), limit / run
    yield ("gap between submissions", "s"), np.diff(submit)
    yield ("jobs a day", ""), np.bincount(np.minimum(submit // DAY_S, days - 1), minlength=days)
    yield (
        ("work a day", "accelerator-s"),
        np.bincount(np.minimum(submit // DAY_S, days - 1), size * run, days),
    )
    yield ("jobs a person", ""), np.bincount(np.unique(jobs["user"], return_inverse=True)[1])
    yield ("hour of the week", ""), submit // HOUR_S % WEEK_H
    yield ("wait under EASY", "s"), _waits(submit, size, run, limit, machine)


def _waits(submit: Values, size: Values, run: Values, limit: Values, machine: int) -> Values:
    from meyrin.engine.pool import Pool  # noqa: PLC0415 - the compiler takes a while to load

    pool = Pool("easy", submit, size, run, limit, machine)
    while not pool.done:
        pool.advance(1_000_000)
    waits: Values = pool.start - submit
    return waits


def rows(found: Check) -> list[dict[str, Any]]:
    """One row for each measure and statistic: the log's, and the draws' least, mean and most."""
    return [
        _row(each, statistic, percent)
        for each in found.measures
        for statistic, percent in (("mean", None), *((f"{p} %", p) for p in PERCENTS))
    ]


def _row(measure: Measure, statistic: str, percent: float | None) -> dict[str, Any]:
    def of(values: Values) -> float | None:
        if not len(values):
            return None
        return float(np.mean(values) if percent is None else np.percentile(values, percent))

    drawn = [value for value in map(of, measure.drawn) if value is not None]
    return {
        "measure": measure.name,
        "unit": measure.unit,
        "statistic": statistic,
        "log": of(measure.log),
        "drawn_least": min(drawn, default=None),
        "drawn_mean": float(np.mean(drawn)) if drawn else None,
        "drawn_most": max(drawn, default=None),
    }
