"""Changes of allocations over HTTP: leads ask, officers decide or act at once."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from meyrin.domain.ledger import Source
from meyrin.domain.units import Unit
from meyrin.hub.calls import changing, pace, proposals, reclaiming, service
from meyrin.hub.plumbing.authz import Access, Allow, Call
from meyrin.hub.plumbing.database import Step
from meyrin.hub.plumbing.paging import After, Limit
from meyrin.wire.allocations import (
    ChangeDecision,
    ChangeList,
    ChangeView,
    NewChange,
    Reclaimed,
    ReclaimList,
)

router = APIRouter(prefix="/api/v1", tags=["allocations"])
Person = Annotated[Call, Depends(Allow(Access.PERSON))]
Lead = Annotated[Call, Depends(Allow(Access.LEAD))]
Programme = Annotated[Call, Depends(Allow(Access.PROGRAMME))]


@router.post("/allocations/{allocation}/changes", status_code=201)
def change(allocation: str, body: NewChange, request: Request, call: Lead) -> ChangeView:
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
        return changing.ask(step, call.actor, wanted, request.app.state.modes)


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
    return ChangeList(changes=found, next=following)


@router.post("/changes/{change_id}/decide")
def decide(change_id: str, body: ChangeDecision, request: Request, call: Programme) -> ChangeView:
    """Do or refuse what a lead asked for, with a reason."""
    with call.write() as step:
        return changing.decide(
            step, call.actor, change_id, grant=body.grant, reason=body.reason,
            modes=request.app.state.modes,
        )  # fmt: skip


@router.get("/reclaims")
def reclaims(
    request: Request, call: Person, project: str | None = None, after: After = "", limit: Limit = 50
) -> ReclaimList:
    """What idle hours would go back, of your projects or of one; an officer sees all."""
    modes = request.app.state.modes
    with call.read() as step:
        found, following = reclaiming.listed(step, call.actor, project, modes, after, limit)
    return ReclaimList(reclaims=found, next=following)


@router.post("/reclaims/run")
def run_reclaims(request: Request, call: Programme) -> Reclaimed:
    """Do now what the hub's clock does each minute: announce, and take back what is due."""
    modes = request.app.state.modes
    with call.write() as step:
        reclaiming.announce(step, modes, pace.watch(step, modes))
    with call.write() as step:
        done = reclaiming.run(step, reclaiming.CLOCK)
    return Reclaimed(reclaims=done)


def _seconds(step: Step, allocation_id: str, body: NewChange) -> int:
    """The amount in seconds of the allocation's type, exactly."""
    if not body.amount_s or body.unit is Unit.ACCELERATOR:
        return body.amount_s
    charged_type = service.allocation(step, allocation_id).charged_type
    return proposals.charged_s(step, charged_type, body.amount_s, body.unit)
