"""The beta-binomial posterior, slowly: gamma functions, one cluster at a time, an even grid.

Shares no formula with `meyrin.suites.gate.posterior`: it uses the shape parameters of the beta
distribution and log-gamma where the other uses rising products and tallies.
"""

from __future__ import annotations

from math import exp, lgamma


def log_beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def probability_above(bar: float, clusters: list[tuple[int, int]], fine: int = 300) -> float:
    """P(rate > bar) for clusters of (items, hits); rate and ICC uniform; midpoints of `fine` cells.

    `bar` should fall on the border of a cell.
    """
    cells: list[tuple[float, float]] = []  # (rate, log likelihood)
    for i in range(fine):
        rate = (i + 0.5) / fine
        for j in range(fine):
            icc = (j + 0.5) / fine
            size = (1 - icc) / icc
            a, b = rate * size, (1 - rate) * size
            log_likelihood = 0.0
            for items, hits in clusters:
                log_likelihood += log_beta(a + hits, b + items - hits) - log_beta(a, b)
            cells.append((rate, log_likelihood))
    top = max(each for _, each in cells)
    above = sum(exp(each - top) for rate, each in cells if rate > bar)
    return above / sum(exp(each - top) for _, each in cells)
