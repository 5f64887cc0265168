"""The ledger over HTTP: a project's entries for its members, the check for all."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends

from meyrin.hub.identity import service as identity
from meyrin.hub.ledger import service
from meyrin.hub.plumbing import audit
from meyrin.hub.plumbing.authz import Access, Allow, Call
from meyrin.hub.plumbing.paging import After, Limit
from meyrin.wire.ledger import (
    EntryList,
    FindingView,
    OwnersReply,
    OwnerView,
    VerifyReply,
)

router = APIRouter(prefix="/api/v1", tags=["ledger"])
Person = Annotated[Call, Depends(Allow(Access.PERSON))]
Books = Annotated[Call, Depends(Allow(Access.BOOKS))]
Programme = Annotated[Call, Depends(Allow(Access.PROGRAMME))]


@router.get("/projects/{name}/entries")
def entries(name: str, call: Person, after: After = "", limit: Limit = 50) -> EntryList:
    """A project's entries, newest first."""
    with call.read() as step:
        project = identity.project_by_name(step, call.actor, name)
        rows, following = service.entries(step, project.id, after, limit)
    return EntryList(entries=rows, next=following)


@router.get("/ledger/owners")
def owners(month: str, call: Books) -> OwnersReply:
    """What every owner's shares were granted for and delivered in a month (YYYY-MM, UTC)."""
    with call.read() as step:
        found = service.owners(step, month)
    names = OwnerView.model_fields
    return OwnersReply(
        month=month, owners=[OwnerView(**{n: getattr(one, n) for n in names}) for one in found]
    )


@router.post("/ledger/months/{month}/close", status_code=204)
def close_month(month: str, call: Programme) -> None:
    """Let no further entry be dated in a month (YYYY-MM, UTC) or before it."""
    with call.write() as step:
        service.close_month(step, month)
        audit.note_change(step, call.actor.name, "month.close", month)


@router.get("/ledger/verify")
def verify(call: Books) -> VerifyReply:
    """Whether the ledger adds up; reads all of it."""
    with call.read() as step:
        findings = service.verify(step)
    return VerifyReply(findings=[FindingView(**asdict(each)) for each in findings])
