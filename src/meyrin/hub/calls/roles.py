"""Roles of people and organisations, for one project, call or site, or for the facility.

Nobody gives what they hold no right to give: the table below says who may. Whoever may give a
role may take it. The last administrator stays one. An organisation is given only what looks or
runs, never what decides or pays: who is in it changes without anybody here being asked.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from meyrin.domain.errors import InvalidInput, NotAllowed, NotFound, Refused
from meyrin.hub.identity import roles as rows
from meyrin.hub.identity import service as identity
from meyrin.hub.identity.roles import ADMINISTRATOR, AUDITOR, PROGRAMME, Held
from meyrin.hub.plumbing import audit
from meyrin.hub.sites import service as sites

if TYPE_CHECKING:
    from meyrin.hub.plumbing.authz import Actor
    from meyrin.hub.plumbing.database import Step

MEMBER, LEAD, OPERATOR, REVIEWER, OFFICER = "member", "lead", "operator", "reviewer", "officer"
SCOPES = {
    MEMBER: "project",
    LEAD: "project",
    OPERATOR: "site",
    REVIEWER: "call",
    OFFICER: "call",
    PROGRAMME: "facility",
    AUDITOR: "facility",
    ADMINISTRATOR: "facility",
}
FOR_ORGANISATIONS = (OPERATOR, REVIEWER, AUDITOR)
_WHO = {
    MEMBER: "a lead of the project or an administrator",
    LEAD: "a lead of the project or an administrator",
    OPERATOR: "an operator of the site or an administrator",
    REVIEWER: "an officer of the call, a programme officer or an administrator",
    OFFICER: "a programme officer or an administrator",
}


@dataclass(frozen=True, slots=True)
class Wish:
    """A role to give or take: `thing` is a project, call or site by name, empty for the
    facility. Exactly one of `person` and `organisation` is said."""

    role: str
    thing: str = ""
    person: str = ""
    organisation: str = ""

    @property
    def scope(self) -> str:
        return SCOPES[self.role]


def give(step: Step, actor: Actor, wish: Wish, calls: Collection[str]) -> Held:
    """Give a role, and note it where it was not held. Twice is fine. NotAllowed for whoever may
    not give it.

    `calls` are the names of the calls that there are.
    """
    thing = _allowed(step, actor, wish, calls)
    if wish.organisation and wish.role not in FOR_ORGANISATIONS:
        raise Refused(
            f"an organisation can't be {wish.role}",
            hint=f"name a person; organisations may be {', '.join(FOR_ORGANISATIONS)}",
            role=wish.role,
        )
    who = rows.receiver(step, wish.person) if wish.person else None
    if wish.scope == "project":
        _, new = identity.add_member(step, actor, wish.thing, wish.person, wish.role)
    elif wish.role == OPERATOR and who is not None:
        new = identity.add_operator(step, thing, who.name)
    elif wish.role == ADMINISTRATOR:
        assert who is not None, "no organisation is an administrator"
        new = not who.admin
        rows.make_administrator(step, who)
    else:
        new = rows.give(step, wish.scope, thing, wish.role, by=actor.name, person=who,
                        organisation=wish.organisation)  # fmt: skip
    if new:
        _note(step, actor, "role.give", wish)
    return Held(wish.scope, wish.role, wish.thing, wish.person, wish.organisation, step.now_ms,
                actor.name)  # fmt: skip


def take(step: Step, actor: Actor, wish: Wish, calls: Collection[str]) -> None:
    """Take a role away, and note it; it ends with the next request. NotFound when it is not held.

    A lead whose role is taken stays a member; a member whose role is taken leaves the project.
    """
    thing = _allowed(step, actor, wish, calls)
    who = identity.person_by_name(step, wish.person) if wish.person else None
    if wish.scope == "project":
        assert who is not None, "no organisation is in a project"
        _take_from_project(step, actor, wish)
    elif wish.role == OPERATOR and who is not None:
        identity.remove_operator(step, thing, who.name)
    elif wish.role == ADMINISTRATOR and who is not None:
        rows.end_administrator(step, who)
    else:
        rows.take(step, wish.scope, thing, wish.role, person=who, organisation=wish.organisation)
    _note(step, actor, "role.take", wish)


def _note(step: Step, actor: Actor, verb: str, wish: Wish) -> None:
    audit.note(
        step, actor.name, verb, wish.thing or wish.person or wish.organisation,
        role=wish.role, person=wish.person, organisation=wish.organisation,
    )  # fmt: skip


def _take_from_project(step: Step, actor: Actor, wish: Wish) -> None:
    if wish.role == LEAD:
        identity.end_lead(step, actor, wish.thing, wish.person)
        return
    role = identity.role_in(step, wish.thing, wish.person)
    if role != wish.role:
        raise NotFound(
            f"{wish.person} is no {wish.role} of {wish.thing}", hint="`meyrin role list` shows who"
        )
    identity.remove_member(step, actor, wish.thing, wish.person)


def listed(step: Step, actor: Actor, person: str, after: str, limit: int) -> tuple[list[Held], str]:
    """A page of roles by holder: of one person, or (auditors, administrators) of everybody.

    NotFound for a person whom the caller may not ask about. Four queries at most.
    """
    person_id: str | None = None
    if person or not actor.audits:
        name = person or actor.name
        if name != actor.name and not actor.audits:
            raise NotFound(f"there is no person {name!r} that you may see", name=name)
        person_id = identity.person_by_name(step, name).id
    found, following = rows.held(step, person_id, after, limit)
    return named(step, found), following


def named(step: Step, found: Sequence[Held]) -> list[Held]:
    """The roles with names in place of ids. Two queries."""
    names = identity.project_names(step, {one.thing for one in found if one.scope == "project"})
    names |= sites.names_of(step, {one.thing for one in found if one.scope == "site"})
    return [replace(one, thing=names.get(one.thing, one.thing)) for one in found]


def _allowed(step: Step, actor: Actor, wish: Wish, calls: Collection[str]) -> str:
    """The id of the thing, when the caller may give and take this role for it."""
    if bool(wish.person) == bool(wish.organisation):
        raise InvalidInput(
            "name a person or an organisation, and not both", hint="see `meyrin role give --help`",
            field="person",
        )  # fmt: skip
    if (wish.scope == "facility") == bool(wish.thing):
        need = f"name the {wish.scope}" if wish.thing == "" else "leave it out"
        raise InvalidInput(
            f"{wish.role} is a role for {'the facility' if wish.thing else 'a ' + wish.scope}",
            hint=need,
            field="thing",
        )
    thing = _thing(step, actor, wish, calls)
    may = {
        MEMBER: lambda: actor.leads(thing),
        LEAD: lambda: actor.leads(thing),
        OPERATOR: lambda: actor.runs_site(thing),
        REVIEWER: lambda: actor.admin or actor.decides(thing),
        OFFICER: lambda: actor.admin or actor.programme,
    }.get(wish.role, lambda: actor.admin)()
    if not may:
        raise NotAllowed(
            f"{wish.role} is given by {_WHO.get(wish.role, 'an administrator')}",
            hint="ask one of them; `meyrin person show` says what you may do",
        )
    return thing


def _thing(step: Step, actor: Actor, wish: Wish, calls: Collection[str]) -> str:
    if wish.scope == "project":
        if wish.organisation:
            raise Refused(
                "who is in a project is said person by person", hint="name a person", role=wish.role
            )
        return identity.project_by_name(step, actor, wish.thing).id
    if wish.scope == "site":
        return sites.id_of(step, wish.thing)
    if wish.scope == "call" and wish.thing not in calls:
        raise NotFound(
            f"there is no call {wish.thing!r}", hint=f"calls are {', '.join(sorted(calls))}"
        )
    return wish.thing
