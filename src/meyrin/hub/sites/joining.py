"""How a site's agent joins: enrolments, credentials that follow one another, first offers.

The secret of an enrolment is shown once; a credential's secret never comes here at all.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from meyrin.domain.errors import Conflict, InvalidInput, NotAllowed
from meyrin.domain.site import OwnerShare
from meyrin.hub.identity import service as identity
from meyrin.hub.plumbing import audit
from meyrin.hub.plumbing.authz import Actor
from meyrin.hub.plumbing.database import Step
from meyrin.hub.sites import service, store
from meyrin.hub.sites.service import Offer, Site

log = structlog.get_logger("meyrin.hub")


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A token that lets one agent join, once; its secret is shown this once."""

    site: Site
    secret: str
    expires_ms: int


def new_enrolment(
    step: Step,
    actor: Actor,
    name: str,
    *,
    title: str = "",
    again: bool = False,
    lend: bool | None = None,
    valid_s: int = identity.ENROLMENT_S,
) -> Enrolment:
    """Let an agent join as `name`, which an administrator may make new.

    A site that has an agent needs `again`: the agent that joins then takes over. With `lend`,
    what the site proposes as it joins is lent, once; without, an earlier leave to do so that was
    not used is taken back. For administrators; operators may let their own site join again, but
    not choose `lend`.
    """
    row = store.site_where(step, store.sites.c.name == name, hold=True)
    if not actor.admin and (row is None or not actor.runs_site(row.id) or lend is not None):
        raise NotAllowed("this needs an administrator", hint="ask whoever runs this hub")
    found = service.add(step, name, title) if row is None else service.as_site(row, ())
    if found.last_heard_ms is not None and not again:
        raise Conflict(
            f"{name} has an agent already",
            hint="`--again` lets another take over from it; the present one is refused then",
            name=name,
        )
    store.set_field(step, found.id, store.sites.c.lend_proposed, bool(lend))
    token, secret = identity.new_enrolment(step, found.id, name, valid_s)
    assert token.expires_ms is not None
    return Enrolment(found, secret, token.expires_ms)


def join(step: Step, secret: str, digest: str, name: str | None = None) -> Site:
    """Take an enrolment token for the SHA-256 of a credential that the agent drew itself. One
    that is for another site than `name` is left as it is."""
    site_id = identity.enrolling_site(step, secret)
    row = service.site_row(step, store.sites.c.id == site_id, site_id, hold=True)
    if row.closed_ms is not None:
        raise NotAllowed(f"{row.name} was closed", hint="ask the hub's administrator")
    if name not in {None, row.name}:
        raise Conflict(
            f"this enrolment is for the site {row.name}, not {name}",
            hint=f"it is still good: run the line again with {row.name}",
            name=row.name,
        )
    identity.use_enrolment(step, secret, digest)
    return service.as_site(row, ())


def follow_credential(step: Step, site_id: str, token_id: str, digest: str) -> None:
    """The site's agent drew its next credential."""
    service.site_row(step, store.sites.c.id == site_id, site_id, hold=True)
    identity.follow(step, token_id, digest)


def credentials(
    step: Step, actor: Actor, name: str, after: str, limit: int
) -> tuple[list[identity.Credential], str]:
    """One page of a site's credentials and enrolments, newest first. Two queries."""
    return identity.of_site(step, service.run_by(step, actor, name).id, after, limit)


def credential_made_ms(step: Step, site: Site) -> int | None:
    """When the credential was made that the site's agent used last. One query."""
    return identity.credential_made_ms(step, site.id)


def may_lend(step: Step, site_id: str, token: str) -> bool:
    """Whether what the site proposes in this hello is agreed to: its last enrolment said so, and
    this is its agent's first word since it joined. `token` is the caller's credential."""
    row = service.site_row(step, store.sites.c.id == site_id, site_id, hold=True)
    if not row.lend_proposed:
        return False
    joined_ms = identity.joined_ms(step, site_id)
    if joined_ms is None or (row.last_heard_ms or 0) > joined_ms:
        return False
    identity.check_counts(step, token)  # the site may have joined anew since the call came
    return True


def lend_proposed(step: Step, site: Site) -> list[Offer]:
    """Lend what the site proposes as it joins, once; returns what is new. What it proposes later,
    and what was ended meanwhile, is an administrator's to lend."""
    store.set_field(step, site.id, store.sites.c.lend_proposed, False)
    made = []
    for one in site.about.get("offers", ()):
        start_s = max(step.now_s, one["start_s"] or 0)
        if one["end_s"] is not None and one["end_s"] <= start_s:
            continue
        owners = [OwnerShare(each["owner"], each["weight"]) for each in one["owners"]]
        try:
            offer = service.lend(
                step, site.name, one["partition"], owners, start_s=start_s, end_s=one["end_s"]
            )
        except Conflict:  # it is lent already
            continue
        except InvalidInput as error:  # an agent must be heard, whatever it proposes
            log.warning("site.proposal_refused", site=site.name, error=error.message)
        else:
            made.append(offer)
            facts = {each.owner: each.weight for each in owners}
            audit.note(step, "", "offer.lend", offer.id, site=site.name, owners=facts, by="join")
    return made
