"""What is on a partition that Meyrin did not send: kept by partition, and read by the broker.

It comes with the site's picture of its queue, and goes where the site shares that no longer. A
picture is up to a minute old: nothing is kept from anybody for it. It says when a job would start,
and so where it goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from meyrin.domain.site import Partition
from meyrin.domain.units import NodeShape
from meyrin.engine.model import Occupied, Others
from meyrin.hub.plumbing.database import Step
from meyrin.hub.sites import capacity, store
from meyrin.wire.queue import MOST_OTHERS
from meyrin.wire.queue import Others as Told

_TIMES = 8


def keep(step: Step, site_id: str, told: Sequence[Told]) -> None:
    """Replace what is known of all partitions of a site. Two statements."""
    most = capacity.MAX_NODES // max(1, len(told))
    store.put_others(step, site_id, {one.partition: _kept(one, most) for one in told if one.jobs})


def _kept(one: Told, most: int) -> dict[str, Any]:
    """As much of it as a site of its size can have: at most `most` nodes, and not many times as
    many in all jobs together, for each costs the broker time."""
    nodes = min(one.nodes, most)
    jobs, left = [], _TIMES * nodes + MOST_OTHERS
    for job in one.jobs:
        taken = min(job.nodes, max(nodes, 1), left)
        if taken:
            amounts = (job.cores, job.memory_mb, job.accelerators)
            jobs.append([taken, *amounts, job.walltime_s, job.end_s])
        left -= taken
    return {"nodes": nodes, "jobs": jobs}


def at(kept: dict[str, Any] | None, now_s: int) -> Others | None:
    """What others have there at `now_s`, of what is kept of a partition. Those whose wall time
    is over are gone; those that wait keep their order, ahead of all of ours."""
    if kept is None:
        return None
    first = -len(kept["jobs"])
    jobs = tuple(
        Occupied(number, nodes, NodeShape(cores, memory_mb, accelerators), walltime_s, end_s)
        for number, (nodes, cores, memory_mb, accelerators, walltime_s, end_s) in enumerate(
            kept["jobs"], first
        )
        if end_s is None or end_s > now_s
    )
    return Others(kept["nodes"], jobs) if jobs else None


def running(kept: dict[str, Any] | None, partition: Partition, now_s: int) -> int:
    """How many accelerators of a partition (cores where it has none) run the work of others."""
    found = at(kept, now_s)
    runs = [job for job in found.jobs if job.end_s is not None] if found else []
    if partition.accelerators_per_node:
        return sum(job.nodes * job.asked.accelerators for job in runs)
    return sum(job.nodes * job.asked.cores for job in runs)


def taking(kept: dict[str, Any] | None) -> int:
    """How many nodes of the site take work there, lent or not; 0: not told."""
    return int(kept["nodes"]) if kept else 0
