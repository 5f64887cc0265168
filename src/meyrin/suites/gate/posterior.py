"""The rule for clustered yes-or-no items: how probable it is that a rate lies beyond a bar.

Items of a cluster resemble each other, so a thousand items in fifty clusters say less than a
thousand strangers. The model is beta-binomial: each cluster has a rate of its own, spread around
the common rate by the intra-class correlation (ICC). Nobody knows the ICC beforehand, so it is
integrated out.

Priors: the rate is uniform on [0, 1] (Bayes' and Laplace's choice; no item is worth more than
itself) and the ICC is uniform on [0, 1], independent of it. The flat ICC is deliberately wide: with
few clusters it leaves room for a strong resemblance that the data can't rule out, and that makes
the rule careful exactly there. `docs/explanation/gates.md` has what it costs and what it was
measured against.

With p the rate and r the ICC, a cluster of n items with k hits has, but for a constant,

    log L = sum_{j<k} log(p(1-r) + jr) + sum_{j<n-k} log((1-p)(1-r) + jr) - sum_{j<n} log(1-r + jr)

so all that the data say is how many clusters have more than j hits, misses and items: the
*tallies*. The log-likelihood is linear in them, and a thousand data sets are one product of two
matrices. The integral is by Gauss-Legendre in panels that narrow geometrically towards the bar
and towards both ends. A slow plain twin is in `tests/oracles/naive_posterior.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Counts: TypeAlias = NDArray[np.int64]

_BLOCK = 64  # columns of the table at a time: memory stays small for clusters of thousands
_KEEP = 6_000_000  # numbers in a table that is kept between calls
_AT_ONCE = 4_000_000  # grid cells times data sets worked on at once


@dataclass(frozen=True, slots=True)
class Grid:
    """Where the integrand is looked at: every `rate` with every `icc`, flattened."""

    bar: float
    rate: Floats
    icc: Floats
    log_weight: Floats
    tables: dict[int, Floats] = field(default_factory=dict, compare=False, repr=False)

    @property
    def beyond(self) -> slice:
        """The cells above the bar: they come last, for rates ascend."""
        return slice(int(np.searchsorted(self.rate, self.bar)), None)


def tally(sizes: Counts, hits: Counts, largest: int | None = None) -> Floats:
    """The tallies of data sets: `sizes` and `hits` are (data sets, clusters), or one data set.

    Clusters of size 0 count as absent.
    """
    sizes, hits = np.atleast_2d(sizes), np.atleast_2d(hits)
    top = int(sizes.max(initial=0)) if largest is None else largest
    return np.concatenate([_more_than(each, top) for each in (hits, sizes - hits, sizes)], axis=1)


@lru_cache(maxsize=32)
def grid(bar: float, items: int, clusters: int) -> Grid:
    """The grid for a bar and a size of data; `items` and `clusters` decide only how fine it is."""
    assert 0 < bar < 1, "a bar is a rate between 0 and 1"
    near = float(np.sqrt(bar * (1 - bar) / max(items, 1)))
    edges = {0.0, bar, 1.0}
    for step in range(24):
        for start, sign, width in ((bar, 1, near), (bar, -1, near), (0.0, 1, 1 / max(items, 1))):
            edges.add(start + sign * width * 2.0**step)
        edges.add(1 - 2.0**step / max(items, 1))
    rate, rate_weight = _panels(_tidy(edges, near / 4, keep=bar), 5)
    parts = int(np.clip(np.sqrt(clusters) / 2, 5, 24))
    icc_edges = {0.0, 0.5 / parts**2, 0.2 / parts, *np.linspace(0, 1, parts + 1)}
    icc, icc_weight = _panels(sorted(icc_edges), 4)
    weight = rate_weight[:, None] * icc_weight[None, :]
    return Grid(
        bar,
        np.repeat(rate, icc.size),
        np.tile(icc, rate.size),
        np.log(weight).ravel(),
    )


def beyond(where: Grid, tallies: Floats) -> Floats:
    """For each data set, the probability that its rate lies above the grid's bar."""
    result = np.empty(len(tallies))
    at_once = max(1, _AT_ONCE // where.rate.size)
    for start in range(0, len(tallies), at_once):
        part = slice(start, start + at_once)
        density = _density(where, tallies[part])
        result[part] = density[:, where.beyond].sum(axis=1) / density.sum(axis=1)
    return result


def estimate(
    tallies: Floats, items: int, clusters: int, level: float
) -> tuple[float, float, float]:
    """The rate's median, and the central interval that leaves out `level` in all, for one data set:
    low, median, high, in ascending order.

    The median belongs to the interval and so lies in it always. The share of all samples may not,
    where clusters differ in size: it is no estimate of the rate of a cluster.
    """
    hits, misses = _totals(tallies)
    middle = (hits + 1) / (hits + misses + 2)
    where = grid(round(float(middle), 6), items, clusters)
    density = _density(where, tallies[None, :])[0]
    rates, start = np.unique(where.rate, return_index=True)
    mass = np.add.reduceat(density, start)
    below = np.concatenate([[0.0], np.cumsum(mass) / mass.sum()])
    edges = np.concatenate([[0.0], (rates[1:] + rates[:-1]) / 2, [1.0]])
    low, middle, high = np.interp([level / 2, 0.5, 1 - level / 2], below, edges)
    return float(low), float(middle), float(high)


def mirrored(tallies: Floats) -> Floats:
    """The tallies with hits and misses exchanged: for a rate that is to stay below a bar."""
    hits, misses, sizes = np.split(np.atleast_2d(tallies), 3, axis=1)
    result = np.concatenate([misses, hits, sizes], axis=1)
    return result[0] if tallies.ndim == 1 else result


# --- inside


def _density(where: Grid, tallies: Floats) -> Floats:
    logs = _log_likelihood(where, tallies) + where.log_weight
    logs -= logs.max(axis=1, keepdims=True)
    return np.exp(logs, out=logs)


def _log_likelihood(where: Grid, tallies: Floats) -> Floats:
    top = tallies.shape[1] // 3
    if 3 * top * where.rate.size <= _KEEP:
        if top not in where.tables:
            where.tables[top] = _table(where, 0, top)
        return tallies @ where.tables[top]
    result = np.zeros((len(tallies), where.rate.size))
    hits, misses, sizes = np.split(tallies, 3, axis=1)
    for start in range(0, top, _BLOCK):
        part = slice(start, start + _BLOCK)
        some = np.concatenate([hits[:, part], misses[:, part], sizes[:, part]], axis=1)
        result += some @ _table(where, start, min(start + _BLOCK, top))
    return result


def _table(where: Grid, start: int, end: int) -> Floats:
    """One row for each j of each of the three sums, one column for each cell."""
    j = np.arange(start, end, dtype=np.float64)[:, None]
    apart = 1 - where.icc
    shared = j * where.icc
    return np.concatenate(
        [
            np.log(where.rate * apart + shared),
            np.log((1 - where.rate) * apart + shared),
            -np.log(apart + shared),
        ]
    )


def _more_than(counts: Counts, top: int) -> Floats:
    """For each row and each j < `top`, how many of the row's counts exceed j."""
    rows = len(counts)
    flat = counts + np.arange(rows)[:, None] * (top + 1)
    found = np.bincount(flat.ravel(), minlength=rows * (top + 1)).reshape(rows, top + 1)
    return found[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:].astype(np.float64)


def _totals(tallies: Floats) -> tuple[float, float]:
    hits, misses, _ = np.split(tallies, 3)
    return float(hits.sum()), float(misses.sum())


def _tidy(edges: set[float], least: float, keep: float) -> list[float]:
    """The edges inside [0, 1] in order, those closer than `least` to the one before left out."""
    result = [0.0]
    for edge in sorted(each for each in edges if 0 < each < 1):
        close = edge - result[-1] < min(least, min(edge, 1 - edge) / 2)
        if edge == keep and close and len(result) > 1:
            result[-1] = edge
        elif not close or edge == keep:
            result.append(edge)
    return [*result, 1.0]


def _panels(edges: list[float], nodes: int) -> tuple[Floats, Floats]:
    points, weights = np.polynomial.legendre.leggauss(nodes)
    low, high = np.array(edges[:-1]), np.array(edges[1:])
    half = (high - low) / 2
    at = low[:, None] + half[:, None] * (points + 1)
    return at.ravel(), (half[:, None] * weights).ravel()
