"""Numbers of an outcome, worked out by hand and by other programs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from meyrin.sim import folder
from meyrin.sim.classes import by_run_time, by_size
from meyrin.sim.compare import Comparison
from meyrin.sim.outcome import Outcome, bounded_slowdown, quantile, summary, utilisation
from meyrin.sim.pictures import mean_over_time
from meyrin.sim.prepare import Arrivals


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


@pytest.fixture
def outcome() -> Outcome:
    jobs = Arrivals(
        row=ints(0, 2, 1),
        job_id=ints(7, 8, 9),
        submit=ints(100, 100, 150),
        processors=ints(1, 4, 3),
        duration=ints(5, 100, 7200),
        limit=ints(10, 100, 7200),
        skipped={"no size": 2},
    )
    start = ints(100, 200, 300)
    return Outcome("t", "easy", "easy", 4, jobs, start, start + jobs.duration, True, 0.5)


def test_bounded_slowdown_has_a_floor_of_one_and_a_bound_of_ten_seconds() -> None:
    assert bounded_slowdown(ints(0, 15, 100), ints(1, 5, 50)).tolist() == [1, 2, 3]


def test_quantiles_are_those_of_pandas() -> None:
    waits = np.random.default_rng(1).integers(0, 10_000, 999)
    for percent in (50, 90, 99):
        assert quantile(waits, percent) == pytest.approx(pd.Series(waits).quantile(percent / 100))


def test_utilisation_is_from_the_first_submit_time_to_the_last_end(outcome: Outcome) -> None:
    assert utilisation(outcome) == pytest.approx((5 + 400 + 3 * 7200) / (4 * 7400))


def test_an_interrupted_outcome_counts_what_had_started(outcome: Outcome) -> None:
    end = outcome.end.copy()
    end[2] = -1
    half = replace(outcome, start=ints(100, 200, -1), end=end, complete=False)
    told = summary(half, 10)
    assert (told["jobs"], told["makespan_s"], told["complete"]) == (2, 200, False)
    assert told["jobs_per_s"] == 4
    nothing = replace(half, start=ints(-1, -1, -1))
    assert summary(nothing, 10)["mean_wait_s"] == 0


def test_classes(outcome: Outcome) -> None:
    sizes = by_size(outcome.jobs)
    assert sizes.labels == ("1", "3-4")
    assert sizes.of.tolist() == [0, 1, 1]
    times = by_run_time(outcome.jobs)
    assert [times.labels[of] for of in times.of] == ["under 1 min", "1 to 10 min", "1 to 6 h"]


def test_who_gains(outcome: Outcome) -> None:
    other = replace(outcome, label="ours", start=ints(100, 150, 310))
    comparison = Comparison((outcome, other), (by_size(outcome.jobs),))
    total = comparison.total()
    assert (total.earlier, total.later, total.equal) == (1, 1, 1)
    one, large = comparison.rows(comparison.classes[0])
    assert (one.jobs, one.a["mean"], one.b["mean"]) == (1, 0, 0)
    assert (large.jobs, large.a["mean"], large.b["mean"]) == (2, 125, 105)
    assert Comparison((outcome, outcome), ()).labels == ("easy (1)", "easy (2)")


def test_mean_over_time_is_exact() -> None:
    """Height 2 from 0 to 10, then 5 until 20, then 0."""
    at, change = np.array([20.0, 0, 10]), np.array([-5.0, 2, 3])
    edges = np.array([0.0, 5, 15, 20, 30])
    assert mean_over_time(at, change, edges).tolist() == [2, 3.5, 5, 0]


def test_mean_over_time_keeps_all_work() -> None:
    chance = np.random.default_rng(2)
    begin = chance.integers(0, 1000, 500).astype(float)
    end = begin + chance.integers(1, 100, 500)
    edges = np.linspace(0, 1100, 38)
    ones = np.ones(500)
    means = mean_over_time(np.r_[begin, end], np.r_[ones, -ones], edges)
    assert (means * np.diff(edges)).sum() == pytest.approx((end - begin).sum())
    assert (means >= -1e-9).all()


def test_a_page_shows_words_of_others_as_words() -> None:
    made = folder.page("<b>", "", [("", [["a", "b"], ["<i>", "&"]])], [], ["<script>"])
    assert b"<i>" not in made
    assert b"<script>" not in made
    assert b"&lt;script&gt;" in made
