"""Allocations over HTTP: members see those of their projects, administrators award."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends

from meyrin.domain.ledger import Balance, Source
from meyrin.hub.calls import service
from meyrin.hub.identity import service as identity
from meyrin.hub.ledger import service as ledger
from meyrin.hub.plumbing.authz import Access, Allow, Call
from meyrin.hub.plumbing.paging import After, Limit
from meyrin.wire.ledger import AllocationList, AllocationView, BalanceView, Extension, NewAward

router = APIRouter(prefix="/api/v1/allocations", tags=["allocations"])
Person = Annotated[Call, Depends(Allow(Access.PERSON))]
Admin = Annotated[Call, Depends(Allow(Access.ADMIN))]


@router.get("")
def allocations(
    call: Person, project: str | None = None, after: After = "", limit: Limit = 50
) -> AllocationList:
    """The allocations of your projects, or of one of them."""
    with call.read() as step:
        rows, following = service.allocations_page(step, call.actor, project, after, limit)
    return AllocationList(allocations=[_view(*row) for row in rows], next=following)


@router.post("", status_code=201)
def award(body: NewAward, call: Admin) -> AllocationView:
    """Award a project an amount of one charged type."""
    with call.write() as step:
        project = identity.project_by_name(step, call.actor, body.project)
        start_s = step.now_s if body.start_s is None else body.start_s
        made = service.award(
            step,
            project.id,
            body.charged_type,
            body.amount_s,
            start_s=start_s,
            end_s=body.end_s,
            reason=body.reason,
            source=Source(body.owner, body.offer_id),
        )
        balance = ledger.balances(step, [made.id])[made.id]
    return _view(made, project.name, balance)


@router.post("/{allocation}/extend")
def extend(allocation: str, body: Extension, call: Admin) -> AllocationView:
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
        project = identity.project(step, made.project_id)
        balance = ledger.balances(step, [made.id])[made.id]
    return _view(made, project.name, balance)


def _view(one: service.Allocation, project: str, balance: Balance) -> AllocationView:
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
        balance=BalanceView(**asdict(balance)),
    )
