"""Pages about hours that run: what people are told once, and what officers watch and decide."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from meyrin.domain.errors import Conflict, InvalidInput, Refused
from meyrin.hub.calls import changing, notices, pace, reclaiming
from meyrin.hub.plumbing.authz import Access, Allow, Call
from meyrin.hub.reports import show
from meyrin.hub.reports.pages import SAFETY, PageRoute, Tried, View, respond

router = APIRouter(tags=["reports"], route_class=PageRoute)
Person = Annotated[Call, Depends(Allow(Access.PERSON))]
Programme = Annotated[Call, Depends(Allow(Access.PROGRAMME))]
After = Annotated[str, Query(max_length=64)]
PAGE = 50


@router.get("/notices", include_in_schema=False)
def told(request: Request, call: Person, after: After = "") -> Response:
    """What to know about one's hours, until it is put away."""
    with call.read() as step:
        found, following = notices.listed(step, call.actor, after, PAGE)
    view = View(
        "notices", "Notices", "projects", {"notices": found, "following": following},
        blocks=("notices",), say=show.of_page(len(found), "notice", after, following),
    )  # fmt: skip
    return respond(request, call.actor, step.now_ms, view)


@router.post("/notices/{notice}/seen", include_in_schema=False)
def put_away(notice: int, call: Person) -> Response:
    """Not to be shown to this person again."""
    with call.write() as step:
        notices.put_away(step, call.actor, notice)
    return RedirectResponse("/notices", 303, SAFETY)


@router.get("/officer/hours", include_in_schema=False)
def officer(
    request: Request, call: Programme, changes: After = "", off: After = "", idle: After = ""
) -> Response:
    """What leads asked for, what is off pace, and which idle hours will go back."""
    return _running(request, call, changes, off, idle)


def _running(
    request: Request, call: Call, changes: str, off: str, idle: str, tried: Tried | None = None
) -> Response:
    modes = request.app.state.modes
    with call.read() as step:
        asked, more_changes = changing.listed(step, call.actor, None, changing.ASKED, changes, PAGE)
        lines, more_off = pace.off_pace(step, modes, off, PAGE)
        going, more_idle = reclaiming.listed(step, call.actor, None, modes, idle, PAGE)
    values = {
        "changes": asked,
        "lines": lines,
        "reclaims": going,
        "more_changes": more_changes,
        "more_off": more_off,
        "more_idle": more_idle,
        "tried": tried,
    }
    view = View(
        "officer_hours", "Hours that run", "apply", values,
        blocks=("asked_changes", "off_pace", "idle_hours"),
        say=f"{show.of_page(len(asked), 'change', changes, more_changes)} waiting",
        live=tried is None,
    )  # fmt: skip
    return respond(request, call.actor, step.now_ms, view, tried.status if tried else 200)


@router.post("/officer/changes/{change}", include_in_schema=False)
def decide(
    request: Request,
    change: str,
    call: Programme,
    act: Annotated[str, Form()],
    reason: Annotated[str, Form()] = "",
) -> Response:
    """Do or refuse what a lead asked for, with a reason; or the page again with what is wrong."""
    try:
        if act not in {"grant", "refuse"}:
            raise InvalidInput(f"{act!r} is no decision", hint="grant or refuse", field="act")
        with call.write() as step:
            changing.decide(
                step, call.actor, change, grant=act == "grant", reason=reason,
                modes=request.app.state.modes,
            )  # fmt: skip
    except (InvalidInput, Refused, Conflict) as error:
        return _running(request, call, "", "", "", Tried(change, reason, error))
    return RedirectResponse("/officer/hours", 303, SAFETY)
