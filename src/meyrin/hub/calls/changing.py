"""Changes of allocations that run: hours moved, dates extended, a pause and its end.

A lead asks, an officer decides with a reason; an officer may also act at once. Each change has a
key: sent twice it is one change. What was decided stays as a row, with who and why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from meyrin.domain.errors import Conflict, InvalidInput, NotAllowed, NotFound, Refused
from meyrin.domain.ids import new_id
from meyrin.domain.ledger import FACILITY, Source, check_amount, check_reason
from meyrin.domain.refusal import Reason, Refusal
from meyrin.domain.units import show_moment
from meyrin.hub.calls import changes_store, giving_back, reclaiming, service, store
from meyrin.hub.calls.modes.file import Mode
from meyrin.hub.calls.service import Allocation
from meyrin.hub.identity import service as identity
from meyrin.hub.ledger import service as ledger
from meyrin.hub.plumbing import audit, world
from meyrin.hub.plumbing.authz import Actor
from meyrin.hub.plumbing.database import Step
from meyrin.hub.plumbing.paging import cut
from meyrin.wire.allocations import ChangeView

TRANSFER, EXTEND, PAUSE, RESUME = "transfer", "extend", "pause", "resume"
EXEMPT = "exempt"
ASKED, DONE, REFUSED = "asked", "done", "refused"
STATES = (ASKED, DONE, REFUSED)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A change as it is sent. `to_id` and `amount_s` of a transfer, `end_s` of an extension.

    More hours come out of `source`, where an officer acts at once.
    """

    kind: str
    allocation_id: str
    key: str
    reason: str
    to_id: str = ""
    amount_s: int = 0
    end_s: int | None = None
    source: Source = field(default=FACILITY, compare=False)


# --- asking and deciding


def ask(step: Step, actor: Actor, wanted: Wanted, modes: Sequence[Mode] = ()) -> ChangeView:
    """Change an allocation: at once by whoever may decide it, else kept for an officer.

    The same key is the same change. Raises NotFound, NotAllowed, InvalidInput, and Refused when
    it could not be done now: what can't be done is not kept for later.
    """
    check_reason(wanted.reason)
    person_id = _person(actor)
    known = changes_store.change_by_key(step, person_id, wanted.key)
    if known is not None:
        return _again(step, known, wanted)
    allocation = _led(step, actor, wanted.allocation_id)
    _check(step, actor, allocation, wanted)
    at_once = actor.programme or wanted.kind in (PAUSE, RESUME)
    if at_once:
        _do(step, actor, wanted, modes)
    row: dict[str, Any] = {
        "id": new_id("change", step.entropy),
        "allocation_id": allocation.id,
        "project_id": allocation.project_id,
        "kind": wanted.kind,
        "person_id": person_id,
        "key": wanted.key,
        "state": DONE if at_once else ASKED,
        "to_id": wanted.to_id or None,
        "amount_s": wanted.amount_s,
        "end_s": wanted.end_s,
        "reason": wanted.reason,
        "asked_by": actor.name,
        "asked_ms": step.now_ms,
        "decided_by": actor.name if at_once else "",
        "decided_ms": step.now_ms if at_once else None,
        "answer": "",
    }
    if not step.add_new(changes_store.changes, [row]):
        # what was done above goes with this step; whoever was first has done it
        raise Conflict(f"the key {wanted.key!r} is in use just now", hint="send it again")
    _note(step, actor, f"allocation.{wanted.kind}", wanted, state=row["state"])
    return _one(step, str(row["id"]))


