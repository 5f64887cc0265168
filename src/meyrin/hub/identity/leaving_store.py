"""Tables and queries of who left which project, and what each site said of it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from meyrin.hub.identity.store import people, projects
from meyrin.hub.plumbing.database import Step, metadata
from meyrin.hub.plumbing.paging import page

departures = sa.Table(
    "departures",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("project_id", sa.ForeignKey("projects.id"), nullable=False, index=True),
    sa.Column("person_id", sa.ForeignKey("people.id"), nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("by", sa.String, nullable=False),
    sa.Column("returned_ms", sa.BigInteger),  # they were let in again before it was over
    sa.Column("over_ms", sa.BigInteger),  # the last of their jobs there had ended
    sa.Index("ix_departures_open", "over_ms", "returned_ms", "at_ms"),
)

# what a site's agent said last; sites belong to a room above, so there is no foreign key
departure_sites = sa.Table(
    "departure_sites",
    metadata,
    sa.Column("departure_id", sa.ForeignKey("departures.id"), primary_key=True),
    sa.Column("site_id", sa.String, primary_key=True),
    sa.Column("outcome", sa.String(16), nullable=False),
    sa.Column("words", sa.String(300), nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
)

_COLUMNS = (
    *departures.c,
    people.c.name.label("person"),
    projects.c.name.label("project"),
)
_NAMED = (
    sa.select(*_COLUMNS)
    .join(people, people.c.id == departures.c.person_id)
    .join(projects, projects.c.id == departures.c.project_id)
)
# newest last, and still one unique key: the milliseconds keep 13 digits until the year 2286
_KEY = sa.cast(departures.c.at_ms, sa.String) + "." + departures.c.id


def with_jobs_left(step: Step, most: int) -> list[sa.Row[Any]]:
    """Departures whose jobs have not all ended, oldest first."""
    d = departures.c
    return step.rows(
        _NAMED.where(d.over_ms.is_(None), d.returned_ms.is_(None))
        .order_by(d.at_ms, d.id)
        .limit(most)
    )


def set_over(step: Step, ids: Collection[str]) -> int:
    return step.change(
        sa.update(departures)
        .where(step.among(departures.c.id, sorted(ids)), departures.c.over_ms.is_(None))
        .values(over_ms=step.now_ms)
    )


def set_returned(step: Step, project_id: str, person_id: str) -> int:
    d = departures.c
    return step.change(
        sa.update(departures)
        .where(d.project_id == project_id, d.person_id == person_id, d.returned_ms.is_(None))
        .values(returned_ms=step.now_ms)
    )


def unconfirmed(step: Step, site_id: str, since_ms: int, most: int) -> list[sa.Row[Any]]:
    """Departures that the site has not confirmed: those it said nothing of, oldest first, then
    those it spoke of longest ago. Where it keeps no accounts it is asked again after an hour, and
    of departures since then only."""
    d, s = departures.c, departure_sites.c
    here = sa.and_(s.departure_id == d.id, s.site_id == site_id)
    again = sa.and_(s.outcome == "unkept", s.at_ms <= step.now_ms - 3_600_000, d.at_ms >= since_ms)
    left = sa.or_(s.outcome.is_(None), s.outcome == "failed", again)
    return step.rows(
        _NAMED.outerjoin(departure_sites, here)
        .where(d.returned_ms.is_(None), left)
        .order_by(sa.func.coalesce(s.at_ms, 0), d.at_ms, d.id)
        .limit(most)
    )


def of_project(step: Step, project_id: str, after: str, limit: int) -> list[Any]:
    statement = (
        sa.select(*_COLUMNS, _KEY.label("key"))
        .join(people, people.c.id == departures.c.person_id)
        .join(projects, projects.c.id == departures.c.project_id)
    )
    statement = statement.where(departures.c.project_id == project_id)
    return step.rows(page(statement, _KEY, after, limit, newest=True))


def said(step: Step, ids: Collection[str]) -> list[sa.Row[Any]]:
    return step.rows(
        sa.select(departure_sites).where(step.among(departure_sites.c.departure_id, sorted(ids)))
    )


def say(step: Step, rows: list[dict[str, Any]]) -> None:
    """Keep what a site said; a site that confirmed once is not made to take it back."""
    s = departure_sites.c
    for row in rows:
        if step.add_new(departure_sites, [row], told=(s.departure_id,)):
            continue
        step.change(
            sa.update(departure_sites)
            .where(
                s.departure_id == row["departure_id"],
                s.site_id == row["site_id"],
                s.outcome.not_in(("revoked", "no-user")),
            )
            .values(outcome=row["outcome"], words=row["words"], at_ms=row["at_ms"])
        )
