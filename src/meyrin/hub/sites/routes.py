"""Sites and what they lend over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from meyrin.hub.identity import service as identity
from meyrin.hub.plumbing import audit
from meyrin.hub.plumbing.authz import Access, Allow, Call
from meyrin.hub.plumbing.paging import After, Limit
from meyrin.hub.plumbing.settings import HubSettings
from meyrin.hub.sites import drift, joining, queue, service, shares
from meyrin.wire.limits import SiteDrift
from meyrin.wire.queue import SiteQueue
from meyrin.wire.sites import (
    About,
    AgentSecret,
    AllowedProjects,
    CredentialList,
    CredentialView,
    DrainBody,
    Enrolled,
    EnrolmentSecret,
    NewEnrolment,
    NewOffer,
    NewShares,
    NewSite,
    OfferEnd,
    OfferView,
    OperatorBody,
    ShareTerm,
    ShareTerms,
    SiteDetail,
    SiteList,
    SiteView,
)

router = APIRouter(prefix="/api/v1/sites", tags=["sites"])
Person = Annotated[Call, Depends(Allow(Access.PERSON))]
Operator = Annotated[Call, Depends(Allow(Access.OPERATOR))]
Admin = Annotated[Call, Depends(Allow(Access.ADMIN))]
_NO_STORE = {"Cache-Control": "no-store"}


@router.get("")
def sites(call: Person, after: After = "", limit: Limit = 50) -> SiteList:
    """Every site, by name."""
    with call.read() as step:
        found, following = service.sites(step, after, limit)
    return SiteList(sites=[_site(one) for one in found], next=following)


@router.post("", status_code=201)
def enrol(body: NewSite, response: Response, call: Admin) -> Enrolled:
    """A new site; the credential of its agent is shown this once."""
    with call.write() as step:
        site, secret = service.enrol(step, body.name, body.title)
        audit.note(step, call.actor.name, "site.new", site.name)
    response.headers.update(_NO_STORE)
    return Enrolled(site=_site(site), agent_secret=secret)


@router.get("/{name}")
def site(name: str, call: Person) -> SiteDetail:
    """One site with its partitions and offers, and what its agent says."""
    with call.read() as step:
        found = service.site_by_name(step, name)
        offers = shares.with_current(step, service.offers_of(step, found))
        made_ms = joining.credential_made_ms(step, found)
    return SiteDetail(
        site=_site(found),
        offers=[_offer(one) for one in offers],
        about=About.model_validate(found.about),
        credential_ms=made_ms,
    )


@router.post("/{name}/enrolment", status_code=201)
def new_enrolment(
    name: str, body: NewEnrolment, request: Request, response: Response, call: Operator
) -> EnrolmentSecret:
    """A token that lets one agent join as this site, once; a new site for an administrator."""
    with call.write() as step:
        made = joining.new_enrolment(
            step,
            call.actor,
            name,
            title=body.title,
            again=body.again,
            lend=body.lend,
            valid_s=body.valid_s,
        )
        audit.note(step, call.actor.name, "site.enrol", name, again=body.again, lend=body.lend)
    response.headers.update(_NO_STORE)
    settings: HubSettings = request.app.state.settings
    hub = settings.public_url or str(request.base_url)
    return EnrolmentSecret(
        site=_site(made.site), secret=made.secret, expires_ms=made.expires_ms, hub=hub.rstrip("/")
    )


@router.get("/{name}/credentials")
def credentials(name: str, call: Operator, after: After = "", limit: Limit = 50) -> CredentialList:
    """A site's credentials and enrolments with their last use, newest first."""
    with call.read() as step:
        found, following = joining.credentials(step, call.actor, name, after, limit)
        return CredentialList(
            credentials=[_credential(one, step.now_ms) for one in found], next=following
        )


@router.get("/{name}/queue")
def site_queue(name: str, call: Operator, after: After = "", limit: Limit = 50) -> SiteQueue:
    """The site's whole queue as its agent told it last, in pseudonyms, by priority."""
    with call.read() as step:
        found = queue.latest(step, call.actor, name, after, limit)
    return SiteQueue(
        site=name,
        at_ms=found.at_ms,
        left_out=found.left_out,
        partitions=list(found.partitions),
        jobs=list(found.jobs),
        next=found.following,
    )


@router.get("/{name}/drift")
def site_drift(name: str, call: Operator, after: After = "", limit: Limit = 50) -> SiteDrift:
    """What the site's own accounts and limits lack, as its agent saw it last."""
    with call.read() as step:
        found = drift.latest(step, call.actor, name, after, limit)
    return SiteDrift(
        site=name,
        at_ms=found.at_ms,
        mode=found.mode,
        words=found.words,
        lines=list(found.lines),
        next=found.following,
    )


@router.post("/{name}/drain")
def drain(name: str, body: DrainBody, call: Operator) -> SiteView:
    """Send nothing new to a site; what runs there goes on."""
    with call.write() as step:
        site = service.drain(step, call.actor, name, body.reason)
        audit.note_change(step, call.actor.name, "site.drain", name, reason=site.drained_reason)
        return _site(site)


@router.post("/{name}/resume")
def resume(name: str, call: Operator) -> SiteView:
    """Send new work to a drained site again."""
    with call.write() as step:
        site = service.resume(step, call.actor, name)
        audit.note_change(step, call.actor.name, "site.resume", name)
        return _site(site)


