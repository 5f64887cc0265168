"""Tables and queries of sites' terms and of who accepted which version. Versions are only added."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from meyrin.hub.plumbing.database import Step, metadata
from meyrin.hub.plumbing.paging import page
from meyrin.hub.sites.store import sites

site_terms = sa.Table(
    "site_terms",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("site_id", sa.ForeignKey("sites.id"), nullable=False),
    sa.Column("version", sa.String(40), nullable=False),
    sa.Column("text", sa.String, nullable=False),
    sa.Column("url", sa.String(2000), nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("set_ms", sa.BigInteger, nullable=False),
    sa.Column("set_by", sa.String, nullable=False),
    sa.UniqueConstraint("site_id", "version", name="uq_site_terms_version"),
)

terms_accepted = sa.Table(
    "terms_accepted",
    metadata,
    sa.Column("terms_id", sa.ForeignKey("site_terms.id"), primary_key=True),
    sa.Column("person_id", sa.ForeignKey("people.id"), primary_key=True, index=True),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
)

_HERE = sa.and_(site_terms.c.id == sites.c.terms_id, sites.c.closed_ms.is_(None))


_IN_FORCE = (
    sa.select(sites.c.name, site_terms.c.id, site_terms.c.version)
    .join(site_terms, _HERE)
    .order_by(sites.c.name)
)


def in_force(step: Step) -> list[sa.Row[Any]]:
    """Sites (name) with the id and version of their terms."""
    return step.rows(_IN_FORCE)


def accepted_by(
    step: Step, terms: Collection[str], people: Collection[str]
) -> set[tuple[str, str]]:
    """(person, terms) of those accepted."""
    a = terms_accepted.c
    rows = step.rows(
        sa.select(a.person_id, a.terms_id).where(
            step.among(a.terms_id, sorted(terms)), step.among(a.person_id, sorted(people))
        )
    )
    return {(row.person_id, row.terms_id) for row in rows}


def of_site(step: Step, name: str, person: str) -> sa.Row[Any] | None:
    """The terms in force, and when the person accepted them."""
    return step.one(_seen_by(person).where(sites.c.name == name))


def listed(step: Step, person: str, after: str, limit: int) -> list[Any]:
    return step.rows(page(_seen_by(person), sites.c.name, after, limit, newest=False))


def _seen_by(person: str) -> sa.Select[Any]:
    mine = sa.and_(
        terms_accepted.c.terms_id == site_terms.c.id, terms_accepted.c.person_id == person
    )
    return (
        sa.select(*site_terms.c, sites.c.name.label("site"), terms_accepted.c.at_ms)
        .join(sites, _HERE)
        .outerjoin(terms_accepted, mine)
    )


def version(step: Step, site_id: str, word: str) -> sa.Row[Any] | None:
    return step.one(
        sa.select(site_terms).where(site_terms.c.site_id == site_id, site_terms.c.version == word)
    )


def acceptances(step: Step, site_id: str, after: str, limit: int) -> list[Any]:
    """Who accepted which version of a site's terms, newest first."""
    a = terms_accepted.c
    key = sa.cast(a.at_ms, sa.String) + "." + a.person_id + "." + a.terms_id
    statement = (
        sa.select(a.person_id, a.at_ms, site_terms.c.version, site_terms.c.digest, key.label("key"))
        .join(site_terms, site_terms.c.id == a.terms_id)
        .where(site_terms.c.site_id == site_id)
    )
    return step.rows(page(statement, key, after, limit, newest=True))
