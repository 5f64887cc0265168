"""Whether placements fit beside what is there, by plain sums: the last look before they are kept.

The engine models how a site's batch system will pack what it was sent. Where its packing and the
site's differ, room seems free that is promised already. Nothing is promised twice here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from meyrin.engine.ahead import allowance
from meyrin.engine.amounts import NOTHING, Amounts, less, of_job, of_partition, plus
from meyrin.engine.model import PartitionState, Placement, Policy


def fitting(
    partitions: Sequence[PartitionState],
    taken: Mapping[tuple[str, str], Amounts],
    placements: Sequence[Placement],
    policy: Policy,
) -> tuple[Placement, ...]:
    """The placements that fit beside what is `taken` by site and partition, with what may be sent
    ahead there, in their order; behind one that does not, none of its partition is kept either, so
    that nobody overtakes it for ever."""
    parts = {(p.site, p.partition.name): p.partition for p in partitions}
    free: dict[tuple[str, str], Amounts] = {}
    for place in partitions:
        key = (place.site, place.partition.name)
        most = plus(of_partition(place.partition), allowance(place, policy))
        free[key] = less(most, taken.get(key, NOTHING), place.partition)
    kept = []
    for placement in placements:
        key = (placement.site, placement.partition)
        left = less(free[key], of_job(placement.asked, placement.nodes), parts[key])
        if min(left) < 0:
            left = (-1, -1, -1, -1)
        else:
            kept.append(placement)
        free[key] = left
    return tuple(kept)
