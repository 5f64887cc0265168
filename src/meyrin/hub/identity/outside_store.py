"""Tables and queries of log-ins at an OpenID provider, and of who is who there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from meyrin.hub.identity.store import organisations, people
from meyrin.hub.plumbing.database import Step, metadata
from meyrin.hub.plumbing.paging import page

# a log-in on its way to the provider and back: ten minutes, once, from the same browser
openid_logins = sa.Table(
    "openid_logins",
    metadata,
    sa.Column("state_hash", sa.String(64), primary_key=True),
    sa.Column("browser_hash", sa.String(64), nullable=False),
    sa.Column("nonce", sa.String, nullable=False),
    sa.Column("verifier", sa.String, nullable=False),
    sa.Column("page", sa.String, nullable=False),
    sa.Column("expires_ms", sa.BigInteger, nullable=False, index=True),
)

identities = sa.Table(
    "identities",
    metadata,
    sa.Column("issuer", sa.String, primary_key=True),
    sa.Column("subject", sa.String, primary_key=True),
    sa.Column("person_id", sa.ForeignKey("people.id"), nullable=False, index=True),
    sa.Column("domain", sa.String, nullable=False),
    sa.Column("first_ms", sa.BigInteger, nullable=False),
    sa.Column("last_ms", sa.BigInteger, nullable=False),
)


def take_login(step: Step, state_hash: str, browser_hash: str) -> sa.Row[Any] | None:
    """The log-in of this state and browser, which is gone then: of two who ask, one gets it."""
    return step.one(
        sa.delete(openid_logins)
        .where(
            openid_logins.c.state_hash == state_hash,
            openid_logins.c.browser_hash == browser_hash,
            openid_logins.c.expires_ms > step.now_ms,
        )
        .returning(*openid_logins.c)
    )


def forget_old_logins(step: Step) -> int:
    return step.change(sa.delete(openid_logins).where(openid_logins.c.expires_ms <= step.now_ms))


def person_of(step: Step, issuer: str, subject: str) -> sa.Row[Any] | None:
    """The person behind a provider's subject."""
    return step.one(
        sa.select(people)
        .join(identities, identities.c.person_id == people.c.id)
        .where(identities.c.issuer == issuer, identities.c.subject == subject)
    )


def seen(step: Step, issuer: str, subject: str, domain: str | None) -> None:
    """They logged in; a domain of which nothing was said stays as it is."""
    said = {} if domain is None else {"domain": domain}
    step.change(
        sa.update(identities)
        .where(identities.c.issuer == issuer, identities.c.subject == subject)
        .values(last_ms=step.now_ms, **said)
    )


def domains_of(step: Step, person_ids: list[str]) -> dict[str, str]:
    """The domain that each person came from, for lists."""
    rows = step.rows(
        sa.select(identities.c.person_id, identities.c.domain).where(
            identities.c.person_id.in_(sorted(set(person_ids)))
        )
    )
    return {row.person_id: row.domain for row in rows}


def set_person(step: Step, person_id: str, **values: Any) -> int:
    return step.change(sa.update(people).where(people.c.id == person_id).values(**values))


def drop_person(step: Step, person_id: str) -> None:
    """Take back a person made a moment ago, whom another log-in made first."""
    step.change(sa.delete(people).where(people.c.id == person_id))


def guests_page(step: Step, after: str, limit: int) -> list[Any]:
    waiting = sa.select(people).where(
        people.c.waits_ms.is_not(None), people.c.disabled_ms.is_(None)
    )
    return step.rows(page(waiting, people.c.name, after, limit, newest=False))


def organisation(step: Step, name: str) -> sa.Row[Any] | None:
    return step.one(sa.select(organisations).where(organisations.c.name == name))


def organisation_of(step: Step, domains: list[str]) -> sa.Row[Any] | None:
    """The organisation of the longest of `domains` that has one."""
    longest = sa.func.length(organisations.c.domain).desc()
    return step.one(
        sa.select(organisations).where(organisations.c.domain.in_(domains)).order_by(longest)
    )


def add_organisation(step: Step, row: Mapping[str, Any]) -> bool:
    """False when its name or its domain is taken."""
    return bool(step.add_new(organisations, [dict(row)]))


def organisations_page(step: Step, after: str, limit: int) -> list[Any]:
    statement = sa.select(organisations)
    return step.rows(page(statement, organisations.c.name, after, limit, newest=False))


def gather(step: Step, name: str, domain: str) -> None:
    """Give an organisation the people of its domain, or of one below it, and let them in; not
    those of an organisation that is nearer to them."""
    d = identities.c.domain
    ours = sa.or_(d == domain, d.endswith(f".{domain}", autoescape=True))
    nearer = sa.exists().where(
        organisations.c.name == people.c.organisation,
        sa.func.length(organisations.c.domain) > len(domain),
    )
    step.change(
        sa.update(people)
        .where(people.c.id.in_(sa.select(identities.c.person_id).where(ours)), ~nearer)
        .values(organisation=name, waits_ms=None)
    )


def remove_organisation(step: Step, name: str) -> None:
    step.change(sa.update(people).where(people.c.organisation == name).values(organisation=None))
    step.change(sa.delete(organisations).where(organisations.c.name == name))
