"""Laws that hold whatever the rules, on the small random clusters of the oracle."""

from __future__ import annotations

import random

import numpy as np
import pytest
from tests.oracles.cluster_cases import random_facility, random_jobs, random_rules
from tests.oracles.cluster_twin import Twin

from meyrin.engine.cluster import (
    ENDED,
    NEVER,
    STRANDED,
    Cluster,
    Facility,
    Jobs,
    facility,
    jobs,
    pool,
)
from meyrin.engine.cluster.world import PROMISE
from meyrin.engine.pool import Pool
from meyrin.engine.rules import Rules

CASES = 100
POLICIES = {"none": "fcfs", "easy": "easy", "easy-sjf": "easy-sjf", "conservative": "conservative"}


def _played(rules: Rules, place: Facility, work: Jobs, step: int = 10_000) -> Cluster:
    cluster = Cluster(rules, place, work)
    while not cluster.done:
        cluster.advance(step)
    return cluster


def _random(seed: int, **fixed: object) -> tuple[Rules, Facility, Jobs]:
    chance = random.Random(f"law {seed}")
    place = random_facility(chance)
    return random_rules(chance, **fixed), place, random_jobs(chance, place)


def _crowd(chance: random.Random, machine: int, count: int, horizon: int) -> dict[str, list[int]]:
    """Jobs for a pool, many at the same moments and with the same ends."""
    submit = sorted(chance.randint(0, horizon) for _ in range(count))
    limit = [chance.choice([1, 2, 5, 10, 20, chance.randint(1, 40)]) for _ in submit]
    return {
        "submit": submit,
        "size": [
            chance.choice([1, 1, min(2, machine), machine, chance.randint(1, machine)])
            for _ in submit
        ],
        "duration": [one if chance.random() < 0.5 else chance.randint(1, one) for one in limit],
        "limit": limit,
    }


def _pool_jobs(place: Facility, crowd: dict[str, list[int]]) -> Jobs:
    asked = [[0, size, 0] for size in crowd["size"]]
    return jobs(place, crowd["submit"], asked, crowd["duration"], crowd["limit"])


def _whole(work: Jobs, place: Facility, job: int) -> bool:
    return bool(place.partition_whole[work.partition[job]])


@pytest.mark.parametrize("seed", range(CASES))
def test_nodes_hold_what_runs_on_them(seed: int) -> None:
    rules, place, work = _random(seed)
    cluster = _played(rules, place, work)
    ran = [job for job in range(len(work.submit)) if cluster.status[job] == ENDED]
    for job in ran:
        nodes = cluster.nodes(job).tolist()
        first, last = place.partition_first[work.partition[job] : work.partition[job] + 2]
        assert len(set(nodes)) == len(nodes) == work.nodes[job]
        assert set(nodes) <= set(place.partition_nodes[first:last].tolist())
        assert cluster.end[job] - cluster.start[job] == work.duration[job]
    for moment in {int(cluster.start[job]) for job in ran}:
        now = [job for job in ran if cluster.start[job] <= moment < cluster.end[job]]
        for node in range(len(place.capacity)):
            here = [job for job in now if node in cluster.nodes(job)]
            held = sum((work.asked[job] for job in here), np.zeros(3, np.int64))
            assert (held <= place.capacity[node]).all()
            assert len(here) == 1 or not any(_whole(work, place, job) for job in here)


@pytest.mark.parametrize("seed", range(CASES))
def test_nobody_starts_where_it_may_not(seed: int) -> None:
    rules, place, work = _random(seed)
    cluster = _played(rules, place, work)
    for job in np.flatnonzero(cluster.start >= 0).tolist():
        start, nodes = int(cluster.start[job]), set(cluster.nodes(job).tolist())
        assert start >= cluster.eligible[job] >= work.submit[job]
        for one in range(len(place.reserved_begin)):
            first, last = place.reserved_first[one : one + 2]
            until = start + work.limit[job]
            if start < place.reserved_end[one] and place.reserved_begin[one] < until:
                assert not nodes & set(place.reserved_nodes[first:last].tolist())
        steps = zip(place.outage_time, place.outage_node, place.outage_step, strict=True)
        down = dict.fromkeys(nodes, 0)
        for time, node, step in steps:
            if time <= start and node in nodes:
                down[int(node)] += int(step)
        assert not any(down.values())


@pytest.mark.parametrize("seed", range(CASES))
def test_dependencies_and_attempts(seed: int) -> None:
    rules, place, work = _random(seed)
    cluster = _played(rules, place, work)
    for job, before in enumerate(work.after.tolist()):
        if before >= 0 and cluster.start[job] >= 0:
            assert cluster.first_start[job] >= cluster.end[before] >= 0
            good = cluster.status[before] == ENDED and work.succeeds[before]
            assert good or not work.after_ok[job]
        if cluster.status[job] == STRANDED:
            assert cluster.start[job] == -1
        if cluster.attempts[job] > 1 and cluster.status[job] == ENDED:
            assert work.requeue[job]
            assert cluster.wasted[job] <= cluster.start[job] - cluster.first_start[job]
    if rules.preemption == "off" and not len(place.outage_time):
        assert (cluster.attempts <= 1).all()
        assert not cluster.wasted.any()


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("backfill", POLICIES)
def test_a_pool_starts_as_the_plain_kernels_do(backfill: str, seed: int) -> None:
    chance = random.Random(f"pool {seed}")
    machine = chance.choice([1, 4, 16])
    crowd = _crowd(chance, machine, 60, chance.choice([5, 60, 300]))
    place = pool(machine)
    cluster = _played(Rules(backfill=backfill), place, _pool_jobs(place, crowd))
    plain = Pool(
        POLICIES[backfill], crowd["submit"], crowd["size"], crowd["duration"], crowd["limit"],
        machine,
    )  # fmt: skip
    while not plain.done:
        plain.advance(1000)
    assert cluster.start.tolist() == plain.start.tolist()


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("step", [1, 3])
def test_steps_of_any_size_end_alike(seed: int, step: int) -> None:
    rules, place, work = _random(seed)
    whole, parts = _played(rules, place, work), _played(rules, place, work, step)
    assert whole.status.tolist() == parts.status.tolist()
    assert whole.start.tolist() == parts.start.tolist()
    assert whole.end.tolist() == parts.end.tolist()


