"""Whether placements fit beside what is there, by plain sums: the last look before they are kept.

The engine models how a site's batch system will pack what it was sent. Where its packing and the
site's differ, room seems free that is promised already. Nothing is promised twice here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from meyrin.domain.site import Partition
from meyrin.engine.model import PartitionState, Placement

Amounts = tuple[int, int, int, int]  # nodes, cores, memory and accelerators together
_NOTHING = (0, 0, 0, 0)


def fitting(
    partitions: Sequence[PartitionState],
    taken: Mapping[tuple[str, str], Amounts],
    placements: Sequence[Placement],
) -> tuple[Placement, ...]:
    """The placements that fit beside what is `taken` by site and partition, in their order;
    behind one that does not, none of its partition is kept either, so that nobody overtakes it
    for ever."""
    whole = {(p.site, p.partition.name): p.partition.whole_node for p in partitions}
    free = {
        (p.site, p.partition.name): _less(
            _all(p.partition),
            taken.get((p.site, p.partition.name), _NOTHING),
            p.partition.whole_node,
        )
        for p in partitions
    }
    kept = []
    for placement in placements:
        key = (placement.site, placement.partition)
        left = _less(free[key], _asked(placement), whole[key])
        if min(left) < 0:
            left = (-1, -1, -1, -1)
        else:
            kept.append(placement)
        free[key] = left
    return tuple(kept)


def _all(part: Partition) -> Amounts:
    return (
        part.nodes,
        part.nodes * part.cores_per_node,
        part.nodes * part.memory_mb_per_node,
        part.nodes * part.accelerators_per_node,
    )


def _asked(one: Placement) -> Amounts:
    asked, count = one.asked, one.nodes
    return count, count * asked.cores, count * asked.memory_mb, count * asked.accelerators


def _less(left: Amounts, taken: Amounts, whole_node: bool) -> Amounts:
    """Nodes count where they are given whole."""
    return (
        left[0] - taken[0] * whole_node,
        left[1] - taken[1],
        left[2] - taken[2],
        left[3] - taken[3],
    )
