"""Tables and queries of owners' statements. Statements, publications and comments only come."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from meyrin.hub.plumbing.database import BigId, Step, metadata
from meyrin.hub.plumbing.only_added import guard
from meyrin.hub.plumbing.paging import number, page

MAX_WORDS = 2000

people = sa.Table(
    "owner_people",
    metadata,
    sa.Column("owner", sa.String(64), primary_key=True),
    sa.Column("person_id", sa.ForeignKey("people.id"), primary_key=True),
    sa.Column("since_ms", sa.BigInteger, nullable=False),
)

# what a month was when it was frozen, as text: the bytes that the digest is of
statements = sa.Table(
    "owner_statements",
    metadata,
    sa.Column("month", sa.String(7), primary_key=True),
    sa.Column("frozen_ms", sa.BigInteger, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
)

publications = sa.Table(
    "owner_publications",
    metadata,
    sa.Column("month", sa.ForeignKey("owner_statements.month"), primary_key=True),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("by", sa.String(64), nullable=False),
)

comments = sa.Table(
    "owner_comments",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("month", sa.String(7), nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("person_id", sa.ForeignKey("people.id"), nullable=False),
    sa.Column("key", sa.String(200), nullable=False),
    sa.Column("owner", sa.String(64), nullable=False),
    sa.Column("phase", sa.String(16), nullable=False),
    sa.Column("words", sa.String(MAX_WORDS), nullable=False),
    sa.UniqueConstraint("person_id", "key", name="uq_owner_comments_key"),
    sa.Index("ix_owner_comments_month", "month", "id"),
)

_ONLY_ADDED = {
    "owner_statements": "month = NEW.month",
    "owner_publications": "month = NEW.month",
    "owner_comments": "id = NEW.id OR (person_id = NEW.person_id AND key = NEW.key)",
}


@sa.event.listens_for(metadata, "after_create")
def _guard_new_tables(_target: Any, connection: sa.Connection, **options: Any) -> None:
    created = {table.name for table in options.get("tables") or ()}
    if created.issuperset(_ONLY_ADDED):
        guard(connection, _ONLY_ADDED)


def _with_publication(*columns: Any) -> sa.Select[Any]:
    p = publications.c
    both = (*columns, p.at_ms.label("published_ms"), p.by.label("published_by"))
    return sa.select(*both).select_from(
        statements.outerjoin(publications, p.month == statements.c.month)
    )


def statement(step: Step, month: str) -> sa.Row[Any] | None:
    """A frozen month, with its publication if there was one."""
    return step.one(_with_publication(*statements.c).where(statements.c.month == month))


def frozen(step: Step, months: Collection[str]) -> dict[str, sa.Row[Any]]:
    """Those of the months that are frozen, without their documents."""
    s = statements.c
    listed = _with_publication(s.month, s.frozen_ms, s.digest).where(s.month.in_(sorted(months)))
    return {row.month: row for row in step.rows(listed)}


def bodies(step: Step, months: Collection[str]) -> dict[str, str]:
    s = statements.c
    rows = step.rows(sa.select(s.month, s.body).where(s.month.in_(sorted(months))))
    return {row.month: row.body for row in rows}


def owners_of(step: Step, person_id: str) -> list[str]:
    """The owners that a person speaks for."""
    p = people.c
    listed = sa.select(p.owner).where(p.person_id == person_id).order_by(p.owner)
    return [row.owner for row in step.rows(listed)]


def people_page(step: Step, after: tuple[str, str] | None, limit: int) -> list[sa.Row[Any]]:
    """Who speaks for which owner, by owner and person, one row more than `limit`."""
    p = people.c
    listed = sa.select(people).order_by(p.owner, p.person_id).limit(limit + 1)
    if after is not None:
        later = sa.or_(p.owner > after[0], sa.and_(p.owner == after[0], p.person_id > after[1]))
        listed = listed.where(later)
    return step.rows(listed)


def remove_person(step: Step, owner: str, person_id: str) -> int:
    p = people.c
    return step.change(sa.delete(people).where(p.owner == owner, p.person_id == person_id))


def comments_page(step: Step, month: str, after: str, limit: int) -> list[sa.Row[Any]]:
    listed = sa.select(comments).where(comments.c.month == month)
    return step.rows(page(listed, comments.c.id, number(after), limit, newest=False))


def comment_by_key(step: Step, person_id: str, key: str) -> sa.Row[Any] | None:
    c = comments.c
    return step.one(sa.select(comments).where(c.person_id == person_id, c.key == key))
