"""Log-in at an OpenID provider, guests, organisations and the audit over HTTP.

The provider is asked between two transactions, never within one.
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from meyrin.domain.errors import InvalidInput, MeyrinError, NotAllowed, NotFound
from meyrin.hub.identity import outside, service
from meyrin.hub.identity.login_page import PRIVATE, local_path, render
from meyrin.hub.identity.provider import SCOPES, Provider
from meyrin.hub.identity.routes import API, Admin, Anyone, Auditor, set_session
from meyrin.hub.plumbing import audit
from meyrin.hub.plumbing.http import STATUS
from meyrin.hub.plumbing.paging import After, Limit
from meyrin.hub.plumbing.settings import HubSettings
from meyrin.wire.identity import (
    AuditList,
    AuditVerified,
    AuditView,
    GuestList,
    GuestView,
    IdTokenBody,
    LoginWays,
    NewOrganisation,
    OpenIdWay,
    OrganisationList,
    OrganisationView,
    PersonView,
    TokenSecret,
    TokenView,
)

router = APIRouter(tags=["identity"])
CALLBACK = "/login/openid/back"
_HOUR_S = 3600
_WAITING = (
    "Your home organisation says who you are, and it is not one whose people come in at once. "
    "An administrator of this hub has been asked to let you in; then log in again."
)


@router.get(f"{API}/login-ways")
def ways(request: Request, call: Anyone) -> LoginWays:  # noqa: ARG001 - anyone may ask
    """How one logs in here."""
    provider: Provider | None = request.app.state.provider
    if provider is None:
        return LoginWays(openid=None)
    way = OpenIdWay(
        issuer=provider.issuer,
        client_id=provider.cli_client_id,
        scopes=f"{SCOPES} offline_access",
    )
    return LoginWays(openid=way)


@router.get("/login/openid", include_in_schema=False)
def begin(
    request: Request, call: Anyone, page: Annotated[str, Query(alias="next")] = "/"
) -> Response:
    """Send the browser to the provider."""
    provider = _provider(request)
    with call.write() as step:
        begun = outside.begin(step, page if local_path(page) else "/")
    address = provider.authorisation_url(
        _callback(request), begun.state, begun.nonce, begun.verifier
    )
    response = RedirectResponse(address, 303, PRIVATE)
    response.set_cookie(
        outside.LOGIN_COOKIE,
        begun.browser,
        max_age=service.LINK_LIFETIME_S,
        path="/login",
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )
    return response


@router.get(CALLBACK, include_in_schema=False)
def back(
    request: Request, call: Anyone, state: str = "", code: str = "", error: str = ""
) -> Response:
    """The browser comes back from the provider: a session, or words that say why not."""
    provider = _provider(request)
    settings: HubSettings = request.app.state.settings
    browser = request.cookies.get(outside.LOGIN_COOKIE, "")
    try:
        with call.write() as step:
            begun = outside.take_login(step, state, browser)
        if error or not code:
            return render("Not logged in", f"The provider says: {error[:100] or 'nothing'}.", 401,
                          begun.page)  # fmt: skip
        claims = provider.claims_for_code(_callback(request), code, begun.nonce, begun.verifier)
        lifetime_s = settings.openid_session_hours * _HOUR_S
        with call.write() as step:
            who = outside.enter(step, claims)
            audit.note(step, who.name, "login.page", who.name, waits=who.waits_ms is not None,
                       organisation=who.organisation)  # fmt: skip
            secret = service.new_session(step, who.id, lifetime_s) if who.waits_ms is None else None
    except MeyrinError as problem:
        return render("Not logged in", f"{problem.message}.", STATUS[type(problem)], "/")
    if secret is None:
        return render("You are known, and not let in yet", _WAITING, 403)
    response = RedirectResponse(begun.page, 303, PRIVATE)
    response.delete_cookie(outside.LOGIN_COOKIE, path="/login", httponly=True, samesite="lax")
    set_session(request, response, secret, lifetime_s)
    return response


@router.post(f"{API}/tokens/openid", status_code=201)
def token_for(body: IdTokenBody, request: Request, response: Response, call: Anyone) -> TokenSecret:
    """A token for the command line of somebody whom the provider knows."""
    settings: HubSettings = request.app.state.settings
    claims = _provider(request).claims_of_cli(body.id_token)
    lifetime_s = settings.openid_session_hours * _HOUR_S
    with call.write() as step:
        who = outside.enter(step, claims)
        audit.note(step, who.name, "login.command-line", who.name, waits=who.waits_ms is not None,
                   organisation=who.organisation)  # fmt: skip
        made = (
            service.new_token(step, who.id, body.name, lifetime_s=lifetime_s)
            if who.waits_ms is None
            else None
        )
    if made is None:
        raise NotAllowed(f"you are {who.name} here, and not let in yet", hint=_WAITING)
    token, secret = made
    response.headers.update(PRIVATE)
    view = TokenView(
        id=token.id,
        kind=token.kind,
        name=token.name,
        created_ms=token.created_ms,
        expires_ms=token.expires_ms,
    )
    return TokenSecret(token=view, secret=secret)


# --- guests and organisations


@router.get(f"{API}/guests")
def guests(call: Admin, after: After = "", limit: Limit = 50) -> GuestList:
    """Who waits to be let in, by name."""
    with call.read() as step:
        found, following = outside.guests(step, after, limit)
    shown = [
        GuestView(
            name=one.name, display_name=one.display_name, domain=one.domain, waits_ms=one.waits_ms
        )
        for one in found
    ]
    return GuestList(guests=shown, next=following)


@router.post(f"{API}/people/{{name}}/approve")
def approve(name: str, call: Admin) -> PersonView:
    """Let a guest in."""
    with call.write() as step:
        found = outside.approve(step, name)
        audit.note_change(step, call.actor.name, "person.approve", name)
    return PersonView(
        name=found.name,
        display_name=found.display_name,
        admin=found.admin,
        created_ms=found.created_ms,
        disabled_ms=found.disabled_ms,
        organisation=found.organisation,
    )


@router.get(f"{API}/organisations")
def organisations(call: Auditor, after: After = "", limit: Limit = 50) -> OrganisationList:
    """Whose people come in at once, by name."""
    with call.read() as step:
        found, following = outside.organisations(step, after, limit)
    return OrganisationList(organisations=[_organisation(one) for one in found], next=following)


@router.post(f"{API}/organisations", status_code=201)
def add_organisation(body: NewOrganisation, call: Admin) -> OrganisationView:
    """Let the people of a domain in, now and from now on."""
    with call.write() as step:
        made = outside.add_organisation(step, body.name, body.domain, body.title)
        audit.note(step, call.actor.name, "organisation.add", made.name, domain=made.domain)
    return _organisation(made)


@router.delete(f"{API}/organisations/{{name}}", status_code=204)
def remove_organisation(name: str, call: Admin) -> None:
    """Later people of it are guests; those who are in stay in."""
    with call.write() as step:
        outside.remove_organisation(step, name)
        audit.note_change(step, call.actor.name, "organisation.remove", name)


# --- the audit


@router.get(f"{API}/audit")
def read_audit(call: Auditor, thing: str = "", after: After = "", limit: Limit = 50) -> AuditList:
    """Who did what, newest first; of one thing, or of everything."""
    with call.read() as step:
        rows, following = audit.listed(step, thing, after, limit)
    shown = [
        AuditView(
            id=row.id,
            at_ms=row.at_ms,
            actor=row.actor,
            verb=row.verb,
            thing=row.thing,
            facts=row.facts,
            prior=row.prior,
            hash=row.hash,
        )
        for row in rows
    ]
    return AuditList(rows=shown, next=following)


@router.get(f"{API}/audit/verify")
def verify_audit(call: Auditor) -> AuditVerified:
    """Recompute every hash. Keep the last one elsewhere: a cut at the end shows by it only."""
    with call.read() as step:
        found = audit.verify(step)
    return AuditVerified(rows=found.rows, last=found.last, broken=found.broken)


# --- inside


def _provider(request: Request) -> Provider:
    provider: Provider | None = request.app.state.provider
    if provider is None:
        raise NotFound(
            "this hub has no OpenID provider", hint="log in by a link: run `meyrin login`"
        )
    return provider


def _callback(request: Request) -> str:
    settings: HubSettings = request.app.state.settings
    hub = settings.public_url or str(request.base_url)
    if quote(hub, safe=":/[]%._-~") != hub:
        raise InvalidInput("the hub's own address can't be used", field="public_url")
    return hub.rstrip("/") + CALLBACK


def _organisation(one: outside.Organisation) -> OrganisationView:
    return OrganisationView(
        name=one.name, title=one.title, domain=one.domain, created_ms=one.created_ms
    )
