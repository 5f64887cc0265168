"""Each score of a run with an interval, for people who compare versions of a model.

A look, never a verdict: no plan says which of these counts.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from meyrin.suites.facts import Facts
from meyrin.suites.gate.measure import INTERVAL
from meyrin.suites.gate.posterior import estimate, tally

MOST = 100


@dataclass(frozen=True, slots=True)
class Score:
    """The mean of one score in one task over all samples; unscored samples count as 0.

    `estimate` is of the rate in a typical cluster, and the interval is of it and leaves out 10 %;
    all three are None where the score is no yes or no.
    """

    task: str
    metric: str
    samples: int
    clusters: int
    unscored: int
    mean: float
    low: float | None
    high: float | None
    estimate: float | None


def scores(facts: Facts) -> list[Score]:
    """Of every task and score, in order of their names; at most a hundred."""
    groups: defaultdict[tuple[str, str], defaultdict[str, list[float | None]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for sample in facts.samples:
        for metric, value in sample.scores:
            groups[sample.task, metric][sample.cluster].append(value)
    return [_score(*key, groups[key]) for key in sorted(groups)[:MOST]]


def _score(task: str, metric: str, clusters: dict[str, list[float | None]]) -> Score:
    values = [value for cluster in clusters.values() for value in cluster]
    known = [value or 0.0 for value in values]
    low = high = middle = None
    if set(known) <= {0.0, 1.0}:
        sizes = np.array([len(cluster) for cluster in clusters.values()])
        hits = np.array([int(sum(v or 0.0 for v in cluster)) for cluster in clusters.values()])
        found = estimate(tally(sizes, hits)[0], len(values), len(clusters), INTERVAL)
        low, middle, high = (float(f"{each:.6g}") for each in found)
    return Score(
        task,
        metric,
        len(values),
        len(clusters),
        values.count(None),
        float(f"{sum(known) / len(known):.6g}"),
        low,
        high,
        middle,
    )
