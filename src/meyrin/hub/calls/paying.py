"""Which allocation pays for an attempt, or why none can.

A project may have several of a type. Of those with enough free that are not paused, the one that
ends first pays, and one attempt is always paid by one allocation. What is on hold stays so: a
pause stops what is new.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from meyrin.domain.refusal import Reason, Refusal
from meyrin.engine.model import Funds
from meyrin.hub.calls import store
from meyrin.hub.calls.service import PAID, Allocation, of_row
from meyrin.hub.ledger import service as ledger
from meyrin.hub.plumbing.database import Step


def funds(step: Step, project_ids: Collection[str]) -> tuple[Funds, ...]:
    """One row per allocation, for the engine: also those to come, and the last that ended.

    Of allocations that are over, the last of a project and type is given only where there is no
    other, so that the engine can say that it ended. Two queries.
    """
    found = store.of_projects(step, project_ids)
    waiting = _waiting(found)
    rows = [of_row(row) for row in found]
    shown: list[Allocation] = []
    kinds: defaultdict[tuple[str, str], list[Allocation]] = defaultdict(list)
    for row in rows:
        kinds[row.project_id, row.charged_type].append(row)
    for same in kinds.values():
        live = [each for each in same if each.over_s > step.now_s]
        shown += live or [max(same, key=lambda each: each.over_s)]
    balances = ledger.balances(step, [each.id for each in shown])
    return tuple(
        Funds(
            each.project_id,
            each.charged_type,
            balances[each.id].free_s,
            balances[each.id].held_s,
            each.start_s,
            each.over_s,
            *waiting.get(each.id, (0, "")),
            paused=each.paused.words if each.paused else "",
            paid=each.door == PAID,
        )
        for each in shown
    )


def payers(step: Step) -> list[str]:
    """The projects that can only pay: a paid allocation is current, and no entitled one is."""
    return store.only_paying(step)


def allocate(
    step: Step,
    wants: Sequence[tuple[str, str, str, int]],
    *,
    entitled: frozenset[str] = frozenset(),
) -> dict[str, str | Refusal]:
    """Which allocation pays for each attempt, or why none can.

    Each want is (attempt, project, charged type, seconds). What earlier wants take is gone for
    later ones. `entitled` are attempts that were placed as entitled work: no paid hours carry
    them. Nothing is held yet: `ledger.hold` does that. Two queries.
    """
    if not wants:
        return {}
    found = store.of_projects(step, {want[1] for want in wants})
    waiting = _waiting(found)
    rows = [of_row(row) for row in found]
    balances = ledger.balances(step, [row.id for row in rows if row.over_s > step.now_s])
    free = {name: balance.free_s for name, balance in balances.items()}
    held = {name: balance.held_s for name, balance in balances.items()}
    by_kind: defaultdict[tuple[str, str], list[Allocation]] = defaultdict(list)
    for row in rows:
        by_kind[row.project_id, row.charged_type].append(row)
    result: dict[str, str | Refusal] = {}
    for attempt, project_id, charged_type, amount_s in wants:
        mine = by_kind[project_id, charged_type]
        if attempt in entitled:
            mine = [each for each in mine if each.door != PAID]
        payer = _payer(mine, free, amount_s, step.now_s)
        if payer is None:
            result[attempt] = _why_not(
                mine, (free, held), waiting, charged_type, amount_s, step.now_s
            )
        else:
            free[payer] -= amount_s
            held[payer] += amount_s
            result[attempt] = payer
    return result


# --- inside


def _payer(
    mine: Sequence[Allocation], free: dict[str, int], amount_s: int, now_s: int
) -> str | None:
    """Of those with enough, entitled before paid, then the one that ends first, as
    `engine.admission.payer_of` chooses."""
    enough = [
        each
        for each in mine
        if each.start_s <= now_s < each.over_s and free[each.id] >= amount_s and not each.paused
    ]
    if not enough:
        return None

    def turn(each: Allocation) -> tuple[bool, int, int, int, str]:
        return each.door == PAID, each.over_s, each.start_s, free[each.id], each.id

    return min(enough, key=turn).id


def _why_not(
    mine: Sequence[Allocation],
    amounts: tuple[dict[str, int], dict[str, int]],
    waiting: dict[str, tuple[int, str]],
    charged_type: str,
    amount_s: int,
    now_s: int,
) -> Refusal:
    lasting = [each for each in mine if each.start_s <= now_s < each.over_s]
    current = [each for each in lasting if not each.paused]
    if not lasting:
        return _none_now(mine, charged_type, now_s)
    if not current:
        return _paused(lasting, charged_type)
    free, held = amounts
    ever = {each.id: free[each.id] + held[each.id] for each in lasting}
    ever_s = max(ever[each.id] for each in current)
    if ever_s >= amount_s:
        limit = max(free[each.id] for each in current)
        return Refusal(Reason.BALANCE_HELD, asked=amount_s, limit=limit)
    coming = {
        each.id: waiting[each.id][1]
        for each in current
        if each.id in waiting and ever[each.id] + waiting[each.id][0] >= amount_s
    }
    if coming:
        return Refusal(Reason.TRANCHE_WAITS, asked=amount_s, limit=min(coming.values()))
    could = [each for each in lasting if each.paused and ever[each.id] >= amount_s]
    if could:
        return _paused(could, charged_type)
    return Refusal(Reason.BALANCE, asked=amount_s, limit=ever_s)


def _none_now(mine: Sequence[Allocation], charged_type: str, now_s: int) -> Refusal:
    to_come = [each.start_s for each in mine if now_s < each.start_s]
    if to_come or not mine:
        start_s = min(to_come, default=None)
        return Refusal(Reason.NO_ALLOCATION, asked=charged_type, limit=start_s)
    last_s = max(each.over_s for each in mine)
    return Refusal(Reason.ALLOCATION_ENDED, asked=charged_type, limit=last_s)


def _paused(these: Sequence[Allocation], charged_type: str) -> Refusal:
    words = min(each.paused.words for each in these if each.paused)
    return Refusal(Reason.ALLOCATION_PAUSED, asked=charged_type, limit=words)


def _waiting(rows: Sequence[sa.Row[Any]]) -> dict[str, tuple[int, str]]:
    """Of allocations with a tranche to come: what it brings, and what it waits for."""
    return {
        row.id: (row.next_s, f"gate {row.next_gate}" if row.next_gate else _day(row.next_from_s))
        for row in rows
        if row.next_s is not None
    }


def _day(at_s: int) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%d}"
