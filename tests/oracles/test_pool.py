"""The pool's kernels against their slow plain twins on thousands of small cases with ties."""

from __future__ import annotations

import numpy as np
import pytest
from tests.engine.pool.logs import random_log
from tests.oracles.naive_pool import naive_starts

from meyrin.engine.pool import POLICIES, Pool, gaps
from meyrin.engine.pool.gaps import MOST_KEPT
from meyrin.engine.pool.profile import FRESH


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
@pytest.mark.parametrize("room", [MOST_KEPT, 8])
def test_a_deep_conservative_queue_equals_the_twins(
    depths: tuple[int, int], room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is done only where many wait gives the same starts as what is done where few do.

    So does what is done where more gaps open than there is room to note.
    """
    monkeypatch.setattr(gaps, "MOST_KEPT", room)
    for seed in range(600 if room == MOST_KEPT else 150):
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


def played_at_once(count: int, depth: int) -> Pool:
    """Everybody comes at once and may end early; gaps are told apart by length from `depth` on."""
    rng = np.random.default_rng(count)
    processors = np.minimum(240, 2 ** (8 * rng.random(count)) + 1).astype(np.int64)
    limit = rng.integers(60, 86400, count)
    duration = np.maximum(1, limit * rng.random(count)).astype(np.int64)
    pool = Pool("conservative", np.zeros(count, np.int64), processors, duration, limit, 240)
    pool._state.depths[1] = depth
    pool.advance(10**9)
    assert pool.done
    moments = pool._state.profile
    assert moments.at[FRESH] <= moments.time.size
    return pool


def test_a_long_queue_has_the_same_starts_whether_gaps_are_told_apart_by_length_or_not() -> None:
    assert played_at_once(600, 0).start.tolist() == played_at_once(600, 10**6).start.tolist()


def test_a_move_asks_no_more_gaps_where_more_wait() -> None:
    """As in the bench: there are ever more moves, but one costs no more."""
    few, many = played_at_once(500, 0)._state, played_at_once(2000, 0)._state
    assert many.moves[2] > 16 * few.moves[2]
    assert many.gaps.asked[0] / many.moves[2] < 2 * few.gaps.asked[0] / few.moves[2]


def test_a_pass_left_out_is_not_made_up_for() -> None:
    """Why each pass moves everybody, though nobody starts before the next (decision 0016).

    At time 3 the last job moves from 9 to 4. Without that, at time 4 the big one would come first.
    """
    log = [0] * 5, [1, 1, 3, 1, 2], [4, 4, 3, 3, 1], [6, 4, 3, 6, 1]
    pool = Pool("conservative", *log, 3)
    pool.advance(10**6)
    wanted, promised = naive_starts("conservative", *log, 3)
    assert (promised[2], promised[4]) == (6, 9)
    assert pool.start.tolist() == wanted == [0, 0, 5, 0, 4]
