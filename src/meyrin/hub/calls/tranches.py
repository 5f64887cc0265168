"""Tranches: an allocation that comes in parts, by date and through gates.

What is not released yet is *promised*: it lies in an account of its own, so it can neither be
used nor promised twice. Only the next tranche of an allocation can change, by its date or by a
gate's decision, and each decision counts once.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from meyrin.domain.errors import InvalidInput
from meyrin.domain.ledger import FACILITY, Source, check_amount, plain_reason
from meyrin.domain.tranche import Action, State, given_s
from meyrin.domain.units import show_moment
from meyrin.hub.calls import service, store
from meyrin.hub.ledger import service as ledger
from meyrin.hub.plumbing import world
from meyrin.hub.plumbing.database import Step

MOST = 24
_ENDED = "the allocation ended"


@dataclass(frozen=True, slots=True)
class Part:
    """One part of an award: from when on, and through which gate ("" for none).

    `reviewer` is the public key of the person whose signature a plan of this gate needs, and
    `family` the models that the plan is for.
    """

    amount_s: int
    from_s: int
    gate: str = ""
    family: str = ""
    reviewer: str = ""


@dataclass(frozen=True, slots=True)
class Tranche:
    """A part of an allocation. `given_s` is what was released of it, or will be at its date."""

    allocation_id: str
    number: int
    amount_s: int
    from_s: int
    gate: str
    family: str
    reviewer: str
    source: Source
    state: State
    given_s: int
    decision: str | None
    decided_ms: int | None
    reason: str

    @property
    def promised_s(self) -> int:
        """What of it is still promised."""
        return {State.WAITING: self.amount_s, State.DUE: self.given_s}.get(self.state, 0)


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a gate decided about the next tranche, as the room that keeps decisions says it."""

    decision: str
    project_id: str
    gate: str
    family: str
    reviewer: str
    action: Action
    shrink_percent: int
    reason: str


def award(
    step: Step,
    project_id: str,
    charged_type: str,
    parts: Sequence[Part],
    *,
    start_s: int,
    end_s: int,
    reason: str,
    source: Source = FACILITY,
    mode: str = "",
    door: str = service.ENTITLED,
) -> service.Allocation:
    """A new allocation in parts. What is due and has no gate is released at once."""
    _check(parts, start_s, end_s)
    total_s = sum(part.amount_s for part in parts)
    made = service.award(
        step,
        project_id,
        charged_type,
        total_s,
        start_s=start_s,
        end_s=end_s,
        reason=reason,
        source=source,
        promised=True,
        mode=mode,
        door=door,
    )
    rows = [
        {
            "allocation_id": made.id,
            "number": number,
            "amount_s": part.amount_s,
            "from_s": part.from_s,
            "gate": part.gate,
            "family": part.family,
            "reviewer": part.reviewer,
            "owner": source.owner,
            "offer_id": source.offer_id,
            "state": str(State.WAITING if part.gate else State.DUE),
            "given_s": 0 if part.gate else part.amount_s,
            "reason": "",
        }
        for number, part in enumerate(parts, start=1)
    ]
    step.add(store.tranches, rows)
    _release(step, [_tranche(row) for row in store.tranches_of(step, [made.id])])
    return made


def of(step: Step, allocation_ids: Collection[str]) -> dict[str, list[Tranche]]:
    """The tranches of these allocations, in order; those without any are missing. One query."""
    found: dict[str, list[Tranche]] = {}
    for row in store.tranches_of(step, allocation_ids):
        found.setdefault(row.allocation_id, []).append(_tranche(row))
    return found


def upcoming(tranches: Sequence[Tranche]) -> Tranche | None:
    """The one that comes next, if any is still to come."""
    return next((each for each in tranches if each.state in (State.WAITING, State.DUE)), None)


def apply(step: Step, ruling: Ruling) -> list[Tranche]:
    """Let a gate's decision act on the next tranche of each allocation that waits for it.

    The same decision again changes nothing. Returns the tranches that it acted on.
    """
    before = store.tranches_by_decision(step, ruling.decision)
    if before:
        return [_tranche(row) for row in before]
    acted = []
    waiting = store.tranches_at_gate(step, ruling.project_id, ruling.gate, ruling.family)
    open_now = of(step, {row.allocation_id for row in waiting})
    for _, tranches in sorted(open_now.items()):
        following = upcoming(tranches)
        if following is not None and _stands_at(following, ruling):
            acted += _act(step, ruling, [t for t in tranches if t.number >= following.number])
    if acted:
        step.ring(world.BROKER)
    return acted


