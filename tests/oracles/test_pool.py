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


@pytest.mark.parametrize("depths", [(0, 0), (10**6, 10**6)])
def test_a_deep_conservative_queue_equals_the_twins(depths: tuple[int, int]) -> None:
    """What is done only where many wait gives the same starts as what is done where few do."""
    for seed in range(600):
        rng = np.random.default_rng(seed)
        log, machine = random_log(seed)
        if seed % 20 == 0:  # a longer queue, half of it in powers of two
            count, machine = int(rng.integers(50, 100)), int(rng.integers(4, 40))
            submit = np.sort(rng.integers(0, rng.integers(1, 80), count))
            sizes = np.minimum(machine, 2 ** rng.integers(0, 6, count))
            processors = np.where(np.arange(count) % 2, sizes, rng.integers(1, machine + 1, count))
            duration = rng.integers(1, 30, count)
            limit = duration + rng.integers(0, 80, count) * rng.integers(0, 2, count)
            log = [submit, processors, duration, limit]
        pool = Pool("conservative", *log, machine)
        pool._state.depths[:] = depths
        pool.advance(10**6)
        wanted, _ = naive_starts("conservative", *log, machine)
        assert pool.start.tolist() == wanted, f"seed {seed}"


def test_exact_limits_move_nobody_and_cost_no_pass_over_the_queue() -> None:
    """30,000 waiting jobs; the first 60 start as if they were alone, since nobody delays them."""
    rng = np.random.default_rng(1)
    count, machine = 30_000, 64
    processors, limit = rng.integers(1, machine + 1, count), rng.integers(1, 5000, count)
    pool = Pool("conservative", np.zeros(count, np.int64), processors, limit, limit, machine)
    pool.advance(10**9)
    assert pool.done
    assert pool._state.moves.tolist() == [0, 0, 0]
    some = [0] * 60, processors[:60], limit[:60], limit[:60]
    wanted, _ = naive_starts("conservative", *some, machine)
    assert pool.start[:60].tolist() == wanted
