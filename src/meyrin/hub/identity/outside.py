"""People who log in at an OpenID provider: the way there and back, guests, organisations.

Whoever the provider knows is somebody here after the first log-in. People of an organisation that
an administrator has named come in at once; others are guests and wait for an administrator. The
provider says who somebody is, never what they may do: rights are this hub's own.
"""

from __future__ import annotations

import re
from base64 import b32encode
from dataclasses import dataclass
from typing import TYPE_CHECKING

from meyrin.domain.errors import Conflict, InvalidInput, NotAllowed, NotFound, NotLoggedIn
from meyrin.domain.site import check_name
from meyrin.hub.identity import outside_store as store
from meyrin.hub.identity import roles_store, service
from meyrin.hub.identity.labels import check_label
from meyrin.hub.identity.tokens import LINK_LIFETIME_S, digest_of, random_word
from meyrin.hub.plumbing.paging import cut

if TYPE_CHECKING:
    from meyrin.hub.identity.provider import Claims
    from meyrin.hub.identity.service import Person
    from meyrin.hub.plumbing.database import Step

LOGIN_COOKIE = "meyrin_login"
_DOMAIN = re.compile(r"(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}")
_NUMBERED = 9  # people of one name who are told apart by a number; then by letters


@dataclass(frozen=True, slots=True)
class Begun:
    """A log-in that goes to the provider: what it is told, and what the browser keeps."""

    state: str
    nonce: str
    verifier: str
    browser: str


@dataclass(frozen=True, slots=True)
class Back:
    """A log-in that came back: what is needed to ask the provider, and where to go on."""

    nonce: str
    verifier: str
    page: str


@dataclass(frozen=True, slots=True)
class Guest:
    """Somebody who waits to be let in, and the domain that the provider vouches for."""

    name: str
    display_name: str
    domain: str
    waits_ms: int


@dataclass(frozen=True, slots=True)
class Organisation:
    """People whose provider vouches for `domain` belong to it and are let in at once."""

    name: str
    title: str
    domain: str
    created_ms: int


# --- there and back


def begin(step: Step, page: str) -> Begun:
    """Keep what is needed to know the answer again; the secrets themselves travel."""
    store.forget_old_logins(step)
    begun = Begun(random_word(step), random_word(step), random_word(step), random_word(step))
    row = {
        "state_hash": digest_of(begun.state),
        "browser_hash": digest_of(begun.browser),
        "nonce": begun.nonce,
        "verifier": begun.verifier,
        "page": page,
        "expires_ms": step.now_ms + LINK_LIFETIME_S * 1000,
    }
    step.add(store.openid_logins, [row])
    return begun


def take_login(step: Step, state: str, browser: str) -> Back:
    """The log-in that this browser began, once. NotLoggedIn for anything else."""
    row = store.take_login(step, digest_of(state), digest_of(browser)) if state else None
    if row is None:
        raise NotLoggedIn(
            "this log-in was not begun in this browser, is too old or was used already",
            hint="begin again",
        )
    return Back(row.nonce, row.verifier, row.page)


def enter(step: Step, claims: Claims) -> Person:
    """Who that is here, made at their first log-in, and of the organisation whose domain the
    provider vouches for now: that may be another than last time, or none. A word that says
    nothing of one, as the command line's client may be told less, leaves it.

    Raises NotAllowed for a person who is disabled.
    """
    row = store.person_of(step, claims.issuer, claims.subject)
    who = service.person(step, row.id) if row is not None else _first_time(step, claims)
    store.seen(step, claims.issuer, claims.subject, claims.domain)
    if who.disabled_ms is not None:
        raise NotAllowed(f"{who.name} is disabled here", hint="ask an administrator of this hub")
    home = None if claims.domain is None else _organisation_of(step, claims.domain)
    if home is None and claims.domain is not None:
        store.set_person(step, who.id, organisation=None)
    elif home is not None:
        store.set_person(step, who.id, organisation=home.name, waits_ms=None)
    return service.person(step, who.id)


