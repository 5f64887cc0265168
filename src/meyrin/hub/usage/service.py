"""Measured use becomes a charge, once.

A record is keyed on (site, batch job, attempt). The same record again changes nothing; a record
with another amount is a correction: it is kept beside the first and the ledger gets new entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import sqlalchemy as sa

from meyrin.domain.units import charge_s
from meyrin.hub.ledger import service as ledger
from meyrin.hub.plumbing.database import Step
from meyrin.hub.sites import shares
from meyrin.hub.usage.store import usage_records
from meyrin.wire.agents import UsageBody


@dataclass(frozen=True, slots=True)
class Measured:
    """What a site measured of one attempt. `rate` is accelerators charged per second.

    The owners' shares are those that were in force at `placed_s`; the use counts in the month of
    `ended_ms`.
    """

    site_id: str
    batch_job: str
    attempt: str
    offer_id: str
    charged_type: str
    rate: Fraction
    usage: UsageBody
    placed_s: int
    ended_ms: int

    @property
    def used_s(self) -> int:
        return charge_s(self.rate, self.usage.elapsed_s)


def record(step: Step, measured: Sequence[Measured]) -> None:
    """Keep new records and settle their attempts; correct those that came with another amount."""
    if not measured:
        return
    first = {each.attempt: each for each in measured}
    before = _latest(step, list(first))
    owned = shares.shares_at(step, {(each.offer_id, each.placed_s) for each in measured})
    step.add(
        usage_records,
        [_row(step, each, 0) for each in first.values() if each.attempt not in before],
    )
    ledger.settle(
        step,
        [
            ledger.Settlement(
                each.attempt,
                each.used_s,
                owned[each.offer_id, each.placed_s],
                each.offer_id,
                "measured use",
                ended_ms=each.ended_ms,
            )
            for each in first.values()
            if each.attempt not in before
        ],
    )
    for each in first.values():
        known = before.get(each.attempt)
        if known is not None and known.used_s != each.used_s:
            step.add(usage_records, [_row(step, each, known.version + 1)])
            ledger.correct(
                step,
                each.attempt,
                each.used_s,
                owned[each.offer_id, each.placed_s],
                each.offer_id,
                "the site corrected its record",
                each.ended_ms,
            )


def _latest(step: Step, attempts: list[str]) -> dict[str, sa.Row[Any]]:
    statement = (
        sa.select(usage_records)
        .where(step.among(usage_records.c.attempt, attempts))
        .order_by(usage_records.c.version)
    )
    return {row.attempt: row for row in step.rows(statement)}


def _row(step: Step, each: Measured, version: int) -> dict[str, Any]:
    return {
        "site_id": each.site_id,
        "batch_job": each.batch_job,
        "attempt": each.attempt,
        "version": version,
        "elapsed_s": each.usage.elapsed_s,
        "used_s": each.used_s,
        "charged_type": each.charged_type,
        "cpu_ms": each.usage.cpu_ms,
        "max_rss_kb": each.usage.max_rss_kb,
        "source": each.usage.source,
        "at_ms": step.now_ms,
    }
