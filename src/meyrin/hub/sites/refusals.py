"""How long a site's no to a job counts: as long as what it stands on.

A no is kept with the job as a word, `SITE=VERSION/MARK`: the hub's own number for the site, which
rises when an offer or the projects that may use it change, and the agent's mark of the rules under
which it said no. When either is another, the word no longer counts, and the job may be offered
there again. No job is written to for that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from meyrin.hub.plumbing import world
from meyrin.hub.plumbing.database import Step
from meyrin.hub.sites.store import sites


def mark_of(about: Mapping[str, Any] | None) -> str:
    return str((about or {}).get("rules_mark", ""))


def forget(step: Step, site_id: str) -> None:
    """What this site refused before may be offered to it again. The broker wakes."""
    step.change(
        sa.update(sites)
        .where(sites.c.id == site_id)
        .values(rules_version=sites.c.rules_version + 1)
    )
    world.moved(step)


def version(step: Step, site_id: str) -> int:
    """The hub's number for the site now. One query."""
    row = step.one(sa.select(sites.c.rules_version).where(sites.c.id == site_id))
    return 0 if row is None else int(row.rules_version)


def with_no(words: str, site: str, version: int, mark: str) -> str:
    """A job's refusals with another one: of a site, its last counts."""
    others = [word for word in words.split() if name_of(word) != site]
    return " ".join((*others, f"{site}={version}/{mark}"))


def in_force(step: Step) -> frozenset[str]:
    """The words that count now. One query; a word of an earlier version of Meyrin has no mark."""
    rows = step.rows(sa.select(sites.c.name, sites.c.rules_version, sites.c.about))
    return frozenset(
        f"{row.name}={row.rules_version}/{mark_of(row.about)}" for row in rows
    ) | frozenset(row.name for row in rows if not row.rules_version and not mark_of(row.about))


def name_of(word: str) -> str:
    return word.partition("=")[0]


def counting(words: str, known: frozenset[str]) -> tuple[str, ...]:
    """The sites whose no still counts."""
    return tuple(name_of(word) for word in words.split() if word in known)