def _first_time(step: Step, claims: Claims) -> Person:
    made = _new_person(step, claims)
    row = {
        "issuer": claims.issuer,
        "subject": claims.subject,
        "person_id": made.id,
        "domain": claims.domain or "",
        "first_ms": step.now_ms,
        "last_ms": step.now_ms,
    }
    if not step.add_new(store.identities, [row]):  # another log-in of theirs was faster
        store.drop_person(step, made.id)
        known = store.person_of(step, claims.issuer, claims.subject)
        assert known is not None
        return service.person(step, known.id)
    store.set_person(step, made.id, waits_ms=step.now_ms)
    return made


def _new_person(step: Step, claims: Claims) -> Person:
    """A person by the name that the provider has for them, or a free one that begins with it."""
    wanted = service.name_from(claims.login_name, "person")
    shown = service.label_from(claims.display_name, wanted)
    for number in range(1, _NUMBERED + 1):
        name = wanted if number == 1 else f"{wanted[:54]}-{number}"
        try:
            return service.new_person(step, name, shown)
        except Conflict:
            continue
    letters = b32encode(step.entropy()[:5]).decode().lower()
    return service.new_person(step, f"{wanted[:54]}-{letters}", shown)


# --- guests


def guests(step: Step, after: str, limit: int) -> tuple[list[Guest], str]:
    """One page of those who wait, by name. Two queries."""
    rows, following = cut(store.guests_page(step, after, limit), limit, "name")
    domains = store.domains_of(step, [row.id for row in rows])
    found = [
        Guest(row.name, row.display_name, domains.get(row.id, ""), row.waits_ms) for row in rows
    ]
    return found, following


def approve(step: Step, name: str) -> Person:
    """Let a guest in. Asking twice is fine."""
    found = service.person_by_name(step, name)
    store.set_person(step, found.id, waits_ms=None)
    return service.person(step, found.id)


# --- organisations


def organisations(step: Step, after: str, limit: int) -> tuple[list[Organisation], str]:
    rows, following = cut(store.organisations_page(step, after, limit), limit, "name")
    return [
        Organisation(row.name, row.title, row.domain, row.created_ms) for row in rows
    ], following


def add_organisation(step: Step, name: str, domain: str, title: str) -> Organisation:
    """Name an organisation; its people belong to it from now on, and those who wait are let in."""
    check_name("organisation", name)
    plain = domain.strip().lower()
    if not _DOMAIN.fullmatch(plain):
        raise InvalidInput(
            f"{domain[:200]!r} is no domain",
            hint="write what stands behind the @, such as uni-a.example",
            field="domain",
            value=domain[:200],
        )
    made = Organisation(name, check_label("title", title or name), plain, step.now_ms)
    row = {
        "name": made.name,
        "title": made.title,
        "domain": made.domain,
        "created_ms": made.created_ms,
    }
    if not store.add_organisation(step, row):
        raise Conflict(
            f"there is an organisation called {name} already, or one of {plain}",
            hint="choose another name, or look: `meyrin organisation list`",
            name=name,
        )
    store.gather(step, name, plain)
    return made


def remove_organisation(step: Step, name: str) -> None:
    """Whoever is in stays in; who comes later is a guest."""
    if store.organisation(step, name) is None:
        raise NotFound(f"there is no organisation {name!r}", name=name)
    store.remove_organisation(step, name)
    roles_store.forget_organisation(step, name)


def _organisation_of(step: Step, domain: str) -> Organisation | None:
    """By the domain itself or one above it: `physics.uni-a.example` is of `uni-a.example`."""
    parts = domain.split(".")
    above = [".".join(parts[first:]) for first in range(len(parts) - 1)]
    row = store.organisation_of(step, above) if above else None
    return None if row is None else Organisation(row.name, row.title, row.domain, row.created_ms)
