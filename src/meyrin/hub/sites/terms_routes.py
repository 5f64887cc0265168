"""Terms of sites over HTTP."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends

from meyrin.hub.plumbing import audit
from meyrin.hub.plumbing.authz import Access, Allow, Call
from meyrin.hub.plumbing.database import Step
from meyrin.hub.plumbing.paging import After, Limit
from meyrin.hub.sites import terms
from meyrin.wire.terms import (
    Acceptance,
    AcceptedList,
    AcceptedView,
    NewTerms,
    TermsList,
    TermsView,
)

router = APIRouter(prefix="/api/v1", tags=["sites"])
Person = Annotated[Call, Depends(Allow(Access.PERSON))]
Operator = Annotated[Call, Depends(Allow(Access.OPERATOR))]


@router.get("/terms")
def listed(call: Person, after: After = "", limit: Limit = 50) -> TermsList:
    """The terms of every site that has some, and whether you accepted them."""
    with call.read() as step:
        found, following = terms.listed(step, call.actor, after, limit)
    return TermsList(terms=[view(one) for one in found], next=following)


@router.get("/sites/{name}/terms")
def one(name: str, call: Person) -> TermsView:
    """The terms in force at a site."""
    with call.read() as step:
        return view(terms.one(step, call.actor, name))


@router.put("/sites/{name}/terms")
def put(name: str, body: NewTerms, call: Operator) -> TermsView:
    """Put a version in force: everybody is asked for it before their next job goes there."""
    with call.write() as step:
        made = terms.put(step, call.actor, name, body.version, body.text, body.url)
        audit.note_change(step, call.actor.name, "terms.set", name, version=made.version,
                   digest=made.digest)  # fmt: skip
    return view(made)


@router.delete("/sites/{name}/terms", status_code=204)
def end(name: str, call: Operator) -> None:
    """Ask for no terms any more."""
    with call.write() as step:
        terms.end(step, call.actor, name)
        audit.note_change(step, call.actor.name, "terms.end", name)


@router.post("/sites/{name}/terms/accept")
def accept(name: str, body: Acceptance, call: Person) -> TermsView:
    """Accept the version in force, for yourself."""
    with call.write() as step:
        return view(accepted(step, call, name, body.version))


@router.get("/sites/{name}/terms/accepted")
def acceptances(name: str, call: Operator, after: After = "", limit: Limit = 50) -> AcceptedList:
    """Who accepted which version of a site's terms, newest first."""
    with call.read() as step:
        found, following = terms.acceptances(step, call.actor, name, after, limit)
    return AcceptedList(
        accepted=[AcceptedView.model_validate(asdict(one)) for one in found], next=following
    )


def accepted(step: Step, call: Call, name: str, version: str) -> terms.Terms:
    """Accept, and keep that in the audit the first time."""
    made, new = terms.accept(step, call.actor, name, version)
    if new:
        audit.note(step, call.actor.name, "terms.accept", name, version=made.version,
                   digest=made.digest)  # fmt: skip
    return made


def view(made: terms.Terms) -> TermsView:
    return TermsView.model_validate(asdict(made))
