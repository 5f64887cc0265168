"""What must hold whatever is replayed: known answers, and laws of conservation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from meyrin.engine.federation import Federation

SECOND = 1000  # a tick of the exact cases is a millisecond


def run(**given) -> Federation:
    kernel = Federation(**given)
    while not kernel.done:
        kernel.advance(1 << 20)
    return kernel


def erlang_c_wait(servers: int, load: float) -> float:
    """Mean wait in units of the mean service time (Erlang 1917), by the stable recursion."""
    offered = servers * load
    blocked = 1.0
    for k in range(1, servers + 1):
        blocked = offered * blocked / (k + offered * blocked)
    waits = blocked / (1 - load * (1 - blocked))
    return waits / (servers * (1 - load))


@pytest.mark.parametrize(("servers", "load"), [(1, 0.5), (4, 0.7), (20, 0.8)])
@pytest.mark.parametrize("backfill", [0, 1])
def test_a_queue_with_many_servers_waits_as_erlang_says(servers, load, backfill):
    jobs, mean = 1_000_000, 60 * SECOND
    chance = np.random.default_rng(servers)
    run_ = np.maximum(1, np.rint(chance.exponential(mean, jobs)).astype(np.int64))
    ready = np.rint(np.cumsum(chance.exponential(mean / servers / load, jobs))).astype(np.int64)
    kernel = run(
        ready=ready,
        size=np.ones(jobs),
        run=run_,
        limit=run_ * 3,
        allowed=np.ones(jobs),
        count=[servers],
        backfill=[backfill],
        end_s=int(ready[-1]) + 100 * mean,
    )
    waits = (kernel.start - ready)[jobs // 100 :]
    drawn = run_.mean() / servers / np.diff(ready).mean()  # the load that chance made of it
    assert drawn == pytest.approx(load, rel=0.005)
    expected = erlang_c_wait(servers, drawn) * run_.mean()
    assert waits.mean() == pytest.approx(expected, rel=0.02)


def jobs_of(seed: int, count: int, largest: int, span: int, places: int) -> dict:
    chance = np.random.default_rng(seed)
    run_ = chance.integers(60, 20_000, count)
    return {
        "ready": np.sort(chance.integers(0, span, count)),
        "size": np.minimum(2 ** chance.integers(0, 6, count), largest),
        "run": run_,
        "limit": run_ * chance.integers(1, 4, count),
        "allowed": np.full(count, (1 << places) - 1),
        "home": chance.integers(0, places, count),
    }


def test_where_there_is_no_load_nobody_waits():
    given = jobs_of(1, 2000, 32, 10**9, 3)
    kernel = run(**given, count=[64, 64, 64], end_s=2 * 10**9)
    assert (kernel.start == given["ready"]).all()
    assert kernel.finished == 2000


@pytest.mark.parametrize("seed", range(4))
def test_work_is_conserved_and_nothing_is_used_twice(seed):
    """With failures, preemption, closures and shares: what jobs got is what sites gave."""
    places, end_s = 3, 40 * 86400
    given = jobs_of(seed, 4000, 32, 20 * 86400, places)
    chance = np.random.default_rng(seed)
    count = np.array([64, 96, 48])
    kernel = run(
        **given,
        count=count,
        node=[4] * places,
        group=chance.integers(0, 2, 4000),
        most=[[64, 32], [96, 48], [48, 32]],
        low=chance.random(4000) < 0.3,
        gaps=[(86400, 2 * 86400, 0, 64), (5 * 86400, 6 * 86400, 2, 24)],
        rate=2e-3 / 3600,
        repair_s=7200,
        checkpoint_s=1800,
        restart_s=300,
        seed=seed,
        end_s=end_s,
    )
    assert kernel.finished == 4000
    ended = kernel.end - kernel.start
    assert (ended >= given["run"]).all()
    once = kernel.restarts == 0
    assert (ended[once] == given["run"][once]).all()
    assert (~once).sum() > 20
    work = int((given["size"] * given["run"]).sum())
    used, lost = int(kernel.used.sum()), int(kernel.lost.sum())
    restarting = int((given["size"] * kernel.restarts * 300).sum())
    assert work + lost <= used <= work + lost + restarting
    assert lost == int(kernel.wasted.sum())
    room = count[:, None] * 3600
    assert (kernel.used <= room).all()
    assert (kernel.closed >= 0).all()


def test_the_same_seed_gives_the_same_and_another_fails_elsewhere():
    given = jobs_of(3, 1000, 32, 86400 * 5, 2)
    more = {
        "count": [64, 64],
        "rate": 1e-6,
        "repair_s": 60,
        "checkpoint_s": 600,
        "end_s": 86400 * 30,
    }
    first, again, other = (run(**given, **more, seed=seed) for seed in (1, 1, 2))
    assert (first.start == again.start).all()
    assert (first.restarts == again.restarts).all()
    assert (first.restarts != other.restarts).any()


def test_failures_come_as_often_as_the_rate_says():
    count, rate = 3000, 1e-7
    run_ = np.full(count, 36_000)
    kernel = run(
        ready=np.arange(count),
        size=np.full(count, 16),
        run=run_,
        limit=run_,
        allowed=np.ones(count),
        count=[16 * count],
        rate=rate,
        checkpoint_s=1,
        end_s=10**7,
    )
    expected = rate * float(kernel.used.sum())
    assert int(kernel.restarts.sum()) == pytest.approx(expected, abs=4 * math.sqrt(expected))


def test_jobs_that_may_be_put_off_change_nothing_for_the_others():
    given = jobs_of(5, 3000, 32, 86400 * 6, 2)
    low = np.random.default_rng(5).random(3000) < 0.4
    site = {"count": [64, 80], "end_s": 86400 * 60, "checkpoint_s": 600}
    together = run(**given, **site, low=low)
    alone = run(**{name: value[~low] for name, value in given.items()}, **site)
    assert (together.start[~low] == alone.start).all()
    assert together.restarts[low].sum() > 0
    assert together.finished == 3000


def test_a_job_waits_for_its_data_away_from_home_only():
    kernel = run(
        ready=[0, 0],
        size=[4, 4],
        run=[100, 100],
        limit=[100, 100],
        allowed=[3, 3],
        home=[0, 0],
        away=[30, 30],
        count=[4, 4],
        end_s=1000,
    )
    assert kernel.start.tolist() == [0, 30]
    assert kernel.site.tolist() == [0, 1]


def test_a_group_holds_no_more_than_its_part_and_blocks_nobody():
    kernel = run(
        ready=[0, 0, 0],
        size=[4, 4, 4],
        run=[100] * 3,
        limit=[100] * 3,
        allowed=[1] * 3,
        group=[0, 0, 1],
        most=[[4, 8]],
        count=[8],
        end_s=1000,
    )
    assert kernel.start.tolist() == [0, 100, 0]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"size": [9]}, "never fits"),
        ({"limit": [5]}, "limit shorter"),
        ({"allowed": [2]}, "a site that there is not"),
        ({"run": [0], "limit": [0]}, "no run time"),
        ({"rank": [3]}, "ranks are no order"),
        ({"gaps": [(5, 5, 0, 1)]}, "begin before end"),
        ({"count": [0]}, "1 or more"),
    ],
)
def test_what_does_not_fit_is_refused(wrong, words):
    given = {"ready": [0], "size": [1], "run": [10], "limit": [10], "allowed": [1], "count": [8]}
    with pytest.raises(ValueError, match=words):
        Federation(**given | wrong, end_s=100)
