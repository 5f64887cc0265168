"""Draws up the entries that settle, void and correct attempts. Writes them all at once, at the end.

Every attempt has its own trail; what an allocation has free is followed along, so that the entry
that takes it below zero says so.
"""

from __future__ import annotations

from meyrin.domain.errors import InvalidInput
from meyrin.domain.ledger import (
    MAX_AMOUNT_S,
    AccountKind,
    EntryKind,
    Settlement,
    month_at,
    plain_reason,
    split,
)
from meyrin.hub.ledger import store
from meyrin.hub.ledger.store import Locked, Posting, Trail
from meyrin.hub.plumbing.database import Step


class Book:
    """The trails of some attempts under the lock, and what is being added to them."""

    def __init__(self, step: Step, locked: Locked, trails: dict[str, Trail]) -> None:
        self.trails = trails
        self.overdrawn: dict[str, int] = {}
        self._step = step
        self._known = locked.known
        self._free = {name: row.balance_s for name, row in locked.free.items()}
        self._opened: dict[str, dict[str, str]] = {}
        self._posting = Posting(step, locked)
        self._some = False

    def settle(self, each: Settlement) -> None:
        trail = self.trails[each.attempt]
        for target, amount_s in self._targets(each).items():
            from_hold = min(amount_s, trail.held_s)
            if from_hold:
                source = store.account(AccountKind.HOLD, trail.allocation_id)
                self._entry(EntryKind.SETTLE, each, (source, target), from_hold)
            if amount_s > from_hold:
                self._take_free(EntryKind.SETTLE, each, target, amount_s - from_hold)
        if trail.held_s:
            self.give_back(each.attempt, "not used")

    def correct(self, each: Settlement) -> None:
        trail = self.trails[each.attempt]
        free = store.account(AccountKind.ALLOCATION, trail.allocation_id)
        wanted = self._targets(each)
        changes = {
            name: wanted.get(name, 0) - trail.used.get(name, 0)
            for name in sorted(wanted.keys() | trail.used.keys())
        }
        for name, delta in changes.items():
            if delta < 0:
                self._entry(EntryKind.CORRECT, each, (name, free), -delta)
                self._free[trail.allocation_id] -= delta
        for name, delta in changes.items():
            if delta > 0:
                self._take_free(EntryKind.CORRECT, each, name, delta)

    def give_back(self, attempt: str, reason: str) -> None:
        trail = self.trails[attempt]
        source = store.account(AccountKind.HOLD, trail.allocation_id)
        target = store.account(AccountKind.ALLOCATION, trail.allocation_id)
        amount_s = trail.held_s
        note = Settlement(attempt, 0, (), "", reason)
        self._entry(EntryKind.VOID, note, (source, target), amount_s)
        self._free[trail.allocation_id] += amount_s

    def write(self) -> bool:
        """Write everything; False where there was nothing to write."""
        if self._opened:
            store.create(self._step, [self._opened[name] for name in sorted(self._opened)])
        self._posting.write()
        return self._some

    def _targets(self, each: Settlement) -> dict[str, int]:
        """Seconds by delivered account, those at zero left out; opens what is missing."""
        if not 0 <= each.used_s <= MAX_AMOUNT_S:
            raise InvalidInput(f"an attempt can't have used {each.used_s} seconds")
        trail = self.trails[each.attempt]
        result = {}
        for owner, amount_s in split(each.attempt, each.used_s, each.shares).items():
            if amount_s == 0:
                continue
            name = store.delivered_account(trail.allocation_id, each.offer_id, owner)
            result[name] = amount_s
            if name not in self._known:
                self._opened[name] = {
                    "id": name,
                    "kind": str(AccountKind.DELIVERED),
                    "charged_type": trail.charged_type,
                    "allocation_id": trail.allocation_id,
                    "offer_id": each.offer_id,
                    "owner": owner,
                    "project_id": trail.project_id,
                }
        return result

    def _take_free(self, kind: EntryKind, each: Settlement, target: str, amount_s: int) -> None:
        """Charge the allocation itself, and say so where that takes it below zero."""
        trail = self.trails[each.attempt]
        source = store.account(AccountKind.ALLOCATION, trail.allocation_id)
        self._free[trail.allocation_id] -= amount_s
        below = min(amount_s, -self._free[trail.allocation_id])
        words = " (beyond the hold)" if kind is EntryKind.SETTLE else ""
        if below > 0:
            self.overdrawn[each.attempt] = self.overdrawn.get(each.attempt, 0) + below
            words = f" ({below} s beyond the allocation)"
        self._entry(kind, each, (source, target), amount_s, words)

    def _entry(
        self,
        kind: EntryKind,
        each: Settlement,
        sides: tuple[str, str],
        amount_s: int,
        words: str = "",
    ) -> None:
        """`sides` are the debit and the credit account."""
        debit, credit = sides
        trail = self.trails[each.attempt]
        self._some = True
        month = "" if kind is EntryKind.VOID else _month_of_use(each, trail)
        self._posting.entry(
            kind,
            debit,
            credit,
            amount_s,
            charged_type=trail.charged_type,
            allocation_id=trail.allocation_id,
            project_id=trail.project_id,
            attempt=each.attempt,
            part=trail.parts,
            reason=plain_reason(each.reason + words),
            record=each.record or None,
            **self._posting.about(month),
        )
        trail.take(kind, debit, credit, amount_s)


def _month_of_use(each: Settlement, trail: Trail) -> str:
    """Of which month the use is: the one that was charged before, else the one it ended in.

    A site's clock is not believed where it says that the use ended before it was held.
    """
    if trail.charged_month:
        return trail.charged_month
    return "" if each.ended_ms is None else month_at(max(each.ended_ms, trail.held_ms))
