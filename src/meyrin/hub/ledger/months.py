"""What entries say of months: what was delivered in which month, and whose hours were given out.

An entry counts in the month of its date, unless it names another: late use counts in the month
in which it ended while that one is open. Afterwards it counts in the month of its date and names
the closed month that it corrects. Reads entries alone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from meyrin.domain.ledger import AccountKind, EntryKind, apportion, month_bounds_ms
from meyrin.hub.ledger import store
from meyrin.hub.plumbing.database import Step

_POTS = (f"{AccountKind.ALLOCATION}:", f"{AccountKind.TRANCHE}:")
_SHARE = f"{AccountKind.SHARE}:"


@dataclass(frozen=True, slots=True)
class Use:
    """What was charged, net of what was taken back, in one month by one owner's part.

    `corrects` is the closed month that it mends, or empty.
    """

    month: str
    corrects: str
    charged_type: str
    allocation_id: str
    offer_id: str
    owner: str
    amount_s: int
    entries: int


def use(step: Step, months: Collection[str]) -> list[Use]:
    """All that was delivered in these months. One query."""
    wanted = sorted(set(months))
    if not wanted:
        return []
    e = store.entries.c
    spans = {month: month_bounds_ms(month) for month in wanted}
    inside = {m: sa.and_(e.at_ms >= start, e.at_ms < end) for m, (start, end) in spans.items()}
    dated = sa.case(*((condition, m) for m, condition in inside.items()), else_="")
    month = sa.func.coalesce(e.month, dated)
    corrects = sa.func.coalesce(e.corrects, "")
    key = (month, corrects, e.charged_type, e.allocation_id, e.debit_account, e.credit_account)
    kinds = [str(EntryKind.SETTLE), str(EntryKind.CORRECT)]
    counted = sa.or_(e.month.in_(wanted), sa.and_(e.month.is_(None), sa.or_(*inside.values())))
    statement = (
        sa.select(
            month.label("counted"),
            corrects.label("corrects"),
            *key[2:],
            sa.func.sum(e.amount_s).label("amount_s"),
            sa.func.count().label("entries"),
        )
        .where(e.kind.in_(kinds), counted)
        # by position: PostgreSQL does not see that two expressions with parameters are one
        .group_by(*(sa.literal_column(str(n + 1)) for n in range(len(key))))
    )
    sums: dict[tuple[str, str, str, str, str, str], list[int]] = {}
    for row in step.conn.execute(statement):
        for account, sign in ((row.debit_account, -1), (row.credit_account, 1)):
            kind, _, rest = account.partition(":")
            if kind != AccountKind.DELIVERED:
                continue
            _, offer_id, owner = rest.rsplit(":", 2)
            found = (row.counted, row.corrects, row.charged_type, row.allocation_id)
            both = sums.setdefault((*found, offer_id, owner), [0, 0])
            both[0] += sign * int(row.amount_s)
            both[1] += row.entries
    return [Use(*key, both[0], both[1]) for key, both in sorted(sums.items())]


Move = tuple[int, str, str, int]


def moves(step: Step, until_ms: int) -> list[Move]:
    """The entries by which hours were given out, in order: when, from, to, how much. One query."""
    e = store.entries.c
    statement = (
        sa.select(e.at_ms, e.debit_account, e.credit_account, e.amount_s)
        .where(e.attempt.is_(None), e.kind != str(EntryKind.EXPIRE), e.at_ms < until_ms)
        .order_by(e.id)
    )
    return [tuple(row) for row in step.conn.execute(statement)]


def givers(moves: Sequence[Move], until_ms: int) -> dict[str, dict[str, int]]:
    """Whose shares each allocation's hours came from, in seconds, up to then.

    A move between two allocations takes along whose they were, in proportion; what goes back to
    a share is taken off its owner's part.
    """
    pots: dict[str, dict[str, int]] = {}
    for at_ms, debit, credit, amount_s in moves:
        if at_ms < until_ms:
            _move(pots, debit, credit, amount_s)
    found: dict[str, dict[str, int]] = {}
    for account, parts in pots.items():
        kind, _, allocation_id = account.partition(":")
        if kind == AccountKind.ALLOCATION:
            found[allocation_id] = {owner: part for owner, part in parts.items() if part > 0}
    return found


def _move(pots: dict[str, dict[str, int]], debit: str, credit: str, amount_s: int) -> None:
    if debit.startswith(_SHARE):
        taken = {debit.rpartition(":")[2]: amount_s}
    elif debit.startswith(_POTS):
        taken = _take(pots.setdefault(debit, {}), amount_s, credit)
    else:
        return
    if credit.startswith(_POTS):
        pot = pots.setdefault(credit, {})
        for owner, part in taken.items():
            pot[owner] = pot.get(owner, 0) + part


def _take(pot: dict[str, int], amount_s: int, credit: str) -> dict[str, int]:
    """What leaves a pot: of one owner where it goes back to its share, else in proportion."""
    if credit.startswith(_SHARE):
        owner = credit.rpartition(":")[2]
        amount_s = min(amount_s, pot.get(owner, 0))
        taken = {owner: amount_s}
    else:
        amount_s = min(amount_s, sum(pot.values()))
        taken = apportion(amount_s, pot, credit) if amount_s else {}
    for owner, part in taken.items():
        pot[owner] = pot.get(owner, 0) - part
    return taken


def first_entry_ms(step: Step) -> int | None:
    row = step.one(sa.select(sa.func.min(store.entries.c.at_ms).label("first")))
    return None if row is None or row.first is None else int(row.first)


def closed(step: Step, months: Collection[str] | None = None) -> dict[str, int]:
    """When months were closed, in milliseconds; of these months, or of all. One query."""
    c = store.closed_months.c
    statement = sa.select(c.month, c.closed_ms)
    if months is not None:
        statement = statement.where(c.month.in_(sorted(months)))
    rows: Sequence[sa.Row[Any]] = step.rows(statement)
    return {row.month: row.closed_ms for row in rows}
