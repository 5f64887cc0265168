"""Whether placements fit beside what is there, by plain sums: the last look before they are kept.

The engine models how a site's batch system will pack what it was sent. Where its packing and the
site's differ, room seems free that is promised already. Nothing is promised twice here.
"""

from __future__ import annotations

from collections.abc import Sequence

from meyrin.engine.model import Occupied, PartitionState, Placement

_Amounts = tuple[int, int, int, int]


def fitting(
    partitions: Sequence[PartitionState], placements: Sequence[Placement]
) -> tuple[Placement, ...]:
    """The placements that fit, in their order; behind one that does not, none of its partition
    is kept either, so that nobody overtakes it for ever."""
    free = {(p.site, p.partition.name): _free(p) for p in partitions}
    whole = {(p.site, p.partition.name): p.partition.whole_node for p in partitions}
    kept = []
    for placement in placements:
        key = (placement.site, placement.partition)
        left = _less(free[key], _amounts(placement, whole_node=whole[key]))
        if min(left) < 0:
            left = (-1, -1, -1, -1)
        else:
            kept.append(placement)
        free[key] = left
    return tuple(kept)


def _free(state: PartitionState) -> _Amounts:
    part = state.partition
    left = (
        part.nodes,
        part.nodes * part.cores_per_node,
        part.nodes * part.memory_mb_per_node,
        part.nodes * part.accelerators_per_node,
    )
    for each in state.occupied:
        left = _less(left, _amounts(each, whole_node=part.whole_node))
    return left


def _amounts(one: Occupied | Placement, *, whole_node: bool) -> _Amounts:
    """Nodes (where they are given whole), cores, memory and accelerators together."""
    asked, count = one.asked, one.nodes
    nodes = count if whole_node else 0
    return nodes, count * asked.cores, count * asked.memory_mb, count * asked.accelerators


def _less(left: _Amounts, taken: _Amounts) -> _Amounts:
    return (
        left[0] - taken[0],
        left[1] - taken[1],
        left[2] - taken[2],
        left[3] - taken[3],
    )
