"""Pace and notices over HTTP: for members of a project, and all that is off pace for officers."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Request

from meyrin.hub.calls import notices, pace, routes
from meyrin.hub.plumbing.authz import Access, Allow, Call
from meyrin.hub.plumbing.paging import After, Limit
from meyrin.wire.allocations import (
    NoticeList,
    NoticeView,
    PacedAllocation,
    PaceList,
    PaceView,
)

router = APIRouter(prefix="/api/v1", tags=["allocations"])
Person = Annotated[Call, Depends(Allow(Access.PERSON))]
Programme = Annotated[Call, Depends(Allow(Access.PROGRAMME))]


@router.get("/pace")
def paces(
    request: Request, call: Person, project: str | None = None, after: After = "", limit: Limit = 50
) -> PaceList:
    """The allocations of your projects, or of one of them, with their pace and its forecast."""
    with call.read() as step:
        found, following = pace.look(
            step, call.actor, project, request.app.state.modes, after, limit
        )
    return _paces(found, following)


@router.get("/pace/off")
def off_pace(request: Request, call: Programme, after: After = "", limit: Limit = 50) -> PaceList:
    """Everybody's allocations of which too little or too much is used, for officers."""
    with call.read() as step:
        found, following = pace.off_pace(step, request.app.state.modes, after, limit)
    return _paces(found, following)


@router.get("/notices")
def listed(call: Person, after: After = "", limit: Limit = 50) -> NoticeList:
    """What you have not put away yet, newest first."""
    with call.read() as step:
        found, following = notices.listed(step, call.actor, after, limit)
    return NoticeList(
        notices=[NoticeView.model_validate(asdict(one)) for one in found], next=following
    )


@router.post("/notices/{notice}/seen", status_code=204)
def put_away(notice: int, call: Person) -> None:
    """Not to be shown to you again."""
    with call.write() as step:
        notices.put_away(step, call.actor, notice)


def _paces(found: list[pace.Line], following: str) -> PaceList:
    shown = [
        PacedAllocation(
            id=line.allocation.id,
            allocation=routes.view(
                line.allocation, line.project, line.balance, list(line.tranches)
            ),
            pace=PaceView.model_validate(pace.as_data(line)),
        )
        for line in found
    ]
    return PaceList(paces=shown, next=following)
