"""`decide` against its slow plain twin on thousands of small states."""

from __future__ import annotations

import random

import pytest
from tests.engine.states_of_the_world import NOW, make_policy, make_state
from tests.oracles.naive_placement import naive_decide

from meyrin.engine.placement import decide


def answer(decision):
    placed = [
        (
            p.job,
            p.site,
            p.partition,
            p.expected_start_s,
            [(o.site, o.partition, o.expected_start_s) for o in p.others],
        )
        for p in decision.placements
    ]
    waiting = [
        (
            w.job,
            {(r.reason, r.site, r.partition) for r in w.refusals},
            w.next_start
            and (w.next_start.site, w.next_start.partition, w.next_start.expected_start_s),
        )
        for w in decision.waiting
    ]
    return placed, waiting


@pytest.mark.parametrize("batch", range(10))
def test_decides_as_the_naive_twin(batch):
    for seed in range(batch * 300, batch * 300 + 300):
        rng = random.Random(seed)
        state, policy = make_state(rng), make_policy(rng)
        assert answer(decide(state, policy, NOW)) == naive_decide(state, policy, NOW), seed
