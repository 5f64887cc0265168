"""What the entries say of a project or a month. Reads entries alone, never a cached balance."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from meyrin.domain.ledger import AccountKind, Balance, EntryKind, month_bounds_ms
from meyrin.hub.ledger import store
from meyrin.hub.ledger.months import use
from meyrin.hub.plumbing.database import Step
from meyrin.hub.plumbing.paging import cut, number, page
from meyrin.wire.ledger import EntryView

_END_OF_TIME_MS = 2**62


@dataclass(frozen=True, slots=True)
class KindSum:
    """All entries of one kind in the time of a statement."""

    kind: str
    entries: int
    amount_s: int


@dataclass(frozen=True, slots=True)
class Delivered:
    """What one owner's part of one offer delivered, corrections taken into account."""

    offer_id: str
    owner: str
    amount_s: int


@dataclass(frozen=True, slots=True)
class TypeStatement:
    """A statement's part in one charged type.

    `unbalanced_s` is what was granted less everything that the accounts hold: zero, always.
    """

    charged_type: str
    opening: Balance
    kinds: tuple[KindSum, ...]
    delivered: tuple[Delivered, ...]
    closing: Balance
    unbalanced_s: int


@dataclass(frozen=True, slots=True)
class Statement:
    """A project's time: `month` is None for everything up to now."""

    project_id: str
    month: str | None
    types: tuple[TypeStatement, ...]


@dataclass(frozen=True, slots=True)
class OwnerMonth:
    """What was granted out of an owner's share of an offer, and what it delivered, in a month."""

    month: str
    offer_id: str
    owner: str
    charged_type: str
    granted_s: int
    delivered_s: int


def entries(step: Step, project_id: str, after: str, limit: int) -> tuple[list[EntryView], str]:
    """One page of a project's entries, newest first, and where the next page starts. One query."""
    e = store.entries.c
    columns = [e[name] for name in EntryView.model_fields]
    listed = sa.select(*columns).where(e.project_id == project_id)
    found = page(listed, e.id, number(after), limit, newest=True)
    rows, following = cut(step.rows(found), limit, "id")
    return [EntryView.model_validate(row, from_attributes=True) for row in rows], following


def statement(step: Step, project_id: str, month: str | None = None) -> Statement:
    """Opening balance, what happened, closing balance, by charged type. One query."""
    start_ms, end_ms = month_bounds_ms(month) if month else (0, _END_OF_TIME_MS)
    e = store.entries.c
    earlier = sa.case((e.at_ms < start_ms, 1), else_=0).label("earlier")
    rows = _sums(step, e.project_id == project_id, e.at_ms < end_ms, earlier, e.kind)
    by_type: defaultdict[str, list[sa.Row[Any]]] = defaultdict(list)
    for row in rows:
        by_type[row.charged_type].append(row)
    types = tuple(_type_statement(name, by_type[name]) for name in sorted(by_type))
    return Statement(project_id, month, types)


def owners(step: Step, month: str) -> tuple[OwnerMonth, ...]:
    """Granted and delivered of every owner in a month. Two queries."""
    start_ms, end_ms = month_bounds_ms(month)
    e = store.entries.c
    kinds = (EntryKind.GRANT, EntryKind.PROMISE, EntryKind.WITHDRAW, EntryKind.RECLAIM)
    rows = _sums(
        step,
        sa.and_(e.at_ms >= start_ms, e.at_ms < end_ms),
        e.kind.in_([str(kind) for kind in kinds]),
    )
    granted: Counter[tuple[str, str, str]] = Counter()
    delivered: Counter[tuple[str, str, str]] = Counter()
    for row in rows:
        for account, amount_s in _sides(row):
            kind, offer_id, owner = _owner_of(account)
            if kind == AccountKind.SHARE:
                granted[offer_id, owner, row.charged_type] -= amount_s
    for each in use(step, [month]):
        delivered[each.offer_id, each.owner, each.charged_type] += each.amount_s
    return tuple(
        OwnerMonth(month, *key, granted[key], delivered[key])
        for key in sorted(granted.keys() | delivered.keys())
    )


def _sums(
    step: Step,
    where: sa.ColumnElement[bool],
    and_where: sa.ColumnElement[bool],
    *by: sa.ColumnElement[Any],
) -> list[sa.Row[Any]]:
    """Entries summed by type, both accounts and `by`: as many rows as there are pairs."""
    e = store.entries.c
    key = (e.charged_type, e.debit_account, e.credit_account, *by)
    count = sa.func.count().label("entries")
    amount = sa.func.sum(e.amount_s).label("amount_s")
    return step.rows(sa.select(*key, count, amount).where(where, and_where).group_by(*key))


def _type_statement(charged_type: str, rows: list[sa.Row[Any]]) -> TypeStatement:
    past = [row for row in rows if row.earlier]
    now = [row for row in rows if not row.earlier]
    counts: Counter[str] = Counter()
    amounts: Counter[str] = Counter()
    delivered: Counter[tuple[str, str]] = Counter()
    for row in now:
        counts[row.kind] += row.entries
        amounts[row.kind] += int(row.amount_s)
        for account, amount_s in _sides(row):
            kind, offer_id, owner = _owner_of(account)
            if kind == AccountKind.DELIVERED:
                delivered[offer_id, owner] += amount_s
    closing = _balance(rows)
    granted_s = sum(_granted_s(row) for row in rows)
    return TypeStatement(
        charged_type,
        _balance(past),
        tuple(KindSum(k, counts[k], amounts[k]) for k in map(str, EntryKind) if counts[k]),
        tuple(Delivered(*key, delivered[key]) for key in sorted(delivered)),
        closing,
        granted_s - closing.granted_s,
    )


def _granted_s(row: sa.Row[Any]) -> int:
    """What these entries added to what was granted. What is only promised is not granted yet."""
    if row.kind in (EntryKind.GRANT, EntryKind.RELEASE):
        return int(row.amount_s)
    if row.kind in (EntryKind.TRANSFER, EntryKind.RECLAIM):
        came = row.credit_account.startswith(f"{AccountKind.ALLOCATION}:")
        return int(row.amount_s) if came else -int(row.amount_s)
    return 0


def _balance(rows: Iterable[sa.Row[Any]]) -> Balance:
    """The balances that these sums lead to; `granted_s` is the sum of what the accounts hold."""
    sums: Counter[str] = Counter()
    for row in rows:
        for account, amount_s in _sides(row):
            sums[account.partition(":")[0]] += amount_s
    parts = (
        sums[AccountKind.ALLOCATION],
        sums[AccountKind.HOLD],
        sums[AccountKind.DELIVERED],
        sums[AccountKind.EXPIRED],
    )
    return Balance(sum(parts), *parts)


def _sides(row: sa.Row[Any]) -> tuple[tuple[str, int], tuple[str, int]]:
    amount_s = int(row.amount_s)  # PostgreSQL sums to a decimal
    return (row.debit_account, -amount_s), (row.credit_account, amount_s)


def _owner_of(account: str) -> tuple[str, str, str]:
    """Kind, offer and owner of a share's or a delivered account's name; else empty words."""
    kind, _, rest = account.partition(":")
    if kind not in (AccountKind.SHARE, AccountKind.DELIVERED):
        return kind, "", ""
    _, offer_id, owner = rest.rsplit(":", 2)
    return kind, offer_id, owner
