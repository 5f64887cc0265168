"""Small random states for properties and oracles: cramped on purpose, so that things collide."""

from __future__ import annotations

import random

from hypothesis import strategies as st

from meyrin.domain.job import Resources
from meyrin.domain.refusal import Reason, Refusal
from meyrin.domain.site import Partition
from meyrin.domain.units import NodeShape
from meyrin.engine.amounts import Freed
from meyrin.engine.model import Funds, Occupied, PartitionState, Policy, State, WaitingJob

NOW = 1000


def make_state(rng: random.Random) -> State:
    """A state with up to 4 partitions, 12 occupied and 14 waiting jobs."""
    numbers = iter(rng.sample(range(1, 200), 60))
    partitions = tuple(
        _place(rng, site, name, numbers)
        for site in ("alpha", "beta")[: rng.randint(1, 2)]
        for name in ("cpu", "gpu")[: rng.randint(1, 2)]
    )
    kinds = [_kind(rng) for _ in range(rng.randint(1, 6))]
    funds = tuple(
        Funds(p, t, rng.choice([0, 500, 3000, 10**6]), rng.choice([0, 1000]), begin, end)
        for p in ("p", "q")
        for t in ("core", "h100")
        for begin, end in rng.sample([(0, 10**6), (0, 900), (2000, 10**6), (0, 5000)], 2)
        if rng.random() < 0.6
    )
    waiting = tuple(_waiting(rng, next(numbers), kinds) for _ in range(rng.randint(1, 14)))
    return State(rng.randint(0, 9), partitions, funds, waiting)


def make_policy(rng: random.Random) -> Policy:
    return Policy(
        send_ahead_s=rng.choice([0, 0, 50, 500]),
        queue_ahead=rng.choice([0, 1, 3]),
        pace_ahead_s=rng.choice([0, 2, 2, 9]),
        nice_weight=rng.choice([0, 60]),
        reserve_depth=rng.choice([0, 1, 2, 100]),
    )


def states() -> st.SearchStrategy[State]:
    return st.integers(0, 2**32).map(lambda seed: make_state(random.Random(seed)))


def policies() -> st.SearchStrategy[Policy]:
    return st.integers(0, 2**32).map(lambda seed: make_policy(random.Random(seed)))


def _freed(rng):
    if rng.random() < 0.4:
        return Freed()
    most = (rng.randint(1, 3), rng.randint(1, 12), rng.choice([20, 200]), rng.randint(0, 4))
    return Freed((rng.randint(1, 9), rng.randint(0, 40), 500, 8), most)


def _place(rng, site, name, numbers):
    gpus = rng.choice([1, 2, 4]) if name == "gpu" else 0
    cores = rng.choice([4, 6])
    partition = Partition(
        name,
        nodes=rng.randint(1, 5),
        cores_per_node=cores,
        memory_mb_per_node=rng.choice([40, 64]),
        accelerators_per_node=gpus,
        accelerator_type="h100" if gpus else None,
        max_walltime_s=rng.choice([None, 300]),
        default_walltime_s=rng.choice([None, 60]),
        max_nodes_per_job=rng.choice([None, None, 2]),
        default_memory_mb_per_core=rng.choice([None, 8]),
        whole_node=rng.random() < 0.15,
        features=("fast",) if rng.random() < 0.5 else (),
    )
    return PartitionState(
        site,
        partition,
        offered=rng.random() < 0.95,
        drained=rng.random() < 0.05,
        silent_since_s=900 if rng.random() < 0.05 else None,
        allowed_projects=("p",) if rng.random() < 0.1 else None,
        freed_lately=_freed(rng),
        occupied=tuple(
            _occupied(rng, next(numbers), cores, gpus) for _ in range(rng.choice([0, 0, 2, 3]))
        ),
    )


def _occupied(rng, number, cores, gpus):
    asked = NodeShape(rng.randint(1, cores), rng.randint(1, 40), rng.randint(0, gpus))
    end_s = rng.choice([None, NOW - 5, NOW + 10, NOW + 60, NOW + rng.randint(1, 400)])
    return Occupied(number, rng.choice([1, 1, 2, 6]), asked, rng.choice([10, 60, 200]), end_s)


def _kind(rng):
    gpus = rng.choice([0, 0, 1, 2])
    resources = Resources(
        nodes_min=rng.choice([None, None, 1, 2]),
        tasks=rng.choice([None, None, 1, 3]),
        cores_per_task=rng.choice([1, 1, 2, 4]),
        memory_mb=rng.choice([None, None, 8, 20, 0]),
        memory_per=rng.choice(["node", "core"]),
        accelerators=gpus,
        accelerators_per=rng.choice(["job", "node", "task"]),
        accelerator_type=rng.choice([None, "h100"]) if gpus else None,
        exclusive=rng.random() < 0.1,
    )
    return resources, rng.choice([None, 20, 60, 100, 250, 301])


def _waiting(rng, number, kinds):
    resources, walltime_s = rng.choice(kinds)
    blocked = (Refusal(Reason.HELD),) if rng.random() < 0.05 else ()
    return WaitingJob(
        number,
        rng.choice(["p", "p", "q"]),
        resources,
        walltime_s,
        submit_s=rng.choice([NOW, NOW - 10, NOW - 100]),
        nice=rng.choice([0, 0, 1, -1]),
        sites=("alpha",) if rng.random() < 0.1 else (),
        partitions=("gpu",) if rng.random() < 0.1 else (),
        features=("fast",) if rng.random() < 0.1 else (),
        refused_by=("beta",) if rng.random() < 0.1 else (),
        near=("beta",) if rng.random() < 0.2 else (),
        blocked=blocked,
    )
