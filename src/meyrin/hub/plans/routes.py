"""Studies over HTTP, for programs. What people open is among the pages: `reports/plan_pages.py`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from meyrin.hub.plans import service
from meyrin.hub.plumbing.authz import Access, Allow, Call
from meyrin.hub.plumbing.paging import After, Limit
from meyrin.wire.plans import NewPlan, PlanDetail, PlanList, PlanView

router = APIRouter(tags=["plans"])
Person = Annotated[Call, Depends(Allow(Access.PERSON))]


@router.get("/api/v1/plans")
def plans(call: Person, after: After = "", limit: Limit = 50) -> PlanList:
    """The studies that you may read, newest first."""
    with call.read() as step:
        found, following = service.plans_page(step, call.actor, after, limit)
    return PlanList(plans=found, next=following)


@router.post("/api/v1/plans", status_code=201)
def publish(body: NewPlan, call: Person) -> PlanView:
    """Show a study to one of your projects; administrators may show it to everybody."""
    with call.write() as step:
        return service.publish(step, call.actor, body)


@router.get("/api/v1/plans/{plan}")
def plan(plan: str, call: Person) -> PlanDetail:
    """One study with its files."""
    with call.read() as step:
        found, files = service.plan(step, call.actor, plan)
    return PlanDetail(plan=found, files=files)


@router.delete("/api/v1/plans/{plan}", status_code=204)
def withdraw(plan: str, call: Person) -> None:
    """Show a study to nobody any more."""
    with call.write() as step:
        service.withdraw(step, call.actor, plan)
