"""What a plan's tests would do, before any accelerator is used: how often they pass a model that
is exactly on the bar, and how often one that is as good as the plan's alternative.

Made by the very code that decides, on drawn data; the same seed draws the same table. Clusters
differ by a beta distribution with the stated intra-class correlation (ICC).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from meyrin.suites.gate.ideal import LARGEST, most_power
from meyrin.suites.gate.plan import Claim, Plan
from meyrin.suites.gate.rules import Table, judge

ICCS = (0.0, 0.2, 0.5)
CHURN = 0.05  # of a comparison's samples change each way although nothing got better
_AT_ONCE = 2_000_000  # clusters drawn at once


@dataclass(frozen=True, slots=True)
class Cell:
    """How often a claim passes where the truth is `truth`. `error` is one Monte Carlo error.

    `once` is one attempt, `ever` that at least one of all attempts passes, each on new samples.
    `most` is what no rule that keeps its level at every ICC can exceed in one attempt, where that
    is known.
    """

    claim: str
    rule: str
    at: str  # bar or alternative
    truth: float
    icc: float
    level: float
    tries: int
    replicates: int
    once: float
    once_error: float
    ever: float
    ever_error: float
    most: float | None = None


def cells(plan: Plan) -> int:
    """How many cells the plan's table has."""
    return sum(2 * len(_iccs(claim)) for claim in plan.claim)


def table(plan: Plan, replicates: int, seed: int) -> Iterator[Cell]:
    """The plan's table, cell by cell.

    False passes are given at the highest level that a claim may have, power at the lowest one.
    """
    level = plan.spend_ppm / 1_000_000
    rivals = sum(claim.kind == "capability" for claim in plan.claim)
    for number, claim in enumerate(plan.claim):
        lowest = level / rivals if claim.kind == "capability" else level
        for step, icc in enumerate(_iccs(claim)):
            for at, truth, used in (
                ("bar", claim.bar, level),
                ("alternative", claim.alternative, lowest),
            ):
                rng = np.random.default_rng([seed, number, step, at == "bar"])
                passed = passes(claim, truth, icc, used, (replicates, plan.tries), rng)
                once, ever = float(passed.mean()), float(passed.any(axis=1).mean())
                yield Cell(
                    claim=claim.name,
                    rule=claim.rule,
                    at=at,
                    truth=truth,
                    icc=icc,
                    level=used,
                    tries=plan.tries,
                    replicates=replicates,
                    once=once,
                    once_error=_error(once, passed.size),
                    ever=ever,
                    ever_error=_error(ever, replicates),
                    most=_most(claim, truth, icc, used) if at == "alternative" else None,
                )


def passes(
    claim: Claim,
    truth: float,
    icc: float,
    level: float,
    shape: tuple[int, int],
    rng: np.random.Generator,
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Whether each of `shape` (replicates, tries) drawn data sets passes."""
    sets = shape[0] * shape[1]
    result = np.empty(sets, dtype=bool)
    at_once = max(1, _AT_ONCE // claim.clusters)
    for start in range(0, sets, at_once):
        part = slice(start, min(start + at_once, sets))
        drawn = draw(claim, truth, icc, part.stop - part.start, rng)
        result[part] = judge(claim, drawn).doubt <= level
    return result.reshape(shape)


def draw(claim: Claim, truth: float, icc: float, sets: int, rng: np.random.Generator) -> Table:
    """Data sets of the plan's size whose rate, mean or difference is `truth`."""
    sizes = np.full(claim.clusters, claim.samples // claim.clusters)
    sizes[: claim.samples % claim.clusters] += 1
    n = np.broadcast_to(sizes, (sets, claim.clusters))
    reach = claim.highest - claim.lowest
    if claim.rule != "compare":
        low, span = (0.0, 1.0) if claim.rule in {"rate", "zero"} else (claim.lowest, reach)
        hits = rng.binomial(n, _rates((truth - low) / span, icc, n.shape, rng))
        return Table(n, (low * n + span * hits).astype(np.float64))
    change = truth / reach
    up, down = CHURN + max(change, 0.0), CHURN + max(-change, 0.0)
    wins = rng.binomial(n, _rates(min(up, 1.0), icc, n.shape, rng))
    losses = rng.binomial(n - wins, _rates(min(down / (1 - up), 1.0), icc, n.shape, rng))
    return Table(n, (reach * (wins - losses)).astype(np.float64), wins, losses)


def _most(claim: Claim, truth: float, icc: float, level: float) -> float | None:
    if claim.rule != "rate" or claim.samples > LARGEST * claim.clusters:
        return None
    return most_power(claim, truth, icc, level)[0]


def _iccs(claim: Claim) -> tuple[float, ...]:
    if claim.clusters == claim.samples:
        return (0.0,)  # nothing resembles anything: each sample is a cluster
    return tuple(sorted({*ICCS, claim.icc}))


def _rates(rate: float, icc: float, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
    if icc == 0 or not 0 < rate < 1:
        return np.full(shape, min(max(rate, 0.0), 1.0))
    size = (1 - icc) / icc
    return rng.beta(rate * size, (1 - rate) * size, shape)


def _error(share: float, count: int) -> float:
    return float(np.sqrt(max(share * (1 - share), 1 / count) / count))
