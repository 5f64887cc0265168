"""Tables and queries of people, projects and tokens. Never holds a secret: only its SHA-256."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from meyrin.domain.ids import new_id
from meyrin.hub.plumbing.bulk import one_of
from meyrin.hub.plumbing.database import Step, metadata
from meyrin.hub.plumbing.paging import page

people = sa.Table(
    "people",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("name", sa.String, nullable=False, unique=True),
    sa.Column("display_name", sa.String, nullable=False),
    sa.Column("admin", sa.Boolean, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("disabled_ms", sa.BigInteger),
    # since when a guest waits to be let in; null for everybody else
    sa.Column("waits_ms", sa.BigInteger, index=True),
    sa.Column("organisation", sa.String),
)

# whose people are let in at once: by the domain that the OpenID provider vouches for
organisations = sa.Table(
    "organisations",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("title", sa.String, nullable=False),
    sa.Column("domain", sa.String, nullable=False, unique=True),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
)

projects = sa.Table(
    "projects",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("name", sa.String, nullable=False, unique=True),
    sa.Column("title", sa.String, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("closed_ms", sa.BigInteger),
)

members = sa.Table(
    "members",
    metadata,
    sa.Column("project_id", sa.ForeignKey("projects.id"), primary_key=True),
    sa.Column("person_id", sa.ForeignKey("people.id"), primary_key=True, index=True),
    sa.Column("role", sa.String, nullable=False),
    sa.CheckConstraint("role IN ('member', 'lead')", name="role"),
)

# who runs a site; the site itself belongs to a room above, so there is no foreign key to it
operators = sa.Table(
    "operators",
    metadata,
    sa.Column("site_id", sa.String, primary_key=True),
    sa.Column("person_id", sa.ForeignKey("people.id"), primary_key=True, index=True),
)

# roles for calls and the facility, and what organisations were given; who is in a project, runs a
# site or is an administrator stands in `members`, `operators` and `people`. `holder` is a person's
# id or, for an organisation, empty; `thing` is a site's id, a call's name, or empty
roles = sa.Table(
    "roles",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("scope", sa.String, nullable=False),
    sa.Column("thing", sa.String, nullable=False),
    sa.Column("role", sa.String, nullable=False),
    sa.Column("holder", sa.String, nullable=False, index=True),
    sa.Column("organisation", sa.String, nullable=False, index=True),
    sa.Column("given_ms", sa.BigInteger, nullable=False),
    sa.Column("given_by", sa.String, nullable=False),
    sa.UniqueConstraint("scope", "thing", "role", "holder", "organisation", name="uq_roles_one"),
    sa.CheckConstraint("scope IN ('facility', 'call', 'site')", name="scope"),
    sa.CheckConstraint("(holder = '') <> (organisation = '')", name="holder"),
)

tokens = sa.Table(
    "tokens",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("hash", sa.String(64), nullable=False, unique=True),
    sa.Column("person_id", sa.ForeignKey("people.id"), index=True),
    sa.Column("site_id", sa.String, index=True),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("expires_ms", sa.BigInteger),
    sa.Column("used_ms", sa.BigInteger),
    sa.Column("revoked_ms", sa.BigInteger),
    sa.CheckConstraint("kind IN ('cli', 'session', 'login_link', 'agent', 'enrol')", name="kind"),
    sa.CheckConstraint("person_id IS NOT NULL OR site_id IS NOT NULL", name="owner"),
)

# newest last, and still one unique key: the milliseconds keep 13 digits until the year 2286
_token_key = sa.cast(tokens.c.created_ms, sa.String) + "." + tokens.c.id

# built once: these two run on every request
_BY_HASH = (
    sa.select(
        tokens.c.id,
        tokens.c.kind,
        tokens.c.site_id,
        tokens.c.person_id,
        tokens.c.name,
        tokens.c.expires_ms,
        tokens.c.used_ms,
        tokens.c.revoked_ms,
        people.c.name.label("person_name"),
        people.c.admin,
        people.c.disabled_ms,
        people.c.waits_ms,
    )
    .select_from(tokens.outerjoin(people, people.c.id == tokens.c.person_id))
    .where(tokens.c.hash == sa.bindparam("hash"))
)
_RIGHTS = sa.union_all(
    sa.select(sa.literal("project").label("scope"), members.c.project_id.label("thing"),
              members.c.role).where(members.c.person_id == sa.bindparam("person")),
    sa.select(sa.literal("site"), operators.c.site_id, sa.literal("operator")).where(
        operators.c.person_id == sa.bindparam("person")
    ),
    sa.select(roles.c.scope, roles.c.thing, roles.c.role).where(
        roles.c.holder == sa.bindparam("person")
    ),
    sa.select(roles.c.scope, roles.c.thing, roles.c.role)
    .join(people, people.c.organisation == roles.c.organisation)
    .where(people.c.id == sa.bindparam("person")),
)  # fmt: skip


def token_by_hash(step: Step, digest: str) -> sa.Row[Any] | None:
    return step.one(_BY_HASH, hash=digest)


def rights(step: Step, person: str) -> list[sa.Row[Any]]:
    """(scope, thing, role): projects with member or lead, sites with operator, and what was given
    for calls and the facility, to the person or to their organisation."""
    return step.rows(_RIGHTS, person=person)


def _once(step: Step, digest: str, kind: str) -> sa.ColumnElement[bool]:
    """Whether a single-use token counts."""
    return sa.and_(
        tokens.c.hash == digest,
        tokens.c.kind == kind,
        tokens.c.used_ms.is_(None),
        tokens.c.revoked_ms.is_(None),
        tokens.c.expires_ms > step.now_ms,
        sa.exists().where(people.c.id == tokens.c.person_id, people.c.disabled_ms.is_(None)),
    )


def whose_once(step: Step, digest: str, kind: str) -> str | None:
    """The person of a single-use token, which it stays; None when it does not count."""
    row = step.one(sa.select(tokens.c.person_id).where(_once(step, digest, kind)))
    return None if row is None else str(row.person_id)


def use_once(step: Step, digest: str, kind: str) -> str | None:
    """Mark a single-use token as used and return its person; None when it does not count."""
    row = step.one(
        sa.update(tokens)
        .where(_once(step, digest, kind))
        .values(used_ms=step.now_ms)
        .returning(tokens.c.person_id)
    )
    return None if row is None else str(row.person_id)


def use_enrolment(step: Step, digest: str) -> sa.Row[Any] | None:
    """Mark an enrolment token as used and return it; None when it does not count."""
    return step.one(
        sa.update(tokens)
        .where(
            tokens.c.hash == digest,
            tokens.c.kind == "enrol",
            tokens.c.used_ms.is_(None),
            tokens.c.revoked_ms.is_(None),
            tokens.c.expires_ms > step.now_ms,
        )
        .values(used_ms=step.now_ms)
        .returning(tokens.c.id, tokens.c.site_id, tokens.c.name)
    )


def newest_enrolment(step: Step, site: str) -> sa.Row[Any] | None:
    """Of those that were not withdrawn or revoked; where one was not used, that is the newest."""
    ours = (tokens.c.site_id == site, tokens.c.kind == "enrol", tokens.c.revoked_ms.is_(None))
    newest = tokens.c.used_ms.desc().nulls_first()
    return step.one(sa.select(tokens.c.used_ms).where(*ours).order_by(newest).limit(1))


def token_by_id(step: Step, token: str) -> sa.Row[Any] | None:
    return step.one(sa.select(tokens).where(tokens.c.id == token))


def end_credentials(step: Step, site: str, at_ms: int) -> int:
    """Let the agent credentials of a site expire at `at_ms`, those that would count longer."""
    return step.change(
        sa.update(tokens)
        .where(
            tokens.c.site_id == site,
            tokens.c.kind == "agent",
            tokens.c.revoked_ms.is_(None),
            sa.or_(tokens.c.expires_ms.is_(None), tokens.c.expires_ms > at_ms),
        )
        .values(expires_ms=at_ms)
    )


def set_used(step: Step, token: str, every_ms: int) -> None:
    """Note the use of a token, unless that was done less than `every_ms` ago."""
    recent = tokens.c.used_ms.between(step.now_ms - every_ms + 1, step.now_ms)
    step.change(
        sa.update(tokens)
        .where(tokens.c.id == token, sa.or_(tokens.c.used_ms.is_(None), ~recent))
        .values(used_ms=step.now_ms)
    )


def credentials_page(step: Step, site: str, after: str, limit: int) -> list[Any]:
    statement = sa.select(tokens, _token_key.label("key")).where(tokens.c.site_id == site)
    return step.rows(page(statement, _token_key, after, limit, newest=True))


def newest_credential(step: Step, site: str) -> sa.Row[Any] | None:
    return step.one(
        sa.select(tokens.c.created_ms)
        .where(
            tokens.c.site_id == site,
            tokens.c.kind == "agent",
            tokens.c.revoked_ms.is_(None),
            sa.or_(tokens.c.expires_ms.is_(None), tokens.c.expires_ms > step.now_ms),
        )
        .order_by(tokens.c.created_ms.desc())
        .limit(1)
    )


def revoke_where(step: Step, *conditions: sa.ColumnElement[bool]) -> int:
    """Revoke the tokens that meet the conditions and still count."""
    return step.change(
        sa.update(tokens)
        .where(tokens.c.revoked_ms.is_(None), *conditions)
        .values(revoked_ms=step.now_ms)
    )


def token_owner(step: Step, token: str) -> str | None:
    row = step.one(sa.select(tokens.c.person_id).where(tokens.c.id == token))
    return None if row is None else row.person_id


def tokens_of(step: Step, person: str, kinds: list[str], after: str, limit: int) -> list[Any]:
    statement = sa.select(tokens, _token_key.label("key")).where(
        tokens.c.person_id == person, tokens.c.kind.in_(kinds), tokens.c.revoked_ms.is_(None)
    )
    return step.rows(page(statement, _token_key, after, limit, newest=True))


def tokens_called(step: Step, person: str, kinds: list[str], name: str) -> list[Any]:
    """A few of them, those that count first."""
    mine = (tokens.c.person_id == person, tokens.c.kind.in_(kinds), tokens.c.name == name)
    first = (tokens.c.revoked_ms.is_not(None), tokens.c.created_ms.desc(), tokens.c.id)
    return step.rows(sa.select(tokens).where(*mine).order_by(*first).limit(5))


def person_where(step: Step, condition: sa.ColumnElement[bool]) -> sa.Row[Any] | None:
    return step.one(sa.select(people).where(condition))


def hold_person(step: Step, person_id: str) -> None:
    held = sa.select(people.c.id).where(people.c.id == person_id)
    step.one(held.with_for_update(key_share=True))


def names(step: Step, table: sa.Table, ids: Iterable[str]) -> dict[str, str]:
    wanted = sorted(set(ids))
    if not wanted:
        return {}
    return {row.id: row.name for row in step.rows(_names(table), ids=wanted)}


@lru_cache(maxsize=8)
def _names(table: sa.Table) -> sa.Select[Any]:
    return sa.select(table.c.id, table.c.name).where(one_of(table.c.id, "ids"))


def people_page(step: Step, after: str, limit: int) -> list[Any]:
    return step.rows(page(sa.select(people), people.c.name, after, limit, newest=False))


def active_admins(step: Step) -> list[sa.Row[Any]]:
    """Oldest first; their rows are held until the step ends, so that one always remains."""
    return step.rows(
        sa.select(people)
        .where(people.c.admin, people.c.disabled_ms.is_(None))
        .order_by(people.c.created_ms, people.c.id)
        .with_for_update()
    )


def disable(step: Step, person: str) -> int:
    return step.change(
        sa.update(people)
        .where(people.c.id == person, people.c.disabled_ms.is_(None))
        .values(disabled_ms=step.now_ms)
    )


def project_where(
    step: Step, condition: sa.ColumnElement[bool], person: str | None
) -> sa.Row[Any] | None:
    """A project with the role of `person` there; None for `person` means whoever asks may see."""
    return step.one(_projects_seen_by(person).where(condition))


_PROJECT_NAMED = sa.select(projects).where(projects.c.name == sa.bindparam("name"))
_OWN_PROJECT_NAMED = _PROJECT_NAMED.join(
    members,
    sa.and_(members.c.project_id == projects.c.id, members.c.person_id == sa.bindparam("person")),
)


def project_named(step: Step, name: str, person: str | None) -> sa.Row[Any] | None:
    """A project that `person` may see; None for `person` means whoever asks may see."""
    if person is None:
        return step.one(_PROJECT_NAMED, name=name)
    return step.one(_OWN_PROJECT_NAMED, name=name, person=person)


def projects_page(step: Step, person: str | None, after: str, limit: int) -> list[Any]:
    statement = _projects_seen_by(person)
    return step.rows(page(statement, projects.c.name, after, limit, newest=False))


def projects_of(step: Step, person: str) -> list[sa.Row[Any]]:
    return step.rows(_projects_seen_by(person).order_by(projects.c.name))


def open_projects(step: Step, ids: Iterable[str] | None) -> list[sa.Row[Any]]:
    statement = sa.select(projects.c.id, projects.c.name).where(projects.c.closed_ms.is_(None))
    if ids is not None:
        statement = statement.where(step.among(projects.c.id, ids))
    return step.rows(statement.order_by(projects.c.name))


def people_of(step: Step, project_ids: Iterable[str]) -> list[sa.Row[Any]]:
    return step.rows(
        sa.select(members.c.project_id, people.c.name)
        .join(people, people.c.id == members.c.person_id)
        .where(step.among(members.c.project_id, project_ids), people.c.disabled_ms.is_(None))
        .order_by(members.c.project_id, people.c.name)
    )


def _projects_seen_by(person: str | None) -> sa.Select[Any]:
    if person is None:
        return sa.select(projects)
    here = sa.and_(members.c.project_id == projects.c.id, members.c.person_id == person)
    return sa.select(projects).join(members, here)


def members_page(step: Step, project: str, after: str, limit: int) -> list[Any]:
    statement = (
        sa.select(people.c.name, people.c.display_name, members.c.role)
        .join(members, members.c.person_id == people.c.id)
        .where(members.c.project_id == project)
    )
    return step.rows(page(statement, people.c.name, after, limit, newest=False))


def set_role(step: Step, project: str, person: str, role: str) -> bool:
    """Whether this changed anything."""
    row = {"project_id": project, "person_id": person, "role": role}
    if step.add_new(members, [row]):
        return True
    changed = step.change(
        sa.update(members)
        .where(
            members.c.project_id == project,
            members.c.person_id == person,
            members.c.role != role,
        )
        .values(role=role)
    )
    return bool(changed)


def end_lead(step: Step, project: str, person: str) -> int:
    m = members.c
    lead = sa.and_(m.project_id == project, m.person_id == person, m.role == "lead")
    return step.change(sa.update(members).where(lead).values(role="member"))


def member_named(step: Step, project: str, person: str) -> sa.Row[Any] | None:
    """By the names of both."""
    return step.one(
        sa.select(members.c.role)
        .join(projects, projects.c.id == members.c.project_id)
        .join(people, people.c.id == members.c.person_id)
        .where(projects.c.name == project, people.c.name == person)
    )


def leads_of(step: Step, project: str) -> list[str]:
    """Ids of its leads who are not shut out; their rows are held until the step ends, so that one
    always remains."""
    rows = step.rows(
        sa.select(members.c.person_id)
        .join(people, people.c.id == members.c.person_id)
        .where(members.c.project_id == project, members.c.role == "lead")
        .where(people.c.disabled_ms.is_(None))
        .order_by(members.c.person_id)
        .with_for_update(of=members)
    )
    return [row.person_id for row in rows]


def make_programme_officer(step: Step, person: str) -> None:
    row = {
        "id": new_id("role", step.entropy),
        "scope": "facility",
        "thing": "",
        "role": "programme-officer",
        "holder": person,
        "organisation": "",
        "given_ms": step.now_ms,
        "given_by": "the first start",
    }
    step.add_new(roles, [row], told=(roles.c.id,))


def remove_member(step: Step, project: str, person: str) -> int:
    return step.change(
        sa.delete(members).where(members.c.project_id == project, members.c.person_id == person)
    )


def remove_operator(step: Step, site: str, person: str) -> int:
    return step.change(
        sa.delete(operators).where(operators.c.site_id == site, operators.c.person_id == person)
    )
