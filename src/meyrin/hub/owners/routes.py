"""Owners' statements over HTTP. What is not published is for those who
read the books and for owners' people; programme officers publish."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query

from meyrin.hub.owners import entitled, service
from meyrin.hub.plumbing.authz import Access, Allow, Call
from meyrin.hub.plumbing.paging import After, Limit
from meyrin.wire.owners import (
    CommentList,
    CommentView,
    Document,
    MonthList,
    MonthView,
    NewComment,
    OwnersStatement,
    ReturnView,
    SpeakerBody,
    SpeakerList,
    SpeakerView,
    YearView,
)

router = APIRouter(prefix="/api/v1/owners", tags=["owners"])
Person = Annotated[Call, Depends(Allow(Access.PERSON))]
Programme = Annotated[Call, Depends(Allow(Access.PROGRAMME))]
Books = Annotated[Call, Depends(Allow(Access.BOOKS))]
Month = Annotated[str, Path(description="YYYY-MM, UTC")]
Year = Annotated[int, Query(ge=1970, le=9998)]


@router.get("/months")
def months(call: Person, after: After = "", limit: Limit = 50) -> MonthList:
    """The months that have a statement, newest first."""
    with call.read() as step:
        found, following = service.months(step, call.actor, after, limit)
    return MonthList(months=[_month(one) for one in found], next=following)


@router.get("/months/{month}")
def statement(month: Month, call: Person) -> OwnersStatement:
    """What every owner was entitled to in a month, and what was delivered."""
    with call.read() as step:
        found = service.statement(step, call.actor, month)
    return as_view(found)


@router.post("/months/{month}/publish")
def publish(month: Month, call: Programme) -> MonthView:
    """Show a frozen month to everybody; it never changes after."""
    with call.write() as step:
        return _month(service.publish(step, call.actor, month))


@router.get("/months/{month}/comments")
def comments(month: Month, call: Person, after: After = "", limit: Limit = 50) -> CommentList:
    """What owners said of a month, oldest first."""
    with call.read() as step:
        found, following = service.comments(step, call.actor, month, after, limit)
    return CommentList(comments=[CommentView(**asdict(one)) for one in found], next=following)


@router.post("/months/{month}/comments", status_code=201)
def comment(month: Month, body: NewComment, call: Person) -> CommentView:
    """Say something of a month for an owner: before the freeze, and after publication."""
    with call.write() as step:
        made = service.comment(step, call.actor, month, body.owner, body.words, body.key)
    return CommentView(**asdict(made))


@router.get("/return")
def year(year: Year, call: Person) -> YearView:
    """Return coefficients of a year."""
    with call.read() as step:
        found = service.year(step, call.actor, year)
    return YearView(
        year=found.year,
        months=list(found.months),
        drafts=list(found.drafts),
        returns=_returns(found.returns),
    )


@router.get("/speakers")
def speakers(call: Books, after: After = "", limit: Limit = 50) -> SpeakerList:
    """Who may comment for which owner."""
    with call.read() as step:
        found, following = service.speakers(step, after, limit)
    shown = [SpeakerView(owner=o, person=p, since_ms=since) for o, p, since in found]
    return SpeakerList(speakers=shown, next=following)


@router.post("/speakers", status_code=204)
def speak(body: SpeakerBody, call: Programme) -> None:
    """Let a person comment for an owner."""
    with call.write() as step:
        service.speak(step, call.actor, body.owner, body.person)


@router.delete("/speakers/{owner}/{person}", status_code=204)
def be_silent(owner: str, person: str, call: Programme) -> None:
    """Let a person comment for an owner no more; what was said stays."""
    with call.write() as step:
        service.be_silent(step, call.actor, owner, person)


def as_view(found: service.Statement) -> OwnersStatement:
    return OwnersStatement(
        state=_month(found.month),
        document=Document.model_validate(found.document),
        returns=_returns(found.returns),
    )


def _month(one: service.Month) -> MonthView:
    return MonthView(**asdict(one))


def _returns(found: Iterable[entitled.Return]) -> list[ReturnView]:
    return [
        ReturnView(
            owner=one.owner,
            charged_type=one.charged_type,
            entitled_s=one.entitled_s,
            returned_s=one.returned_s,
            numerator=None if one.coefficient is None else one.coefficient.numerator,
            denominator=None if one.coefficient is None else one.coefficient.denominator,
            coefficient=entitled.decimals(one.coefficient),
            band=one.band,
        )
        for one in found
    ]
