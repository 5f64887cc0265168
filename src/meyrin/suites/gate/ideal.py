"""The most power that any rule could have for a rate: what a plan's own power is held against.

A rule that keeps its level whatever the resemblance within clusters (ICC) keeps it, above all, for
one model on the bar with one ICC. Among tests of that one model against one alternative none has
more power than the likelihood ratio (Neyman and Pearson), which knows both. So the least of these
powers, over ICCs of the model on the bar, is more than any such rule can reach. Where the least
lies at another ICC than the alternative's, clusters that differ more explain the same data: that
is what nobody who doesn't know the ICC can tell apart.
"""

from __future__ import annotations

import numpy as np
from scipy.special import betaln, gammaln

from meyrin.suites.gate.plan import Claim
from meyrin.suites.gate.posterior import Floats

NULL_ICCS = (0.0, *(round(0.05 * step, 2) for step in range(1, 20)))
LARGEST = 200  # items in a cluster up to which it is computed
_SEED = 20_261_129


def most_power(
    claim: Claim, truth: float, icc: float, level: float, draws: int = 20_000
) -> tuple[float, float]:
    """The most power at `truth` of a rule that is valid at every ICC, and the ICC of the model on
    the bar that says so. By drawing: the error is that of `draws`."""
    assert claim.samples <= LARGEST * claim.clusters, "the caller asks for small clusters alone"
    powers = [
        (likelihood_ratio_power(claim, truth, icc, level, null, draws), null)
        for null in sorted({*NULL_ICCS, icc})
    ]
    return min(powers)


def likelihood_ratio_power(
    claim: Claim, truth: float, icc: float, level: float, null_icc: float, draws: int
) -> float:
    """The power at `truth` with `icc` of the best test against one model on the bar with
    `null_icc`; with the same ICC, of a rule that is told it, which nobody is."""
    rng = np.random.default_rng(_SEED)
    few, more = divmod(claim.samples, claim.clusters)
    on_bar, better = np.zeros(draws), np.zeros(draws)
    for size, clusters in ((few, claim.clusters - more), (few + 1, more)):
        if not clusters:
            continue
        null, other = _chances(claim.bar, null_icc, size), _chances(truth, icc, size)
        with np.errstate(divide="ignore"):
            ratio = np.clip(np.log(other) - np.log(null), -700.0, 700.0)
        on_bar += rng.multinomial(clusters, null, draws) @ ratio
        better += rng.multinomial(clusters, other, draws) @ ratio
    needed = np.quantile(on_bar, 1 - level, method="higher")
    return float((better >= needed).mean())


def _chances(rate: float, icc: float, size: int) -> Floats:
    """How probable 0 … `size` hits are in a cluster of so many items."""
    k = np.arange(size + 1)
    ways = gammaln(size + 1) - gammaln(k + 1) - gammaln(size - k + 1)
    if icc == 0 or not 0 < rate < 1:
        inside = min(max(rate, 1e-300), 1 - 1e-16)
        logs = ways + k * np.log(inside) + (size - k) * np.log1p(-inside)
    else:
        spread = (1 - icc) / icc
        a, b = rate * spread, (1 - rate) * spread
        logs = ways + betaln(k + a, size - k + b) - betaln(a, b)
    chances: Floats = np.exp(logs) / np.exp(logs).sum()
    return chances
