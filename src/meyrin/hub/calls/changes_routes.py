"""Changes of allocations over HTTP: leads ask, officers decide or act at once."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends

from meyrin.domain.ledger import Source
from meyrin.domain.units import Unit
from meyrin.hub.calls import changing, proposals, service
from meyrin.hub.plumbing.authz import Access, Allow, Call
from meyrin.hub.plumbing.database import Step
from meyrin.hub.plumbing.paging import After, Limit
from meyrin.wire.allocations import ChangeDecision, ChangeList, ChangeView, NewChange

router = APIRouter(prefix="/api/v1", tags=["allocations"])
Person = Annotated[Call, Depends(Allow(Access.PERSON))]
Lead = Annotated[Call, Depends(Allow(Access.LEAD))]
Admin = Annotated[Call, Depends(Allow(Access.ADMIN))]


@router.post("/allocations/{allocation}/changes", status_code=201)
def change(allocation: str, body: NewChange, call: Lead) -> ChangeView:
    """Move hours, extend, pause or resume: an officer at once, a lead by asking for it.

    A lead pauses at once, and resumes what no officer paused.
    """
    with call.write() as step:
        wanted = changing.Wanted(
            body.kind,
            allocation,
            body.key,
            body.reason,
            body.to,
            _seconds(step, allocation, body),
            body.end_s,
            Source(body.owner, body.offer_id),
        )
        made = changing.ask(step, call.actor, wanted)
    return _view(made)


@router.get("/changes")
def changes(
    call: Person,
    project: str | None = None,
    state: str = "",
    after: After = "",
    limit: Limit = 50,
) -> ChangeList:
    """What was asked and done with the allocations of your projects; an officer sees all."""
    with call.read() as step:
        found, following = changing.listed(step, call.actor, project, state, after, limit)
    return ChangeList(changes=[_view(one) for one in found], next=following)


@router.post("/changes/{change_id}/decide")
def decide(change_id: str, body: ChangeDecision, call: Admin) -> ChangeView:
    """Do or refuse what a lead asked for, with a reason."""
    with call.write() as step:
        made = changing.decide(step, call.actor, change_id, grant=body.grant, reason=body.reason)
    return _view(made)


def _seconds(step: Step, allocation_id: str, body: NewChange) -> int:
    """The amount in seconds of the allocation's type, exactly."""
    if not body.amount_s or body.unit is Unit.ACCELERATOR:
        return body.amount_s
    charged_type = service.allocation(step, allocation_id).charged_type
    return proposals.charged_s(step, charged_type, body.amount_s, body.unit)


def _view(made: changing.Change) -> ChangeView:
    return ChangeView.model_validate(asdict(made))
