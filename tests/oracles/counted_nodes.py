"""The part of the cluster's plain twin for equal whole nodes, of which only the number counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.oracles.cluster_twin import Job, Twin


def is_counted(twin: Twin, partition: int) -> bool:
    """Its nodes are whole and equal, of no other partition, and no reservation closes one."""
    nodes = set(twin.partitions[partition])
    others = [set(one) for at, one in enumerate(twin.partitions) if at != partition]
    return (
        twin.whole[partition]
        and len({twin.capacity[node] for node in nodes}) == 1
        and not any(nodes & one for one in others)
        and not any(nodes & set(closed) for closed, _, _ in twin.closures)
    )


def left(twin: Twin, partition: int, at: int) -> int:
    """How many of its nodes are free at that moment, and not kept."""
    nodes = twin.partitions[partition]
    used = sum(twin.down[n] > 0 or any(h[0] <= at < h[1] for h in twin.holds[n]) for n in nodes)
    kept = sum(count for begin, end, count, _ in twin.kept[partition] if begin <= at < end)
    return len(nodes) - used - kept


def choose_counted(twin: Twin, job: Job, at: int) -> list[int] | None:
    """The lowest numbers of the free, None if too few are left until the job's limit.

    Those of a later start are chosen anew when it comes.
    """
    kept, nodes = twin.kept[job.partition], twin.partitions[job.partition]
    moments = {at} | {one[0] for one in kept if at < one[0] < at + job.limit}
    if any(left(twin, job.partition, moment) < job.nodes for moment in moments):
        return None
    free = [n for n in nodes if not twin.down[n] and twin.free(n, at) == twin.capacity[n]]
    return free[: job.nodes]
