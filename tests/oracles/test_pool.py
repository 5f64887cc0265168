"""The pool's kernels against their slow plain twins on thousands of small cases with ties."""

from __future__ import annotations

import numpy as np
import pytest
from tests.engine.pool.logs import random_log
from tests.oracles.naive_pool import naive_starts

from meyrin.engine.pool import POLICIES, Pool


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("part", range(5))
def test_every_start_equals_the_twins(policy: str, part: int) -> None:
    for seed in range(part * 300, part * 300 + 300):
        log, machine = random_log(seed)
        pool = Pool(policy, *log, machine)
        pool.advance(10**6)
        wanted, _ = naive_starts(policy, *log, machine)
        assert pool.start.tolist() == wanted, f"seed {seed}"
        assert pool.done
        assert pool.finished == len(wanted)


@pytest.mark.parametrize("policy", ["easy", "easy-sjf"])
def test_a_queue_longer_than_the_short_list_equals_the_twins(policy: str) -> None:
    """Above 64 waiting jobs the tree answers; the queue here grows past it and shrinks again."""
    for seed in range(12):
        rng = np.random.default_rng(seed)
        count, machine = 220, int(rng.integers(4, 40))
        submit = np.sort(np.concatenate([rng.integers(0, 60, 150), rng.integers(4000, 4060, 70)]))
        processors = rng.integers(1, machine + 1, count)
        duration = rng.integers(1, 30, count)
        limit = duration + rng.integers(0, 60, count)
        pool = Pool(policy, submit, processors, duration, limit, machine)
        pool.advance(10**6)
        wanted, _ = naive_starts(policy, submit, processors, duration, limit, machine)
        assert pool.start.tolist() == wanted, f"seed {seed}"
