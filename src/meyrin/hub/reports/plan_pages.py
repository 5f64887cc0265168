"""The page that lists studies. What a study holds is served by the room of plans."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from meyrin.hub.plans import service
from meyrin.hub.plumbing.authz import Access, Allow, Call
from meyrin.hub.reports.pages import PageRoute, View, respond, with_query

router = APIRouter(tags=["reports"], route_class=PageRoute)
Person = Annotated[Call, Depends(Allow(Access.PERSON))]
PAGE = 50


@router.get("/plans", include_in_schema=False)
def plans(
    request: Request, call: Person, after: Annotated[str, Query(pattern="^[0-9]{0,17}$")] = ""
) -> Response:
    """Studies that one may read, newest first."""
    with call.read() as step:
        found, following = service.plans_page(step, call.actor, after, PAGE)
    values = {
        "plans": found,
        "page": service.PAGE,
        "after": after,
        "next": with_query("/plans", after=following) if following else "",
    }
    view = View("plans", "Studies", "plans", values)
    return respond(request, call.actor, step.now_ms, view)
