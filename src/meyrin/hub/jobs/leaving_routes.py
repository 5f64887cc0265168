"""Who left a project, and how far the sites are with it, over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from meyrin.hub.jobs import leaving
from meyrin.hub.plumbing.authz import Access, Allow, Call
from meyrin.hub.plumbing.paging import After, Limit
from meyrin.wire.roles import DepartureList, DepartureView, SiteRevocation

router = APIRouter(prefix="/api/v1/projects", tags=["identity"])
Lead = Annotated[Call, Depends(Allow(Access.LEAD))]


@router.get("/{name}/departures")
def departures(name: str, call: Lead, after: After = "", limit: Limit = 50) -> DepartureList:
    """Who left a project, newest first, and for each site when that was confirmed there."""
    with call.read() as step:
        found, following = leaving.departures(step, call.actor, name, after, limit)
    return DepartureList(departures=[_view(one) for one in found], next=following)


def _view(one: leaving.Gone) -> DepartureView:
    left = one.departure
    return DepartureView(
        person=left.person,
        at_ms=left.at_ms,
        by=left.by,
        returned_ms=left.returned_ms,
        jobs=one.jobs,
        sites=[
            SiteRevocation(
                site=each.site,
                state=each.state,  # type: ignore[arg-type] # one of the three
                at_ms=each.at_ms,
                words=each.words,
                jobs=each.jobs,
                last_heard_ms=each.last_heard_ms,
            )
            for each in one.sites
        ],
    )
