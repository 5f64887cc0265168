"""Allocations over HTTP: members see those of their projects, programme officers award."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends

from meyrin.domain.errors import InvalidInput
from meyrin.domain.ledger import Balance, Source
from meyrin.hub.calls import service, tranches
from meyrin.hub.identity import service as identity
from meyrin.hub.ledger import service as ledger
from meyrin.hub.plumbing import audit
from meyrin.hub.plumbing.authz import Access, Allow, Call
from meyrin.hub.plumbing.database import Step
from meyrin.hub.plumbing.paging import After, Limit
from meyrin.wire.ledger import (
    AllocationList,
    AllocationView,
    BalanceView,
    Extension,
    NewAward,
    PauseView,
    TrancheView,
)

router = APIRouter(prefix="/api/v1/allocations", tags=["allocations"])
Person = Annotated[Call, Depends(Allow(Access.PERSON))]
Programme = Annotated[Call, Depends(Allow(Access.PROGRAMME))]


@router.get("")
def allocations(
    call: Person, project: str | None = None, after: After = "", limit: Limit = 50
) -> AllocationList:
    """The allocations of your projects, or of one of them."""
    with call.read() as step:
        rows, following = service.allocations_page(step, call.actor, project, after, limit)
        parts = tranches.of(step, [row[0].id for row in rows])
    views = [view(*row, parts.get(row[0].id, [])) for row in rows]
    return AllocationList(allocations=views, next=following)


@router.post("", status_code=201)
def award(body: NewAward, call: Programme) -> AllocationView:
    """Award a project an amount of one charged type."""
    with call.write() as step:
        project = identity.project_named(step, body.project)
        made = _awarded(step, project.id, body)
        audit.note(step, call.actor.name, "allocation.award", made.id, project=project.name,
                   amount_s=made.amount_s, type=made.charged_type, reason=body.reason,
                   door=made.door)  # fmt: skip
        balance = ledger.balances(step, [made.id])[made.id]
        parts = tranches.of(step, [made.id]).get(made.id, [])
    return view(made, project.name, balance, parts)


@router.post("/{allocation}/extend")
def extend(allocation: str, body: Extension, call: Programme) -> AllocationView:
    """Let an allocation last longer, or add to it, or both."""
    with call.write() as step:
        made = service.extend(
            step,
            allocation,
            body.reason,
            end_s=body.end_s,
            amount_s=body.amount_s,
            source=Source(body.owner, body.offer_id),
        )
        audit.note(step, call.actor.name, "allocation.extend", made.id, end_s=body.end_s,
                   amount_s=body.amount_s or None, reason=body.reason)  # fmt: skip
        project = identity.project(step, made.project_id)
        balance = ledger.balances(step, [made.id])[made.id]
        parts = tranches.of(step, [made.id]).get(made.id, [])
    return view(made, project.name, balance, parts)


def _awarded(step: Step, project_id: str, body: NewAward) -> service.Allocation:
    """The award as asked: at once, or in tranches."""
    start_s = step.now_s if body.start_s is None else body.start_s
    source = Source(body.owner, body.offer_id)
    if not body.tranches:
        return service.award(
            step,
            project_id,
            body.charged_type,
            body.amount_s,
            start_s=start_s,
            end_s=body.end_s,
            reason=body.reason,
            source=source,
            door=body.door,
        )
    total_s = sum(part.amount_s for part in body.tranches)
    if total_s != body.amount_s:
        raise InvalidInput(
            f"the tranches sum to {total_s} s, the award is {body.amount_s} s",
            hint="make amount_s the sum of its tranches",
            field="amount_s",
        )
    parts = [
        tranches.Part(
            part.amount_s,
            start_s if part.from_s is None else part.from_s,
            part.gate,
            part.family,
            part.reviewer,
        )
        for part in body.tranches
    ]
    return tranches.award(
        step,
        project_id,
        body.charged_type,
        parts,
        start_s=start_s,
        end_s=body.end_s,
        reason=body.reason,
        source=source,
        door=body.door,
    )


def view(
    one: service.Allocation, project: str, balance: Balance, parts: list[tranches.Tranche]
) -> AllocationView:
    return AllocationView(
        id=one.id,
        project=project,
        charged_type=one.charged_type,
        start_s=one.start_s,
        end_s=one.end_s,
        rule=one.rule,
        reason=one.reason,
        created_ms=one.created_ms,
        closed_ms=one.closed_ms,
        door=one.door,
        mode=one.mode,
        paused=None if one.paused is None else PauseView(**asdict(one.paused)),
        balance=BalanceView(**asdict(balance)),
        promised_s=sum(part.promised_s for part in parts),
        tranches=tuple(
            TrancheView(
                number=part.number,
                amount_s=part.amount_s,
                from_s=part.from_s,
                gate=part.gate,
                family=part.family,
                reviewer=part.reviewer,
                state=str(part.state),
                given_s=part.given_s,
                decision=part.decision,
                decided_ms=part.decided_ms,
                reason=part.reason,
            )
            for part in parts
        ),
    )
