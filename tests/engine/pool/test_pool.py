"""Laws of a replay on a pool, whatever the policy; and what `Pool` refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tests.engine.pool.logs import random_log
from tests.oracles.naive_pool import naive_starts

from meyrin.engine.pool import POLICIES, Pool

SEEDS = range(400)


def replayed(policy: str, log: list[np.ndarray], machine: int) -> np.ndarray:
    pool = Pool(policy, *log, machine)
    pool.advance(10**9)
    assert pool.done
    return pool.start


@pytest.mark.parametrize("policy", POLICIES)
def test_never_oversubscribed_never_early_and_work_is_conserved(policy: str) -> None:
    for seed in SEEDS:
        log, machine = random_log(seed)
        submit, processors, duration, _ = log
        start = replayed(policy, log, machine)
        assert (start >= submit).all()
        used = [
            processors[(start <= now) & (now < start + duration)].sum()
            for now in range(int((start + duration).max()))
        ]
        assert max(used) <= machine
        assert sum(used) == (processors * duration).sum()


def test_first_come_first_served_keeps_the_order() -> None:
    for seed in SEEDS:
        log, machine = random_log(seed)
        assert (np.diff(replayed("fcfs", log, machine)) >= 0).all()


@pytest.mark.parametrize("policy", POLICIES)
def test_event_by_event_is_all_at_once(policy: str) -> None:
    for seed in range(60):
        log, machine = random_log(seed)
        pool = Pool(policy, *log, machine)
        known, now = 0, 0
        while not pool.done:
            pool.advance(1)
            assert known <= pool.finished == (pool.start >= 0).sum()
            assert now <= pool.now
            known, now = pool.finished, pool.now
        assert (pool.start == replayed(policy, log, machine)).all()


@pytest.mark.parametrize("policy", ["easy", "easy-sjf"])
def test_easy_never_delays_the_head_beyond_its_first_shadow_time(policy: str) -> None:
    """The shadow time when a job becomes head, from the limits of what runs just then."""
    for seed in SEEDS:
        log, machine = random_log(seed)
        submit, processors, duration, limit = log
        start = replayed(policy, log, machine)
        for head in range(submit.size):
            # it is head once all before it have started and it has come
            since = max(int(start[:head].max(initial=0)), int(submit[head]))
            if start[head] <= since:
                continue
            runs = (start <= since) & (since < start + duration)
            runs &= (start < since) | (np.arange(submit.size) < head)
            ends = start + limit
            moments = [since, *np.sort(ends[runs])]
            free = [machine - processors[runs & (ends > at)].sum() for at in moments]
            shadow = next(
                at for at, left in zip(moments, free, strict=True) if left >= processors[head]
            )
            assert start[head] <= shadow, f"seed {seed}, job {head}"


def test_conservative_delays_nobody_beyond_the_first_reservation() -> None:
    for seed in SEEDS:
        log, machine = random_log(seed)
        _, promised = naive_starts("conservative", *log, machine)
        assert (replayed("conservative", log, machine) <= np.array(promised)).all()


@pytest.mark.parametrize("policy", POLICIES)
def test_shuffled_rows_give_the_same_starts(policy: str) -> None:
    for seed in range(60):
        log, machine = random_log(seed)
        number = np.arange(log[0].size)
        shuffled = np.random.default_rng(seed).permutation(number)
        order = shuffled[np.lexsort((number[shuffled], log[0][shuffled]))]
        again = np.empty_like(number)
        again[order] = replayed(policy, [column[order] for column in log], machine)
        assert (again == replayed(policy, log, machine)).all()


@pytest.mark.parametrize("policy", POLICIES)
def test_nothing_to_do_is_done(policy: str) -> None:
    pool = Pool(policy, [], [], [], [], 4)
    pool.advance(5)
    assert pool.done
    assert pool.finished == 0


@pytest.mark.parametrize(
    ("columns", "machine", "why"),
    [
        (([0], [5], [1], [1]), 4, "larger than the machine"),
        (([0], [0], [1], [1]), 4, "without processors"),
        (([0], [1], [0], [1]), 4, "without duration"),
        (([0], [1], [2], [1]), 4, "longer than its limit"),
        (([1, 0], [1, 1], [1, 1], [1, 1]), 4, "before its predecessor"),
        (([0], [1, 1], [1], [1]), 4, "unequal length"),
        (([0.5], [1], [1], [1]), 4, "integers"),
        (([0], [1], [1], [2**61]), 4, "beyond"),
        (([0], [1], [1], [1]), 0, "machine is 0"),
    ],
)
def test_what_cannot_be_replayed_is_refused(columns: tuple, machine: int, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Pool("easy", *columns, machine)


def test_an_unknown_policy_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="fcfs, easy, conservative, easy-sjf"):
        Pool("first-fit", [], [], [], [], 4)


@pytest.mark.parametrize(("servers", "load"), [(1, 0.5), (4, 0.7), (16, 0.8)])
def test_mean_wait_is_erlangs(servers: int, load: float) -> None:
    """M/M/c (Erlang 1917): the mean wait is C(c, a) / (c mu - lambda), within 2 % and 5 errors.

    The error of the mean comes from the means of 50 batches, which hardly depend on each other.
    """
    count, mean_service = 2_000_000, 1_000_000.0
    rng = np.random.default_rng(1917)
    gaps = rng.exponential(mean_service / (servers * load), count)
    service = np.maximum(1, rng.exponential(mean_service, count).astype(np.int64))
    submit = np.cumsum(gaps).astype(np.int64)
    start = replayed("fcfs", [submit, np.ones(count, np.int64), service, service], servers)
    waits = (start - submit)[count // 20 :]
    offered = servers * load
    last = offered**servers / math.factorial(servers) / (1 - load)
    waiting = last / (sum(offered**k / math.factorial(k) for k in range(servers)) + last)
    wanted = waiting * mean_service / (servers * (1 - load))
    batches = waits[: waits.size // 50 * 50].reshape(50, -1).mean(axis=1)
    error = batches.std(ddof=1) / math.sqrt(50)
    assert abs(waits.mean() - wanted) < min(0.02 * wanted, 5 * error)
