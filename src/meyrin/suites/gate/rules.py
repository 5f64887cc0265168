"""The tests, as functions on arrays: for each data set, how far it leaves the claim in doubt.

Every rule answers two numbers between 0 and 1: `doubt`, small where the claim is proved, and
`against`, small where its contrary is. Both keep their level: a claim that is just not true has
`doubt <= a` in at most a share a of cases. All work on many data sets at once, (data sets,
clusters), so that a plan's table of false passes is made by the very code that decides.

- `rate`: the beta-binomial posterior of `posterior.py`.
- `zero`: no event among independent units bounds their rate, exactly: (1 - bar) ** units. The
  units are the clusters, and an event in a cluster is its event: a rate per cluster is at least
  the rate per item, so the bound holds whatever the resemblance.
- `mean`: a bound from the spread between clusters (Student's t), after one made-up cluster of
  middling size has been added on the losing side. Without it, scores that are nearly all equal
  would have almost no spread and pass by luck.
- `compare`: differences on the same items. Against 0: McNemar's exact test where no item has a
  companion, else the flip of whole clusters (exact up to 14 clusters, else 4,999 flips of a fixed
  generator). Against another margin, as `mean`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import bdtrc, stdtr

from meyrin.suites.gate.plan import Claim
from meyrin.suites.gate.posterior import Counts, Floats, beyond, grid, mirrored, tally

FLIPS = 4_999
_EXACT = 14  # clusters up to which every flip is tried
_SEED = 20_260_105


@dataclass(frozen=True, slots=True)
class Doubt:
    """For each data set, how doubtful the claim is and how doubtful its contrary."""

    doubt: Floats
    against: Floats


@dataclass(frozen=True, slots=True)
class Table:
    """Data sets by cluster: `sizes` items each, with `totals` of their scores (or differences).

    For comparisons `wins` and `losses` count the items that changed up and down.
    """

    sizes: Counts
    totals: Floats
    wins: Counts | None = None
    losses: Counts | None = None

    def times(self, factor: int) -> Table:
        """As if there were `factor` times as many clusters of the same kinds."""

        def again(each: Any) -> Any:
            return None if each is None else np.tile(each, (1, factor))

        return Table(*(again(each) for each in (self.sizes, self.totals, self.wins, self.losses)))


def judge(claim: Claim, table: Table) -> Doubt:
    """The rule of the claim on each data set of the table."""
    if claim.rule == "rate":
        return _rate(claim, table)
    if claim.rule == "zero":
        return _zero(claim, table)
    sign = 1 if claim.direction == "at_least" else -1
    sizes = table.sizes.astype(np.float64)
    if claim.rule == "compare" and claim.bar == 0:
        return _equal(table, sign)
    reach = claim.highest - claim.lowest
    worst, best = (claim.lowest, claim.highest) if claim.rule == "mean" else (-reach, reach)
    shifted = sign * (table.totals - claim.bar * sizes)
    low, high = sorted((sign * (worst - claim.bar), sign * (best - claim.bar)))
    return Doubt(_bounded(shifted, sizes, low), _bounded(-shifted, sizes, -high))


def name_of(claim: Claim, table: Table) -> str:
    """What the test is called."""
    if claim.rule == "rate":
        return "beta-binomial posterior, flat prior on rate and intra-class correlation"
    if claim.rule == "zero":
        return "exact rule for zero events, clusters as units"
    if claim.rule == "compare" and claim.bar == 0:
        if int(table.sizes.max(initial=0)) <= 1:
            return "McNemar's exact test, paired"
        return "permutation by flipping whole clusters, paired"
    paired = ", paired" if claim.rule == "compare" else ""
    return f"cluster-robust bound with one adverse cluster{paired}"


# --- the rules


def _rate(claim: Claim, table: Table) -> Doubt:
    hits = np.rint(table.totals).astype(np.int64)
    items, clusters = int(table.sizes[0].sum()), int((table.sizes[0] > 0).sum())
    tallies = tally(table.sizes, hits)
    bar = claim.bar
    if claim.direction == "at_most":
        tallies, bar = mirrored(tallies), round(1 - claim.bar, 12)
    above = beyond(grid(bar, items, clusters), tallies)
    return Doubt(1 - above, above)


def _zero(claim: Claim, table: Table) -> Doubt:
    """An event is a one where the rate is to stay below the bar, a zero where above."""
    up = claim.direction == "at_least"
    events = table.sizes - table.totals if up else table.totals
    units = (table.sizes > 0).sum(axis=1)
    clean = (events <= 0).all(axis=1)
    doubt = np.where(clean, (claim.bar if up else 1 - claim.bar) ** units, 1.0)
    return Doubt(doubt, np.where(clean, 1.0, 0.0))


def _equal(table: Table, sign: int) -> Doubt:
    if table.wins is not None and table.losses is not None and int(table.sizes.max(initial=0)) <= 1:
        up, down = table.wins.sum(axis=1), table.losses.sum(axis=1)
        if sign < 0:
            up, down = down, up
        return Doubt(_at_least(up, up + down), _at_least(down, up + down))
    return Doubt(_flipped(sign * table.totals), _flipped(-sign * table.totals))


def _at_least(found: Counts, of: Counts) -> Floats:
    """P(X >= found) for X of `of` fair coins."""
    tail = bdtrc(np.maximum(found - 1, 0), np.maximum(of, 1), 0.5)
    return np.where((found <= 0) | (of <= 0), 1.0, tail).astype(np.float64)


def _flipped(totals: Floats) -> Floats:
    """How often flipping clusters at random gives a sum as large as the one that was seen."""
    clusters = totals.shape[1]
    if clusters <= _EXACT:
        bits = np.arange(2**clusters)[:, None] >> np.arange(clusters)
        signs, extra = 1.0 - 2.0 * (bits & 1), 0
    else:
        rng = np.random.default_rng(_SEED)
        signs, extra = 1.0 - 2.0 * rng.integers(0, 2, (FLIPS, clusters)), 1
    seen = totals.sum(axis=1, keepdims=True)
    least = seen - 1e-9 * np.maximum(1.0, np.abs(totals).sum(axis=1, keepdims=True))
    counted = np.empty(len(totals))
    for start in range(0, len(totals), 500):
        part = slice(start, start + 500)
        counted[part] = (totals[part] @ signs.T >= least[part]).sum(axis=1)
    return (counted + extra) / (len(signs) + extra)


def _bounded(shifted: Floats, sizes: Floats, worst: float) -> Floats:
    """Is the mean of `shifted` above 0? One-sided, by the spread between clusters.

    `worst` is the lowest value that an item could have had; the made-up cluster has it throughout.
    """
    there = sizes > 0
    clusters = there.sum(axis=1) + 1
    extra = np.maximum(1.0, sizes.sum(axis=1) / np.maximum(there.sum(axis=1), 1))
    items = sizes.sum(axis=1) + extra
    mean = (shifted.sum(axis=1) + extra * worst) / items
    rest = np.where(there, shifted - mean[:, None] * sizes, 0.0)
    square = (rest**2).sum(axis=1) + (extra * (worst - mean)) ** 2
    error = np.sqrt(square * clusters / np.maximum(clusters - 1, 1)) / items
    freedom = np.maximum(clusters - 2, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        student = np.where(error > 0, mean / error, np.where(mean > 0, np.inf, -np.inf))
    doubt = stdtr(freedom, -student)
    return np.where(clusters > 2, doubt, 1.0).astype(np.float64)
