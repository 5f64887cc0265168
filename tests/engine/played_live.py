"""A log driven through `engine.decide`, instant by instant, as a hub would: the live twin of a
replay. At an instant first all completions, then all arrivals in log order, then one decision."""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass

from meyrin.domain.job import Resources
from meyrin.domain.site import Partition
from meyrin.engine.model import Funds, Occupied, PartitionState, Policy, State, WaitingJob
from meyrin.engine.placement import decide

EASY = Policy(reserve_depth=1)
FOR_EVER_S = 1 << 50


@dataclass(frozen=True)
class LogJob:
    """One row: `size` processors for `duration_s`, which the user limits to `limit_s`."""

    number: int
    submit_s: int
    size: int
    duration_s: int
    limit_s: int


def pool(size: int) -> Partition:
    """A pool of processors: one node with so many cores."""
    return Partition("pool", nodes=1, cores_per_node=size, memory_mb_per_node=size)


def whole_nodes(size: int, cores: int = 4) -> Partition:
    """Each processor of the log is a node that no two jobs share."""
    return Partition("nodes", size, cores, 1000, whole_node=True)


def asked(partition: Partition, size: int) -> Resources:
    """`size` processors of the log on such a partition."""
    if partition.whole_node:
        return Resources(nodes_min=size, nodes_max=size, memory_mb=10)
    return Resources(cores_per_task=size, memory_mb=1, memory_per="core")


def random_log(seed: int, jobs: int, machine: int, load: float = 1.0, grid_s: int = 10):
    """Jobs in log order, their times on a grid, so that many events fall on one instant."""
    rng = random.Random(seed)
    drawn = []
    for _ in range(jobs):
        size = min(machine, 2 ** rng.randint(0, machine.bit_length() - 1) + rng.choice([-1, 0, 0]))
        limit = rng.choice([1, 2, 5, 12, 30, 60]) * grid_s
        duration = limit if rng.random() < 0.2 else rng.randint(1, limit // grid_s) * grid_s
        drawn.append((max(size, 1), duration, limit))
    work = sum(size * duration for size, duration, _ in drawn)
    span = int(work / machine / load / grid_s)
    submits = sorted(rng.randint(0, span) * grid_s for _ in drawn)
    return [LogJob(n + 1, submits[n], *row) for n, row in enumerate(drawn)]


def starts(log: list[LogJob], partition: Partition, policy: Policy = EASY) -> list[int]:
    """When each job of the log starts."""
    number = {job.number: place for place, job in enumerate(log)}
    shapes = {job.size: asked(partition, job.size) for job in log}
    funds = (Funds("p", "core", 1 << 60, 0, 0, FOR_EVER_S),)
    found = [-1] * len(log)
    arriving, ending, instants = 0, [], [job.submit_s for job in log]
    waiting: dict[int, WaitingJob] = {}
    running: dict[int, Occupied] = {}
    heapq.heapify(instants)
    while instants:
        now_s = heapq.heappop(instants)
        while instants and instants[0] == now_s:
            heapq.heappop(instants)
        while ending and ending[0][0] == now_s:
            del running[heapq.heappop(ending)[1]]
        while arriving < len(log) and log[arriving].submit_s == now_s:
            job = log[arriving]
            waiting[job.number] = WaitingJob(
                job.number, "p", shapes[job.size], job.limit_s, job.submit_s
            )
            arriving += 1
        place = PartitionState("site", partition, occupied=tuple(running.values()))
        state = State(0, (place,), funds, tuple(waiting.values()))
        for one in decide(state, policy, now_s).placements if waiting else ():
            assert one.expected_start_s == now_s
            del waiting[one.job]
            job = log[number[one.job]]
            found[number[one.job]] = now_s
            running[one.job] = Occupied(
                one.job, one.nodes, one.asked, one.walltime_s, now_s + one.walltime_s
            )
            heapq.heappush(ending, (now_s + job.duration_s, one.job))
            heapq.heappush(instants, now_s + job.duration_s)
    assert not waiting
    return found
