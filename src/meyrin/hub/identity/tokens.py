"""Tokens: who holds a secret is who they say. Secrets are never stored, logged or compared.

A secret is `myr_` and 32 random bytes; the table keeps its SHA-256 and is asked for that. A token
counts until it expires or is revoked, from the next request on.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from enum import StrEnum

from fastapi import Request

from meyrin.domain.errors import InvalidInput, NotFound, NotLoggedIn
from meyrin.domain.ids import new_id
from meyrin.hub.identity import store
from meyrin.hub.identity.labels import check_label
from meyrin.hub.plumbing.authz import STRANGER, Actor
from meyrin.hub.plumbing.database import Database, Step
from meyrin.hub.plumbing.paging import cut

SECRET_PREFIX = "myr_"  # noqa: S105 - it lets people and scanners know one when they see it
SECRET_LENGTH = 47
SESSION_COOKIE = "meyrin_session"
LINK_LIFETIME_S = 600
SESSION_LIFETIME_S = 14 * 86400
_LOG_IN_AGAIN = "run `meyrin login`, or open a new log-in link"


class TokenKind(StrEnum):
    CLI = "cli"  # of a person, for the command line and programs
    SESSION = "session"  # of a person, in a browser's cookie
    LOGIN_LINK = "login_link"  # single use, becomes a session
    AGENT = "agent"  # of a site
    ENROL = "enrol"  # single use, becomes a site's agent token


PERSON_KINDS = frozenset({TokenKind.CLI, TokenKind.SESSION})
AGENT_KINDS = frozenset({TokenKind.AGENT})
_BEARER = frozenset({TokenKind.CLI, TokenKind.AGENT})
_COOKIE = frozenset({TokenKind.SESSION})


@dataclass(frozen=True, slots=True)
class Token:
    """What is known of a token; its secret is not."""

    id: str
    kind: TokenKind
    name: str
    created_ms: int
    expires_ms: int | None


def authenticate(step: Step, secret: str, kinds: frozenset[TokenKind]) -> Actor:
    """Who holds `secret`, if it is of one of `kinds`; else NotLoggedIn. At most two queries."""
    row = store.token_by_hash(step, digest_of(secret)) if _looks_right(secret) else None
    if row is None or row.kind not in kinds:
        raise NotLoggedIn("this token is not known here", hint=_LOG_IN_AGAIN)
    if row.revoked_ms is not None or row.disabled_ms is not None:
        raise NotLoggedIn("this token was revoked", hint=_LOG_IN_AGAIN)
    if row.expires_ms is not None and row.expires_ms <= step.now_ms:
        raise NotLoggedIn("this token has expired", hint=_LOG_IN_AGAIN)
    if row.waits_ms is not None:
        raise NotLoggedIn("you are not let in yet", hint="an administrator will look at it")
    if row.kind == TokenKind.AGENT:
        return Actor(name=row.name, site=row.site_id, token=row.id)
    rights = store.rights(step, row.person_id)
    return Actor(
        person=row.person_id,
        name=row.person_name,
        admin=bool(row.admin),
        projects={right.thing: right.role for right in rights if right.scope == "project"},
        operates=frozenset(right.thing for right in rights if right.scope == "site"),
        facility=frozenset(right.role for right in rights if right.scope == "facility"),
        calls=frozenset((right.thing, right.role) for right in rights if right.scope == "call"),
        session=row.kind == TokenKind.SESSION,
    )


def counts(step: Step, secret: str, kinds: frozenset[TokenKind] = PERSON_KINDS) -> bool:
    """Whether a token still counts, and is of one of these kinds: a person's, if none are said."""
    try:
        authenticate(step, secret, kinds)
    except NotLoggedIn:
        return False
    return True


def request_actor(request: Request) -> Actor:
    """Who sent a request: for `app.state.authenticate`. Never says why to nobody in particular.

    A bearer token that does not count is an error. A browser sends its cookie unasked, so one
    that no longer counts makes a stranger, who can still reach the log-in page.
    """
    database: Database = request.app.state.database
    header = request.headers.get("authorization", "")
    if header:
        scheme, _, secret = header.partition(" ")
        if scheme.lower() != "bearer":
            raise NotLoggedIn(f"{scheme[:20]!r} is no way to log in here", hint=_LOG_IN_AGAIN)
        with database.read() as step:
            return authenticate(step, secret.strip(), _BEARER)
    cookie = request.cookies.get(SESSION_COOKIE, "")
    if not cookie:
        return STRANGER
    try:
        with database.read() as step:
            return authenticate(step, cookie, _COOKIE)
    except NotLoggedIn:
        return STRANGER


