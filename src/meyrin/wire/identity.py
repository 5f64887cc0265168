"""People, projects and tokens on the wire. A secret travels once: in the reply that made it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from meyrin.wire.jobs import Body, Number

Role = Literal["member", "lead"]
MAX_TOKEN_DAYS = 3650


class PersonView(Body):
    """`name` is short and for programs, `display_name` is in any alphabet."""

    name: str
    display_name: str
    admin: bool
    created_ms: int
    disabled_ms: int | None
    organisation: str | None = None


class PersonList(Body):
    people: list[PersonView]
    next: str


class NewPerson(Body):
    name: str
    display_name: str = ""
    admin: bool = False


class ProjectView(Body):
    """`role` is the caller's there; empty for an administrator who is not in it."""

    name: str
    title: str
    role: str
    created_ms: int
    closed_ms: int | None


class ProjectList(Body):
    projects: list[ProjectView]
    next: str


class NewProject(Body):
    """`lead` is the name of the first lead; left out, it is whoever makes the project."""

    name: str
    title: str = ""
    lead: str | None = None


class MemberView(Body):
    name: str
    display_name: str
    role: str


class MemberList(Body):
    members: list[MemberView]
    next: str


class NewMember(Body):
    person: str
    role: Role = "member"


class Me(Body):
    """Who the caller is, and the projects that they are in."""

    person: PersonView
    projects: list[ProjectView]


class TokenView(Body):
    """`kind` is cli or session. Without `expires_ms` it counts until it is revoked."""

    id: str
    kind: str
    name: str
    created_ms: int
    expires_ms: int | None


class TokenList(Body):
    tokens: list[TokenView]
    next: str


class NewToken(Body):
    """`days` is how long it counts; None is until it is revoked. `person` is whose it is: the
    caller's, or, for an administrator, anybody's."""

    name: str
    person: str | None = None
    days: Annotated[Number, Field(ge=1, le=MAX_TOKEN_DAYS)] | None = 365


class TokenSecret(Body):
    """A new token with its secret, which is shown this once."""

    token: TokenView
    secret: str


class NewLoginLink(Body):
    """`page` is where the link leads: a path of this hub.

    `person` is whom it logs in: the caller when left out, anybody for an administrator, who so
    hands a new person their first log-in.
    """

    page: str = "/"
    person: str | None = None


class LoginLink(Body):
    """Good once, for `expires_s` seconds."""

    url: str
    expires_s: int


# --- log-in by an OpenID provider


class OpenIdWay(Body):
    """What the command line needs to ask the provider for a code (device flow, RFC 8628)."""

    issuer: str
    client_id: str
    scopes: str


class LoginWays(Body):
    """How one logs in here: `openid` when there is a provider, else by links only."""

    openid: OpenIdWay | None


class IdTokenBody(Body):
    """An ID token that the provider gave to the command line, and a name for what it becomes."""

    id_token: Annotated[str, Field(min_length=1, max_length=100_000)]
    name: str = "command line"


class GuestView(Body):
    """Somebody who waits to be let in; `domain` is what the provider vouches for."""

    name: str
    display_name: str
    domain: str
    waits_ms: int


class GuestList(Body):
    guests: list[GuestView]
    next: str


class OrganisationView(Body):
    """People of `domain` belong to it, and are let in when they first log in."""

    name: str
    title: str
    domain: str
    created_ms: int


class OrganisationList(Body):
    organisations: list[OrganisationView]
    next: str


class NewOrganisation(Body):
    name: str
    domain: str
    title: str = ""


# --- audit


class AuditView(Body):
    """One act; `hash` binds it to `prior`, the one before."""

    id: int
    at_ms: int
    actor: str
    verb: str
    thing: str
    facts: dict[str, str]
    prior: str
    hash: str


class AuditList(Body):
    rows: list[AuditView]
    next: str


class AuditVerified(Body):
    """`broken` is the first row that does not fit; None when all `rows` do."""

    rows: int
    last: str
    broken: int | None