def decide(
    step: Step,
    actor: Actor,
    change_id: str,
    *,
    grant: bool,
    reason: str,
    modes: Sequence[Mode] = (),
) -> ChangeView:
    """Do or refuse what a lead asked for, with a reason. The same decision again is fine."""
    if not actor.programme:
        raise NotAllowed(
            "this needs a programme officer", hint="`meyrin person show` says what you may do"
        )
    check_reason(reason)
    row = changes_store.change(step, change_id)
    if row is None:
        raise NotFound(f"there is no change {change_id!r}", hint="`meyrin project changes`")
    state = DONE if grant else REFUSED
    if row.state == state:
        return _one(step, change_id)
    values = {"decided_by": actor.name, "decided_ms": step.now_ms, "answer": reason}
    if row.state != ASKED or not changes_store.decide(step, change_id, state=state, **values):
        raise Conflict(f"{change_id} is {row.state} already", hint="ask anew for another answer")
    wanted = _wanted(row)
    if grant:
        _check(step, actor, service.allocation(step, row.allocation_id), wanted)
        _do(step, actor, wanted, modes)
    audit.note(step, actor.name, "allocation.decide", change_id, grant=grant, reason=reason)
    return _one(step, change_id)


def listed(
    step: Step, actor: Actor, project: str | None, state: str, after: str, limit: int
) -> tuple[list[ChangeView], str]:
    """One page of the changes of one's projects, or of one of them; an officer sees all."""
    if state and state not in STATES:
        raise InvalidInput(f"{state!r} is no state", hint=", ".join(STATES), field="state")
    project_ids = service.seen_projects(step, actor, project)
    rows = changes_store.changes_listed(step, project_ids, state, after, limit)
    rows, following = cut(rows, limit, "id")
    names = identity.project_names(step, {row.project_id for row in rows})
    return [_change(row, names[row.project_id]) for row in rows], following


# --- inside


def _check(step: Step, actor: Actor, allocation: Allocation, wanted: Wanted) -> None:
    """Whether it could be done now; what is refused now is not kept."""
    if allocation.over_s <= step.now_s:
        raise Refused(
            f"allocation {allocation.id} is over",
            hint="what is over can't be changed: ask for new hours (`meyrin call ask`)",
            refusals=(Refusal(Reason.ALLOCATION_ENDED, limit=allocation.over_s),),
        )
    if wanted.kind == TRANSFER:
        _check_transfer(step, actor, allocation, wanted)
    elif wanted.kind == EXTEND:
        _check_extension(allocation, wanted)
    elif wanted.kind == RESUME:
        _check_resume(actor, allocation)


def _check_transfer(step: Step, actor: Actor, giver: Allocation, wanted: Wanted) -> None:
    check_amount(wanted.amount_s)
    if wanted.to_id == giver.id:
        raise InvalidInput("hours can't move to where they are", hint="name two", field="to")
    taker = service.allocation(step, wanted.to_id)
    if not (actor.programme or actor.in_project(taker.project_id)):
        raise NotFound(f"there is no allocation {wanted.to_id} that you may see")
    if taker.over_s <= step.now_s:
        raise Refused(
            f"allocation {taker.id} is over",
            hint="name one that lasts",
            refusals=(Refusal(Reason.ALLOCATION_ENDED, limit=taker.over_s),),
        )
    if taker.charged_type != giver.charged_type:
        raise Refused(
            f"{giver.id} counts {giver.charged_type} hours, {taker.id} {taker.charged_type} hours",
            hint="hours of one type never become another's: ask an officer for an award instead",
        )
    if taker.door != giver.door:
        raise Refused(
            f"{giver.id} holds {giver.door} hours, {taker.id} {taker.door} ones",
            hint="free hours never become paid for, nor paid ones free: name an allocation of the"
            " same door (`meyrin project show`), or ask an officer for an award",
        )
    free_s = ledger.balances(step, [giver.id])[giver.id].free_s
    if free_s < wanted.amount_s:
        raise Refused(
            f"{giver.id} has {free_s} s free, not {wanted.amount_s} s",
            hint="move less; what is held by jobs or promised can't be moved",
            refusals=(Refusal(Reason.BALANCE, asked=wanted.amount_s, limit=free_s),),
        )


def _check_extension(allocation: Allocation, wanted: Wanted) -> None:
    if wanted.end_s is None and not wanted.amount_s:
        raise InvalidInput("an allocation gets more time or more hours", hint="say how much more")
    if wanted.end_s is not None and wanted.end_s <= allocation.end_s and not wanted.amount_s:
        raise InvalidInput(
            f"it lasts until {show_moment(allocation.end_s)} already",
            hint="give a later end",
            field="end_s",
        )
    service.check_end(allocation, wanted.end_s)


