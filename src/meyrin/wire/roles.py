"""Roles, leaving and terms on the wire."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from meyrin.wire.identity import PersonView
from meyrin.wire.jobs import Body

RoleName = Literal[
    "member",
    "lead",
    "operator",
    "reviewer",
    "officer",
    "programme-officer",
    "auditor",
    "administrator",
]
Name = Annotated[str, Field(max_length=200)]


class RoleBody(Body):
    """`thing` is the project, call or site by name; empty for a role for the facility. One of
    `person` and `organisation` is said."""

    role: RoleName
    thing: Name = ""
    person: Name = ""
    organisation: Name = ""


class RoleView(Body):
    """A role somebody holds. With `organisation` and no `person`, everybody of it holds it."""

    scope: str
    role: str
    thing: str
    person: str
    organisation: str
    given_ms: int | None
    given_by: str


class RoleList(Body):
    roles: list[RoleView]
    next: str


class PersonDetail(Body):
    """A person and the first roles that they hold; `GET /roles?person=` has them all."""

    person: PersonView
    roles: list[RoleView]
    more: bool


# --- leaving


class SiteRevocation(Body):
    """`revoked`: its agent confirmed at `at_ms` that the person can use the project's account there
    no longer; `unkept`: the site's accounts are not kept by its agent, its operators see to them;
    `waiting`: not confirmed yet. `jobs` of theirs are still there."""

    site: str
    state: Literal["revoked", "unkept", "waiting"]
    at_ms: int | None
    words: str
    jobs: int
    last_heard_ms: int | None


class DepartureView(Body):
    """Somebody left at `at_ms`, by their own or a lead's word; `jobs` have not ended yet."""

    person: str
    at_ms: int
    by: str
    returned_ms: int | None
    jobs: int
    sites: list[SiteRevocation]


class DepartureList(Body):
    departures: list[DepartureView]
    next: str
