"""Unsent asks over HTTP: what the form of the pages keeps, to list and to discard."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from meyrin.hub.calls import unsent
from meyrin.hub.plumbing.authz import Access, Allow, Call
from meyrin.hub.plumbing.paging import After, Limit
from meyrin.wire.calls import UnsentList, UnsentView

router = APIRouter(prefix="/api/v1", tags=["calls"])
Person = Annotated[Call, Depends(Allow(Access.PERSON))]


@router.get("/unsent")
def mine(call: Person, after: After = "", limit: Limit = 50) -> UnsentList:
    """Asks that you began to write in the pages and have not sent yet, newest first."""
    with call.read() as step:
        found, following = unsent.listed(step, call.actor, after, limit)
    shown = [
        UnsentView(key=one.key, made_ms=one.made_ms, saved_ms=one.saved_ms, said=dict(one.said))
        for one in found
    ]
    return UnsentList(unsent=shown, next=following)


@router.delete("/unsent/{key}", status_code=204)
def discard(key: str, call: Person) -> None:
    """Forget one of yours. Again is fine."""
    with call.write() as step:
        unsent.discard(step, call.actor, key)
