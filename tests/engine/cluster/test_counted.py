"""On equal whole nodes the model of a cluster starts every job when the pool's kernel does."""

from __future__ import annotations

import random

import numpy as np
import pytest
from tests.engine.pool.logs import shared, swf
from tests.oracles.cluster_twin import Twin

from meyrin.engine.cluster import Cluster, Facility, Jobs, facility, jobs, pool
from meyrin.engine.pool import Pool
from meyrin.engine.rules import Rules

POLICIES = {"none": "fcfs", "easy": "easy", "easy-sjf": "easy-sjf", "conservative": "conservative"}
Rows = list[tuple[int, int, int, int]]  # submit, nodes, duration, limit


def _crowd(chance: random.Random, machine: int, count: int, horizon: int) -> Rows:
    """Jobs of whole nodes, many at the same moments and with the same ends."""
    rows = []
    for submit in sorted(chance.randint(0, horizon) for _ in range(count)):
        limit = chance.choice([1, 2, 5, 10, 20, chance.randint(1, 40)])
        duration = limit if chance.random() < 0.5 else chance.randint(1, limit)
        size = chance.choice([1, 1, min(2, machine), machine, chance.randint(1, machine)])
        rows.append((submit, size, duration, limit))
    return rows


def _work(place: Facility, rows: Rows, cores: int) -> Jobs:
    submit, nodes, duration, limit = zip(*rows, strict=True)
    return jobs(place, submit, [[0, cores, 0]] * len(rows), duration, limit, nodes=nodes)


def _pool(policy: str, rows: Rows, machine: int) -> list[int]:
    plain = Pool(policy, *map(np.array, zip(*rows, strict=True)), machine=machine)
    while not plain.done:
        plain.advance(1000)
    return plain.start.tolist()


def _starts(rules: Rules, place: Facility, work: Jobs) -> list[int]:
    kernel = Cluster(rules, place, work)
    while not kernel.done:
        kernel.advance(1000)
    return kernel.start.tolist()


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("backfill", POLICIES)
def test_whole_nodes_start_as_the_plain_kernels_do(backfill: str, seed: int) -> None:
    chance = random.Random(f"counted {seed}")
    machine = chance.choice([1, 2, 5, 16])
    rows = _crowd(chance, machine, 60, chance.choice([5, 60, 300]))
    place = facility([[0, 4, 0]] * machine, whole=True)
    work, rules = _work(place, rows, chance.randint(1, 4)), Rules(backfill=backfill)
    expected = _pool(POLICIES[backfill], rows, machine)
    assert _starts(rules, place, work) == expected
    if seed < 15:
        assert [job.start for job in Twin(rules, place, work).run().jobs] == expected


@pytest.mark.parametrize("seed", range(60))
def test_under_slurms_rules_whole_nodes_are_a_pool(seed: int) -> None:
    chance = random.Random(f"slurm {seed}")
    machine = chance.choice([1, 2, 5, 16])
    rows = _crowd(chance, machine, 60, chance.choice([5, 60, 300]))
    rules = Rules(
        backfill="slurm",
        default_queue_depth=chance.choice([0, 2, 100]),
        sched_interval=7,
        bf_interval=chance.choice([1, 5]),
        bf_resolution=chance.choice([1, 4]),
        bf_window=chance.choice([20, 1000]),
    )
    whole, one = facility([[0, 4, 0]] * machine, whole=True), pool(machine)
    submit, size, duration, limit = zip(*rows, strict=True)
    work = jobs(one, submit, [[0, processors, 0] for processors in size], duration, limit)
    expected = _starts(rules, one, work)
    assert _starts(rules, whole, _work(whole, rows, 4)) == expected
    if seed < 15:
        twin = Twin(rules, whole, _work(whole, rows, 4)).run()
        assert [job.start for job in twin.jobs] == expected


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("backfill", ["none", "easy", "easy-sjf"])
def test_so_do_shared_nodes_where_each_job_fills_its_own(backfill: str, seed: int) -> None:
    """Here nodes have names, and the tightest gap is what keeps backfill from being refused."""
    chance = random.Random(f"filled {seed}")
    machine = chance.choice([1, 2, 5, 16])
    rows = _crowd(chance, machine, 60, chance.choice([5, 60, 300]))
    place = facility([[0, 4, 0]] * machine)
    work, rules = _work(place, rows, 4), Rules(backfill=backfill)
    expected = _pool(POLICIES[backfill], rows, machine)
    assert _starts(rules, place, work) == expected
    if seed < 15:
        assert [job.start for job in Twin(rules, place, work).run().jobs] == expected


def test_names_can_cost_conservative_backfill_a_start() -> None:
    """Why it matters that equal whole nodes are counted: names split what is free in time."""
    found = 0
    for seed in range(60):
        chance = random.Random(f"filled {seed}")
        machine = chance.choice([2, 5])
        rows = _crowd(chance, machine, 60, 60)
        place, rules = facility([[0, 4, 0]] * machine), Rules(backfill="conservative")
        found += _starts(rules, place, _work(place, rows, 4)) != _pool(
            "conservative", rows, machine
        )
    assert 0 < found < 60


@pytest.mark.parametrize("backfill", POLICIES)
@pytest.mark.parametrize(("nodes", "cores"), [(100, 1), (25, 4)])
def test_a_real_log_on_whole_nodes(backfill: str, nodes: int, cores: int) -> None:
    """The beginning of KTH SP2, on its 100 nodes and on 25 of four processors each."""
    log = shared("traces/kth-sp2-1996/KTH-SP2-1996-2.1-cln.swf.zst")
    _, columns = swf(log, nodes * cores, 4000)
    submit, size, duration, limit = columns
    rows = list(
        zip(submit.tolist(), (-(-size // cores)).tolist(), duration.tolist(), limit.tolist(),
            strict=True)
    )  # fmt: skip
    place = facility([[0, cores, 0]] * nodes, whole=True)
    work = _work(place, rows, cores)
    assert _starts(Rules(backfill=backfill), place, work) == _pool(POLICIES[backfill], rows, nodes)
