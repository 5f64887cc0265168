"""Questions to the broker: why a job waits, where a request would go, which policy is in force."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import StrictInt

from meyrin.domain.errors import InvalidInput
from meyrin.engine.model import Policy
from meyrin.hub.broker import explaining, service
from meyrin.hub.plumbing import audit
from meyrin.hub.plumbing.authz import Access, Allow, Call
from meyrin.wire.jobs import Asked, ExplainView

router = APIRouter(prefix="/api/v1", tags=["broker"])
Person = Annotated[Call, Depends(Allow(Access.PERSON))]
Admin = Annotated[Call, Depends(Allow(Access.ADMIN))]


@router.get("/jobs/{label}/explain")
def explain(label: str, call: Person) -> ExplainView:
    """Why the job waits, where else it could go, what would help; or why it went where it did."""
    with call.read() as step:
        return explaining.explain(step, call.actor, label)


@router.post("/forecast")
def forecast(request: Asked, call: Person) -> ExplainView:
    """Where and when this request would start now; nothing is kept."""
    with call.read() as step:
        return explaining.test_only(step, call.actor, request)


@router.get("/policy")
def policy(call: Person) -> dict[str, Any]:
    """The scheduling policy in force."""
    with call.read() as step:
        return asdict(service.policy(step))


@router.put("/policy")
def set_policy(numbers: dict[str, StrictInt], call: Admin) -> dict[str, Any]:
    """Set the scheduling policy, what is left out to its default; those before stay on record."""
    known = [field.name for field in fields(Policy)]
    for name in numbers:
        if name not in known:
            raise InvalidInput(
                f"a policy has no {name!r}", hint=f"known: {', '.join(known)}", field=name
            )
    for name, number in numbers.items():
        if number < 0:
            raise InvalidInput(
                f"{name} can't be {number}", hint="a whole number from 0 on", field=name
            )
    policy = Policy(**numbers)
    with call.write() as step:
        if service.set_policy(step, policy, call.actor.name):
            audit.note(step, call.actor.name, "policy.set", "policy", **asdict(policy))
    return asdict(policy)
