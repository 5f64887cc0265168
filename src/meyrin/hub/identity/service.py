"""People, projects and who is who: the verbs. Never returns a stored secret, for none is stored.

A secret is shown once, when it is made; the database keeps its SHA-256 and finds it by that. What
tokens and log-in links do is in `tokens.py`; this module is the door to both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from meyrin.domain.errors import Conflict, InvalidInput, NotAllowed, NotFound, Refused
from meyrin.domain.ids import new_id
from meyrin.domain.site import check_name
from meyrin.hub.identity import leaving, store
from meyrin.hub.identity.credentials import (
    ENROLMENT_S,
    Credential,
    check_counts,
    credential_made_ms,
    enrolling_site,
    follow,
    joined_ms,
    new_enrolment,
    note_used,
    of_site,
    revoke_site,
    use_enrolment,
)
from meyrin.hub.identity.labels import check_label
from meyrin.hub.identity.tokens import (
    AGENT_KINDS,
    LINK_LIFETIME_S,
    PERSON_KINDS,
    SESSION_COOKIE,
    SESSION_LIFETIME_S,
    Token,
    TokenKind,
    authenticate,
    counts,
    list_tokens,
    log_out,
    login_link,
    new_agent_token,
    new_session,
    new_token,
    request_actor,
    revoke,
    use_login_link,
    whose_link,
)
from meyrin.hub.plumbing import audit
from meyrin.hub.plumbing.authz import Actor
from meyrin.hub.plumbing.database import Step
from meyrin.hub.plumbing.paging import cut

__all__ = [
    "AGENT_KINDS",
    "ENROLMENT_S",
    "LINK_LIFETIME_S",
    "PERSON_KINDS",
    "SESSION_COOKIE",
    "SESSION_LIFETIME_S",
    "Credential",
    "Member",
    "Person",
    "Project",
    "Token",
    "TokenKind",
    "add_member",
    "add_operator",
    "all_projects",
    "authenticate",
    "bootstrap",
    "check_counts",
    "check_label",
    "counts",
    "credential_made_ms",
    "default_project",
    "disable",
    "end_lead",
    "enrolling_site",
    "follow",
    "joined_ms",
    "label_from",
    "list_tokens",
    "log_out",
    "login_link",
    "members",
    "name_from",
    "new_agent_token",
    "new_enrolment",
    "new_person",
    "new_project",
    "new_session",
    "new_token",
    "note_used",
    "of_site",
    "people",
    "people_names",
    "person",
    "person_by_name",
    "project",
    "project_by_name",
    "project_names",
    "projects_of",
    "remove_member",
    "remove_operator",
    "request_actor",
    "revoke",
    "revoke_site",
    "use_enrolment",
    "use_login_link",
    "visible_projects",
    "whose_link",
]

HOME = "home"  # the project of one-machine mode
ROLES = ("member", "lead")


@dataclass(frozen=True, slots=True)
class Person:
    id: str
    name: str
    display_name: str
    admin: bool
    created_ms: int
    disabled_ms: int | None = None
    waits_ms: int | None = None
    organisation: str | None = None


@dataclass(frozen=True, slots=True)
class Project:
    """A closed project can still be looked at; nothing new starts in it."""

    id: str
    name: str
    title: str
    created_ms: int
    closed_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Member:
    """A person in a project, by name; `role` is member or lead."""

    name: str
    display_name: str
    role: str


# --- people


def new_person(step: Step, name: str, display_name: str = "", *, admin: bool = False) -> Person:
    """A new person; `display_name` may be in any alphabet and is `name` when left out."""
    check_name("person", name)
    if name == audit.HUB:
        raise InvalidInput(
            f"nobody can be called {name}",
            hint="the audit says it of the hub itself; choose another name",
            field="name",
        )
    shown = check_label("display_name", display_name or name)
    row = {
        "id": new_id("person", step.entropy),
        "name": name,
        "display_name": shown,
        "admin": admin,
        "created_ms": step.now_ms,
    }
    added = step.add_new(store.people, [row])
    if not added:
        raise Conflict(
            f"there is a person called {name} already", hint="choose another name", name=name
        )
    return _person(added[0])


def people(step: Step, after: str, limit: int) -> tuple[list[Person], str]:
    """One page of everybody by name, and where the next page starts. One query."""
    rows, following = cut(store.people_page(step, after, limit), limit, "name")
    return [_person(row) for row in rows], following


def person(step: Step, person_id: str) -> Person:
    row = store.person_where(step, store.people.c.id == person_id)
    if row is None:
        raise NotFound(f"there is no person {person_id}")
    return _person(row)


def one_at_a_time(step: Step, person_id: str) -> None:
    """Of two steps that say this of one person, the second waits for the first to end."""
    store.hold_person(step, person_id)


def person_by_name(step: Step, name: str) -> Person:
    row = store.person_where(step, store.people.c.name == name)
    if row is None:
        raise NotFound(f"there is no person called {name}", name=name)
    return _person(row)


def people_names(step: Step, ids: Iterable[str]) -> dict[str, str]:
    """Names by id, for lists. One query."""
    return store.names(step, store.people, ids)


def disable(step: Step, name: str, by: str = "") -> Person:
    """Shut a person out at once: nothing they hold counts from now on, and their jobs end as
    those of somebody who leaves a project do. Asking twice is fine."""
    found = person_by_name(step, name)
    admins = store.active_admins(step)
    if [row.id for row in admins] == [found.id]:
        raise Refused(
            f"{name} is the last administrator",
            hint="make another administrator first",
            name=name,
        )
    if store.disable(step, found.id):
        for one in projects_of(step, found.id):
            leaving.note(step, one.id, found.id, by)
    store.revoke_where(step, store.tokens.c.person_id == found.id)
    return person(step, found.id)


# --- projects


def new_project(step: Step, name: str, title: str = "", *, lead: str | None = None) -> Project:
    """A new project; `lead` is the id of its first lead."""
    check_name("project", name)
    row = {
        "id": new_id("project", step.entropy),
        "name": name,
        "title": check_label("title", title or name),
        "created_ms": step.now_ms,
    }
    added = step.add_new(store.projects, [row])
    if not added:
        raise Conflict(
            f"there is a project called {name} already", hint="choose another name", name=name
        )
    if lead is not None:
        store.set_role(step, added[0].id, lead, "lead")
    return _project(added[0])


def project(step: Step, project_id: str) -> Project:
    """By id, for rooms that already know that the caller may see it."""
    row = store.project_where(step, store.projects.c.id == project_id, None)
    if row is None:
        raise NotFound(f"there is no project {project_id}")
    return _project(row)


def project_by_name(step: Step, actor: Actor, name: str) -> Project:
    """NotFound also when `actor` may not see it: the two can't be told apart."""
    row = store.project_named(step, name, _eyes(actor))
    if row is None:
        raise NotFound(
            f"there is no project {name!r} that you may see",
            hint="`meyrin project list` shows yours",
            project=name,
        )
    return _project(row)


