"""Queries of roles: one list over the four tables that hold them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from meyrin.hub.identity.store import members, operators, people, roles
from meyrin.hub.plumbing.database import Step
from meyrin.hub.plumbing.paging import page

_NOTHING = sa.literal("")
_NO_DATE = sa.cast(sa.null(), sa.BigInteger)


def listed(step: Step, person_id: str | None, after: str, limit: int) -> list[Any]:
    """A page of roles with `key`, by the holder's name."""
    everything = _everything(person_id).subquery()
    c = everything.c
    # names have no spaces; a person and an organisation may be called alike
    holder = c.person + sa.literal(" ") + c.organisation
    key = holder + " " + c.scope + " " + c.role + " " + c.thing
    statement = sa.select(everything, key.label("key"))
    return step.rows(page(statement, key, after, limit, newest=False))


def _everything(person_id: str | None) -> sa.CompoundSelect[Any]:
    """Every role, or one person's, also those that their organisation gives them."""
    who = sa.true() if person_id is None else people.c.id == person_id
    administrators = _role("facility", _NOTHING, sa.literal("administrator")).where(
        people.c.admin, people.c.disabled_ms.is_(None), who
    )
    projects = (
        _role("project", members.c.project_id, members.c.role)
        .join(members, members.c.person_id == people.c.id)
        .where(who)
    )
    sites = (
        _role("site", operators.c.site_id, sa.literal("operator"))
        .join(operators, operators.c.person_id == people.c.id)
        .where(who)
    )
    given = (
        sa.select(roles.c.scope, roles.c.role, roles.c.thing, people.c.name.label("person"),
                  _NOTHING.label("organisation"), roles.c.given_ms, roles.c.given_by)
        .join(people, people.c.id == roles.c.holder)
        .where(who)
    )  # fmt: skip
    through = sa.select(
        roles.c.scope, roles.c.role, roles.c.thing, _NOTHING.label("person"),
        roles.c.organisation, roles.c.given_ms, roles.c.given_by,
    ).where(roles.c.organisation != "")  # fmt: skip
    if person_id is not None:
        home = sa.select(people.c.organisation).where(people.c.id == person_id)
        through = through.where(roles.c.organisation == home.scalar_subquery())
    return sa.union_all(administrators, projects, sites, given, through)


def _role(scope: str, thing: Any, role: Any) -> sa.Select[Any]:
    return sa.select(
        sa.literal(scope).label("scope"),
        role.label("role"),
        thing.label("thing"),
        people.c.name.label("person"),
        _NOTHING.label("organisation"),
        _NO_DATE.label("given_ms"),
        _NOTHING.label("given_by"),
    ).select_from(people)


def take(step: Step, scope: str, thing: str, role: str, holder: str, organisation: str) -> int:
    return step.change(
        sa.delete(roles).where(
            roles.c.scope == scope,
            roles.c.thing == thing,
            roles.c.role == role,
            roles.c.holder == holder,
            roles.c.organisation == organisation,
        )
    )


def set_admin(step: Step, person_id: str, *, admin: bool) -> int:
    return step.change(sa.update(people).where(people.c.id == person_id).values(admin=admin))


def forget_organisation(step: Step, name: str) -> int:
    """What an organisation held, when it is removed."""
    return step.change(sa.delete(roles).where(roles.c.organisation == name))