def new_token(
    step: Step, person_id: str, name: str, *, lifetime_s: int | None = None
) -> tuple[Token, str]:
    """A token for the command line and programs of a person, and its secret, shown this once."""
    if lifetime_s is not None and lifetime_s < 1:
        raise InvalidInput(f"a token can't live for {lifetime_s} s", hint="1 or more")
    label = check_label("name", name)
    return make(step, TokenKind.CLI, label, person_id=person_id, lifetime_s=lifetime_s)


def list_tokens(step: Step, person_id: str, after: str, limit: int) -> tuple[list[Token], str]:
    """One page of a person's tokens and sessions that were not revoked, newest first."""
    kinds = [str(kind) for kind in PERSON_KINDS]
    rows, following = cut(store.tokens_of(step, person_id, kinds, after, limit), limit, "key")
    found = [
        Token(row.id, TokenKind(row.kind), row.name, row.created_ms, row.expires_ms) for row in rows
    ]
    return found, following


def revoke(step: Step, actor: Actor, token: str) -> str:
    """Refuse a token from now on: one's own, also by its name where no other has it, or anybody's
    for an administrator. Returns its id."""
    owner = store.token_owner(step, token)
    if owner is None or not (actor.admin or owner == actor.person):
        token = _called(step, actor, token)
    store.revoke_where(step, store.tokens.c.id == token)
    return token


def _called(step: Step, actor: Actor, name: str) -> str:
    """The one of the caller's own tokens that has this name; one that was revoked already where
    none does, for who asks again."""
    assert actor.person is not None, "the route asks for a person"
    kinds = [str(kind) for kind in PERSON_KINDS]
    found = store.tokens_called(step, actor.person, kinds, name)
    if not found:
        raise NotFound(f"you have no token {name}", hint="`meyrin token list` has their IDs")
    counting = [row.id for row in found if row.revoked_ms is None]
    if len(counting) > 1:
        raise InvalidInput(
            f"several of your tokens are called {name}",
            hint=f"say which by its ID: {', '.join(counting)}",
            field="token",
        )
    return str(found[0].id)


def login_link(step: Step, person_id: str) -> str:
    """The secret of a log-in link: good once, for ten minutes."""
    return make(
        step, TokenKind.LOGIN_LINK, "log-in link", person_id=person_id, lifetime_s=LINK_LIFETIME_S
    )[1]


def whose_link(step: Step, secret: str) -> str | None:
    """The id of the person whom a log-in link would log in; None when it does not count."""
    return store.whose_once(step, digest_of(secret), TokenKind.LOGIN_LINK)


def use_login_link(step: Step, secret: str) -> str:
    """Turn a log-in link into a session and return its secret. Of two who try, one gets it."""
    digest = digest_of(secret)
    person_id = store.use_once(step, digest, TokenKind.LOGIN_LINK) if secret else None
    if person_id is None:
        raise NotLoggedIn(
            "this log-in link was used already, is too old or was never made here",
            hint="run `meyrin login` for a new one",
        )
    return new_session(step, person_id, SESSION_LIFETIME_S)


def new_session(step: Step, person_id: str, lifetime_s: int) -> str:
    """The secret of a session for the browser of somebody who has shown who they are."""
    return make(step, TokenKind.SESSION, "browser", person_id=person_id, lifetime_s=lifetime_s)[1]


def log_out(step: Step, secret: str) -> None:
    """End a session; one that has ended already is fine."""
    store.revoke_where(
        step,
        store.tokens.c.hash == digest_of(secret),
        store.tokens.c.kind == TokenKind.SESSION,
    )


def new_agent_token(step: Step, site_id: str, name: str) -> str:
    """The secret of a new credential for the agent of a site."""
    return make(step, TokenKind.AGENT, name, site_id=site_id)[1]


def make(
    step: Step,
    kind: TokenKind,
    name: str,
    *,
    person_id: str | None = None,
    site_id: str | None = None,
    lifetime_s: int | None = None,
) -> tuple[Token, str]:
    """A token with a new secret, for this room's own use."""
    secret = SECRET_PREFIX + random_word(step)
    expires_ms = None if lifetime_s is None else step.now_ms + lifetime_s * 1000
    token = Token(new_id("token", step.entropy), kind, name, step.now_ms, expires_ms)
    row = {
        "id": token.id,
        "kind": str(kind),
        "hash": digest_of(secret),
        "person_id": person_id,
        "site_id": site_id,
        "name": name,
        "created_ms": step.now_ms,
        "expires_ms": expires_ms,
    }
    step.add(store.tokens, [row])
    return token, secret


def random_word(step: Step) -> str:
    """32 random bytes as a word of 43 letters."""
    random = step.entropy() + step.entropy()
    assert len(random) == 32, "the source of chance gives 16 bytes"
    return base64.urlsafe_b64encode(random).rstrip(b"=").decode()


def _looks_right(secret: str) -> bool:
    return len(secret) == SECRET_LENGTH and secret.startswith(SECRET_PREFIX)


def digest_of(secret: str) -> str:
    """How a secret is kept: its SHA-256."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
