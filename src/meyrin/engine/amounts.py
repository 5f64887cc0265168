"""Plain sums of what jobs ask for and partitions have: no nodes apart, no times."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from meyrin.domain.site import Partition
    from meyrin.domain.units import NodeShape

Amounts = tuple[int, int, int, int]
"""Nodes, cores, memory in MB and accelerators, of all nodes together."""
NOTHING: Amounts = (0, 0, 0, 0)


class Freed(NamedTuple):
    """What jobs gave back: all together, and of each amount the most that one of them had."""

    together: Amounts = NOTHING
    most: Amounts = NOTHING

    def plus(self, together: Amounts, most: Amounts) -> Freed:
        """With what others gave back."""
        nodes, cores, memory_mb, accelerators = map(max, self.most, most)
        return Freed(plus(self.together, together), (nodes, cores, memory_mb, accelerators))


NOTHING_FREED = Freed()


def of_partition(part: Partition) -> Amounts:
    """All that it has."""
    return (
        part.nodes,
        part.nodes * part.cores_per_node,
        part.nodes * part.memory_mb_per_node,
        part.nodes * part.accelerators_per_node,
    )


def of_job(asked: NodeShape, nodes: int) -> Amounts:
    """What a job of so many nodes of this shape takes."""
    return nodes, nodes * asked.cores, nodes * asked.memory_mb, nodes * asked.accelerators


def less(left: Amounts, taken: Amounts, part: Partition) -> Amounts:
    """What is left of `left`; nodes count where the partition gives them whole."""
    return (
        left[0] - taken[0] * part.whole_node,
        left[1] - taken[1],
        left[2] - taken[2],
        left[3] - taken[3],
    )


def plus(one: Amounts, other: Amounts) -> Amounts:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2], one[3] + other[3]
