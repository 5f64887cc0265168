"""Sites and offers on the wire. What is free and busy there is shown elsewhere."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from meyrin.domain.site import OwnerShare, Partition
from meyrin.wire.jobs import Body, Number, Second, Words


class OfferView(Body):
    """Lent from `start_s` until just before `end_s`; None has no end yet.

    `price_cents` is what an hour costs by the paid door, where that was said.
    """

    id: str
    partition: str
    start_s: int
    end_s: int | None
    owners: list[OwnerShare]
    price_cents: int | None = None


class ShareTerm(Body):
    """Whose an offer is from `from_s` on; 0 is its beginning."""

    from_s: int
    owners: list[OwnerShare]


class ShareTerms(Body):
    offer: str
    terms: list[ShareTerm]


class SiteView(Body):
    """A site as lists show it. `drained` is the reason why nothing new is sent, or None;
    `not_now` is the site's own, told by its agent."""

    name: str
    title: str
    batch_kind: str
    drained: str | None
    not_now: str | None = None
    last_heard_ms: int | None
    open_to_all: bool
    closed_ms: int | None
    partitions: list[Partition]


class SiteList(Body):
    sites: list[SiteView]
    next: str


class ProposedOffer(Body):
    """What a site would lend: a partition, for whom, and when (None: now, and on and on)."""

    partition: str
    owners: Annotated[list[OwnerShare], Field(min_length=1, max_length=200)]
    start_s: Second | None = None
    end_s: Second | None = None


class Shortage(Body):
    """A partition fewer of whose nodes take new jobs now than it has; 0 is none. They may be back
    at any time."""

    partition: Annotated[Words, Field(max_length=63)]
    usable_nodes: Annotated[int, Field(ge=0, le=10**9)]
    why: Annotated[Words, Field(max_length=500)]


class About(Body):
    """What an agent says of itself and its site: shown to people, and little more.

    `version` is Meyrin's, `scheduler` the batch system's own, `transport` how the agent speaks
    to it, `news` how starts and ends come to it; `rules` are the site's rules in words, `trouble`
    what its operator should mend.
    `rules_mark` is another one whenever these rules, or the veto, are others: what was refused
    under those before may be offered again. No more jobs are placed than `shortages` leave room
    for.
    """

    version: Annotated[Words, Field(max_length=200)] = ""
    scheduler: Annotated[Words, Field(max_length=200)] = ""
    transport: Annotated[Words, Field(max_length=200)] = ""
    rules: Annotated[
        tuple[Annotated[Words, Field(max_length=500)], ...], Field(max_length=100)
    ] = ()
    offers: Annotated[tuple[ProposedOffer, ...], Field(max_length=1000)] = ()
    trouble: Annotated[Words, Field(max_length=2000)] = ""
    rules_mark: Annotated[str, Field(pattern="^[0-9a-f]{0,64}$")] = ""
    news: Annotated[Words, Field(max_length=300)] = ""
    shortages: Annotated[tuple[Shortage, ...], Field(max_length=1000)] = ()


class SiteDetail(Body):
    """One site with its offers that have not ended, and what its agent says."""

    site: SiteView
    offers: list[OfferView]
    about: About = About()
    credential_ms: int | None = None


class NewEnrolment(Body):
    """`again` lets an agent take over from one that joined; with `lend`, what the site proposes
    to lend is lent as it joins."""

    title: str = ""
    again: bool = False
    lend: bool | None = None
    valid_s: Annotated[Number, Field(ge=60, le=7 * 86400)] = 3600


class EnrolmentSecret(Body):
    """A token that lets one agent join, once, shown this once; and the hub's public address."""

    site: SiteView
    secret: str
    expires_ms: int
    hub: str


class CredentialView(Body):
    """`kind` is agent or enrol; `state` is counts, expired, revoked, used or waits."""

    id: str
    kind: str
    state: str
    created_ms: int
    expires_ms: int | None
    used_ms: int | None
    revoked_ms: int | None


class CredentialList(Body):
    credentials: list[CredentialView]
    next: str


class NewSite(Body):
    name: str
    title: str = ""


class Enrolled(Body):
    """A new site and its agent's credential, which is shown this once."""

    site: SiteView
    agent_secret: str


class AgentSecret(Body):
    """The credential of a site's agent, shown this once; those before it are refused."""

    agent_secret: str


class AgentRefused(Body):
    """The site's agent is refused. `jobs` are there, and their ends are not told meanwhile."""

    jobs: int


class DrainBody(Body):
    reason: str


class AllowedProjects(Body):
    """The names of the projects that may use a site; None lets everyone."""

    projects: Annotated[list[str], Field(min_length=1, max_length=10_000)] | None


class OperatorBody(Body):
    person: str


class NewOffer(Body):
    """Without `start_s` from now on. `price_cents`: of an hour of an accelerator, or core."""

    partition: str
    owners: Annotated[list[OwnerShare], Field(min_length=1, max_length=200)]
    start_s: Second | None = None
    end_s: Second | None = None
    price_cents: Annotated[Number, Field(ge=0, le=10**9)] | None = None


class NewShares(Body):
    """Other owners, or other weights, from `from_s` on; all of them are named."""

    owners: Annotated[list[OwnerShare], Field(min_length=1, max_length=200)]
    from_s: Second


class OfferEnd(Body):
    """Without `end_s` the offer ends now; one that has not begun is taken back."""

    end_s: Second | None = None
