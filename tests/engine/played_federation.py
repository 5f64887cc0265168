"""A log driven through `engine.decide` over several partitions: the live twin of a federation."""

from __future__ import annotations

import heapq
import random

from tests.engine.played_live import EASY, FOR_EVER_S, LogJob

from meyrin.domain.job import Resources
from meyrin.domain.site import Partition
from meyrin.engine.model import Funds, Occupied, PartitionState, State, WaitingJob
from meyrin.engine.placement import decide

CORES = 8


def partition(nodes: int, node: int, *, whole: bool = True) -> Partition:
    """Nodes of `node` accelerators, or one node of so many where no two jobs lie on one."""
    return Partition(
        "gpu",
        nodes=nodes,
        cores_per_node=CORES,
        memory_mb_per_node=1000,
        accelerators_per_node=node,
        accelerator_type="any",
        whole_node=whole,
    )


def asked(job: LogJob, node: int) -> Resources:
    nodes = -(-job.size // node)
    return Resources(
        nodes_min=nodes, nodes_max=nodes, memory_mb=10, accelerators=node, accelerators_per="node"
    )


def log(seed: int, jobs: int, machine: int, load: float, largest: int) -> list[LogJob]:
    """Jobs on a grid of times, so that much falls on one instant."""
    rng = random.Random(seed)
    drawn = []
    for _ in range(jobs):
        size = min(largest, 2 ** rng.randint(0, largest.bit_length() - 1) + rng.choice([-1, 0, 1]))
        limit = rng.choice([1, 2, 5, 12, 30, 60]) * 10
        duration = limit if rng.random() < 0.2 else rng.randint(1, limit // 10) * 10
        drawn.append((max(size, 1), duration, limit))
    work = sum(size * duration for size, duration, _ in drawn)
    span = int(work / machine / load / 10)
    submits = sorted(rng.randint(0, span) * 10 for _ in drawn)
    return [LogJob(n + 1, submits[n], *row) for n, row in enumerate(drawn)]


def placements(
    jobs: list[LogJob], places: dict[str, Partition], sites: dict[int, tuple[str, ...]]
) -> list[tuple[str, int]]:
    """Site and start of each job; `sites` restricts a job to some of them."""
    node = next(iter(places.values())).accelerators_per_node
    funds = (Funds("p", "any", 1 << 60, 0, 0, FOR_EVER_S),)
    number = {job.number: at for at, job in enumerate(jobs)}
    found = [("", -1)] * len(jobs)
    arriving, ending, instants = 0, [], [job.submit_s for job in jobs]
    waiting: dict[int, WaitingJob] = {}
    running: dict[str, dict[int, Occupied]] = {name: {} for name in places}
    heapq.heapify(instants)
    while instants:
        now_s = heapq.heappop(instants)
        while instants and instants[0] == now_s:
            heapq.heappop(instants)
        while ending and ending[0][0] == now_s:
            _, ended, name = heapq.heappop(ending)
            del running[name][ended]
        while arriving < len(jobs) and jobs[arriving].submit_s == now_s:
            job = jobs[arriving]
            waiting[job.number] = WaitingJob(
                job.number,
                "p",
                asked(job, node),
                job.limit_s,
                job.submit_s,
                sites=sites.get(job.number, ()),
            )
            arriving += 1
        if not waiting:
            continue
        states = tuple(
            PartitionState(name, place, occupied=tuple(running[name].values()))
            for name, place in places.items()
        )
        decision = decide(State(0, states, funds, tuple(waiting.values())), EASY, now_s)
        for one in decision.placements:
            assert one.expected_start_s == now_s
            del waiting[one.job]
            job = jobs[number[one.job]]
            found[number[one.job]] = (one.site, now_s)
            ends = now_s + one.walltime_s
            running[one.site][one.job] = Occupied(
                one.job, one.nodes, one.asked, one.walltime_s, ends
            )
            heapq.heappush(ending, (now_s + job.duration_s, one.job, one.site))
            heapq.heappush(instants, now_s + job.duration_s)
    assert not waiting
    return found
