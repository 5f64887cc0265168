"""Allocations: granted by a rule or awarded, extended, closed; which one pays for an attempt.

An allocation is a granted amount of one charged type from one date to another, never assigned
nodes. A project may have several of a type; the one that ends first among those with enough free
pays, and one attempt is always paid by one allocation.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from meyrin.domain.errors import InvalidInput, NotFound, Refused
from meyrin.domain.ids import new_id
from meyrin.domain.ledger import FACILITY, Balance, Source, check_amount, check_reason
from meyrin.domain.refusal import Reason, Refusal
from meyrin.engine.model import Funds
from meyrin.hub.calls import store
from meyrin.hub.identity import service as identity
from meyrin.hub.ledger import service as ledger
from meyrin.hub.plumbing import world
from meyrin.hub.plumbing.authz import Actor
from meyrin.hub.plumbing.database import Step
from meyrin.hub.plumbing.paging import cut

AWARD = "award"
STARTER = "starter"
_MAX_SECONDS = 2**53


@dataclass(frozen=True, slots=True)
class StarterRule:
    """What a project gets for the asking: `per_project` times of each charged type."""

    amount_s: int
    length_s: int
    per_project: int = 1


@dataclass(frozen=True, slots=True)
class Allocation:
    """`amount_s` is what was granted in all; the balance says what became of it."""

    id: str
    project_id: str
    charged_type: str
    amount_s: int
    start_s: int
    end_s: int
    rule: str
    reason: str
    created_ms: int
    closed_ms: int | None = None

    @property
    def over_s(self) -> int:
        """When it ends or was closed, whichever came first."""
        return self.end_s if self.closed_ms is None else min(self.end_s, self.closed_ms // 1000)


# --- granting


def grant_starter(
    step: Step,
    project_id: str,
    charged_type: str,
    rule: StarterRule,
    source: Source = FACILITY,
) -> Allocation:
    """The project's starter of this type: the one that it has, or a new one by the rule.

    Raises Refused when those that the rule gives are used up or over.
    """
    granted = store.by_rule(step, STARTER, project_id, charged_type)
    if granted:
        last = _allocation(granted[-1])
        balance = ledger.balances(step, [last.id])[last.id]
        live = last.over_s > step.now_s
        if live and balance.free_s + balance.held_s > 0:
            return last
        if len(granted) >= rule.per_project:
            raise _used_up(last, balance, live=live)
    until_s = step.now_s + rule.length_s
    new = _new(step, project_id, charged_type, rule.amount_s, start_s=step.now_s, end_s=until_s)
    reason = f"starter: {rule.amount_s} s for the asking"
    allocation = replace(new, rule=STARTER, reason=reason)
    if not _open(step, allocation, source, turn=len(granted) + 1):
        return _allocation(store.by_rule(step, STARTER, project_id, charged_type)[-1])
    return allocation


def award(
    step: Step,
    project_id: str,
    charged_type: str,
    amount_s: int,
    *,
    start_s: int,
    end_s: int,
    reason: str,
    source: Source = FACILITY,
    promised: bool = False,
) -> Allocation:
    """A new allocation, for a reason that is kept. Each call awards anew.

    What is `promised` can't be used before `hub.calls.tranches` releases it.
    """
    check_reason(reason)
    new = _new(step, project_id, charged_type, amount_s, start_s=start_s, end_s=end_s)
    allocation = replace(new, reason=reason)
    _open(step, allocation, source, turn=None, promised=promised)
    return allocation


def count_more(step: Step, allocation_id: str, amount_s: int) -> None:
    """Note that so much more was granted or promised in all; the ledger's entry says why."""
    a = store.allocations.c
    changing = sa.update(store.allocations).where(a.id == allocation_id)
    step.change(changing.values(amount_s=a.amount_s + amount_s))


