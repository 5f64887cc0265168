"""The ledger's verbs: hold, settle, void, correct. Double entry, integers, nothing ever edited.

Every verb takes many at once and needs a fixed number of statements. Repeating a verb changes
nothing. Who may do what is asked above; dates of allocations belong to `hub.calls`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import sqlalchemy as sa

from meyrin.domain.errors import Conflict, NotFound
from meyrin.domain.ledger import (
    FACILITY,
    AccountKind,
    Balance,
    Cost,
    EntryKind,
    Hold,
    Settled,
    Settlement,
    Source,
    check_amount,
    check_reason,
    plain_reason,
)
from meyrin.domain.site import OwnerShare
from meyrin.hub.ledger import store
from meyrin.hub.ledger.book import Book
from meyrin.hub.ledger.check import CLOSE_AFTER_MS, Finding, close_month, verify
from meyrin.hub.ledger.moving import (
    account_of,
    facts_of,
    opened_share,
    reclaim,
    sources,
    transfer,
    used_by_day,
)
from meyrin.hub.ledger.statement import Statement, entries, owners, statement
from meyrin.hub.ledger.store import Posting, Trail, accounts
from meyrin.hub.plumbing.database import Step

__all__ = [
    "CLOSE_AFTER_MS",
    "FACILITY",
    "Balance",
    "Cost",
    "Finding",
    "Hold",
    "Settled",
    "Settlement",
    "Source",
    "Statement",
    "attempt_cost",
    "balances",
    "close_month",
    "correct",
    "costs_by_type",
    "entries",
    "expire",
    "grant",
    "hold",
    "lock_of",
    "open_allocation",
    "owners",
    "promise",
    "promised",
    "reclaim",
    "release",
    "settle",
    "sources",
    "statement",
    "transfer",
    "used_by_day",
    "verify",
    "void",
    "with_free",
    "withdraw",
]


# --- allocations


def open_allocation(step: Step, allocation_id: str, project_id: str, charged_type: str) -> None:
    """Open the accounts of an allocation, all at zero. Again: nothing changes. One statement."""
    common = {
        "allocation_id": allocation_id,
        "project_id": project_id,
        "charged_type": charged_type,
    }
    kinds = (AccountKind.ALLOCATION, AccountKind.HOLD, AccountKind.EXPIRED)
    store.create(
        step,
        [{"id": store.account(kind, allocation_id), "kind": str(kind), **common} for kind in kinds],
    )


def grant(
    step: Step, allocation_id: str, amount_s: int, reason: str, source: Source = FACILITY
) -> None:
    """Give an allocation `amount_s` out of the share of `source`. Each call grants anew."""
    check_amount(amount_s)
    check_reason(reason)
    locked = store.lock(step, allocations=[allocation_id])
    free = account_of(locked, allocation_id)
    share = opened_share(step, free.charged_type, source)
    posting = Posting(step, locked)
    posting.entry(EntryKind.GRANT, share, free.id, amount_s, reason=reason, **facts_of(free))
    posting.write()


def promise(
    step: Step, allocation_id: str, amount_s: int, reason: str, source: Source = FACILITY
) -> None:
    """Set `amount_s` of a share aside for later tranches of an allocation: not usable yet."""
    check_amount(amount_s)
    check_reason(reason)
    locked = store.lock(step, allocations=[allocation_id])
    free = account_of(locked, allocation_id)
    share, tranche = opened_share(step, free.charged_type, source), _tranche(step, free)
    posting = Posting(step, locked)
    posting.entry(EntryKind.PROMISE, share, tranche, amount_s, reason=reason, **facts_of(free))
    posting.write()


def release(step: Step, allocation_id: str, amount_s: int, reason: str) -> None:
    """Make `amount_s` of what was promised usable. Conflict when less than that is promised."""
    check_amount(amount_s)
    check_reason(reason)
    locked = store.lock(step, allocations=[allocation_id])
    free = account_of(locked, allocation_id)
    tranche = store.account(AccountKind.TRANCHE, allocation_id)
    posting = Posting(step, locked)
    posting.entry(EntryKind.RELEASE, tranche, free.id, amount_s, reason=reason, **facts_of(free))
    posting.write()


def withdraw(
    step: Step, allocation_id: str, amount_s: int, reason: str, source: Source = FACILITY
) -> None:
    """Give `amount_s` of what was promised back to the share that it came from."""
    check_amount(amount_s)
    check_reason(reason)
    locked = store.lock(step, allocations=[allocation_id])
    free = account_of(locked, allocation_id)
    tranche = store.account(AccountKind.TRANCHE, allocation_id)
    posting = Posting(step, locked)
    share = opened_share(step, free.charged_type, source)
    posting.entry(EntryKind.WITHDRAW, tranche, share, amount_s, reason=reason, **facts_of(free))
    posting.write()


def promised(step: Step, allocation_ids: Collection[str]) -> dict[str, int]:
    """What is promised and not released of each allocation, where that is anything. One query."""
    a = accounts.c
    statement = sa.select(a.allocation_id, a.balance_s).where(
        step.among(a.allocation_id, allocation_ids),
        a.kind == str(AccountKind.TRANCHE),
        a.balance_s > 0,
    )
    return {row.allocation_id: int(row.balance_s) for row in step.rows(statement)}


def expire(step: Step, allocation_ids: Collection[str], reason: str) -> dict[str, int]:
    """Take what is free in these allocations out of use; returns how much, where any was."""
    locked = store.lock(step, allocations=sorted(set(allocation_ids)))
    posting = Posting(step, locked)
    taken = {name: row.balance_s for name, row in locked.free.items() if row.balance_s > 0}
    for name, amount_s in taken.items():
        row = locked.free[name]
        target = store.account(AccountKind.EXPIRED, name)
        facts = facts_of(row)
        posting.entry(
            EntryKind.EXPIRE, row.id, target, amount_s, reason=plain_reason(reason), **facts
        )
    posting.write()
    return taken


def balances(step: Step, allocation_ids: Collection[str]) -> dict[str, Balance]:
    """What is granted, free, held, used and expired of each allocation. One query."""
    parts: dict[str, dict[str, int]] = {}
    for row in store.sums(step, allocation_ids):
        parts.setdefault(row.allocation_id, {})[row.kind] = int(row.amount_s)
    return {name: _balance(sums) for name, sums in parts.items()}


def with_free(step: Step) -> list[str]:
    """The allocations that have something free."""
    a = accounts.c
    statement = sa.select(a.allocation_id).where(
        a.kind == str(AccountKind.ALLOCATION), a.balance_s > 0
    )
    return [row.allocation_id for row in step.rows(statement)]


# --- attempts


def hold(step: Step, holds: Sequence[Hold]) -> frozenset[str]:
    """Set hours aside for attempts; returns those for which there was not enough.

    Of an allocation that can't carry all, as many as fit are held in the order given. A hold
    that stands already is left as it is. At most four statements.
    """
    if not holds:
        return frozenset()
    _distinct([each.attempt for each in holds])
    for each in holds:
        check_amount(each.amount_s)
    locked = store.lock(step, allocations=sorted({each.allocation_id for each in holds}))
    free = {name: row.balance_s for name, row in locked.free.items()}
    before = store.trails(step, [each.attempt for each in holds])
    posting = Posting(step, locked)
    short = set()
    for each in holds:
        row = account_of(locked, each.allocation_id)
        if each.attempt in before:
            _same_hold(each, before[each.attempt])
        elif free[each.allocation_id] < each.amount_s:
            short.add(each.attempt)
        else:
            free[each.allocation_id] -= each.amount_s
            target = store.account(AccountKind.HOLD, each.allocation_id)
            facts = facts_of(row) | {"attempt": each.attempt, "part": 0, "reason": "placed"}
            posting.entry(EntryKind.HOLD, row.id, target, each.amount_s, **facts)
    posting.write()
    return frozenset(short)


def settle(step: Step, settlements: Sequence[Settlement]) -> Settled:
    """Charge attempts for what they used; the unused rest of each hold goes back.

    Use beyond the hold is taken from the allocation, below zero if need be. An attempt that was
    voided and ran all the same is charged too. Four statements, and one more where an owner
    delivers to an allocation for the first time.
    """
    if not settlements:
        return Settled()
    attempts = [each.attempt for each in settlements]
    _distinct(attempts)
    locked = store.lock(step, attempts=attempts)
    book = Book(step, locked, store.trails(step, attempts))
    new: set[str] = set()
    repeated: set[str] = set()
    different: set[str] = set()
    for each in settlements:
        trail = book.trails.get(each.attempt)
        if trail is None:
            continue
        if not trail.charged and (trail.held_s or each.used_s):
            new.add(each.attempt)
            book.settle(each)
        else:
            (repeated if trail.used_s == each.used_s else different).add(each.attempt)
    book.write()
    return Settled(
        frozenset(new),
        frozenset(repeated),
        frozenset(different),
        frozenset(attempts) - frozenset(book.trails),
        book.overdrawn,
    )


def lock_of(step: Step, attempts: Collection[str]) -> None:
    """Lock what these attempts are paid from; before several verbs on them in one step, for each
    by itself keeps the order of locks only among its own. One statement."""
    store.lock(step, attempts=attempts)


def void(step: Step, attempts: Collection[str], reason: str) -> frozenset[str]:
    """Give back what is on hold for these attempts; returns those that had something.

    Attempts that were settled, voided or never held are left as they are. Four statements.
    """
    names = list(dict.fromkeys(attempts))
    if not names:
        return frozenset()
    locked = store.lock(step, attempts=names)
    book = Book(step, locked, store.trails(step, names))
    held = [name for name in names if name in book.trails and book.trails[name].held_s > 0]
    for name in held:
        book.give_back(name, reason)
    book.write()
    return frozenset(held)


def correct(
    step: Step,
    attempt: str,
    used_s: int,
    shares: tuple[OwnerShare, ...],
    offer_id: str,
    reason: str,
    ended_ms: int | None = None,
) -> bool:
    """Make `used_s` what the attempt was charged, by entries for the difference; True if any.

    What is still on hold is settled. What more is charged may take the allocation below zero.
    """
    settlement = Settlement(attempt, used_s, shares, offer_id, reason, ended_ms=ended_ms)
    locked = store.lock(step, attempts=[attempt])
    book = Book(step, locked, store.trails(step, [attempt]))
    if attempt not in book.trails:
        raise NotFound(f"attempt {attempt} has never been on hold", attempt=attempt)
    if book.trails[attempt].held_s and not book.trails[attempt].charged:
        book.settle(settlement)
    else:
        book.correct(settlement)
    return book.write()


def attempt_cost(step: Step, attempts: Collection[str]) -> dict[str, Cost]:
    """What each attempt holds and was charged; those never held are missing. One query."""
    return {
        name: Cost(trail.allocation_id, trail.charged_type, trail.held_s, trail.used_s)
        for name, trail in store.trails(step, attempts).items()
    }


def costs_by_type(step: Step, attempts: Collection[str]) -> list[tuple[str, int, int]]:
    """Charged type, seconds on hold and seconds charged of all these attempts together."""
    return store.costs_by_type(step, attempts)


# --- small checks


def _distinct(attempts: Sequence[str]) -> None:
    assert len(set(attempts)) == len(attempts), "an attempt comes once in a call"


def _tranche(step: Step, free: sa.Row[tuple[object, ...]]) -> str:
    """The account of what is promised to an allocation, opened where it is new."""
    name = store.account(AccountKind.TRANCHE, free.allocation_id)
    facts = facts_of(free)
    store.create(step, [{"id": name, "kind": str(AccountKind.TRANCHE), **facts}])
    return name


def _same_hold(each: Hold, trail: Trail) -> None:
    """The hold that stands is the one that is asked for; else Conflict."""
    if trail.held_s != each.amount_s or trail.allocation_id != each.allocation_id:
        raise Conflict(
            f"attempt {each.attempt} holds {trail.held_s} s of {trail.allocation_id}",
            hint="an attempt is held once; a new try is a new attempt",
            attempt=each.attempt,
        )


def _balance(sums: Mapping[str, int]) -> Balance:
    return Balance(
        granted_s=sum(sums.values()),
        free_s=sums.get(AccountKind.ALLOCATION, 0),
        held_s=sums.get(AccountKind.HOLD, 0),
        used_s=sums.get(AccountKind.DELIVERED, 0),
        expired_s=sums.get(AccountKind.EXPIRED, 0),
    )
