"""One claim's numbers: how doubtful, how large, and how many samples would have settled it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtrit

from meyrin.suites.gate import posterior
from meyrin.suites.gate.evidence import Observed
from meyrin.suites.gate.plan import Claim
from meyrin.suites.gate.rules import Table, judge, name_of

INTERVAL = 0.10  # what the intervals leave out in all: 5 % on each side
_MOST = 200_000  # clusters looked at when asking how many would settle it


def table_of(observed: Observed) -> Table:
    """What was observed, as one data set."""
    rows = observed.clusters
    return Table(
        np.array([[each.size for each in rows]], dtype=np.int64),
        np.array([[each.total for each in rows]], dtype=np.float64),
        np.array([[each.wins for each in rows]], dtype=np.int64),
        np.array([[each.losses for each in rows]], dtype=np.int64),
    )


def doubts(claim: Claim, observed: Observed) -> tuple[float, float]:
    """How doubtful the claim is, and how doubtful its contrary."""
    found = judge(claim, table_of(observed))
    return float(found.doubt[0]), float(found.against[0])


def method(claim: Claim, observed: Observed) -> str:
    return name_of(claim, table_of(observed))


@dataclass(frozen=True, slots=True)
class Measured:
    """`found` is the share, mean or difference over all samples, `ones` of `of` where samples are
    yes or no. `estimate` is what the 90 % interval from `low` to `high` is of, and lies in it; all
    three are None where the data say nothing of it."""

    found: float
    ones: int | None
    of: int
    estimate: float | None = None
    low: float | None = None
    high: float | None = None


def measure(claim: Claim, observed: Observed) -> Measured:
    """What was found, with a 90 % interval that allows for clusters."""
    table = table_of(observed)
    items = int(table.sizes.sum())
    total = float(table.totals.sum())
    ones = round(total) if claim.rule in {"rate", "zero"} else None
    span = _span(claim, table, total / items, items)
    return Measured(_kept(total / items), ones, items, *(_kept(each) for each in span or ()))


def _span(
    claim: Claim, table: Table, found: float, items: int
) -> tuple[float, float, float] | None:
    """The estimate with its interval: estimate, low, high."""
    clusters = table.sizes.shape[1]
    if claim.rule == "rate":
        tallies = posterior.tally(table.sizes, np.rint(table.totals).astype(np.int64))[0]
        low, middle, high = posterior.estimate(tallies, items, clusters, INTERVAL)
        return middle, low, high
    if claim.rule == "zero":
        clean = 1.0 if claim.direction == "at_least" else 0.0
        if found != clean:
            return None  # the rule is about no event at all
        bound = (INTERVAL / 2) ** (1 / clusters)
        return (clean, bound, 1.0) if clean else (clean, 0.0, 1 - bound)
    if clusters < 2:
        return None
    freedom = float(stdtrit(clusters - 1, 1 - INTERVAL / 2))
    width = freedom * _error(table, found, items)
    return found, found - width, found + width


def _kept(value: float) -> float:
    """As many digits as say something."""
    return float(f"{value:.6g}")


def settle(claim: Claim, observed: Observed, level: float) -> int | None:
    """About how many samples like these would pass or fail the claim; None where none would,
    because what was found is at the bar, or more than a few hundred times as many."""
    if claim.rule == "zero":
        up = claim.direction == "at_least"
        if any((each.size - each.total if up else each.total) > 0 for each in observed.clusters):
            return None
        clusters = math.ceil(math.log(level) / math.log(claim.bar if up else 1 - claim.bar))
        return math.ceil(clusters * claim.samples / max(len(observed.clusters), 1))
    table = table_of(observed)
    if claim.rule in {"mean", "compare"}:
        return _by_spread(claim, table, level)
    most = min(256, _MOST // max(table.sizes.shape[1], 1))
    low, high = 1, 2
    while high <= most and not _settled(claim, table, high, level):
        low, high = high, high * 2
    if high > most:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if _settled(claim, table, middle, level):
            high = middle
        else:
            low = middle
    return high * int(table.sizes.sum())


def _settled(claim: Claim, table: Table, factor: int, level: float) -> bool:
    found = judge(claim, table.times(factor))
    return bool(min(found.doubt[0], found.against[0]) <= level)


def _by_spread(claim: Claim, table: Table, level: float) -> int | None:
    """The error shrinks with the root of the samples; a twentieth more for what bounds add."""
    items = int(table.sizes.sum())
    found = float(table.totals.sum()) / items
    clusters = table.sizes.shape[1]
    away = abs(found - claim.bar)
    if clusters < 2 or away == 0:
        return None
    factor = (_error(table, found, items) * -float(ndtri(level)) / away) ** 2 * 1.05
    return math.ceil(max(factor, 1.05) * items) if factor <= 256 else None


def _error(table: Table, found: float, items: int) -> float:
    clusters = table.sizes.shape[1]
    rest = table.totals[0] - found * table.sizes[0]
    return math.sqrt(float((rest**2).sum()) * clusters / (clusters - 1)) / items
