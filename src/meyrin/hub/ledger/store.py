"""Tables and queries of the ledger. An entry is only ever added; the database itself refuses more.

One entry moves `amount_s` from its debit account to its credit account, so it changes the sum
over all accounts by nothing. `accounts.balance_s` is a cache of the entries, changed with them.

Whoever changes an allocation's accounts first locks its one account of kind `allocation`
(SQLite: the one writer has the lock already). Entries of an attempt are numbered by `part`; two
writers that overlooked the lock would collide there.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from meyrin.domain.errors import Conflict
from meyrin.domain.ledger import (
    MAX_REASON,
    AccountKind,
    EntryKind,
    month_at,
    month_bounds_ms,
)
from meyrin.hub.plumbing.bulk import one_of
from meyrin.hub.plumbing.database import BigId, Step, metadata
from meyrin.hub.plumbing.only_added import guard

_NO_FLOOR = -(2**62)
_MAY_BE_NEGATIVE = (AccountKind.SHARE, AccountKind.ALLOCATION)
_NEVER_BELOW = (EntryKind.HOLD, EntryKind.EXPIRE, EntryKind.TRANSFER, EntryKind.RECLAIM)

accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("id", sa.String(200), primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("charged_type", sa.String(64), nullable=False),
    sa.Column("allocation_id", sa.String(64)),
    sa.Column("offer_id", sa.String(64)),
    sa.Column("owner", sa.String(64)),
    sa.Column("project_id", sa.String(64)),
    sa.Column("balance_s", sa.BigInteger, nullable=False),
    sa.CheckConstraint("balance_s >= 0 OR kind IN ('share', 'allocation')", name="not_negative"),
    sa.Index("ix_accounts_allocation_id", "allocation_id"),
    sa.Index("ix_accounts_project_id", "project_id"),
)

entries = sa.Table(
    "entries",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("debit_account", sa.ForeignKey("accounts.id"), nullable=False),
    sa.Column("credit_account", sa.ForeignKey("accounts.id"), nullable=False),
    sa.Column("amount_s", sa.BigInteger, nullable=False),
    sa.Column("charged_type", sa.String(64), nullable=False),
    sa.Column("allocation_id", sa.String(64), nullable=False),
    sa.Column("project_id", sa.String(64), nullable=False),
    sa.Column("attempt", sa.String(36)),
    sa.Column("part", sa.Integer),
    sa.Column("reason", sa.String(MAX_REASON), nullable=False),
    sa.Column("record", sa.String(300)),
    # the month it counts in, where that is not the one of its date; the closed month it mends
    sa.Column("month", sa.String(7)),
    sa.Column("corrects", sa.String(7)),
    sa.CheckConstraint("amount_s > 0", name="positive"),
    sa.CheckConstraint("debit_account <> credit_account", name="two_sides"),
    sa.Index("uq_entries_attempt_part", "attempt", "part", unique=True),
    sa.Index("ix_entries_project_id_id", "project_id", "id"),
    sa.Index("ix_entries_at_ms", "at_ms"),
    sa.Index("ix_entries_month", "month"),
    sa.Index(
        "ix_entries_given",
        "allocation_id",
        sqlite_where=sa.text("attempt IS NULL"),
        postgresql_where=sa.text("attempt IS NULL"),
    ),
)

# what was in a month when it was closed: the check that nothing was slipped in later
closed_months = sa.Table(
    "closed_months",
    metadata,
    sa.Column("month", sa.String(7), primary_key=True),
    sa.Column("end_ms", sa.BigInteger, nullable=False),
    sa.Column("entries", sa.BigInteger, nullable=False),
    sa.Column("amount_s", sa.BigInteger, nullable=False),
    sa.Column("closed_ms", sa.BigInteger, nullable=False),
)

# --- guards: the database refuses to change what was written

_ONLY_ADDED = {
    "entries": "id = NEW.id OR (attempt = NEW.attempt AND part = NEW.part)",
    "closed_months": "month = NEW.month",
}


def install_guards(connection: sa.Connection) -> None:
    """Make the database refuse to update, delete or truncate entries and closed months.

    Safe to run again. A migration that creates the tables calls it; `create_all` does by itself.
    """
    guard(connection, _ONLY_ADDED)


@sa.event.listens_for(metadata, "after_create")
def _guard_new_tables(_target: Any, connection: sa.Connection, **options: Any) -> None:
    created = {table.name for table in options.get("tables") or ()}
    if created.issuperset(_ONLY_ADDED):
        install_guards(connection)


# --- names of accounts: they follow from what the account is, so nobody has to look them up


def account(kind: AccountKind, allocation_id: str) -> str:
    return f"{kind}:{allocation_id}"


def share_account(charged_type: str, offer_id: str, owner: str) -> str:
    return f"{AccountKind.SHARE}:{charged_type}:{offer_id}:{owner}"


def delivered_account(allocation_id: str, offer_id: str, owner: str) -> str:
    return f"{AccountKind.DELIVERED}:{allocation_id}:{offer_id}:{owner}"


# --- queries


@dataclass(slots=True)
class Trail:
    """One attempt as its entries tell it; `used` is what it was charged, by delivered account.

    `held_ms` is when it was first held, `charged_month` the month whose use was charged.
    """

    allocation_id: str
    project_id: str
    charged_type: str
    parts: int = 0
    asked_s: int = 0
    held_s: int = 0
    charged: bool = False
    held_ms: int = 0
    charged_month: str = ""
    used: dict[str, int] = field(default_factory=dict)

    @property
    def used_s(self) -> int:
        return sum(self.used.values())

    def take(self, kind: str, debit: str, credit: str, amount_s: int) -> None:
        """Count one more entry of this attempt."""
        self.parts += 1
        self.charged |= kind in (EntryKind.SETTLE, EntryKind.CORRECT)
        if kind == EntryKind.HOLD:
            self.asked_s += amount_s
        for name, sign in ((debit, -1), (credit, 1)):
            if name.startswith(f"{AccountKind.HOLD}:"):
                self.held_s += sign * amount_s
            elif name.startswith(f"{AccountKind.DELIVERED}:"):
                self.used[name] = self.used.get(name, 0) + sign * amount_s

    def date(self, kind: str, at_ms: int, month: str | None) -> None:
        """Note when that entry was made and which month it is about."""
        if kind == EntryKind.HOLD:
            self.held_ms = at_ms
        elif kind in (EntryKind.SETTLE, EntryKind.CORRECT) and not self.charged_month:
            self.charged_month = month or month_at(at_ms)


# put together once: the broker and the agents' reports need them at every step
_e, _a = entries.c, accounts.c
_TRAILS = (
    sa.select(_e.attempt, _e.allocation_id, _e.project_id, _e.charged_type, _e.kind)
    .add_columns(_e.debit_account, _e.credit_account, _e.amount_s)
    .add_columns(_e.at_ms, sa.func.coalesce(_e.corrects, _e.month).label("month"))
    .where(one_of(_e.attempt, "attempts"))
)
_SUMS = (
    sa.select(_a.allocation_id, _a.kind, sa.func.sum(_a.balance_s).label("amount_s"))
    .where(one_of(_a.allocation_id, "allocations"), _a.kind != str(AccountKind.TRANCHE))
    .group_by(_a.allocation_id, _a.kind)
)
_UNTIL = sa.select(sa.func.max(closed_months.c.end_ms)).scalar_subquery()
# the weaker lock: entries that refer to the account may still be added meanwhile
_LOCK = (
    sa.select(accounts, _UNTIL.label("open_from_ms"))
    .order_by(_a.id)
    .with_for_update(key_share=True, of=accounts)
)
_LOCK_NAMED = _LOCK.where(one_of(_a.id, "names"))
_LOCK_OF_ATTEMPTS = _LOCK.where(
    _a.allocation_id.in_(
        sa.select(_e.allocation_id).where(
            one_of(_e.attempt, "attempts"), _e.kind == str(EntryKind.HOLD)
        )
    ),
    _a.kind.in_([str(AccountKind.ALLOCATION), str(AccountKind.DELIVERED)]),
)


def sums(step: Step, allocation_ids: Collection[str]) -> list[sa.Row[Any]]:
    """What the accounts of each allocation hold, by kind; without what is only promised."""
    return step.rows(_SUMS, allocations=allocation_ids)


def trails(step: Step, attempts: Collection[str]) -> dict[str, Trail]:
    """The attempts that have entries. One query."""
    result: dict[str, Trail] = {}
    for row in step.rows(_TRAILS, attempts=attempts):
        attempt, allocation_id, project_id, charged_type, kind = tuple(row)[:5]
        trail = result.get(attempt)
        if trail is None:
            trail = result[attempt] = Trail(allocation_id, project_id, charged_type)
        trail.take(kind, row.debit_account, row.credit_account, row.amount_s)
        trail.date(kind, row.at_ms, row.month)
    return result


def costs_by_type(step: Step, attempts: Collection[str]) -> list[tuple[str, int, int]]:
    """Charged type, seconds on hold and seconds charged of all these attempts together."""
    e = entries.c

    def gained(kind: AccountKind) -> sa.ColumnElement[int]:
        came = sa.case((e.credit_account.startswith(f"{kind}:"), e.amount_s), else_=0)
        went = sa.case((e.debit_account.startswith(f"{kind}:"), e.amount_s), else_=0)
        return sa.func.sum(came - went)

    statement = (
        sa.select(e.charged_type, gained(AccountKind.HOLD), gained(AccountKind.DELIVERED))
        .where(step.among(e.attempt, attempts))
        .group_by(e.charged_type)
        .order_by(e.charged_type)
    )
    return [(kind, int(held), int(used)) for kind, held, used in step.conn.execute(statement)]


@dataclass(slots=True)
class Locked:
    """The locked allocations (accounts by allocation id), all their accounts' names, and when
    the last closed month ended: no entry is dated before that."""

    free: dict[str, sa.Row[Any]]
    known: set[str]
    open_from_ms: int


def lock(
    step: Step, *, allocations: Collection[str] = (), attempts: Collection[str] = ()
) -> Locked:
    """Lock allocations, given by id or by attempts on hold, in one fixed order. One query."""
    if attempts:
        rows = step.rows(_LOCK_OF_ATTEMPTS, attempts=attempts)
    else:
        names = [account(AccountKind.ALLOCATION, name) for name in allocations]
        rows = step.rows(_LOCK_NAMED, names=names)
    free = {row.allocation_id: row for row in rows if row.kind == AccountKind.ALLOCATION}
    first = rows[0].open_from_ms if rows else None
    return Locked(free, {row.id for row in rows}, first or 0)


def create(step: Step, rows: list[dict[str, Any]]) -> None:
    """Open accounts at balance zero; those that are there stay as they are."""
    blank = {"allocation_id": None, "offer_id": None, "owner": None, "project_id": None}
    step.add_new(accounts, [{**blank, **row, "balance_s": 0} for row in rows])


class Posting:
    """Entries to be written together, and what they change."""

    def __init__(self, step: Step, locked: Locked) -> None:
        self._step = step
        self._at_ms = max(step.now_ms, locked.open_from_ms)
        self._open_from_ms = locked.open_from_ms
        self._rows: list[dict[str, Any]] = []
        self._deltas: dict[str, int] = {}
        self._strict: set[str] = set()

    def entry(self, kind: EntryKind, debit: str, credit: str, amount_s: int, **facts: Any) -> None:
        """Move `amount_s` from `debit` to `credit`; `facts` are the entry's other columns."""
        assert amount_s > 0, "an entry moves something"
        blank = {"attempt": None, "part": None, "record": None, "month": None, "corrects": None}
        row = {"at_ms": self._at_ms, "kind": str(kind), "amount_s": amount_s}
        self._rows.append(
            {**blank, **facts, **row, "debit_account": debit, "credit_account": credit}
        )
        self._deltas[debit] = self._deltas.get(debit, 0) - amount_s
        self._deltas[credit] = self._deltas.get(credit, 0) + amount_s
        if kind in _NEVER_BELOW and debit.startswith(f"{AccountKind.ALLOCATION}:"):
            self._strict.add(debit)

    def about(self, month: str) -> dict[str, str]:
        """How an entry says that it is about use of `month`: it counts there while that month is
        open; afterwards it counts in the month of its own date, and names the one it corrects."""
        if not month or month >= month_at(self._at_ms):
            return {}
        return {"month" if month_bounds_ms(month)[1] > self._open_from_ms else "corrects": month}

    def write(self) -> None:
        """Add the entries and change the balances. Two statements, whatever the number."""
        if not self._rows:
            return
        self._step.add(entries, self._rows)
        changes = [
            {"account": name, "delta": delta, "least": self._least(name, delta)}
            for name, delta in sorted(self._deltas.items())
            if delta
        ]
        changed = self._step.conn.execute(_CHANGE, changes).rowcount if changes else 0
        if changed != len(changes):
            raise Conflict("a balance changed meanwhile, or an account is missing")

    def _least(self, name: str, delta: int) -> int:
        bounded = name in self._strict or not name.startswith(
            tuple(f"{kind}:" for kind in _MAY_BE_NEGATIVE)
        )
        return 0 if bounded and delta < 0 else _NO_FLOOR


_CHANGE = (
    sa.update(accounts)
    .where(
        accounts.c.id == sa.bindparam("account"),
        accounts.c.balance_s + sa.bindparam("delta", type_=sa.BigInteger)
        >= sa.bindparam("least", type_=sa.BigInteger),
    )
    .values(balance_s=accounts.c.balance_s + sa.bindparam("delta", type_=sa.BigInteger))
)
