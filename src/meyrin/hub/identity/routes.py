"""Who am I, log-in, tokens, people and projects over HTTP."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import RedirectResponse

from meyrin.domain.errors import InvalidInput, NotAllowed, NotLoggedIn
from meyrin.hub.identity import service
from meyrin.hub.identity.login_page import PRIVATE, local_path, render, render_choice, render_switch
from meyrin.hub.plumbing import audit
from meyrin.hub.plumbing.authz import Access, Actor, Allow, Call, same_origin
from meyrin.hub.plumbing.paging import After, Limit
from meyrin.hub.plumbing.settings import HubSettings
from meyrin.wire.identity import (
    LoginLink,
    Me,
    MemberList,
    MemberView,
    NewLoginLink,
    NewMember,
    NewPerson,
    NewProject,
    NewToken,
    PersonList,
    PersonView,
    ProjectList,
    ProjectView,
    TokenList,
    TokenSecret,
    TokenView,
)

router = APIRouter(tags=["identity"])
Anyone = Annotated[Call, Depends(Allow(Access.ANYONE))]
Person = Annotated[Call, Depends(Allow(Access.PERSON))]
Lead = Annotated[Call, Depends(Allow(Access.LEAD))]
Admin = Annotated[Call, Depends(Allow(Access.ADMIN))]
Auditor = Annotated[Call, Depends(Allow(Access.AUDITOR))]
API = "/api/v1"
_DAY_S = 86400


@router.get(f"{API}/me")
def me(call: Person) -> Me:
    """Who you are here, and your projects."""
    caller = _caller(call.actor)
    with call.read() as step:
        projects = service.projects_of(step, caller)
        return Me(
            person=_person(service.person(step, caller)),
            projects=[_project(call.actor, project) for project in projects],
        )


# --- log-in and log-out


@router.post(f"{API}/login-links", status_code=201)
def make_login_link(
    body: NewLoginLink, request: Request, response: Response, call: Person
) -> LoginLink:
    """A link that logs a browser in, once."""
    if not local_path(body.page):
        raise InvalidInput(
            f"a log-in link can't lead to {body.page[:200]!r}",
            hint="give a path of this hub, such as /jobs",
            field="page",
        )
    if body.person is not None and not call.actor.admin:
        raise NotAllowed("only an administrator makes links for others", hint="leave out `person`")
    with call.write() as step:
        who = service.person_by_name(step, body.person).id if body.person else _caller(call.actor)
        secret = service.login_link(step, who)
        if body.person is not None:  # somebody else is about to be let in by that name
            audit.note(step, call.actor.name, "login.link", body.person)
    response.headers.update(PRIVATE)
    query = urlencode({"link": secret} if body.page == "/" else {"link": secret, "next": body.page})
    settings: HubSettings = request.app.state.settings
    hub = settings.public_url or str(request.base_url)
    return LoginLink(url=f"{hub.rstrip('/')}/login?{query}", expires_s=service.LINK_LIFETIME_S)


@router.api_route("/login", methods=["GET", "HEAD", "POST"], include_in_schema=False)
def login(
    request: Request,
    call: Anyone,
    link: str = "",
    page: Annotated[str, Query(alias="next")] = "/",
) -> Response:
    """Turn the link into a session. Looking ahead (HEAD, a browser's prefetch) uses nothing up.

    Where somebody else is logged in, they are asked first: by a form, whose origin is checked. It
    is without the session's cookie too: that does not come with another site's form.
    """
    if request.method == "POST":
        same_origin(request)
    if request.method == "HEAD" or "prefetch" in request.headers.get("sec-purpose", ""):
        return Response(status_code=200 if request.method == "HEAD" else 503, headers=PRIVATE)
    page = page if local_path(page) else "/"
    target = RedirectResponse(page, 303, PRIVATE)
    if not link:
        return target if call.actor.session else _ask(request, page)
    if call.actor.session and request.method == "GET":
        with call.read() as step:
            whose = service.whose_link(step, link)
            if whose not in {None, call.actor.person}:
                name = service.person(step, whose).name
                return render_switch(call.actor.name, name, link, page)
    try:
        with call.write() as step:
            secret = service.use_login_link(step, link)
    except NotLoggedIn:
        if call.actor.session:  # the same link opened twice in one browser
            return target
        return render("This link no longer works", "It was used already or is too old.", 410)
    set_session(request, target, secret, service.SESSION_LIFETIME_S)
    return target


def _ask(request: Request, page: str) -> Response:
    """The log-in page, with the ways that there are."""
    if request.app.state.provider is not None:
        return render_choice(page)
    return render("Log in", "You need a log-in link to see these pages.", 401)


def set_session(request: Request, response: Response, secret: str, lifetime_s: int) -> None:
    """Give the browser its session's cookie."""
    response.set_cookie(
        service.SESSION_COOKIE,
        secret,
        max_age=lifetime_s,
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )


@router.post("/logout", include_in_schema=False)
def logout(request: Request, call: Anyone) -> Response:
    """End the browser's session."""
    secret = request.cookies.get(service.SESSION_COOKIE)
    if secret:
        with call.write() as step:
            service.log_out(step, secret)
    response = RedirectResponse("/login", 303, PRIVATE)
    response.delete_cookie(service.SESSION_COOKIE, httponly=True, samesite="lax")
    return response


# --- tokens


@router.get(f"{API}/tokens")
def tokens(call: Person, after: After = "", limit: Limit = 50) -> TokenList:
    """Your tokens and browser sessions, newest first."""
    with call.read() as step:
        found, following = service.list_tokens(step, _caller(call.actor), after, limit)
    return TokenList(tokens=[_token(one) for one in found], next=following)


@router.post(f"{API}/tokens", status_code=201)
def make_token(body: NewToken, response: Response, call: Person) -> TokenSecret:
    """A token for programs; its secret is shown this once. Administrators make them for others."""
    lifetime_s = None if body.days is None else body.days * _DAY_S
    if body.person is not None and not call.actor.admin:
        raise NotAllowed("only an administrator makes tokens for others", hint="leave out `person`")
    with call.write() as step:
        who = service.person_by_name(step, body.person).id if body.person else _caller(call.actor)
        made, secret = service.new_token(step, who, body.name, lifetime_s=lifetime_s)
        audit.note(step, call.actor.name, "token.new", made.id, person=body.person, days=body.days)
    response.headers.update(PRIVATE)
    return TokenSecret(token=_token(made), secret=secret)


@router.delete(f"{API}/tokens/{{token}}", status_code=204)
def revoke_token(token: str, call: Person) -> None:
    """Refuse a token from now on: one of yours, by its id or by a name that no other of yours
    has, or anybody's for an administrator."""
    with call.write() as step:
        revoked = service.revoke(step, call.actor, token)
        audit.note_change(step, call.actor.name, "token.revoke", revoked)


# --- people


@router.get(f"{API}/people")
def people(call: Auditor, after: After = "", limit: Limit = 50) -> PersonList:
    """Everybody, by name."""
    with call.read() as step:
        found, following = service.people(step, after, limit)
    return PersonList(people=[_person(one) for one in found], next=following)


@router.post(f"{API}/people", status_code=201)
def make_person(body: NewPerson, call: Admin) -> PersonView:
    with call.write() as step:
        made = service.new_person(step, body.name, body.display_name, admin=body.admin)
        audit.note(step, call.actor.name, "person.new", made.name, admin=made.admin)
        return _person(made)


@router.post(f"{API}/people/{{name}}/disable")
def disable_person(name: str, call: Admin) -> PersonView:
    """Shut a person out at once, with all their tokens and sessions."""
    with call.write() as step:
        found = service.disable(step, name, call.actor.name)
        audit.note_change(step, call.actor.name, "person.disable", name)
        return _person(found)


# --- projects


@router.get(f"{API}/projects")
def projects(call: Person, after: After = "", limit: Limit = 50) -> ProjectList:
    """The projects that you may see, by name."""
    with call.read() as step:
        found, following = service.visible_projects(step, call.actor, after, limit)
    return ProjectList(projects=[_project(call.actor, one) for one in found], next=following)


@router.post(f"{API}/projects", status_code=201)
def make_project(body: NewProject, call: Admin) -> ProjectView:
    with call.write() as step:
        lead = service.person_by_name(step, body.lead).id if body.lead else _caller(call.actor)
        made = service.new_project(step, body.name, body.title, lead=lead)
        audit.note(step, call.actor.name, "project.new", made.name, lead=body.lead)
    return _project(call.actor, made, "lead" if lead == call.actor.person else "")


@router.get(f"{API}/projects/{{name}}")
def project(name: str, call: Person) -> ProjectView:
    with call.read() as step:
        return _project(call.actor, service.project_by_name(step, call.actor, name))


@router.get(f"{API}/projects/{{name}}/members")
def members(name: str, call: Person, after: After = "", limit: Limit = 50) -> MemberList:
    """Who is in a project, by name."""
    with call.read() as step:
        found, following = service.members(step, call.actor, name, after, limit)
    return MemberList(members=[_member(one) for one in found], next=following)


@router.post(f"{API}/projects/{{name}}/members")
def add_member(name: str, body: NewMember, call: Lead) -> MemberView:
    """Put a person into a project, or change their role there."""
    with call.write() as step:
        added, new = service.add_member(step, call.actor, name, body.person, body.role)
        if new:
            audit.note(
                step, call.actor.name, "member.set", name, person=body.person, role=body.role
            )
        return _member(added)


@router.delete(f"{API}/projects/{{name}}/members/{{person}}", status_code=204)
def remove_member(name: str, person: str, call: Lead) -> None:
    """Take a person out of a project: their rights there end now, their jobs within minutes."""
    _leave(name, person, call)


@router.post(f"{API}/projects/{{name}}/leave", status_code=204)
def leave(name: str, call: Person) -> None:
    """Leave a project yourself."""
    _leave(name, call.actor.name, call)


def _leave(name: str, person: str, call: Call) -> None:
    with call.write() as step:
        departure = service.remove_member(step, call.actor, name, person)
        audit.note(step, call.actor.name, "member.remove", name, person=person, departure=departure)


# --- as the wire shows them


def _caller(actor: Actor) -> str:
    assert actor.person is not None, "the route asked for a person"
    return actor.person


def _person(one: service.Person) -> PersonView:
    return PersonView(
        name=one.name,
        display_name=one.display_name,
        admin=one.admin,
        created_ms=one.created_ms,
        disabled_ms=one.disabled_ms,
        organisation=one.organisation,
    )


def _project(actor: Actor, one: service.Project, role: str = "") -> ProjectView:
    return ProjectView(
        name=one.name,
        title=one.title,
        role=role or actor.projects.get(one.id, ""),
        created_ms=one.created_ms,
        closed_ms=one.closed_ms,
    )


def _member(one: service.Member) -> MemberView:
    return MemberView(name=one.name, display_name=one.display_name, role=one.role)


def _token(one: service.Token) -> TokenView:
    return TokenView(
        id=one.id,
        kind=one.kind,
        name=one.name,
        created_ms=one.created_ms,
        expires_ms=one.expires_ms,
    )
