"""Allocations: granted by a rule or awarded, extended, closed.

An allocation is a granted amount of one charged type from one date to another, never assigned
nodes. Which of several pays for an attempt is said in `hub.calls.paying`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from meyrin.domain.errors import Conflict, InvalidInput, NotFound, Refused
from meyrin.domain.ids import new_id
from meyrin.domain.ledger import FACILITY, Balance, Source, check_amount, check_reason
from meyrin.domain.refusal import Reason, Refusal
from meyrin.domain.units import LAST_S, show_hours, show_moment
from meyrin.hub.calls import store
from meyrin.hub.identity import service as identity
from meyrin.hub.ledger import service as ledger
from meyrin.hub.plumbing import world
from meyrin.hub.plumbing.authz import Actor
from meyrin.hub.plumbing.database import Step
from meyrin.hub.plumbing.paging import cut

AWARD = "award"
STARTER = "starter"
ENTITLED, PAID = "entitled", "paid"  # the doors by which hours are come by


@dataclass(frozen=True, slots=True)
class StarterRule:
    """What a project gets for the asking: `per_project` times of each charged type."""

    amount_s: int
    length_s: int
    per_project: int = 1


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing new is taken from an allocation until whoever may ends it."""

    since_ms: int
    by: str
    officer: bool
    reason: str

    @property
    def words(self) -> str:
        """Who did it and why, as a job's refusal says it."""
        return f"{self.reason} (by {self.by})"


@dataclass(frozen=True, slots=True)
class Allocation:
    """`amount_s` is what was granted in all; the balance says what became of it.

    `mode` is the way by which it was asked for, where there was one. `door` is entitled (free) or
    paid.
    """

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
    mode: str = ""
    paused: Pause | None = None
    door: str = ENTITLED

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
        last = of_row(granted[-1])
        balance = ledger.balances(step, [last.id])[last.id]
        live = last.over_s > step.now_s
        if live and balance.free_s + balance.held_s > 0:
            return last
        if len(granted) >= rule.per_project:
            raise _used_up(last, balance, live=live)
    until_s = step.now_s + rule.length_s
    new = _new(step, project_id, charged_type, rule.amount_s, start_s=step.now_s, end_s=until_s)
    reason = f"starter: {show_hours(rule.amount_s)} h for the asking"
    allocation = replace(new, rule=STARTER, reason=reason)
    if not _open(step, allocation, source, turn=len(granted) + 1):
        return of_row(store.by_rule(step, STARTER, project_id, charged_type)[-1])
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
    mode: str = "",
    door: str = ENTITLED,
) -> Allocation:
    """A new allocation, for a reason that is kept. Each call awards anew.

    What is `promised` can't be used before `hub.calls.tranches` releases it.
    """
    check_reason(reason)
    new = _new(step, project_id, charged_type, amount_s, start_s=start_s, end_s=end_s)
    allocation = replace(new, reason=reason, mode=mode, door=door)
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
    check_end(found, end_s)
    if amount_s:
        ledger.grant(step, allocation_id, amount_s, reason, source)
    if not store.extend(step, allocation_id, end_s, amount_s):
        raise Conflict(f"{allocation_id} was made to last longer meanwhile", hint="look, ask again")
    step.ring(world.BROKER)
    return allocation(step, allocation_id)


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
    return of_row(row)


def allocations_page(
    step: Step, actor: Actor, project: str | None, after: str, limit: int
) -> tuple[list[tuple[Allocation, str, Balance]], str]:
    """One page of the allocations that `actor` may see: each with its project and balance."""
    found, names, following = visible(step, actor, project, after, limit)
    balances = ledger.balances(step, [each.id for each in found])
    return [(each, names[each.id], balances[each.id]) for each in found], following


def visible(
    step: Step, actor: Actor, project: str | None, after: str, limit: int
) -> tuple[list[Allocation], dict[str, str], str]:
    """One page of the allocations that `actor` may see, and the name of each one's project."""
    project_ids = seen_projects(step, actor, project)
    rows, following = cut(store.listed(step, project_ids, after, limit), limit, "id")
    projects = identity.project_names(step, {row.project_id for row in rows})
    names = {row.id: projects[row.project_id] for row in rows}
    return [of_row(row) for row in rows], names, following


def seen_projects(step: Step, actor: Actor, project: str | None) -> Collection[str] | None:
    """The ids of the projects whose hours `actor` may see: all (None) for administrators and
    programme officers, else one's own; or of the one that is named."""
    sees_all = actor.admin or actor.programme
    if project:
        if sees_all:
            return [identity.project_named(step, project).id]
        return [identity.project_by_name(step, actor, project).id]
    return None if sees_all else list(actor.projects)


def paid_of(step: Step, allocation_ids: Collection[str]) -> frozenset[str]:
    """Those of these allocations whose holder pays. One query, or none for none."""
    return frozenset(store.paid_among(step, allocation_ids)) if allocation_ids else frozenset()


# --- inside


def _new(
    step: Step, project_id: str, charged_type: str, amount_s: int, *, start_s: int, end_s: int
) -> Allocation:
    check_new(charged_type, amount_s, start_s, end_s)
    name = new_id("allocation", step.entropy)
    return Allocation(
        name, project_id, charged_type, amount_s, start_s, end_s, AWARD, "", step.now_ms
    )


def check_new(charged_type: str, amount_s: int, start_s: int, end_s: int) -> None:
    """Raise InvalidInput for what can't be an allocation."""
    check_amount(amount_s)
    if not (charged_type.strip() and len(charged_type) <= 64 and charged_type.isprintable()):
        raise InvalidInput(f"{charged_type!r} is no charged type", field="charged_type")
    if not 0 <= start_s < end_s <= LAST_S:
        raise InvalidInput(
            f"an allocation can't last from {show_moment(start_s)} to {show_moment(end_s)}",
            hint=f"the end after the start, until {show_moment(LAST_S)}",
            field="end_s",
        )


def check_end(found: Allocation, end_s: int | None) -> None:
    """Raise InvalidInput for an end that an extension can't give; None leaves it as it is."""
    if end_s is not None and not found.end_s <= end_s <= LAST_S:
        raise InvalidInput(
            f"it lasts until {show_moment(found.end_s)}, and can't until {show_moment(end_s)}",
            hint=f"give a later end, until {show_moment(LAST_S)}",
            field="end_s",
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
        "mode": new.mode,
        "door": new.door,
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


def of_row(row: sa.Row[Any]) -> Allocation:
    """An allocation as its row says."""
    pause = None
    if row.paused_ms is not None:
        pause = Pause(row.paused_ms, row.paused_by, bool(row.paused_officer), row.paused_reason)
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
        row.mode,
        pause,
        row.door,
    )
