"""The fast posterior against the slow plain one."""

from __future__ import annotations

import numpy as np
import pytest
from tests.oracles.naive_posterior import probability_above

from meyrin.suites.gate.posterior import beyond, estimate, grid, mirrored, tally

CASES = [
    (0.95, [(10, 10)] * 18 + [(10, 8)] * 2),
    (0.9, [(5, 5)] * 30),
    (0.5, [(3, 1), (4, 4), (7, 2), (1, 1)]),
    (0.2, [(10, 3)] * 6 + [(2, 0)] * 9),
    (0.8, [(1, 1)] * 20 + [(1, 0)] * 2),
    (0.95, [(40, 40), (40, 12), (3, 3)]),
    (0.5, [(6, 0)] * 4),
    (0.05, [(8, 0)] * 25),
]


@pytest.mark.parametrize(("bar", "clusters"), CASES)
def test_both_find_the_same_probability(bar: float, clusters: list[tuple[int, int]]) -> None:
    sizes, hits = (np.array(each) for each in zip(*clusters, strict=True))
    where = grid(bar, int(sizes.sum()), len(clusters))
    fast = beyond(where, tally(sizes, hits))[0]
    coarse, fine = (probability_above(bar, clusters, cells) for cells in (100, 200))
    exact = fine + (fine - coarse) / 3  # midpoints err with the square of their width
    assert fast == pytest.approx(exact, abs=2e-4)


def test_many_data_sets_at_once_are_each_as_alone() -> None:
    rng = np.random.default_rng(1)
    sizes = rng.integers(0, 7, (60, 25))
    hits = rng.binomial(sizes, 0.8)
    where = grid(0.75, 75, 25)
    together = beyond(where, tally(sizes, hits))
    alone = [beyond(where, tally(s, h))[0] for s, h in zip(sizes, hits, strict=True)]
    assert together == pytest.approx(np.array(alone), abs=1e-9)


def test_large_clusters_are_worked_on_in_blocks() -> None:
    sizes, hits = np.array([900, 700, 800] * 4), np.array([890, 660, 790] * 4)
    where = grid(0.95, int(sizes.sum()), 12)
    whole = beyond(where, tally(sizes, hits))[0]
    tables = dict(where.tables)
    where.tables.clear()
    assert not tables, "they are too large to be kept"
    clusters = list(zip(sizes.tolist(), hits.tolist(), strict=True))
    assert whole == pytest.approx(probability_above(0.95, clusters, 200), abs=3e-3)


def test_hits_and_misses_are_a_mirror() -> None:
    sizes, hits = np.array([5, 5, 9]), np.array([5, 4, 9])
    above = beyond(grid(0.75, 19, 3), tally(sizes, hits))[0]
    below = beyond(grid(0.25, 19, 3), mirrored(tally(sizes, hits)))[0]
    assert above + below == pytest.approx(1, abs=1e-4)


def test_the_interval_is_where_the_probability_says() -> None:
    sizes, hits = np.array([10] * 50), np.array([9, 10, 8, 10, 10] * 10)
    tallies = tally(sizes, hits)
    low, middle, high = estimate(tallies[0], 500, 50, 0.10)
    for bar, expected in ((low, 0.95), (middle, 0.5), (high, 0.05)):
        where = grid(round(bar, 4), 500, 50)
        assert beyond(where, tallies)[0] == pytest.approx(expected, abs=0.01)
