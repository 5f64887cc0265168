"""Sites and offers on the wire. What is free and busy there is shown elsewhere."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from meyrin.domain.site import OwnerShare, Partition
from meyrin.wire.jobs import Body


class OfferView(Body):
    """Lent from `start_s` until just before `end_s`; None has no end yet."""

    id: str
    partition: str
    start_s: int
    end_s: int | None
    owners: list[OwnerShare]


class SiteView(Body):
    """A site as lists show it. `drained` is the reason why nothing new is sent, or None."""

    name: str
    title: str
    batch_kind: str
    drained: str | None
    last_heard_ms: int | None
    open_to_all: bool
    closed_ms: int | None
    partitions: list[Partition]


class SiteList(Body):
    sites: list[SiteView]
    next: str


class SiteDetail(Body):
    """One site with its offers that have not ended."""

    site: SiteView
    offers: list[OfferView]


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


class DrainBody(Body):
    reason: str


class AllowedProjects(Body):
    """The names of the projects that may use a site; None lets everyone."""

    projects: Annotated[list[str], Field(min_length=1, max_length=10_000)] | None


class OperatorBody(Body):
    person: str


class NewOffer(Body):
    """Without `start_s` from now on."""

    partition: str
    owners: Annotated[list[OwnerShare], Field(min_length=1, max_length=200)]
    start_s: Annotated[int, Field(ge=0, le=2**53)] | None = None
    end_s: Annotated[int, Field(ge=0, le=2**53)] | None = None


class OfferEnd(Body):
    """Without `end_s` the offer ends now; one that has not begun is taken back."""

    end_s: Annotated[int, Field(ge=0, le=2**53)] | None = None
