"""Hours that move after they were granted: between allocations, and back to who gave them.

An allocation's hours came out of shares. What leaves it goes back to these, and what another
allocation gets comes out of the same: so an owner's word is kept, and every type stays in balance.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa

from meyrin.domain.errors import NotFound, Refused
from meyrin.domain.ledger import (
    AccountKind,
    EntryKind,
    Source,
    check_amount,
    check_reason,
    plain_reason,
)
from meyrin.domain.refusal import Reason, Refusal
from meyrin.domain.units import show_hours
from meyrin.hub.ledger import store
from meyrin.hub.ledger.store import Locked, Posting, entries
from meyrin.hub.plumbing.database import Step

_DAY_MS = 86_400_000
Parts = Sequence[tuple[Source, int]]


def sources(step: Step, allocation_ids: Collection[str]) -> dict[str, dict[Source, int]]:
    """What each share gave to each allocation and has not got back, who gave first coming first.

    What is promised counts as given. One query, of entries that no job made.
    """
    e = entries.c
    share = f"{AccountKind.SHARE}:"
    statement = (
        sa.select(e.allocation_id, e.debit_account, e.credit_account)
        .add_columns(sa.func.sum(e.amount_s).label("amount_s"), sa.func.min(e.id).label("first"))
        .where(step.among(e.allocation_id, allocation_ids), e.attempt.is_(None))
        .group_by(e.allocation_id, e.debit_account, e.credit_account)
        .order_by(sa.func.min(e.id))
    )
    found: dict[str, dict[Source, int]] = {}
    for row in step.rows(statement):
        given = found.setdefault(row.allocation_id, {})
        for account, sign in ((row.debit_account, 1), (row.credit_account, -1)):
            if account.startswith(share):
                _, offer_id, owner = account.rsplit(":", 2)
                source = Source(owner, offer_id)
                given[source] = given.get(source, 0) + sign * int(row.amount_s)
    return found


def transfer(step: Step, from_id: str, to_id: str, parts: Parts, reason: str) -> None:
    """Move hours of one type from an allocation to another, out of the shares that gave them.

    Raises Refused when less is free, or the two count hours of different types. Each call moves
    anew. The two allocations are locked in one fixed order.
    """
    amount_s = _total(parts)
    check_reason(reason)
    locked = store.lock(step, allocations=sorted({from_id, to_id}))
    giver, taker = account_of(locked, from_id), account_of(locked, to_id)
    if giver.charged_type != taker.charged_type:
        raise Refused(
            f"{from_id} counts {giver.charged_type} hours, {to_id} {taker.charged_type} hours",
            hint="hours of one type never become another's: ask an officer for an award instead",
        )
    _free(giver, amount_s)
    posting = Posting(step, locked)
    for source, part_s in parts:
        share = opened_share(step, giver.charged_type, source)
        kind = EntryKind.TRANSFER
        posting.entry(kind, giver.id, share, part_s, reason=reason, **facts_of(giver))
        posting.entry(kind, share, taker.id, part_s, reason=reason, **facts_of(taker))
    posting.write()


def reclaim(step: Step, allocation_id: str, parts: Parts, reason: str) -> None:
    """Give hours that nobody used back to the shares that gave them. Refused when less is free."""
    amount_s = _total(parts)
    locked = store.lock(step, allocations=[allocation_id])
    giver = account_of(locked, allocation_id)
    _free(giver, amount_s)
    posting = Posting(step, locked)
    for source, part_s in parts:
        share = opened_share(step, giver.charged_type, source)
        told = {"reason": plain_reason(reason), **facts_of(giver)}
        posting.entry(EntryKind.RECLAIM, giver.id, share, part_s, **told)
    posting.write()


def used_by_day(
    step: Step, allocation_ids: Collection[str], project_ids: Collection[str]
) -> dict[str, dict[int, int]]:
    """What each allocation was charged on each day (of UTC, counted from 1970), corrected.

    `project_ids` are the allocations' projects: entries are found by these. One query.
    """
    e = entries.c
    day = (e.at_ms // _DAY_MS).label("day")
    delivered = f"{AccountKind.DELIVERED}:"
    came, went = e.credit_account.startswith(delivered), e.debit_account.startswith(delivered)
    signed = sa.case((came, e.amount_s), else_=-e.amount_s)
    statement = (
        sa.select(e.allocation_id, day, sa.func.sum(signed).label("used_s"))
        .where(step.among(e.project_id, project_ids), step.among(e.allocation_id, allocation_ids))
        .where(sa.or_(came, went))
        .group_by(e.allocation_id, day)
    )
    found: dict[str, dict[int, int]] = {}
    for row in step.rows(statement):
        found.setdefault(row.allocation_id, {})[int(row.day)] = int(row.used_s)
    return found


# --- inside


def _total(parts: Parts) -> int:
    for _, amount_s in parts:
        check_amount(amount_s)
    total_s = sum(amount_s for _, amount_s in parts)
    check_amount(total_s)
    return total_s


def account_of(locked: Locked, allocation_id: str) -> sa.Row[Any]:
    row = locked.free.get(allocation_id)
    if row is None:
        raise NotFound(f"there is no allocation {allocation_id}", allocation=allocation_id)
    return row


def _free(giver: sa.Row[Any], amount_s: int) -> None:
    if giver.balance_s < amount_s:
        raise Refused(
            f"{giver.allocation_id} has {show_hours(giver.balance_s)} hours free, "
            f"not {show_hours(amount_s)}",
            hint="move less; what is held by jobs or promised can't be moved",
            refusals=(Refusal(Reason.BALANCE, asked=amount_s, limit=giver.balance_s),),
        )


def opened_share(step: Step, charged_type: str, source: Source) -> str:
    """The account of a share, opened where it is new."""
    name = store.share_account(charged_type, source.offer_id, source.owner)
    told = {"owner": source.owner, "offer_id": source.offer_id, "charged_type": charged_type}
    store.create(step, [{"id": name, "kind": str(AccountKind.SHARE), **told}])
    return name


def facts_of(row: sa.Row[Any]) -> dict[str, str]:
    return {
        "charged_type": row.charged_type,
        "allocation_id": row.allocation_id,
        "project_id": row.project_id,
    }
