"""Decisions on compiled room against those on the plain twin: equal to the last number."""

from __future__ import annotations

import random

import pytest
from tests.engine.states_of_the_world import NOW, make_policy, make_state
from tests.engine.test_scale import large_state
from tests.oracles.plain_timelines import PlainTimelines

from meyrin.domain.units import NodeShape
from meyrin.engine import timeline
from meyrin.engine.explain import explain
from meyrin.engine.model import Policy
from meyrin.engine.placement import decide


def on_both(monkeypatch, question):
    """What the question answers on compiled room, and on the plain twin."""
    compiled = question()
    with monkeypatch.context() as patch:
        patch.setattr(timeline, "Timelines", PlainTimelines)
        return compiled, question()


@pytest.mark.parametrize("batch", range(5))
def test_small_states_are_decided_as_on_the_twin(monkeypatch, batch):
    for seed in range(batch * 1000, batch * 1000 + 1000):
        rng = random.Random(seed)
        state, policy = make_state(rng), make_policy(rng)
        compiled, plain = on_both(monkeypatch, lambda s=state, p=policy: decide(s, p, NOW))
        assert compiled == plain, seed


def test_explanations_are_those_of_the_twin(monkeypatch):
    for seed in range(300):
        rng = random.Random(seed)
        state, policy = make_state(rng), make_policy(rng)
        job = rng.choice(state.waiting)
        compiled, plain = on_both(
            monkeypatch, lambda s=state, p=policy, j=job: explain(j, s, p, NOW)
        )
        assert compiled == plain, seed


@pytest.mark.parametrize(("kinds", "load"), [(1, 1.0), (40, 0.5), (300, 1.0)])
@pytest.mark.parametrize("policy", [Policy(), Policy(3600, 5, reserve_depth=1)], ids=str)
def test_large_states_are_decided_as_on_the_twin(monkeypatch, kinds, load, policy):
    state = large_state(kinds, load, jobs=300)
    compiled, plain = on_both(monkeypatch, lambda: decide(state, policy, NOW))
    assert compiled == plain


@pytest.mark.parametrize("seed", range(20))
def test_what_is_free_now_is_what_the_twin_has_left(seed):
    rng = random.Random(seed)
    places = make_state(rng).partitions
    both = timeline.Timelines(places, NOW), PlainTimelines(places, NOW)
    for _ in range(10):
        for at, place in enumerate(places):
            node = place.partition.node
            asked = NodeShape(rng.randint(1, node.cores), 8, rng.randint(0, node.accelerators))
            nodes = rng.randint(1, place.partition.nodes)
            longest = [one.longest_now_s(at, asked, nodes) for one in both]
            assert longest[0] == longest[1]
            assert tuple(both[0].free_now(at)) == both[1].free_now(at)
        assert both[0].queued == both[1].queued
