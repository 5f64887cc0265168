"""Paid work stays behind entitled work where the world moves between a decision and its write.

The engine ordered jobs by what it saw. Entitled hours that went since (paused, moved, charged,
ended) must not turn a placement that was entitled into paid work that overtook others; and what
two hubs let go ahead at the same moment must not add up beyond the policy. Both are left out, and
decided anew. What is entitled is never touched.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from meyrin.engine.model import Funds, PartitionState, Placement, State


def paid(state: State, placements: Sequence[Placement], seen_s: int) -> frozenset[int]:
    """The jobs that the decision took for paid work: no entitled hours that it saw carry them.

    Hours that two of its placements would share are counted for the first alone.
    """
    if not any(funds.paid for funds in state.funds):
        return frozenset()
    free: dict[tuple[str, str], list[tuple[Funds, int]]] = defaultdict(list)
    for funds in state.funds:
        if not (funds.paid or funds.paused) and funds.start_s <= seen_s < funds.end_s:
            free[funds.project, funds.charged_type].append((funds, funds.free_s))
    projects = {job.job: job.project for job in state.waiting}
    found = set()
    for placement in placements:
        mine = free[projects[placement.job], placement.charged_type]
        enough = [each for each in mine if each[1] >= placement.hold_s]
        if not enough:
            found.add(placement.job)
            continue
        payer = min(enough, key=lambda each: (each[0].end_s, each[0].start_s, each[1]))
        mine.remove(payer)
        mine.append((payer[0], payer[1] - placement.hold_s))
    return frozenset(found)


def unmoved(
    before: Sequence[PartitionState],
    now: Sequence[PartitionState],
    placements: Sequence[Placement],
    paid_jobs: frozenset[int],
) -> tuple[Placement, ...]:
    """The placements without paid ones at partitions where other paid work has come since."""
    came = {
        (new.site, new.partition.name)
        for old, new in zip(before, now, strict=True)
        if _paid_at(new) - _paid_at(old)
    }
    return tuple(
        each
        for each in placements
        if each.job not in paid_jobs or (each.site, each.partition) not in came
    )


def _paid_at(place: PartitionState) -> set[int]:
    return {one.job for one in place.occupied if one.paid}