@router.put("/{name}/projects")
def allow_projects(name: str, body: AllowedProjects, call: Operator) -> SiteView:
    """Let only these projects use a site, or everyone."""
    with call.write() as step:
        ids = None
        if body.projects is not None:
            found = [identity.project_by_name(step, call.actor, each) for each in body.projects]
            ids = [each.id for each in found]
        site = service.allow_projects(step, call.actor, name, ids)
        told = "all" if body.projects is None else " ".join(sorted(body.projects))
        audit.note_change(step, call.actor.name, "site.projects", name, projects=told)
        return _site(site)


@router.post("/{name}/agent-token", status_code=201)
def rotate_agent_token(name: str, response: Response, call: Operator) -> AgentSecret:
    """A new credential for the site's agent; those before it are refused at once."""
    with call.write() as step:
        secret = service.rotate_agent_token(step, call.actor, name)
        audit.note(step, call.actor.name, "site.token", name)
    response.headers.update(_NO_STORE)
    return AgentSecret(agent_secret=secret)


@router.post("/{name}/operators", status_code=204)
def add_operator(name: str, body: OperatorBody, call: Operator) -> None:
    """Let a person run a site."""
    with call.write() as step:
        service.run_by(step, call.actor, name)
        if service.add_operator(step, name, body.person):
            audit.note(
                step, call.actor.name, "role.give", name, role="operator", person=body.person
            )


@router.delete("/{name}/operators/{person}", status_code=204)
def remove_operator(name: str, person: str, call: Operator) -> None:
    """Let a person run a site no longer."""
    with call.write() as step:
        service.run_by(step, call.actor, name)
        service.remove_operator(step, name, person)
        audit.note(step, call.actor.name, "role.take", name, role="operator", person=person)


@router.post("/{name}/offers", status_code=201)
def lend(name: str, body: NewOffer, call: Admin) -> OfferView:
    """Lend a partition for its owners, for a time or on and on."""
    with call.write() as step:
        start_s = step.now_s if body.start_s is None else body.start_s
        offer = service.lend(
            step,
            name,
            body.partition,
            body.owners,
            start_s=start_s,
            end_s=body.end_s,
            price_cents=body.price_cents,
        )
        facts = {one.owner: one.weight for one in body.owners}
        audit.note(step, call.actor.name, "offer.lend", offer.id, site=name, owners=facts)
    return _offer(offer)


@router.get("/{name}/offers/{offer}/shares")
def offer_shares(name: str, offer: str, call: Person) -> ShareTerms:
    """Whose an offer is, from when on; all changes."""
    with call.read() as step:
        return _terms(offer, shares.terms_of(step, name, offer))


@router.post("/{name}/offers/{offer}/shares")
def change_shares(name: str, offer: str, body: NewShares, call: Admin) -> ShareTerms:
    """Let an offer be of other owners, or in other parts, from a date on."""
    with call.write() as step:
        found = shares.change_shares(step, name, offer, body.owners, body.from_s)
        facts = {one.owner: one.weight for one in body.owners}
        audit.note_change(
            step, call.actor.name, "offer.shares", offer, from_s=body.from_s, owners=facts
        )
    return _terms(offer, found)


def _terms(offer: str, found: tuple[tuple[int, shares.Shares], ...]) -> ShareTerms:
    terms = [ShareTerm(from_s=from_s, owners=list(owners)) for from_s, owners in found]
    return ShareTerms(offer=offer, terms=terms)


@router.post("/{name}/offers/{offer}/end", status_code=204)
def end_offer(name: str, offer: str, body: OfferEnd, call: Admin) -> None:
    """Let an offer end earlier than agreed."""
    with call.write() as step:
        if service.end_offer(step, name, offer, body.end_s):
            audit.note(step, call.actor.name, "offer.end", offer, site=name, end_s=body.end_s)


def _site(one: service.Site) -> SiteView:
    return SiteView(
        name=one.name,
        title=one.title,
        batch_kind=one.batch_kind,
        drained=one.drained_reason,
        not_now=one.not_now,
        last_heard_ms=one.last_heard_ms,
        open_to_all=one.allowed_projects is None,
        closed_ms=one.closed_ms,
        partitions=list(one.partitions),
    )


def _offer(one: service.Offer) -> OfferView:
    return OfferView(
        id=one.id,
        partition=one.partition,
        start_s=one.start_s,
        end_s=one.end_s,
        owners=list(one.shares),
        price_cents=one.price_cents,
    )


def _credential(one: identity.Credential, now_ms: int) -> CredentialView:
    return CredentialView(
        id=one.id,
        kind=str(one.kind),
        state=_state(one, now_ms),
        created_ms=one.created_ms,
        expires_ms=one.expires_ms,
        used_ms=one.used_ms,
        revoked_ms=one.revoked_ms,
    )


def _state(one: identity.Credential, now_ms: int) -> str:
    enrolment = one.kind == identity.TokenKind.ENROL
    if enrolment and one.used_ms is not None:
        return "used"
    if one.revoked_ms is not None:
        return "revoked"
    if one.expires_ms is not None and one.expires_ms <= now_ms:
        return "expired"
    return "waits" if enrolment else "counts"
