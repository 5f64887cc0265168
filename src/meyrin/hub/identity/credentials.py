"""Credentials of agents: how a site gets its first, how each follows the one before, how they end.

The agent draws its own secret and tells only its SHA-256, so that no answer ever holds one and a
call whose answer was lost is simply made again: the same digest from the same holder counts once.
An enrolment token is good for one digest. A credential that was followed by another still counts
for a few minutes, for the calls that are under way. Callers hold the site's row meanwhile, so that
a revocation misses no credential that is just being made.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import structlog

from meyrin.domain.errors import InvalidInput, NotLoggedIn
from meyrin.domain.ids import new_id
from meyrin.hub.identity import store
from meyrin.hub.identity.tokens import Token, TokenKind, digest_of, make
from meyrin.hub.plumbing.database import Step
from meyrin.hub.plumbing.paging import cut

log = structlog.get_logger("meyrin.hub")
ENROLMENT_S = 3600
LONGEST_ENROLMENT_S = 7 * 86400
OVERLAP_S = 600  # a followed credential: longer than any call
UNUSED_S = 90 * 86400  # a credential that no agent renews
USED_EVERY_MS = 60_000  # a credential that was used this recently is not written down again
_DIGEST = re.compile(r"[0-9a-f]{64}")
_ANEW = "ask the hub's administrator to run `meyrin site enrol NAME` again"


@dataclass(frozen=True, slots=True)
class Credential:
    """What is known of a credential or an enrolment token of a site; its secret is not."""

    id: str
    kind: TokenKind
    created_ms: int
    expires_ms: int | None
    used_ms: int | None
    revoked_ms: int | None


def new_enrolment(step: Step, site_id: str, name: str, lifetime_s: int) -> tuple[Token, str]:
    """A token that lets one agent join a site, once; those not used before it end."""
    if not 60 <= lifetime_s <= LONGEST_ENROLMENT_S:
        raise InvalidInput(
            f"an enrolment can't be good for {lifetime_s} s",
            hint="from a minute to seven days",
            field="valid_s",
        )
    store.revoke_where(
        step,
        store.tokens.c.site_id == site_id,
        store.tokens.c.kind == TokenKind.ENROL,
        store.tokens.c.used_ms.is_(None),
    )
    token, secret = make(step, TokenKind.ENROL, name, site_id=site_id, lifetime_s=lifetime_s)
    log.info("site.enrolment_made", site=name, token=token.id, valid_s=lifetime_s)
    return token, secret


def enrolling_site(step: Step, secret: str) -> str:
    """The site that an enrolment token is for, whether or not it still counts."""
    row = store.token_by_hash(step, digest_of(secret))
    if row is None or row.kind != TokenKind.ENROL:
        raise NotLoggedIn("this enrolment token was never made here", hint=_ANEW)
    return str(row.site_id)


def joined_ms(step: Step, site_id: str) -> int | None:
    """When the site's newest enrolment was used; None where it was not. One query."""
    row = store.newest_enrolment(step, site_id)
    return None if row is None else row.used_ms


def use_enrolment(step: Step, secret: str, digest: str) -> bool:
    """Make `digest` the one credential of the token's site. Whether that is new.

    The same token with the same digest again is fine, as long as that credential counts.
    """
    _check(digest)
    used = store.use_enrolment(step, digest_of(secret))
    if used is None:
        _refuse_unless_same(step, secret, digest)
        return False
    ended = store.end_credentials(step, used.site_id, step.now_ms)
    _add(step, used.site_id, used.name, digest)
    log.info("site.joined", site=used.name, token=used.id, ended=ended)
    return True


