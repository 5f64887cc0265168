"""Pace in whole weeks, and when hours run out."""

from __future__ import annotations

import random

import pytest

from meyrin.domain.pace import WEEK_S, Part, Rule, Verdict, expected_s, forecast, judge

END_S = 10 * WEEK_S
WHOLE = [Part(1000, 0)]


@pytest.mark.parametrize(
    ("now_s", "least", "most"),
    [
        (0, 0, 0),
        (1, 0, 100),
        (WEEK_S - 1, 0, 100),
        (WEEK_S, 100, 100),
        (3 * WEEK_S + 5, 300, 400),
        (END_S - 1, 900, 1000),
        (2 * END_S, 1000, 1000),
    ],
)
def test_what_is_expected_counts_whole_weeks(now_s, least, most):
    assert expected_s(WHOLE, END_S, now_s, begun_week=False) == least
    assert expected_s(WHOLE, END_S, now_s, begun_week=True) == most


def test_what_came_later_is_expected_from_then_on():
    parts = [Part(1000, 0), Part(500, 5 * WEEK_S)]
    assert expected_s(parts, END_S, 5 * WEEK_S, begun_week=False) == 500
    assert expected_s(parts, END_S, 6 * WEEK_S, begun_week=False) == 700
    assert expected_s([Part(7, END_S)], END_S, 2 * END_S, begun_week=True) == 0


@pytest.mark.parametrize(
    ("now_s", "used_s", "verdict"),
    [
        (WEEK_S - 1, 999, Verdict.EARLY),
        (WEEK_S, 0, Verdict.SLOW),
        (WEEK_S, 49, Verdict.SLOW),
        (WEEK_S, 50, Verdict.ON),
        (WEEK_S, 150, Verdict.ON),
        (WEEK_S, 151, Verdict.FAST),
        (WEEK_S + 1, 151, Verdict.ON),  # the week that has begun is theirs
        (WEEK_S + 1, 301, Verdict.FAST),
        (END_S, 0, Verdict.OVER),
    ],
)
def test_a_verdict_by_the_rule(now_s, used_s, verdict):
    assert judge(Rule(10, 50, 150), WHOLE, used_s, 0, END_S, now_s) is verdict


def test_nothing_is_foretold_from_too_little():
    assert forecast([5, 5], 100, 0) is None
    assert forecast([0, 0, 0], 100, 0) is None
    assert forecast([1, 0, 0], 10**9, 0) is None


def test_even_weeks_say_the_day_exactly():
    said = forecast([10] * 4, 25, 7)
    assert said is not None
    assert said.ends_s == said.latest_s == 7 + 5 * WEEK_S // 2
    assert abs(said.earliest_s - said.ends_s) <= 1
    over = forecast([10] * 4, 0, 7)
    assert over is not None
    assert (over.ends_s, over.latest_s) == (7, 7)


def test_weeks_that_differ_widely_may_never_bring_the_end():
    said = forecast([0, 0, 30], 100, 0)
    assert said is not None
    assert said.latest_s is None
    assert 0 < said.earliest_s < said.ends_s == 10 * WEEK_S


def test_the_end_lies_in_the_interval_about_eight_times_of_ten():
    rng, inside = random.Random(5), 0
    for _ in range(400):
        past = [rng.randint(50, 150) for _ in range(8)]
        said = forecast(past, 1500, 0)
        assert said is not None
        weeks, used = 0.0, 0
        while used < 1500:
            more = rng.randint(50, 150)
            weeks += min(1, (1500 - used) / more)
            used += more
        latest = said.latest_s if said.latest_s is not None else 2**62
        inside += said.earliest_s <= weeks * WEEK_S <= latest
    assert 0.74 <= inside / 400 <= 0.9
