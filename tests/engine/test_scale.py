"""1,000 waiting jobs, 10 partitions of 64 nodes, full and half full: all are decided, and a
step that became quadratic runs into the timeout."""

from __future__ import annotations

import random

import pytest

from meyrin.domain.job import Resources
from meyrin.domain.site import Partition
from meyrin.domain.units import NodeShape
from meyrin.engine.model import Funds, Occupied, PartitionState, Policy, State, WaitingJob
from meyrin.engine.placement import decide

NOW = 1000
pytestmark = pytest.mark.timeout(120)  # generous: the first call may have to compile


def large_state(kinds: int, load: float, jobs: int = 1000) -> State:
    rng = random.Random(1)
    partition = Partition("gpu", 64, 32, 131072, 4, "h100", max_walltime_s=86400)
    places = []
    for site in range(10):
        occupied = tuple(
            Occupied(
                site * 1000 + n, 1, NodeShape(8, 32768, 1), 86400, NOW + rng.randrange(1, 86400)
            )
            for n in range(int(256 * load))
        )
        places.append(PartitionState(f"site{site}", partition, occupied=occupied))
    asked = [
        (
            Resources(
                nodes_min=rng.choice([None, 1, 2, 8]),
                cores_per_task=rng.randint(1, 32),
                accelerators=rng.choice([0, 1, 2, 4]),
                accelerators_per="node",
            ),
            rng.randrange(600, 86400),
        )
        for _ in range(kinds)
    ]
    waiting = tuple(
        WaitingJob(10**6 + n, "p", *rng.choice(asked), rng.randrange(NOW)) for n in range(jobs)
    )
    return State(1, tuple(places), (Funds("p", "h100", 10**12, 0, 0, 10**9),), waiting)


@pytest.mark.parametrize("load", [0.5, 1.0])
@pytest.mark.parametrize("kinds", [1, 20, 200])
def test_a_large_state_is_decided_at_once(kinds, load):
    state = large_state(kinds, load)
    decision = decide(state, Policy(), NOW)
    assert len(decision.placements) + len(decision.waiting) == 1000


def test_an_array_of_ten_thousand_is_decided():
    state = large_state(1, 1.0, jobs=10_000)
    decision = decide(state, Policy(), NOW)
    assert len(decision.placements) + len(decision.waiting) == 10_000


def test_a_site_of_three_thousand_nodes_is_kept_in_few_segments():
    """What is kept grows with the jobs, not with nodes times moments."""
    from meyrin.engine.timeline import Timelines

    rng = random.Random(3)
    partition = Partition("big", 3000, 64, 256_000, 4, "h100", max_walltime_s=86400)
    occupied = tuple(
        Occupied(
            n, rng.choice([1, 2, 4]), NodeShape(16, 64_000, 1), 86400, NOW + rng.randrange(86400)
        )
        for n in range(3000)
    )
    place = PartitionState("site", partition, occupied=occupied)
    timelines = Timelines([place], NOW)
    taken = sum(job.nodes for job in occupied)
    assert len(timelines._room.time) <= 2 * (3000 + 2 * taken)
    waiting = tuple(
        WaitingJob(
            10**6 + n, "p", Resources(accelerators=rng.randint(1, 64)), 3600 * (n % 9 + 1), n
        )
        for n in range(500)
    )
    funds = (Funds("p", "h100", 10**12, 0, 0, 10**9),)
    decision = decide(State(1, (place,), funds, waiting), Policy(), NOW)
    assert len(decision.placements) + len(decision.waiting) == 500