def project_named(step: Step, name: str) -> Project:
    """By name, for those who give hours to projects that they are not in."""
    row = store.project_named(step, name, None)
    if row is None:
        raise NotFound(f"there is no project {name!r}", project=name)
    return _project(row)


def project_names(step: Step, ids: Iterable[str]) -> dict[str, str]:
    """Names by id, for lists of things that the caller may see. One query."""
    return store.names(step, store.projects, ids)


def open_projects(step: Step, ids: Iterable[str] | None = None) -> dict[str, str]:
    """Names by id of the projects that are open: all, or those of `ids`. One query."""
    return {row.id: row.name for row in store.open_projects(step, ids)}


def people_of(step: Step, project_ids: Iterable[str]) -> dict[str, list[str]]:
    """The names of the people of each project who are not shut out. One query."""
    found: dict[str, list[str]] = {}
    for row in store.people_of(step, project_ids):
        found.setdefault(row.project_id, []).append(row.name)
    return found


def projects_of(step: Step, person_id: str) -> list[Project]:
    """The projects of one person by name, closed ones too. One query."""
    return [_project(row) for row in store.projects_of(step, person_id)]


def all_projects(step: Step, after: str, limit: int) -> tuple[list[Project], str]:
    """One page of every project by name: for administrators and reports. One query."""
    rows, following = cut(store.projects_page(step, None, after, limit), limit, "name")
    return [_project(row) for row in rows], following


def visible_projects(step: Step, actor: Actor, after: str, limit: int) -> tuple[list[Project], str]:
    """One page of the projects that `actor` may see. One query."""
    rows, following = cut(store.projects_page(step, _eyes(actor), after, limit), limit, "name")
    return [_project(row) for row in rows], following


def default_project(step: Step, actor: Actor) -> Project:
    """The only open project of `actor`. Refused where there is none, InvalidInput that names the
    choices where there are several."""
    mine = projects_of(step, actor.person) if actor.person else []
    open_ones = [found for found in mine if found.closed_ms is None]
    if len(open_ones) == 1:
        return open_ones[0]
    if not open_ones:
        raise Refused("you are in no open project", hint="ask the lead of a project to add you")
    names = ", ".join(found.name for found in open_ones)
    raise InvalidInput(
        f"say which project: {names}",
        hint=f"add --account={open_ones[0].name}, or set SBATCH_ACCOUNT to it once",
        field="project",
    )


def members(
    step: Step, actor: Actor, name: str, after: str, limit: int
) -> tuple[list[Member], str]:
    """One page of a project's members by name. Two queries."""
    found = project_by_name(step, actor, name)
    rows, following = cut(store.members_page(step, found.id, after, limit), limit, "name")
    return [Member(row.name, row.display_name, row.role) for row in rows], following


def add_member(
    step: Step, actor: Actor, name: str, person_name: str, role: str
) -> tuple[Member, bool]:
    """Put a person into a project, or change the role there; and whether that was new. For its
    leads."""
    if role not in ROLES:
        raise InvalidInput(f"there is no role {role!r}", hint="member or lead", field="role")
    found = _led_by(step, actor, name)
    who = person_by_name(step, person_name)
    one_at_a_time(step, who.id)  # whoever shuts them out comes before this, or after all of it
    if person(step, who.id).disabled_ms is not None:
        raise Conflict(f"{person_name} is disabled", hint="ask an administrator", name=person_name)
    if role != "lead":
        _keep_a_lead(step, actor, found, who.id)
    new = store.set_role(step, found.id, who.id, role)
    leaving.came_back(step, found.id, who.id)
    return Member(who.name, who.display_name, role), new