def sweep(step: Step) -> int:
    """Release what has come due; take back what an allocation that is over still promised.

    A periodic step; returns how many tranches changed.
    """
    due = [_tranche(row) for row in store.tranches_due(step)]
    released = _release(step, due)
    over = [_tranche(row) for row in store.tranches_over(step)]
    for each in over:
        _settle(step, each, State.STOPPED, 0, _ENDED)
        ledger.withdraw(step, each.allocation_id, each.promised_s, _ENDED, each.source)
    return released + len(over)


# --- inside


def _stands_at(tranche: Tranche, ruling: Ruling) -> bool:
    """Whether it waits for this decision: one that has passed waits for its date alone."""
    asked = (ruling.gate, ruling.family, ruling.reviewer)
    return tranche.state is State.WAITING and asked == (
        tranche.gate,
        tranche.family,
        tranche.reviewer,
    )


def _act(step: Step, ruling: Ruling, rest: Sequence[Tranche]) -> list[Tranche]:
    """`rest` are the tranche at the gate and those after it."""
    first = rest[0]
    reason = plain_reason(f"tranche {first.number}: {ruling.reason}")
    if ruling.action is Action.HOLD:
        _settle(step, first, State.WAITING, 0, reason, ruling.decision)
    elif ruling.action is Action.STOP:
        for each in rest:
            _settle(step, each, State.STOPPED, 0, reason, ruling.decision)
            ledger.withdraw(step, each.allocation_id, each.promised_s, reason, each.source)
    else:
        given = given_s(first.amount_s, ruling.action, ruling.shrink_percent)
        _settle(step, first, State.DUE, given, reason, ruling.decision)
        if given < first.amount_s:
            left_s = first.amount_s - given
            ledger.withdraw(step, first.allocation_id, left_s, reason, first.source)
        elif given > first.amount_s:
            more_s = given - first.amount_s
            ledger.promise(step, first.allocation_id, more_s, reason, first.source)
            service.count_more(step, first.allocation_id, more_s)
    _release(step, [_tranche(row) for row in store.tranches_due(step, first.allocation_id)])
    return [_tranche(row) for row in store.tranches_by_decision(step, ruling.decision)]


def _release(step: Step, due: Sequence[Tranche]) -> int:
    """Release each that is due and comes next; dates of later ones wait for earlier ones."""
    released = 0
    for each in due:
        if each.state is not State.DUE or each.from_s > step.now_s:
            continue
        earlier = [
            t for t in of(step, [each.allocation_id])[each.allocation_id] if t.number < each.number
        ]
        if upcoming(earlier) is not None:
            continue
        reason = each.reason or f"tranche {each.number}: its date has come"
        _settle(step, each, State.RELEASED, each.given_s, reason, each.decision)
        ledger.release(step, each.allocation_id, each.given_s, reason)
        released += 1
    if released:
        step.ring(world.BROKER)
    return released


def _settle(
    step: Step,
    tranche: Tranche,
    state: State,
    given: int,
    reason: str,
    decision: str | None = None,
) -> None:
    """Change a tranche that is still to come; Conflict when it is not any more."""
    store.change_tranche(
        step,
        tranche.allocation_id,
        tranche.number,
        {
            "state": str(state),
            "given_s": given,
            "reason": plain_reason(reason),
            "decision": decision if decision is not None else tranche.decision,
            "decided_ms": step.now_ms,
        },
    )


def _check(parts: Sequence[Part], start_s: int, end_s: int) -> None:
    if not 1 <= len(parts) <= MOST:
        raise InvalidInput(f"an allocation has 1 to {MOST} tranches", field="tranches")
    last_s = start_s
    for number, part in enumerate(parts, start=1):
        check_amount(part.amount_s)
        if not last_s <= part.from_s < end_s:
            raise InvalidInput(
                f"tranche {number} can't begin at {show_moment(part.from_s)}",
                hint=f"from {show_moment(last_s)} on, where the allocation or the tranche before it"
                f" begins, and before {show_moment(end_s)}",
                field="tranches",
            )
        last_s = part.from_s
        named = (bool(part.gate), bool(part.family), bool(part.reviewer))
        if len(set(named)) > 1:
            raise InvalidInput(
                f"tranche {number} needs gate, family and reviewer, or none of them",
                hint="the reviewer is the public key that `meyrin gate key` printed",
                field="tranches",
            )


def _tranche(row: sa.Row[Any]) -> Tranche:
    return Tranche(
        row.allocation_id,
        row.number,
        row.amount_s,
        row.from_s,
        row.gate,
        row.family,
        row.reviewer,
        Source(row.owner, row.offer_id),
        State(row.state),
        row.given_s,
        row.decision,
        row.decided_ms,
        row.reason,
    )
