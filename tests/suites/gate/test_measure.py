"""What people read of a measurement: the point lies in its interval, whatever was counted."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.suites.gate.planted import NOW_MS, REFERENCE, claim, draw, plan, run, signed

from meyrin.suites.gate.decide import Decision, Finding, Spent, decide, decision_from_data, replay
from meyrin.suites.gate.evidence import Cluster, Observed
from meyrin.suites.gate.measure import measure
from meyrin.suites.gate.scores import scores
from meyrin.suites.gate.words import of_finding

DATA = Path(__file__).parent / "data"
CLUSTERS = st.lists(st.integers(1, 40).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))),
                    min_size=1, max_size=12)  # fmt: skip
RULES = [
    {"rule": rule, "direction": direction, "bar": bar}
    for rule, bar in (("rate", 0.5), ("zero", 0.5), ("mean", 0.5), ("compare", 0.1))
    for direction in ("at_least", "at_most")
]


def seen(clusters: list[tuple[int, int]]) -> Observed:
    """So many ones in clusters of such sizes, of whatever rule."""
    made = tuple(Cluster(f"c{i}", n, float(k), wins=k) for i, (n, k) in enumerate(clusters))
    return Observed(made, sum(n for n, _ in clusters), 0, (), ())


def finding(of: Any, observed: Observed) -> Finding:
    found = measure(of, observed)
    return Finding(
        claim=of.name, kind=of.kind, verdict="pass", method="-", found=found.found, low=found.low,
        high=found.high, doubt=0.0, against=1.0, level=0.05, samples=observed.samples,
        clusters=len(observed.clusters), unscored=0, settle=None, says="", ones=found.ones,
        of=found.of, estimate=found.estimate,
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(CLUSTERS, st.sampled_from(RULES))
def test_the_point_lies_in_its_interval(
    clusters: list[tuple[int, int]], told: dict[str, Any]
) -> None:
    compared = {"reference": REFERENCE} if told["rule"] == "compare" else {}
    of = claim(**told, **compared, alternative=0.9 if told["direction"] == "at_least" else 0.0)
    found = finding(of, seen(clusters))
    assert (found.low is None) == (found.high is None) == (found.estimate is None)
    if found.low is not None:
        assert found.low <= found.estimate <= found.high  # type: ignore[operator]
    said = of_finding(of, found, (), few=False)
    interval = re.search(r"([-\d.e]+)( %)? \(90 % interval ([-\d.e]+)( %)? to ([-\d.e]+)", said)
    if interval and of.rule in {"rate", "mean"}:
        point, low, high = (float(interval[n]) for n in (1, 3, 5))
        assert low <= point <= high, said
    if of.rule in {"rate", "zero"}:
        ones, items = (sum(each[n] for each in clusters) for n in (1, 0))
        assert f"{ones:,} of {items:,} sample" in said


def test_a_share_outside_of_the_interval_is_only_a_count() -> None:
    """One large cluster without a one, and four small ones with nothing else."""
    observed = seen([(16, 0), (1, 1), (1, 1), (1, 1), (1, 1)])
    found = finding(claim(), observed)
    assert found.low is not None
    assert found.found is not None
    assert found.found < found.low, "this is what made the sentence contradict itself"
    said = of_finding(claim(), found, (), few=False)
    assert "4 of 20 samples in 5 clusters (20 %)" in said
    assert re.search(r"typical cluster is about 70\.\d+ % \(90 % interval 37\.\d+ % to", said)


def test_what_the_data_do_not_say_has_no_interval() -> None:
    alone = measure(claim(rule="mean"), seen([(4, 2)]))
    assert (alone.found, alone.estimate, alone.low, alone.high) == (0.5, None, None, None)
    event = claim(rule="zero", direction="at_most", bar=0.02, alternative=0.0)
    assert measure(event, seen([(4, 1)] * 30)).high is None
    clean = finding(event, seen([(4, 0)] * 30))
    assert clean.high == pytest.approx(1 - 0.05 ** (1 / 30), abs=1e-6)
    assert "0 of 120 samples" in of_finding(event, clean, (), few=False)
    assert "at most 9.503 % (95 % sure)" in of_finding(event, clean, (), few=False)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.lists(st.sampled_from([0.0, 1.0, None]), min_size=1, max_size=9), min_size=1,
                max_size=6))  # fmt: skip
def test_scores_of_a_page_lie_in_their_intervals(rows: list[list[float | None]]) -> None:
    made = plan(claim())
    wide = np.array([[np.nan if v is None else v for v in row] for row in rows], dtype=object)
    facts = run(made.claim[0], made, [np.array(row, dtype=float) for row in wide])  # type: ignore[arg-type]
    (score,) = scores(facts)
    assert score.estimate is not None
    assert score.low is not None
    assert score.high is not None
    assert score.low <= score.estimate <= score.high


def test_a_decision_by_the_rules_of_before_is_read_and_replays() -> None:
    """It told less, and said the share over samples beside an interval of something else."""
    told = json.loads((DATA / "decision-rules-1.json").read_text(encoding="utf-8"))
    kept = decision_from_data(told)
    assert json.loads(json.dumps(kept.as_data())) == told
    made = plan(claim())
    rng = np.random.default_rng(4)
    facts = run(made.claim[0], made, draw(made.claim[0], 0.995, 0.1, rng))
    assert replay(kept, signed(made), [facts]) == ()
    worse = run(made.claim[0], made, draw(made.claim[0], 0.85, 0.1, rng))
    assert "verdict" in replay(kept, signed(made), [worse])
    now: Decision = decide(signed(made), [facts], Spent(2, 20_000), NOW_MS)
    assert replace(now, rules=1, says=kept.says, findings=kept.findings).digest == kept.digest
