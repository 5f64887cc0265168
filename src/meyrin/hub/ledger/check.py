"""Does the ledger add up? Reads everything and reports findings; repairs nothing.

Also closes months: from then on their entries are counted on, and none is dated in them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from meyrin.domain.errors import Refused
from meyrin.domain.ledger import AccountKind, EntryKind, month_bounds_ms
from meyrin.hub.ledger.store import accounts, closed_months, entries
from meyrin.hub.plumbing.database import Step

CLOSE_AFTER_MS = 3_600_000  # a step that began in the month has long ended by then


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that does not add up: `code` is stable, `subject` an account, attempt or month."""

    code: str
    subject: str
    expected: int
    found: int


def verify(step: Step, live_attempts: Collection[str] | None = None) -> tuple[Finding, ...]:
    """Everything that does not add up; empty when all is well.

    `live_attempts` are those that may hold hours; None leaves that check out.
    """
    live = None if live_attempts is None else frozenset(live_attempts)
    return (
        *_sum_is_zero(step),
        *_balances_follow(step),
        *_holds_follow(step, live),
        *_months_stand(step),
    )


def close_month(step: Step, month: str) -> None:
    """Let no further entry be dated in `month` or before it. Again: nothing changes.

    Raises Refused until an hour after the month's end.
    """
    start_ms, end_ms = month_bounds_ms(month)
    if step.now_ms < end_ms + CLOSE_AFTER_MS:
        raise Refused(f"{month} can't be closed yet", hint="wait until an hour after its end")
    if step.one(sa.select(closed_months.c.month).where(closed_months.c.month == month)):
        return  # SQLite's guard refuses even an insert that would do nothing
    count, amount = _in_month(step, start_ms, end_ms)
    step.add_new(
        closed_months,
        [
            {
                "month": month,
                "end_ms": end_ms,
                "entries": count,
                "amount_s": amount,
                "closed_ms": step.now_ms,
            }
        ],
    )


def _sum_is_zero(step: Step) -> Iterator[Finding]:
    a = accounts.c
    total = sa.func.sum(a.balance_s).label("total")
    for row in step.rows(sa.select(a.charged_type, total).group_by(a.charged_type)):
        if int(row.total) != 0:
            yield Finding("sum_not_zero", row.charged_type, 0, int(row.total))


def _balances_follow(step: Step) -> Iterator[Finding]:
    """Each cached balance is the sum of its account's entries; only two kinds may be negative."""
    e = entries.c
    amount = sa.func.sum(e.amount_s)
    sides = sa.union_all(
        sa.select(e.debit_account.label("account"), (-amount).label("net")).group_by(
            e.debit_account
        ),
        sa.select(e.credit_account, amount).group_by(e.credit_account),
    ).subquery()
    net = sa.select(sides.c.account, sa.func.sum(sides.c.net).label("net"))
    net_of = net.group_by(sides.c.account).subquery()
    statement = (
        sa.select(accounts.c.id, accounts.c.kind, accounts.c.balance_s, net_of.c.net)
        .outerjoin(net_of, net_of.c.account == accounts.c.id)
        .order_by(accounts.c.id)
    )
    for row in step.rows(statement):
        expected = int(row.net or 0)
        if row.balance_s != expected:
            yield Finding("balance_differs", row.id, expected, row.balance_s)
        if expected < 0 and row.kind not in (AccountKind.SHARE, AccountKind.ALLOCATION):
            yield Finding("below_zero", row.id, 0, expected)


def _holds_follow(step: Step, live: frozenset[str] | None) -> Iterator[Finding]:
    """What attempts hold is above zero, and those that hold are alive."""
    e = entries.c
    own_hold = f"{AccountKind.HOLD}:" + e.allocation_id
    signed = sa.case(
        (e.credit_account == own_hold, e.amount_s),
        (e.debit_account == own_hold, -e.amount_s),
        else_=0,
    )
    held = sa.func.sum(signed)
    once = sa.func.sum(sa.case((e.kind == str(EntryKind.HOLD), 1), else_=0))
    statement = (
        sa.select(e.attempt, held.label("held_s"), once.label("holds"))
        .where(e.attempt.is_not(None))
        .group_by(e.attempt)
        .having(sa.or_(held != 0, once != 1))
    )
    for row in step.rows(statement):
        if int(row.held_s) < 0:
            yield Finding("hold_below_zero", row.attempt, 0, int(row.held_s))
        if int(row.holds) != 1:
            yield Finding("held_more_than_once", row.attempt, 1, int(row.holds))
        if int(row.held_s) > 0 and live is not None and row.attempt not in live:
            yield Finding("hold_of_ended_attempt", row.attempt, 0, int(row.held_s))


def _months_stand(step: Step) -> Iterator[Finding]:
    for row in step.rows(sa.select(closed_months).order_by(closed_months.c.month)):
        count, amount = _in_month(step, *month_bounds_ms(row.month))
        if count != row.entries:
            yield Finding("closed_month_entries", row.month, row.entries, count)
        if amount != row.amount_s:
            yield Finding("closed_month_amount", row.month, row.amount_s, amount)


def _in_month(step: Step, start_ms: int, end_ms: int) -> tuple[int, int]:
    e = entries.c
    counted: sa.Select[Any] = sa.select(
        sa.func.count().label("entries"),
        sa.func.coalesce(sa.func.sum(e.amount_s), 0).label("amount_s"),
    ).where(e.at_ms >= start_ms, e.at_ms < end_ms)
    row = step.one(counted)
    assert row is not None, "an aggregate has one row"
    return int(row.entries), int(row.amount_s)