def _refuse_unless_same(step: Step, secret: str, digest: str) -> None:
    row = store.token_by_hash(step, digest_of(secret))
    assert row is not None, "its site was found by it"
    made = store.token_by_hash(step, digest)
    if row.used_ms is not None and made is not None and _counts(step, made, row.site_id):
        return
    if row.used_ms is not None:
        raise NotLoggedIn("this enrolment token was used already", hint=_ANEW)
    if row.revoked_ms is not None:
        raise NotLoggedIn("this enrolment token was withdrawn for a newer one", hint=_ANEW)
    raise NotLoggedIn("this enrolment token has expired", hint=_ANEW)


def _counts(step: Step, made: Any, site_id: str) -> bool:
    """Whether a row is a credential of the site that still counts."""
    late = made.expires_ms is not None and made.expires_ms <= step.now_ms
    ours = made.kind == TokenKind.AGENT and made.site_id == site_id
    return ours and made.revoked_ms is None and not late


def follow(step: Step, token_id: str, digest: str) -> None:
    """Let `digest` follow the credential `token_id`, which still counts for ten minutes.

    Its holder may say so again. NotLoggedIn when that one was revoked meanwhile.
    """
    _check(digest)
    row = store.token_by_id(step, token_id)
    if row is None or row.revoked_ms is not None:
        raise NotLoggedIn("this credential was revoked", hint=_ANEW)
    made = store.token_by_hash(step, digest)
    if made is not None and not _counts(step, made, row.site_id):
        raise InvalidInput("this digest was used before", hint="draw a new secret", field="digest")
    if made is not None:
        return
    store.end_credentials(step, row.site_id, step.now_ms + OVERLAP_S * 1000)
    _add(step, row.site_id, row.name, digest)
    log.info("site.credential_followed", site=row.name, token=row.id)


def revoke_site(step: Step, site_id: str) -> int:
    """Refuse the agent of a site and unused enrolments from now on. Returns how many ended."""
    count = store.revoke_where(
        step,
        store.tokens.c.site_id == site_id,
        store.tokens.c.kind.in_([str(TokenKind.AGENT), str(TokenKind.ENROL)]),
    )
    log.info("site.revoked", site_id=site_id, tokens=count)
    return count


def of_site(step: Step, site_id: str, after: str, limit: int) -> tuple[list[Credential], str]:
    """One page of a site's credentials and enrolments, newest first. One query."""
    rows, following = cut(store.credentials_page(step, site_id, after, limit), limit, "key")
    found = [
        Credential(
            row.id,
            TokenKind(row.kind),
            row.created_ms,
            row.expires_ms,
            row.used_ms,
            row.revoked_ms,
        )
        for row in rows
    ]
    return found, following


def credential_made_ms(step: Step, site_id: str) -> int | None:
    """When the newest credential was made that still counts; None when there is none."""
    row = store.newest_credential(step, site_id)
    return None if row is None else int(row.created_ms)


def check_counts(step: Step, token_id: str) -> None:
    """NotLoggedIn when the credential counts no longer: for a call that has waited. One query."""
    row = store.token_by_id(step, token_id)
    if row is None or not _counts(step, row, row.site_id):
        raise NotLoggedIn("this credential was revoked", hint=_ANEW)


def note_used(step: Step, token_id: str) -> None:
    """The credential was used now; written at most once a minute."""
    store.set_used(step, token_id, USED_EVERY_MS)


def _check(digest: str) -> None:
    if not _DIGEST.fullmatch(digest):
        raise InvalidInput(
            "this is no SHA-256 of a secret", hint="64 hexadecimal digits", field="digest"
        )


def _add(step: Step, site_id: str, name: str, digest: str) -> None:
    row = {
        "id": new_id("token", step.entropy),
        "kind": str(TokenKind.AGENT),
        "hash": digest,
        "person_id": None,
        "site_id": site_id,
        "name": name,
        "created_ms": step.now_ms,
        "expires_ms": step.now_ms + UNUSED_S * 1000,
    }
    if not step.add_new(store.tokens, [row], told=(store.tokens.c.id,)):
        raise InvalidInput("this digest was used before", hint="draw a new secret", field="digest")
