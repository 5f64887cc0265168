"""The page of owners' statements: a month with its picture, comments and publication."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from meyrin.domain.errors import Conflict, InvalidInput, MeyrinError, Refused
from meyrin.hub.owners import entitled, service
from meyrin.hub.plumbing.authz import Access, Allow, Call
from meyrin.hub.plumbing.http import STATUS
from meyrin.hub.reports import show
from meyrin.hub.reports.pages import SAFETY, PageRoute, View, respond

router = APIRouter(tags=["reports"], route_class=PageRoute)
Person = Annotated[Call, Depends(Allow(Access.PERSON))]
Programme = Annotated[Call, Depends(Allow(Access.PROGRAMME))]
MONTHS, COMMENTS = 36, 200
TONES = {"very poor": "bad", "poor": "wait", "balanced": "good", "unknown": "off"}
_COLUMNS = (
    "month", "owner", "charged_type", "offer", "site", "partition",
    "entitled_s", "delivered_s", "paid_s", "income_cents",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Unsaid:
    """A comment that could not be kept as it was written, and why."""

    owner: str
    words: str
    key: str
    error: MeyrinError


@router.get("/owners", include_in_schema=False)
def owners(
    request: Request, call: Person, month: Annotated[str, Query(pattern="^([0-9-]{7})?$")] = ""
) -> Response:
    """What owners were entitled to in a month and what was delivered."""
    return _month(request, call, month)


def _month(request: Request, call: Call, month: str, unsaid: Unsaid | None = None) -> Response:
    with call.read() as step:
        listed, _ = service.months(step, call.actor, "", MONTHS)
        wanted = month or (listed[0].month if listed else "")
        values: dict[str, Any] = {"months": [each.month for each in listed], "month": wanted}
        found = service.statement(step, call.actor, wanted) if wanted else None
        if found is not None:
            said, more = service.comments(step, call.actor, wanted, "", COMMENTS)
            values |= _shown(found)
            values |= {
                "comments": said,
                "more": more,
                "speaks_for": service.spoken_for(step, call.actor),
                "open": found.month.state in (service.DRAFT, service.PUBLISHED),
                "key": unsaid.key if unsaid else step.entropy().hex(),
            }
    values |= {"found": found, "unsaid": unsaid}
    title = f"Owners in {wanted}" if wanted else "Owners"
    status = STATUS[type(unsaid.error)] if unsaid else 200
    view = View("owners", title, "owners", values)
    return respond(request, call.actor, step.now_ms, view, status)


@router.post("/owners/{month}/comments", include_in_schema=False)
def comment(
    request: Request,
    month: str,
    call: Person,
    key: Annotated[str, Form(min_length=1, max_length=200)],
    owner: Annotated[str, Form()] = "",
    words: Annotated[str, Form()] = "",
) -> Response:
    """Say something of a month for an owner; or the page again with what is wrong."""
    plain = words.replace("\r\n", "\n")
    try:
        with call.write() as step:
            service.comment(step, call.actor, month, owner, plain, key)
    except (InvalidInput, Refused, Conflict) as error:
        return _month(request, call, month, Unsaid(owner, plain, key, error))
    return RedirectResponse(f"/owners?month={show.part(month)}#comments", 303, SAFETY)


@router.post("/owners/{month}/publish", include_in_schema=False)
def publish(month: str, call: Programme) -> Response:
    """Show a frozen month to everybody."""
    with call.write() as step:
        service.publish(step, call.actor, month)
    return RedirectResponse(f"/owners?month={show.part(month)}", 303, SAFETY)


@router.get("/owners/{month}/statement.csv", include_in_schema=False)
def statement_csv(month: str, call: Person) -> Response:
    """A month's lines by offer and owner as CSV, in whole seconds."""
    with call.read() as step:
        found = service.statement(step, call.actor, month)
    out = io.StringIO()
    writer = csv.DictWriter(out, _COLUMNS, extrasaction="ignore", lineterminator="\r\n")
    writer.writeheader()
    for line in found.document["offers"]:
        cents = "unknown" if line["income_cents"] is None else line["income_cents"]
        named = {"month": month, "offer": line["offer_id"], "income_cents": cents}
        writer.writerow({**line, **named})
    name = f"owners-{month}.csv"
    headers = {**SAFETY, "Content-Disposition": f'attachment; filename="{name}"'}
    return Response(out.getvalue(), media_type="text/csv; charset=utf-8", headers=headers)


def _shown(found: service.Statement) -> dict[str, Any]:
    """The lines of a month, by charged type, with the lengths of the picture's bars."""
    returns = {(one.owner, one.charged_type): one for one in found.returns}
    types: dict[str, list[dict[str, Any]]] = {}
    for line in found.document["owners"]:
        back = returns[line["owner"], line["charged_type"]]
        cents = line["income_cents"]
        shown = {
            **line,
            "coefficient": entitled.decimals(back.coefficient),
            "band": back.band,
            "tone": TONES[back.band],
            "income": "unknown" if cents is None else f"{cents / 100:,.2f}",
        }
        types.setdefault(line["charged_type"], []).append(shown)
    for lines in types.values():
        most = max([1, *(max(one["entitled_s"], one["delivered_s"]) for one in lines)])
        for one in lines:
            for name in ("entitled", "delivered"):
                one[f"{name}_w"] = max(0, one[f"{name}_s"]) * 1000 // most
    return {"types": types, "whole": found.document}
