"""The kernel of a federation places every job where and when `decide` does."""

from __future__ import annotations

import random

import numpy as np
import pytest
from tests.engine.played_federation import log, partition, placements

from meyrin.engine.federation import Federation
from meyrin.engine.pool import Pool


def federated(jobs, places, sites, **more):
    names = sorted(places)
    node = [places[name].accelerators_per_node for name in names]
    count = [places[name].accelerators_per_node * places[name].nodes for name in names]
    size = np.array([job.size for job in jobs])
    allowed = np.zeros(len(jobs), np.int64)
    for at, job in enumerate(jobs):
        for bit, name in enumerate(names):
            fits = -(-job.size // node[bit]) * node[bit] <= count[bit]
            if fits and (job.number not in sites or name in sites[job.number]):
                allowed[at] |= 1 << bit
    kernel = Federation(
        ready=[job.submit_s for job in jobs],
        size=size,
        run=[job.duration_s for job in jobs],
        limit=[job.limit_s for job in jobs],
        allowed=allowed,
        count=count,
        node=node,
        whole=[1] * len(names),
        end_s=10**8,
        **more,
    )
    while not kernel.done:
        kernel.advance(100)
    return [
        (names[site], int(start)) for site, start in zip(kernel.site, kernel.start, strict=True)
    ]


@pytest.mark.parametrize(
    ("load", "machines"), [(0.7, (5, 9, 16)), (1.0, (8, 8)), (1.2, (12, 3, 6, 4))]
)
def test_one_queue_over_sites_is_the_brokers_placement(load, machines):
    for seed in range(3):
        places = {f"site-{at}": partition(nodes, 4) for at, nodes in enumerate(machines)}
        jobs = log(seed, 250, 4 * sum(machines), load, 4 * max(machines))
        assert federated(jobs, places, {}) == placements(jobs, places, {})


def test_jobs_that_may_go_to_some_sites_only():
    places = {"a": partition(6, 4), "b": partition(9, 4), "c": partition(4, 4)}
    for seed in range(4):
        jobs = log(seed, 250, 76, 1.05, 16)
        rng = random.Random(seed)
        sites = {
            job.number: tuple(rng.sample(sorted(places), rng.randint(1, 2)))
            for job in jobs
            if rng.random() < 0.5
        }
        assert federated(jobs, places, sites) == placements(jobs, places, sites)


@pytest.mark.parametrize("policy", ["easy", "fcfs"])
def test_a_site_alone_is_a_pool(policy):
    for seed in range(6):
        jobs = log(seed, 600, 40, 1.0, 40)
        columns = [
            [getattr(job, n) for job in jobs] for n in ("submit_s", "size", "duration_s", "limit_s")
        ]
        pool = Pool(policy, *map(np.array, columns), machine=40)
        while not pool.done:
            pool.advance(1000)
        places = {"a": partition(40, 1)}
        found = federated(jobs, places, {}, backfill=[int(policy == "easy")])
        assert [start for _, start in found] == pool.start.tolist()