@pytest.mark.parametrize("seed", range(60))
def test_first_come_first_served(seed: int) -> None:
    chance = random.Random(f"fcfs {seed}")
    place = facility([[0, 4, 0]] * 3, reservations=[([0], 20, 30)])
    crowd = _crowd(chance, 4, 30, 60)
    gangs = [chance.randint(1, 3) for _ in crowd["submit"]]
    asked = [[0, size, 0] for size in crowd["size"]]
    work = jobs(place, crowd["submit"], asked, crowd["duration"], crowd["limit"], nodes=gangs)
    cluster = _played(Rules(backfill="none"), place, work)
    assert (np.diff(cluster.start) >= 0).all()


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("backfill", ["easy", "easy-sjf"])
@pytest.mark.parametrize("seed", range(30))
def test_easy_never_delays_the_first_beyond_its_shadow(
    seed: int, backfill: str, whole: bool
) -> None:
    chance = random.Random(f"easy {seed}")
    rules, place = Rules(backfill=backfill), facility([[0, 4, 0]] * 3, whole=whole)
    crowd = _crowd(chance, 4, 25, 40)
    gangs = [chance.randint(1, 3) for _ in crowd["submit"]]
    asked = [[0, size, 0] for size in crowd["size"]]
    work = jobs(place, crowd["submit"], asked, crowd["duration"], crowd["limit"], nodes=gangs)
    cluster = _played(rules, place, work)
    twin = Twin(rules, place, work)
    for job in twin.jobs[1:]:
        earlier = cluster.start[: job.number].max()
        first = max(job.submit, int(earlier))  # since then nobody who came before waits
        if cluster.start[job.number] <= first:
            continue
        twin.holds = [[] for _ in twin.capacity]
        for other in twin.jobs:
            start, end = cluster.start[other.number], cluster.end[other.number]
            if start <= first < end and (start < first or other.number < job.number):
                twin.hold(other, cluster.nodes(other.number).tolist(), int(start), planned=False)
        shadow = twin.earliest(job, first)
        assert shadow is not None
        assert cluster.start[job.number] <= shadow[0]


@pytest.mark.parametrize("seed", range(60))
def test_conservative_breaks_no_promise(seed: int) -> None:
    chance = random.Random(f"conservative {seed}")
    place = random_facility(chance, failures=False)
    rules = random_rules(chance, backfill="conservative", preemption="off")
    work = random_jobs(chance, place)
    cluster = Cluster(rules, place, work)
    promised = np.full(len(work.submit), NEVER)
    while not cluster.done:
        cluster.advance(1)
        promise = cluster._world.jobs[:, PROMISE]
        later = (promise >= 0) & (promise > promised)
        assert not later.any()
        promised = np.where(promise >= 0, promise, promised)
    started = cluster.start >= 0
    assert (cluster.start[started] <= promised[started]).all()


@pytest.mark.parametrize("backfill", ["none", "easy", "easy-sjf", "conservative"])
@pytest.mark.parametrize("seed", range(20))
def test_the_first_waits_only_while_too_little_is_free(backfill: str, seed: int) -> None:
    chance = random.Random(f"idle {seed}")
    place = pool(8)
    crowd = _crowd(chance, 8, 40, 100)
    work = _pool_jobs(place, crowd)
    cluster = _played(Rules(backfill=backfill), place, work)
    size = np.array(crowd["size"])
    assert (cluster.end - cluster.start == work.duration).all()
    for job in range(1, len(size)):
        first = max(crowd["submit"][job], int(cluster.start[:job].max()))
        for moment in range(first, int(cluster.start[job])):
            runs = (cluster.start <= moment) & (moment < cluster.end)
            assert size[runs].sum() + size[job] > 8


def test_what_can_never_be_is_refused() -> None:
    place = pool(4)
    with pytest.raises(ValueError, match="job 1 asks for 1 nodes of"):
        jobs(place, [0, 0], [[0, 1, 0], [0, 5, 0]], 1, 1)
    with pytest.raises(ValueError, match="submit"):
        jobs(place, [1, 0], [[0, 1, 0]] * 2, 1, 1)
    with pytest.raises(ValueError, match="limit"):
        jobs(place, [0], [[0, 1, 0]], 2, 1)
    with pytest.raises(ValueError, match="after"):
        jobs(place, [0, 0], [[0, 1, 0]] * 2, 1, 1, after=[1, -1])
    with pytest.raises(ValueError, match="order='fifo' is none of submit, multifactor"):
        Rules(order="fifo")
    with pytest.raises(ValueError, match="bf_interval=0 is no whole number from 1"):
        Rules(bf_interval=0)