def end_lead(step: Step, actor: Actor, name: str, person_name: str) -> None:
    """Make a lead a member, also one who is shut out. For the project's leads; NotFound when they
    are no lead."""
    found = _led_by(step, actor, name)
    who = person_by_name(step, person_name)
    _keep_a_lead(step, actor, found, who.id)
    if not store.end_lead(step, found.id, who.id):
        raise NotFound(
            f"{person_name} is no lead of {name}", hint="`meyrin role list` shows who is"
        )


def role_in(step: Step, name: str, person_name: str) -> str:
    """A person's role in a project; empty for whoever is not in it. For leads and above."""
    row = store.member_named(step, name, person_name)
    return "" if row is None else str(row.role)


def remove_member(step: Step, actor: Actor, name: str, person_name: str) -> str:
    """Take a person out of a project: its leads anybody, everybody themselves.

    Returns the id of the departure, by which jobs are ended and sites told. NotFound when they
    are not in it, Refused for the last lead, unless an administrator says so.
    """
    found = project_by_name(step, actor, name)
    row = store.person_where(step, store.people.c.name == person_name)
    if not (actor.leads(found.id) or (row is not None and row.id == actor.person)):
        raise NotAllowed(f"this needs a lead of {name}", hint="ask one of its leads")
    if row is None:
        raise NotFound(f"{person_name} is not in {name}", name=person_name)
    _keep_a_lead(step, actor, found, row.id)
    if not store.remove_member(step, found.id, row.id):
        raise NotFound(f"{person_name} is not in {name}", name=person_name)
    return leaving.note(step, found.id, row.id, actor.name)


def _keep_a_lead(step: Step, actor: Actor, found: Project, person_id: str) -> None:
    if not actor.admin and store.leads_of(step, found.id) == [person_id]:
        raise Refused(
            f"this is the last lead of {found.name}",
            hint=f"make another lead first: `meyrin role give lead --project {found.name} --to "
            "PERSON`",
            project=found.name,
        )


def _led_by(step: Step, actor: Actor, name: str) -> Project:
    found = project_by_name(step, actor, name)
    if not actor.leads(found.id):
        raise NotAllowed(f"this needs a lead of {name}", hint="ask one of its leads")
    return found


def _eyes(actor: Actor) -> str | None:
    """Through whose memberships `actor` sees projects; None sees all."""
    return None if actor.admin else (actor.person or "")


# --- who runs which site


def add_operator(step: Step, site_id: str, person_name: str) -> bool:
    """Whether they did not run it before."""
    who = person_by_name(step, person_name)
    return bool(step.add_new(store.operators, [{"site_id": site_id, "person_id": who.id}]))


def remove_operator(step: Step, site_id: str, person_name: str) -> None:
    who = person_by_name(step, person_name)
    if not store.remove_operator(step, site_id, who.id):
        raise NotFound(f"{person_name} does not run this site", name=person_name)


# --- one-machine mode


def bootstrap(
    step: Step, login_name: str, *, fresh_token: bool = False
) -> tuple[Person, Project, str | None]:
    """The first administrator, who is programme officer too, and the project `home`: made once,
    found again at later starts.

    The secret is that of a new token for the command line: given when this made the
    administrator, or when asked for, else None.
    """
    admins = [_person(row) for row in store.active_admins(step)]
    wanted = name_from(login_name, "admin")
    who = next((one for one in admins if one.name == wanted), admins[0] if admins else None)
    first = who is None
    if who is None:
        who = new_person(step, wanted, label_from(login_name, wanted), admin=True)
        store.make_programme_officer(step, who.id)
    row = store.project_where(step, store.projects.c.name == HOME, None)
    home = _project(row) if row else new_project(step, HOME, "Home", lead=who.id)
    secret = new_token(step, who.id, "made by meyrin up")[1] if first or fresh_token else None
    return who, home, secret


def name_from(login_name: str, otherwise: str) -> str:
    """A log-in name of another system as one of ours; such names may hold anything."""
    plain = re.sub(r"[^a-z0-9_.-]+", "-", login_name.lower()).strip("-_.")
    return "hub-2" if plain == audit.HUB else plain[:63] or otherwise


def label_from(shown: str, otherwise: str) -> str:
    """What another system shows for somebody, if it can be shown here."""
    try:
        return check_label("display_name", shown)
    except InvalidInput:
        return otherwise


def _person(row: Any) -> Person:
    return Person(
        row.id,
        row.name,
        row.display_name,
        bool(row.admin),
        row.created_ms,
        row.disabled_ms,
        row.waits_ms,
        row.organisation,
    )


def _project(row: Any) -> Project:
    return Project(row.id, row.name, row.title, row.created_ms, row.closed_ms)