def extend(
    step: Step,
    allocation_id: str,
    reason: str,
    *,
    end_s: int | None = None,
    amount_s: int = 0,
    source: Source = FACILITY,
) -> Allocation:
    """Let an allocation last longer, or add to it, or both. Raises Refused when it is over."""
    check_reason(reason)
    if end_s is None and not amount_s:
        raise InvalidInput("an allocation gets more time or more hours", hint="say how much more")
    found = allocation(step, allocation_id)
    if found.over_s <= step.now_s:
        raise Refused(
            f"allocation {allocation_id} is over",
            hint="award a new one",
            refusals=(Refusal(Reason.ALLOCATION_ENDED, limit=found.over_s),),
        )
    until_s = found.end_s if end_s is None else end_s
    if until_s < found.end_s or until_s > _MAX_SECONDS:
        raise InvalidInput(f"it ends at {found.end_s} already", hint="give a later end_s")
    if amount_s:
        ledger.grant(step, allocation_id, amount_s, reason, source)
    table = store.allocations
    step.change(
        sa.update(table)
        .where(table.c.id == allocation_id)
        .values(end_s=until_s, amount_s=table.c.amount_s + amount_s)
    )
    step.ring(world.BROKER)
    return replace(found, end_s=until_s, amount_s=found.amount_s + amount_s)


def close(step: Step, allocation_id: str, reason: str) -> Allocation:
    """End an allocation now: what is free expires, what is on hold runs out. Again: no change."""
    check_reason(reason)
    found = allocation(step, allocation_id)
    if found.closed_ms is not None:
        return found
    table = store.allocations
    step.change(
        sa.update(table)
        .where(table.c.id == allocation_id, table.c.closed_ms.is_(None))
        .values(closed_ms=step.now_ms)
    )
    ledger.expire(step, [allocation_id], reason)
    return replace(found, closed_ms=step.now_ms)


def sweep(step: Step) -> dict[str, int]:
    """Expire what is free in allocations that are over; returns the seconds by allocation.

    A periodic step: holds that come back after the end are caught by the next one.
    """
    over = store.ended(step, ledger.with_free(step))
    return ledger.expire(step, over, "the allocation ended") if over else {}


# --- looking


def allocation(step: Step, allocation_id: str) -> Allocation:
    row = store.one(step, allocation_id)
    if row is None:
        raise NotFound(f"there is no allocation {allocation_id}", allocation=allocation_id)
    return _allocation(row)


def allocations_page(
    step: Step, actor: Actor, project: str | None, after: str, limit: int
) -> tuple[list[tuple[Allocation, str, Balance]], str]:
    """One page of the allocations that `actor` may see: each with its project and balance."""
    project_ids: Collection[str] | None = None if actor.admin else list(actor.projects)
    if project:
        project_ids = [identity.project_by_name(step, actor, project).id]
    rows, following = cut(store.listed(step, project_ids, after, limit), limit, "id")
    balances = ledger.balances(step, [row.id for row in rows])
    names = identity.project_names(step, {row.project_id for row in rows})
    shown = [(_allocation(row), names[row.project_id], balances[row.id]) for row in rows]
    return shown, following


def funds(step: Step, project_ids: Collection[str]) -> tuple[Funds, ...]:
    """One row per allocation, for the engine: also those to come, and the last that ended.

    Of allocations that are over, the last of a project and type is given only where there is no
    other, so that the engine can say that it ended. Two queries.
    """
    found = store.of_projects(step, project_ids)
    waiting = _waiting(found)
    rows = [_allocation(row) for row in found]
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
        )
        for each in shown
    )


def allocate(step: Step, wants: Sequence[tuple[str, str, str, int]]) -> dict[str, str | Refusal]:
    """Which allocation pays for each attempt, or why none can.

    Each want is (attempt, project, charged type, seconds). What earlier wants take is gone for
    later ones. Nothing is held yet: `ledger.hold` does that. Two queries.
    """
    if not wants:
        return {}
    found = store.of_projects(step, {want[1] for want in wants})
    waiting = _waiting(found)
    rows = [_allocation(row) for row in found]
    balances = ledger.balances(step, [row.id for row in rows if row.over_s > step.now_s])
    free = {name: balance.free_s for name, balance in balances.items()}
    held = {name: balance.held_s for name, balance in balances.items()}
    by_kind: defaultdict[tuple[str, str], list[Allocation]] = defaultdict(list)
    for row in rows:
        by_kind[row.project_id, row.charged_type].append(row)
    result: dict[str, str | Refusal] = {}
    for attempt, project_id, charged_type, amount_s in wants:
        mine = by_kind[project_id, charged_type]
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


def paid_of(step: Step, allocation_ids: Collection[str]) -> frozenset[str]:
    """Those of these allocations whose holder pays. One query, or none for none."""
    return frozenset(store.paid_among(step, allocation_ids)) if allocation_ids else frozenset()


# --- inside