def _check_resume(actor: Actor, allocation: Allocation) -> None:
    pause = allocation.paused
    if pause is not None and pause.officer and not actor.programme:
        raise NotAllowed(
            f"{allocation.id} was paused by the officer {pause.by}: {pause.reason}",
            hint=f"ask {pause.by} to resume it",
        )


def _do(step: Step, actor: Actor, wanted: Wanted, modes: Sequence[Mode]) -> None:
    if wanted.kind == TRANSFER:
        parts = giving_back.parts_of(step, wanted.allocation_id, wanted.amount_s)
        ledger.transfer(step, wanted.allocation_id, wanted.to_id, parts, wanted.reason)
        service.count_more(step, wanted.to_id, wanted.amount_s)
        store.watch_again(step, [wanted.allocation_id, wanted.to_id])
    elif wanted.kind == EXTEND:
        service.extend(
            step,
            wanted.allocation_id,
            wanted.reason,
            end_s=wanted.end_s,
            amount_s=wanted.amount_s,
            source=wanted.source,
        )
    elif wanted.kind == EXEMPT:
        number = reclaiming.exempt(step, actor, wanted.allocation_id, modes, wanted.reason)
        if not number:
            raise Refused(
                f"no hours of {wanted.allocation_id} will be taken back any more",
                hint="`meyrin project reclaim --dry-run` lists what comes",
            )
    else:
        _pause(step, actor, wanted)
    step.ring(world.BROKER)


def _pause(step: Step, actor: Actor, wanted: Wanted) -> None:
    """Paused already, or not paused: no change, so that the first reason stands. But an officer
    takes over a lead's pause, which the lead could end."""
    values: dict[str, Any] = {
        "paused_ms": step.now_ms,
        "paused_by": actor.name,
        "paused_officer": actor.programme,
        "paused_reason": wanted.reason,
    }
    if wanted.kind == RESUME:
        values = dict.fromkeys(values)
    store.set_pause(step, wanted.allocation_id, values)


def _again(step: Step, row: sa.Row[Any], wanted: Wanted) -> ChangeView:
    if _wanted(row) != wanted:
        raise Conflict(
            f"the key {wanted.key!r} was used for another change",
            hint="take a new key for a new change",
        )
    return _one(step, row.id)


def _wanted(row: sa.Row[Any]) -> Wanted:
    return Wanted(
        row.kind, row.allocation_id, row.key, row.reason, row.to_id or "", row.amount_s, row.end_s
    )


def _one(step: Step, change_id: str) -> ChangeView:
    row = changes_store.change(step, change_id)
    assert row is not None, "it was there in this step"
    return _change(row, identity.project(step, row.project_id).name)


def _change(row: sa.Row[Any], project: str) -> ChangeView:
    told = set(ChangeView.model_fields) - {"project", "to_id"}
    values = {name: getattr(row, name) for name in told}
    return ChangeView(project=project, to_id=row.to_id or "", **values)


def _led(step: Step, actor: Actor, allocation_id: str) -> Allocation:
    """An allocation that the actor may change or ask to have changed."""
    row = store.one(step, allocation_id)
    if row is not None and actor.programme:
        return service.of_row(row)
    if row is None or not actor.in_project(row.project_id):
        raise NotFound(f"there is no allocation {allocation_id}", allocation=allocation_id)
    if not actor.leads(row.project_id):
        raise NotAllowed(
            "only a lead of the project asks for that", hint="ask its lead (`meyrin project show`)"
        )
    return service.of_row(row)


def _note(step: Step, actor: Actor, verb: str, wanted: Wanted, **facts: object) -> None:
    audit.note(
        step,
        actor.name,
        verb,
        wanted.allocation_id,
        to=wanted.to_id or None,
        amount_s=wanted.amount_s or None,
        end_s=wanted.end_s,
        reason=wanted.reason,
        **facts,
    )


def _person(actor: Actor) -> str:
    assert actor.person is not None, "the route asked for a person"
    return actor.person
