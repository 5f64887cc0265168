"""Use that a site's accounting says late, or otherwise than before; and what the hub has counted.

A correction may come twice and out of order, long after the agent has put the attempt away. It
needs nothing of the agent's present start: the credential says whose site it is, and the
correction's own number which of its words came last.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import sqlalchemy as sa

from meyrin.hub.jobs import attempts, change
from meyrin.hub.plumbing.database import Step
from meyrin.hub.plumbing.paging import cut
from meyrin.hub.usage import service as usage
from meyrin.wire.agents import (
    CorrectionBody,
    CorrectionsReply,
    CountedList,
    CountedView,
    UsageBody,
)


def correct(step: Step, site_id: str, said: Sequence[CorrectionBody]) -> CorrectionsReply:
    """Take what changed; those of attempts that have not ended at this site are `unknown`."""
    last: dict[str, CorrectionBody] = {}
    for each in sorted(said, key=lambda one: one.revision):
        last[each.attempt] = each
    known = attempts.of_site(step, site_id, last)
    change.locked(step, [row.job_id for row in known.values()])
    # read again now that their jobs are locked: reports may have come between
    known = attempts.of_site(step, site_id, known)
    over = {name: row for name, row in known.items() if row.state == "ended"}
    # use that can't be is not asked for again, and what was known stays
    possible = [n for n, row in over.items() if not usage.impossible(step, row, last[n].usage)]
    usage.record(step, [_measured(over[n], last[n].usage, last[n]) for n in possible])
    return CorrectionsReply(
        taken=[name for name in last if name in over],
        unknown=[name for name in last if name not in over],
    )


def _measured(row: sa.Row[Any], used: UsageBody, said: CorrectionBody) -> usage.Measured:
    return usage.Measured(
        site_id=row.site_id,
        batch_job=said.batch_job or row.batch_job or "",
        attempt=row.id,
        offer_id=row.offer_id,
        charged_type=row.charged_type,
        rate=Fraction(row.rate_num, row.rate_den),
        usage=used,
        placed_s=row.placed_ms // 1000,
        ended_ms=row.end_ms or row.placed_ms,
        revision=said.revision,
    )


def counted(
    step: Step, site_id: str, from_ms: int, until_ms: int, after: str, limit: int
) -> CountedList:
    """A page of the attempts that ended at the site in a time, with what was counted for each."""
    rows = attempts.ended_between(step, site_id, from_ms, until_ms, after, limit)
    rows, following = cut(rows, limit, "id")
    records = usage.known(step, [row.id for row in rows])
    return CountedList(counted=[_counted(row, records.get(row.id)) for row in rows], next=following)


def _counted(row: sa.Row[Any], record: usage.Known | None) -> CountedView:
    return CountedView(
        attempt=row.id,
        job=str(row.job_id) if row.task is None else f"{row.family}_{row.task}",
        batch_job=row.batch_job,
        placed_ms=row.placed_ms,
        start_ms=row.start_ms,
        end_ms=row.end_ms,
        charged_type=row.charged_type,
        elapsed_s=None if record is None else record.elapsed_s,
        used_s=0 if record is None else record.used_s,
        energy_j=None if record is None else record.energy_j,
        measured_by=None if record is None else record.source,
        corrections=0 if record is None else record.version,
    )
