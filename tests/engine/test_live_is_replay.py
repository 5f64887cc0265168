"""`decide` with one reservation a partition is EASY backfill: job by job what the replay gives."""

from __future__ import annotations

import numpy as np
import pytest
from tests.engine.played_live import pool, random_log, starts, whole_nodes

from meyrin.engine import cluster
from meyrin.engine.model import Policy
from meyrin.engine.pool import Pool
from meyrin.engine.rules import Rules


def replayed(policy, log, machine):
    columns = [
        [getattr(job, name) for job in log]
        for name in ("submit_s", "size", "duration_s", "limit_s")
    ]
    kernel = Pool(policy, *map(np.array, columns), machine=machine)
    while not kernel.done:
        kernel.advance(1000)
    return kernel.start.tolist()


@pytest.mark.parametrize("partition", [pool, whole_nodes])
@pytest.mark.parametrize(("machine", "load"), [(7, 0.8), (64, 0.9), (100, 1.1), (256, 0.7)])
def test_live_decisions_start_every_job_when_the_replay_does(partition, machine, load):
    for seed in (1, 2, 3):
        log = random_log(seed, 450, machine, load)
        live = starts(log, partition(machine))
        assert live == replayed("easy", log, machine)
        assert live != replayed("fcfs", log, machine)  # something was backfilled


def test_whole_nodes_and_their_cores_are_one_machine():
    log = random_log(9, 400, 32)
    assert starts(log, pool(32)) == starts(log, whole_nodes(32))


def test_with_more_reservations_it_is_another_policy():
    """The log is one on which the depth matters, so that the tests above compare something."""
    log = random_log(3, 450, 100, 1.1)
    assert starts(log, pool(100), Policy(reserve_depth=32)) != replayed("easy", log, 100)


def modelled(place, log, asked, nodes=1):
    """The starts by the model of a cluster."""
    columns = [
        [getattr(job, name) for job in log] for name in ("submit_s", "duration_s", "limit_s")
    ]
    submit, duration, limit = columns
    work = cluster.jobs(place, submit, asked, duration, limit, nodes=nodes)
    kernel = cluster.Cluster(Rules(backfill="easy"), place, work)
    while not kernel.done:
        kernel.advance(1000)
    return kernel.start.tolist()


@pytest.mark.parametrize("seed", range(4))
def test_the_model_of_a_cluster_agrees_on_a_pool(seed):
    """Where jobs lie on one node, and so no choice of nodes is left."""
    log = random_log(seed, 400, 48)
    model = modelled(cluster.pool(48), log, [[0, job.size, 0] for job in log])
    assert model == starts(log, pool(48)) == replayed("easy", log, 48)


@pytest.mark.parametrize(("machine", "load"), [(7, 0.8), (64, 0.9), (100, 1.1), (256, 0.7)])
def test_the_model_of_a_cluster_agrees_on_many_whole_nodes(machine, load):
    for seed in (4, 5):
        log = random_log(seed, 450, machine, load)
        place = cluster.facility([[0, 4, 1000]] * machine, whole=True)
        model = modelled(place, log, [[0, 1, 10]] * len(log), [job.size for job in log])
        assert model == starts(log, whole_nodes(machine)) == replayed("easy", log, machine)
