"""Work that is sent before there is room for it, where jobs are so short that the way counts.

Between the end of one job and the start of the next lies the way of the word to the hub, and of
the next job to the site. Where jobs last seconds, nodes would idle for much of their time. So as
much as short jobs freed lately may be promised once more: what ends while the next jobs are under
way leaves no gap, and the last of them waits about `pace_ahead_s`. Where jobs are long, or none
ended, nothing is sent ahead, and every job can still go elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meyrin.engine.amounts import NOTHING, Amounts, less, of_job, of_partition, plus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meyrin.engine.admission import Shaped
    from meyrin.engine.model import PartitionState, Policy

LATELY_S = 4  # over which `PartitionState.freed_lately` is counted
SHORT_S = 30  # only jobs that ran no longer count: what is sent ahead waits no longer either


def allowance(place: PartitionState, policy: Policy) -> Amounts:
    """How much more than it has may be promised there."""
    nodes, cores, memory_mb, accelerators = (
        freed * max(0, policy.pace_ahead_s) // LATELY_S for freed in place.freed_lately.together
    )
    return nodes, cores, memory_mb, accelerators


class Ahead:
    """What may still be sent ahead in the course of one decision; partitions by their count."""

    def __init__(self, places: Sequence[PartitionState], policy: Policy) -> None:
        self._parts = [place.partition for place in places]
        self._allowed = [allowance(place, policy) for place in places]
        self._most = [place.freed_lately.most for place in places]
        self.any = any(max(allowed) > 0 for allowed in self._allowed)
        self._left = [
            _left(place, allowed) if self.any else NOTHING
            for place, allowed in zip(places, self._allowed, strict=True)
        ]

    def may(self, at: int, shaped: Shaped) -> bool:
        """Whether so much is freed there on the way, and by jobs as large: many small ones free no
        room for a wide one."""
        wanted, part = of_job(shaped.asked, shaped.nodes), self._parts[at]
        return (
            min(less(self._left[at], wanted, part)) >= 0
            and min(less(self._allowed[at], wanted, part)) >= 0
            and all(asked <= one for asked, one in zip(wanted, self._most[at], strict=True))
        )

    def take(self, at: int, shaped: Shaped) -> None:
        """A job was placed there, ahead or not."""
        wanted = of_job(shaped.asked, shaped.nodes)
        self._left[at] = less(self._left[at], wanted, self._parts[at])


def is_open(place: PartitionState, policy: Policy) -> bool:
    """Whether anything may be sent ahead there now: a core, and a node where they are whole."""
    allowed = allowance(place, policy)
    return allowed[1] > 0 and min(_left(place, allowed)[:2]) > 0


def _left(place: PartitionState, allowed: Amounts) -> Amounts:
    taken = NOTHING
    for one in place.occupied:
        taken = plus(taken, of_job(one.asked, one.nodes))
    return less(plus(of_partition(place.usable), allowed), taken, place.partition)
