"""Allocations over HTTP: members see those of their projects, programme officers award."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends

from meyrin.domain.ledger import Balance
from meyrin.hub.calls import awarding, service, tranches
from meyrin.hub.ledger import service as ledger
from meyrin.hub.plumbing.authz import Access, Allow, Call
from meyrin.hub.plumbing.paging import After, Limit
from meyrin.wire.ledger import (
    AllocationList,
    AllocationView,
    BalanceView,
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
    """Award a project an amount of one charged type; the same key again is the same award."""
    with call.write() as step:
        made, project = awarding.award(step, call.actor, body)
        balance = ledger.balances(step, [made.id])[made.id]
        parts = tranches.of(step, [made.id]).get(made.id, [])
    return view(made, project, balance, parts)


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
