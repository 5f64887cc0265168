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
    at_s: int,
) -> tuple[Placement, ...]:
    """The placements, decided at `at_s`, that fit beside what is `taken` by site and partition, in
    their order; those that start later fit beside it with what may be sent ahead there. Behind one
    that does not fit none of its partition is kept either, so that nobody overtakes it for ever."""
    parts = {(p.site, p.partition.name): p.usable for p in partitions}
    ahead = {(p.site, p.partition.name): allowance(p, policy) for p in partitions}
    free = {
        key: less(of_partition(part), taken.get(key, NOTHING), part) for key, part in parts.items()
    }
    kept = []
    for placement in placements:
        key = (placement.site, placement.partition)
        left = less(free[key], of_job(placement.asked, placement.nodes), parts[key])
        more = ahead[key] if placement.expected_start_s > at_s else NOTHING
        if min(plus(left, more)) < 0:
            left, ahead[key] = _NONE, NOTHING
        else:
            kept.append(placement)
        free[key] = left
    return tuple(kept)


_NONE: Amounts = (-1, -1, -1, -1)
