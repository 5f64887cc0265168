"""What is on a partition that Meyrin did not send: kept by partition, and read by the broker.

It comes with the site's queue snapshot, and goes where the site shares that no longer. It says when
a job would start, and so where the job goes; as a snapshot is up to a minute old, it keeps no job
from being sent.
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
_MOST_VISITS = 2_000_000  # of nodes by jobs, which is what a decision takes time for
_LONGEST_S = 366 * 24 * 3600
_OLD_S = 15 * 60


def keep(step: Step, site_id: str, told: Sequence[Told], at_s: int) -> None:
    """Replace what is known of all partitions of a site since `at_s`. Two statements."""
    most = capacity.MAX_NODES // max(1, len(told))
    kept = {one.partition: _kept(one, most, at_s) for one in told if one.jobs}
    store.put_others(step, site_id, kept)


def _kept(one: Told, most: int, at_s: int) -> dict[str, Any]:
    """As much of it as a site of its size can have, for each job costs the broker time, and no
    time that is further away than a year."""
    nodes = min(one.nodes, most)
    left = min(_TIMES * nodes + MOST_OTHERS, _MOST_VISITS)
    jobs = []
    for job in one.jobs[: _MOST_VISITS // max(1, nodes)]:
        taken = min(job.nodes, max(nodes, 1), left)
        if taken:
            amounts = (job.cores, job.memory_mb, job.accelerators)
            end_s = None if job.end_s is None else min(job.end_s, at_s + _LONGEST_S)
            jobs.append([taken, *amounts, min(job.walltime_s, _LONGEST_S), end_s])
        left -= taken
    return {"nodes": nodes, "at_s": at_s, "jobs": jobs}


def at(kept: dict[str, Any] | None, now_s: int) -> Others | None:
    """What others have there at `now_s`, of what is kept of a partition. Those whose wall time
    is over are gone; those that wait keep their order, ahead of all of ours, unless nothing was
    heard of them for a while."""
    if kept is None:
        return None
    old = now_s - kept["at_s"] > _OLD_S
    first = -len(kept["jobs"])
    jobs = tuple(
        Occupied(number, nodes, NodeShape(cores, memory_mb, accelerators), walltime_s, end_s)
        for number, (nodes, cores, memory_mb, accelerators, walltime_s, end_s) in enumerate(
            kept["jobs"], first
        )
        if (not old if end_s is None else end_s > now_s)
    )
    return Others(kept["nodes"], jobs) if jobs else None


def running(kept: dict[str, Any] | None, partition: Partition, now_s: int) -> int:
    """How many accelerators of a partition (cores where it has none) run the work of others."""
    amount = 3 if partition.accelerators_per_node else 1
    jobs = kept["jobs"] if kept else ()
    return sum(job[0] * job[amount] for job in jobs if job[5] is not None and job[5] > now_s)


def taking(kept: dict[str, Any] | None) -> int:
    """How many nodes of the site take work there, lent or not; 0: not told."""
    return int(kept["nodes"]) if kept else 0
