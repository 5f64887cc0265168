"""Terms of sites: set by operators, accepted once by each person, asked again at a new version.

A job goes to a site only if whoever sent it accepted the version in force; what is there already
goes on. A version's text never changes: its SHA-256 is kept with each acceptance in the audit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from meyrin.domain.errors import Conflict, InvalidInput, NotFound, TermsMissing
from meyrin.domain.ids import new_id
from meyrin.hub.identity import service as identity
from meyrin.hub.plumbing import world
from meyrin.hub.plumbing.authz import Actor
from meyrin.hub.plumbing.database import Step
from meyrin.hub.plumbing.paging import cut
from meyrin.hub.sites import store as sites_store
from meyrin.hub.sites import terms_store as store
from meyrin.hub.sites.service import run_by, site_row

MAX_TEXT = 100_000
MAX_URL = 2000
MAX_VERSION = 40


@dataclass(frozen=True, slots=True)
class Terms:
    """A version of a site's terms; `accepted_ms` is when the caller accepted it, None: not yet."""

    site: str
    version: str
    text: str
    url: str
    digest: str
    set_ms: int
    set_by: str
    accepted_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Acceptance:
    person: str
    version: str
    digest: str
    at_ms: int


# --- for operators


def put(step: Step, actor: Actor, name: str, version: str, text: str, url: str) -> Terms:
    """Put terms in force at a site; whoever accepted another version is asked again. For its
    operators. The same again changes nothing; Conflict for a known version with other words."""
    row = run_by(step, actor, name, hold=True)
    word = identity.check_label("version", version)
    _check(word, text, url)
    digest = digest_of(word, text, url)
    known = store.version(step, row.id, word)
    if known is not None and known.digest != digest:
        raise Conflict(
            f"version {word} of {name} was set with other words",
            hint="people accepted those: give the new words a new version",
            version=word,
        )
    if known is None:
        made = {
            "id": new_id("terms", step.entropy),
            "site_id": row.id,
            "version": word,
            "text": text,
            "url": url,
            "digest": digest,
            "set_ms": step.now_ms,
            "set_by": actor.name,
        }
        step.add(store.site_terms, [made])
    terms_id = made["id"] if known is None else known.id
    if sites_store.set_field(step, row.id, sites_store.sites.c.terms_id, terms_id):
        world.moved(step)
    return one(step, actor, name)


def end(step: Step, actor: Actor, name: str) -> None:
    """A site asks for nothing any more. For its operators; twice is fine."""
    row = run_by(step, actor, name, hold=True)
    if sites_store.set_field(step, row.id, sites_store.sites.c.terms_id, None):
        world.moved(step)


def acceptances(
    step: Step, actor: Actor, name: str, after: str, limit: int
) -> tuple[list[Acceptance], str]:
    """One page of who accepted which version, newest first. For the site's operators. Three
    queries."""
    row = run_by(step, actor, name)
    rows, following = cut(store.acceptances(step, row.id, after, limit), limit, "key")
    names = identity.people_names(step, {each.person_id for each in rows})
    return [
        Acceptance(names.get(each.person_id, ""), each.version, each.digest, each.at_ms)
        for each in rows
    ], following


# --- for everybody


def one(step: Step, actor: Actor, name: str) -> Terms:
    """The terms in force at a site. NotFound when it asks for none."""
    row = store.of_site(step, name, actor.person or "")
    if row is None:
        site_row(step, sites_store.sites.c.name == name, name)
        raise NotFound(f"{name} asks for no terms", hint="jobs go there without", site=name)
    return _terms(row)


def listed(step: Step, actor: Actor, after: str, limit: int) -> tuple[list[Terms], str]:
    """One page of the terms in force, by site. One query."""
    rows, following = cut(store.listed(step, actor.person or "", after, limit), limit, "site")
    return [_terms(row) for row in rows], following


def accept(step: Step, actor: Actor, name: str, version: str) -> tuple[Terms, bool]:
    """Accept the version in force, once; again keeps the first time. Whether that is new.
    Conflict for another version."""
    assert actor.person is not None, "the route asked for a person"
    row = store.of_site(step, name, actor.person)
    if row is None or row.version != version:
        now = one(step, actor, name)
        raise Conflict(
            f"version {version} of the terms of {name} is not in force",
            hint=f"read version {now.version}: `meyrin terms show {name}`",
            version=now.version,
        )
    made = {"terms_id": row.id, "person_id": actor.person, "at_ms": step.now_ms}
    new = bool(step.add_new(store.terms_accepted, [made]))
    step.ring(world.BROKER)
    return one(step, actor, name), new


# --- for the broker and for submitting


def missing(step: Step, people: Iterable[str]) -> dict[str, dict[str, str]]:
    """By person, the sites whose terms they have not accepted, with the version. One query where
    no site has terms, else two."""
    wanted = set(people)
    asked = store.in_force(step) if wanted else []
    if not asked:
        return {}
    done = store.accepted_by(step, {row.id for row in asked}, wanted)
    return {
        person: {row.name: row.version for row in asked if (person, row.id) not in done}
        for person in wanted
    }


def refusal(lacking: Mapping[str, str], asked: Collection[str] = ()) -> TermsMissing:
    """The reasoned no, for the sites of `lacking` (name to version) that `asked` names, if any."""
    names = [name for name in sorted(lacking) if not asked or name in asked]
    shown = ", ".join(f"{name} (version {lacking[name]})" for name in names)
    return TermsMissing(
        f"you have not accepted the terms of {shown}",
        hint=way_out(names[0]),
        sites=" ".join(names),
    )


def way_out(name: str) -> str:
    return (
        f"read them with `meyrin terms show {name}`, then `meyrin terms accept {name}`, "
        "or open the page /terms"
    )


def help_with(names: Sequence[str]) -> list[str]:
    """What lets a job go to any of these sites, in one sentence; nothing where there is none."""
    if len(names) < 2:
        return [f"accept the terms of {name}: {way_out(name)}" for name in names]
    return [f"accept the terms of one of {', '.join(names)}: {way_out('SITE')}"]


def digest_of(version: str, text: str, url: str) -> str:
    """SHA-256 of what was accepted, as canonical JSON."""
    facts = {"text": text, "url": url, "version": version}
    canonical = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def _check(version: str, text: str, url: str) -> None:
    if len(version) > MAX_VERSION or " " in version:
        raise InvalidInput(
            f"a version can't be {version[:60]!r}",
            hint=f"one word of at most {MAX_VERSION} letters, such as 2026-11",
            field="version",
        )
    if not text.strip() and not url:
        raise InvalidInput(
            "terms need words", hint="give a text, an address, or both", field="text"
        )
    if len(text) > MAX_TEXT:
        raise InvalidInput(
            f"{len(text)} letters are too many", hint=f"at most {MAX_TEXT}", field="text"
        )
    if url and not (url.startswith("https://") and url.isprintable() and len(url) <= MAX_URL):
        raise InvalidInput(
            f"{url[:200]!r} can't be linked", hint="an address that begins https://", field="url"
        )


def _terms(row: Any) -> Terms:
    return Terms(
        row.site, row.version, row.text, row.url, row.digest, row.set_ms, row.set_by, row.at_ms
    )