def _payer(
    mine: Sequence[Allocation], free: dict[str, int], amount_s: int, now_s: int
) -> str | None:
    """The one that ends first among those with enough, as `engine.admission.pay` chooses."""
    enough = [
        each for each in mine if each.start_s <= now_s < each.over_s and free[each.id] >= amount_s
    ]
    if not enough:
        return None
    return min(enough, key=lambda each: (each.over_s, each.start_s, free[each.id], each.id)).id


def _why_not(
    mine: Sequence[Allocation],
    amounts: tuple[dict[str, int], dict[str, int]],
    waiting: dict[str, tuple[int, str]],
    charged_type: str,
    amount_s: int,
    now_s: int,
) -> Refusal:
    free, held = amounts
    current = [each for each in mine if each.start_s <= now_s < each.over_s]
    if not current:
        to_come = [each.start_s for each in mine if now_s < each.start_s]
        if to_come or not mine:
            start_s = min(to_come, default=None)
            return Refusal(Reason.NO_ALLOCATION, asked=charged_type, limit=start_s)
        last_s = max(each.over_s for each in mine)
        return Refusal(Reason.ALLOCATION_ENDED, asked=charged_type, limit=last_s)
    ever_s = max(free[each.id] + held[each.id] for each in current)
    if ever_s < amount_s:
        enough = [
            waiting[each.id][1]
            for each in current
            if each.id in waiting
            and free[each.id] + held[each.id] + waiting[each.id][0] >= amount_s
        ]
        if enough:
            return Refusal(Reason.TRANCHE_WAITS, asked=amount_s, limit=min(enough))
        return Refusal(Reason.BALANCE, asked=amount_s, limit=ever_s)
    limit = max(free[each.id] for each in current)
    return Refusal(Reason.BALANCE_HELD, asked=amount_s, limit=limit)


def _waiting(rows: Sequence[sa.Row[Any]]) -> dict[str, tuple[int, str]]:
    """Of allocations with a tranche to come: what it brings, and what it waits for."""
    return {
        row.id: (row.next_s, f"gate {row.next_gate}" if row.next_gate else _day(row.next_from_s))
        for row in rows
        if row.next_s is not None
    }


def _day(at_s: int) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%d}"


def _new(
    step: Step, project_id: str, charged_type: str, amount_s: int, *, start_s: int, end_s: int
) -> Allocation:
    check_amount(amount_s)
    if not (charged_type.strip() and len(charged_type) <= 64 and charged_type.isprintable()):
        raise InvalidInput(f"{charged_type!r} is no charged type", field="charged_type")
    if not 0 <= start_s < end_s <= _MAX_SECONDS:
        raise InvalidInput(
            f"an allocation can't last from {start_s} to {end_s}",
            hint="seconds since the epoch, the end after the start",
            field="end_s",
        )
    name = new_id("allocation", step.entropy)
    return Allocation(
        name, project_id, charged_type, amount_s, start_s, end_s, AWARD, "", step.now_ms
    )


def _open(
    step: Step, new: Allocation, source: Source, turn: int | None, *, promised: bool = False
) -> bool:
    """Keep the allocation and grant its amount; False when its turn was taken meanwhile."""
    row = {
        "id": new.id,
        "project_id": new.project_id,
        "charged_type": new.charged_type,
        "amount_s": new.amount_s,
        "start_s": new.start_s,
        "end_s": new.end_s,
        "rule": new.rule,
        "reason": new.reason,
        "created_ms": new.created_ms,
        "turn": turn,
    }
    if not step.add_new(store.allocations, [row]):
        return False
    ledger.open_allocation(step, new.id, new.project_id, new.charged_type)
    give = ledger.promise if promised else ledger.grant
    give(step, new.id, new.amount_s, new.reason, source)
    step.ring(world.BROKER)
    return True


def _used_up(last: Allocation, balance: Balance, *, live: bool) -> Refused:
    if live:
        refusal = Refusal(Reason.BALANCE, asked=last.amount_s, limit=balance.free_s)
        words = f"the starter of {last.charged_type} is used up"
    else:
        refusal = Refusal(Reason.ALLOCATION_ENDED, asked=last.charged_type, limit=last.over_s)
        words = f"the starter of {last.charged_type} has ended"
    return Refused(words, refusals=(refusal,), hint="ask for an allocation")


def _allocation(row: sa.Row[Any]) -> Allocation:
    return Allocation(
        row.id,
        row.project_id,
        row.charged_type,
        row.amount_s,
        row.start_s,
        row.end_s,
        row.rule,
        row.reason,
        row.created_ms,
        row.closed_ms,
    )
