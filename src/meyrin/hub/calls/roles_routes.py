"""Roles over HTTP: who holds which, giving and taking them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from meyrin.hub.calls import roles
from meyrin.hub.identity import service as identity
from meyrin.hub.identity.roles import Held
from meyrin.hub.plumbing.authz import Access, Allow, Call
from meyrin.hub.plumbing.paging import After, Limit
from meyrin.wire.identity import PersonView
from meyrin.wire.roles import PersonDetail, RoleBody, RoleList, RoleName, RoleView

router = APIRouter(prefix="/api/v1", tags=["identity"])
Person = Annotated[Call, Depends(Allow(Access.PERSON))]
Name = Annotated[str, Query(max_length=200)]
MOST = 100


@router.get("/roles")
def listed(call: Person, person: Name = "", after: After = "", limit: Limit = 50) -> RoleList:
    """Your roles; everybody's, or those of one person, for auditors and administrators."""
    with call.read() as step:
        found, following = roles.listed(step, call.actor, person, after, limit)
    return RoleList(roles=[view(one) for one in found], next=following)


@router.post("/roles")
def give(body: RoleBody, request: Request, call: Person) -> RoleView:
    """Give a role, if you may give it: for one project, call or site, or for the facility."""
    with call.write() as step:
        wish = roles.Wish(body.role, body.thing, body.person, body.organisation)
        made = roles.give(step, call.actor, wish, calls_of(request))
    return view(made)


@router.delete("/roles", status_code=204)
def take(
    request: Request,
    call: Person,
    role: RoleName,
    thing: Name = "",
    person: Name = "",
    organisation: Name = "",
) -> None:
    """Take a role away, if you may give it; it ends with the holder's next request."""
    with call.write() as step:
        wish = roles.Wish(role, thing, person, organisation)
        roles.take(step, call.actor, wish, calls_of(request))


@router.get("/people/{name}")
def person(name: str, call: Person) -> PersonDetail:
    """A person and their roles: yourself, or anybody for auditors and administrators."""
    with call.read() as step:
        held, following = roles.listed(step, call.actor, name, "", MOST)
        found = identity.person_by_name(step, name)
    shown = PersonView(
        name=found.name,
        display_name=found.display_name,
        admin=found.admin,
        created_ms=found.created_ms,
        disabled_ms=found.disabled_ms,
        organisation=found.organisation,
    )
    return PersonDetail(person=shown, roles=[view(one) for one in held], more=bool(following))


def calls_of(request: Request) -> frozenset[str]:
    """The calls that there are here: each mode is one."""
    return frozenset(mode.name for mode in request.app.state.modes)


def view(one: Held) -> RoleView:
    return RoleView.model_validate(asdict(one))
