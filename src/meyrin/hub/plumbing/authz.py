"""Who may call: every route names one `Access`; a golden file lists them all.

Authorisation is about the caller. What a caller may see *of a thing* (a job of another project)
is asked of the actor by the service that owns the thing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum

from fastapi import Request
from fastapi.openapi.models import HTTPBearer
from fastapi.security.base import SecurityBase

from meyrin.domain.errors import NotAllowed, NotLoggedIn
from meyrin.hub.plumbing.database import Database, Step


class Access(StrEnum):
    ANYONE = "anyone"
    PERSON = "a person who is logged in"
    OPERATOR = "an operator of the site, or an administrator"
    LEAD = "a lead of the project, or an administrator"
    OFFICER = "an officer of the call, or a programme officer"
    PROGRAMME = "a programme officer"
    AUDITOR = "an auditor, or an administrator"
    BOOKS = "a programme officer, an auditor, or an administrator"
    ADMIN = "an administrator"
    AGENT = "an agent of a site"
    CALLER = "a person who is logged in, or an agent of a site"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who calls. `person` is None for agents and strangers; `site` is set for agents.

    `projects` maps project ids to the role there (`member` or `lead`); `operates` holds the ids
    of sites that the person runs. `facility` holds roles for the whole facility
    (`programme-officer`, `auditor`), `calls` pairs of a call and a role for it (`officer`,
    `reviewer`). `session` marks a browser session (its writes are checked for their origin).
    `token` is the id of an agent's credential.
    """

    person: str | None = None
    name: str = ""
    admin: bool = False
    projects: Mapping[str, str] = field(default_factory=dict)
    operates: frozenset[str] = frozenset()
    facility: frozenset[str] = frozenset()
    calls: frozenset[tuple[str, str]] = frozenset()
    site: str | None = None
    session: bool = False
    token: str = ""

    @property
    def key(self) -> str:
        """Who brought a file: the person's id or the site's."""
        key = self.person or self.site
        assert key is not None
        return key

    def in_project(self, project: str) -> bool:
        return self.admin or project in self.projects

    def leads(self, project: str) -> bool:
        return self.admin or self.projects.get(project) == "lead"

    def runs_site(self, site: str) -> bool:
        return self.admin or site in self.operates

    @property
    def programme(self) -> bool:
        """A programme officer: decides every call, and gives hours. No administrator is one by
        that alone."""
        return "programme-officer" in self.facility

    @property
    def audits(self) -> bool:
        return self.admin or "auditor" in self.facility

    @property
    def reads_books(self) -> bool:
        """Who sees what owners are due before it is published."""
        return self.programme or self.audits

    def decides(self, call: str) -> bool:
        return self.programme or (call, "officer") in self.calls

    def reads_asks(self, call: str) -> bool:
        """Whether they see everybody's asks of a call: its officers and reviewers."""
        return self.decides(call) or (call, "reviewer") in self.calls

    @property
    def calls_read(self) -> tuple[str, ...] | None:
        """Calls whose asks they see; None is every call."""
        return None if self.programme else tuple(sorted({call for call, _ in self.calls}))


STRANGER = Actor()
_ASK_FOR_IT = "`meyrin person show` says what you may do; ask whoever runs this hub for more"
_RIGHTS: dict[Access, tuple[Callable[[Actor], bool], str]] = {
    Access.ADMIN: (lambda actor: actor.admin, "an administrator"),
    Access.PROGRAMME: (lambda actor: actor.programme, "a programme officer"),
    Access.OFFICER: (lambda actor: actor.programme or bool(actor.calls), "an officer"),
    Access.BOOKS: (
        lambda actor: actor.reads_books,
        "a programme officer, an auditor or an administrator",
    ),
    Access.AUDITOR: (lambda actor: actor.audits, "an auditor or an administrator"),
}


@dataclass(frozen=True, slots=True)
class Call:
    """One request: who calls and the database to work on."""

    actor: Actor
    database: Database

    def read(self) -> AbstractContextManager[Step]:
        return self.database.read()

    def write(self) -> AbstractContextManager[Step]:
        return self.database.write()


class Allow(SecurityBase):
    """The dependency that a route declares: `call: Annotated[Call, Depends(Allow(PERSON))]`.

    OPERATOR and LEAD need the thing in question, so here they ask for a person, and the service
    asks `runs_site` or `leads`; OFFICER asks for one with a role for some call, and the service
    for which. The application sets `app.state.authenticate`. It is a `SecurityBase` so that FastAPI
    names the access in the OpenAPI document, where `plumbing.document` says what it means.
    """

    def __init__(self, access: Access) -> None:
        self.access = access
        self.model = HTTPBearer()
        self.scheme_name = access.name

    def __call__(self, request: Request) -> Call:
        database: Database = request.app.state.database
        actor: Actor = request.app.state.authenticate(request)
        self._check(actor)
        if actor.session and request.method not in {"GET", "HEAD"}:
            same_origin(request)
        return Call(actor, database)

    def _check(self, actor: Actor) -> None:
        if self.access is Access.ANYONE:
            return
        if self.access is Access.CALLER and actor.site is not None:
            return
        if self.access is Access.AGENT:
            if actor.site is None:
                raise NotLoggedIn(
                    "only an agent of a site may call this",
                    hint="start the agent with the credential that its enrolment printed",
                )
            return
        if actor.person is None:
            raise NotLoggedIn(
                "you are not logged in",
                hint="run `meyrin login`, or open the link that `meyrin up` printed",
            )
        may = _RIGHTS.get(self.access)
        if may is not None and not may[0](actor):
            raise NotAllowed(f"this needs {may[1]}", hint=_ASK_FOR_IT)


def same_origin(request: Request) -> None:
    """A browser may write by a session, or get one, only from our own pages (no cross-site request
    forgery)."""
    origin = request.headers.get("origin") or request.headers.get("referer") or ""
    expected = f"{request.url.scheme}://{request.url.netloc}"
    if not (origin == expected or origin.startswith(expected + "/")):
        raise NotAllowed("this form was sent from another site", hint="open the page here again")
