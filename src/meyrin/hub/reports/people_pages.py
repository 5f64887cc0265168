"""Pages about people: one's own roles, everybody's, a project's people, and the terms of sites."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from meyrin.hub.calls import roles
from meyrin.hub.identity import service as identity
from meyrin.hub.jobs import leaving
from meyrin.hub.plumbing import audit
from meyrin.hub.plumbing.authz import Access, Allow, Call
from meyrin.hub.plumbing.database import Step
from meyrin.hub.reports import show
from meyrin.hub.reports.pages import SAFETY, PageRoute, View, respond, with_query
from meyrin.hub.sites import terms
from meyrin.hub.sites.terms_routes import accepted

router = APIRouter(tags=["reports"], route_class=PageRoute)
Person = Annotated[Call, Depends(Allow(Access.PERSON))]
Auditor = Annotated[Call, Depends(Allow(Access.AUDITOR))]
After = Annotated[str, Query(max_length=400)]
Version = Annotated[str, Form(max_length=40)]
PAGE = 50


@router.get("/you", include_in_schema=False)
def you(request: Request, call: Person) -> Response:
    """Who one is here, and what one may do."""
    with call.read() as step:
        held, more = roles.listed(step, call.actor, call.actor.name, "", PAGE)
        who = identity.person_by_name(step, call.actor.name)
        asked, _ = terms.listed(step, call.actor, "", PAGE)
    values = {"roles": held, "more": more, "who": who, "terms": asked}
    return respond(request, call.actor, step.now_ms, View("you", who.name, "you", values))


@router.get("/roles", include_in_schema=False)
def everybody(request: Request, call: Auditor, after: After = "") -> Response:
    """Who may do what, everybody's roles by name."""
    with call.read() as step:
        held, following = roles.listed(step, call.actor, "", after, PAGE)
    values = {
        "roles": held,
        "after": after,
        "next": with_query("/roles", after=following) if following else "",
    }
    return respond(request, call.actor, step.now_ms, View("roles", "Roles", "you", values))


@router.get("/terms", include_in_schema=False)
def sites_terms(request: Request, call: Person, after: After = "") -> Response:
    """The terms of sites, each with a button where one has not accepted them."""
    with call.read() as step:
        found, following = terms.listed(step, call.actor, after, PAGE)
    values = {
        "terms": found,
        "next": with_query("/terms", after=following) if following else "",
    }
    return respond(request, call.actor, step.now_ms, View("terms", "Terms", "sites", values))


@router.post("/terms/{site}", include_in_schema=False)
def accept(site: str, call: Person, version: Version = "") -> Response:
    """Accept the version that was shown."""
    with call.write() as step:
        accepted(step, call, site, version)
    return RedirectResponse("/terms", 303, SAFETY)


@router.get("/projects/{name}/people", include_in_schema=False)
def people_of(request: Request, name: str, call: Person, after: After = "") -> Response:
    """Who is in a project; for its leads also who left, and how far each site is with it."""
    with call.read() as step:
        found, following = identity.members(step, call.actor, name, after, PAGE)
        project = identity.project_by_name(step, call.actor, name)
        leads = call.actor.leads(project.id)
        gone = leaving.departures(step, call.actor, name, "", PAGE)[0] if leads else []
    values = {
        "project": project,
        "members": found,
        "leads": leads,
        "mine": project.id in call.actor.projects,
        "gone": gone,
        "next": with_query(f"/projects/{show.part(name)}/people", after=following)
        if following
        else "",
    }
    view = View("people", f"People of {name}", "projects", values)
    return respond(request, call.actor, step.now_ms, view)


@router.post("/projects/{name}/people/{person}/remove", include_in_schema=False)
def remove(name: str, person: str, call: Person) -> Response:
    """Take somebody out of a project, or leave it oneself."""
    with call.write() as step:
        _remove(step, call, name, person)
    mine = person == call.actor.name and not call.actor.admin
    target = "/projects" if mine else f"/projects/{show.part(name)}/people"
    return RedirectResponse(target, 303, SAFETY)


def _remove(step: Step, call: Call, name: str, person: str) -> None:
    departure = identity.remove_member(step, call.actor, name, person)
    audit.note(step, call.actor.name, "member.remove", name, person=person, departure=departure)
