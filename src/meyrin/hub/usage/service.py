"""Measured use becomes a charge, once.

A record is keyed on (site, batch job, attempt). The same record again changes nothing; one with
other facts, or a later word, is kept beside the first, and the ledger gets new entries where the
amount differs. Messages may come twice and in any order: each carries the site's own number of
its word (`revision`), and one that is behind what is known is left out. Use that can't be is
unknown, and charged to nobody.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import sqlalchemy as sa
import structlog

from meyrin.domain.units import charge_s
from meyrin.hub.ledger import service as ledger
from meyrin.hub.plumbing.bulk import one_of
from meyrin.hub.plumbing.database import Step
from meyrin.hub.sites import shares
from meyrin.hub.usage.store import usage_records
from meyrin.wire.agents import UsageBody

_CLOCKS_APART_S = 2 * 86_400  # a site's may go a day ahead meanwhile, and the hub's go back
_MOST_LATER = 10_000  # records of an attempt: agents look again each hour for 400 days at most
log = structlog.get_logger("meyrin.hub")
_FACTS = ("elapsed_s", "used_s", "cpu_ms", "max_rss_kb", "energy_j", "source")


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
    revision: int = 0

    @property
    def used_s(self) -> int:
        return charge_s(self.rate, self.usage.elapsed_s)


@dataclass(frozen=True, slots=True)
class Known:
    """What the latest record of an attempt says; None was not measured."""

    elapsed_s: int
    used_s: int
    energy_j: int | None
    source: str
    version: int


def record(step: Step, measured: Sequence[Measured]) -> int:
    """Keep new records and settle their attempts; correct those that came with other facts.

    Returns how many records were kept beside earlier ones.
    """
    if not measured:
        return 0
    first = {each.attempt: each for each in measured}
    before = _latest(step, list(first))
    owned = shares.shares_at(step, {(each.offer_id, each.placed_s) for each in measured})
    new = [each for each in first.values() if each.attempt not in before]
    later = [each for each in first.values() if _is_news(each, before.get(each.attempt))]
    if later:  # each is posted by itself: all accounts are locked before, in their one order
        ledger.lock_of(step, list(first))
    step.add(usage_records, [_row(step, each, 0) for each in new])
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
            for each in new
        ],
    )
    for each in later:
        known = before[each.attempt]
        step.add(usage_records, [_row(step, each, known.version + 1)])
        if known.used_s != each.used_s:
            ledger.correct(
                step,
                each.attempt,
                each.used_s,
                owned[each.offer_id, each.placed_s],
                each.offer_id,
                "the site corrected its record",
                each.ended_ms,
            )
    return len(later)


def impossible(step: Step, attempt: sa.Row[Any], used: UsageBody | None) -> str:
    """Why this is no use of the attempt, in words; empty where it can be."""
    if used is None:
        return ""
    most_s = max(0, step.now_s - attempt.placed_ms // 1000) + _CLOCKS_APART_S
    if used.elapsed_s <= most_s:
        return ""
    log.warning("usage.impossible", attempt=attempt.id, elapsed_s=used.elapsed_s, most_s=most_s)
    return (
        f"its use is unknown: its site said {used.elapsed_s} s, and from its placement until now"
        f" there were {most_s - _CLOCKS_APART_S} s"
    )


def known(step: Step, attempts: Collection[str]) -> dict[str, Known]:
    """The latest record of each attempt that has one. One query."""
    if not attempts:
        return {}
    return {
        name: Known(row.elapsed_s, row.used_s, row.energy_j, row.source, row.version)
        for name, row in _latest(step, sorted(set(attempts))).items()
    }


def energy_j(records: Iterable[Known]) -> int | None:
    """The energy of all of them together; unknown as soon as one of them is."""
    found = [each.energy_j for each in records]
    known = [amount for amount in found if amount is not None]
    return sum(known) if known and len(known) == len(found) else None


_LATEST = (
    sa.select(usage_records)
    .where(one_of(usage_records.c.attempt, "attempts"))
    .order_by(usage_records.c.version)
)


def _latest(step: Step, attempts: list[str]) -> dict[str, sa.Row[Any]]:
    return {row.attempt: row for row in step.rows(_LATEST, attempts=attempts)}


def _is_news(each: Measured, known: sa.Row[Any] | None) -> bool:
    """Whether it says otherwise than what is known, or the same in a later word: that is kept
    too, so that one between the two is seen to be behind."""
    if known is None or each.revision < known.revision:
        return False
    facts = _facts(each)
    if each.revision == known.revision and all(
        facts[name] == getattr(known, name) for name in _FACTS
    ):
        return False
    if known.version >= _MOST_LATER:
        log.warning("usage.corrected_too_often", attempt=each.attempt, times=known.version)
        return False
    return True


def _facts(each: Measured) -> dict[str, Any]:
    return {
        "elapsed_s": each.usage.elapsed_s,
        "used_s": each.used_s,
        "cpu_ms": each.usage.cpu_ms,
        "max_rss_kb": each.usage.max_rss_kb,
        "energy_j": each.usage.energy_j,
        "source": each.usage.source,
    }


def _row(step: Step, each: Measured, version: int) -> dict[str, Any]:
    return {
        "site_id": each.site_id,
        "batch_job": each.batch_job,
        "attempt": each.attempt,
        "version": version,
        "revision": each.revision,
        "charged_type": each.charged_type,
        "at_ms": step.now_ms,
        **_facts(each),
    }
