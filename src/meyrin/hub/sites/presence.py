"""Whether a site's agent is there: which start of it, when heard, and why it takes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from weakref import WeakKeyDictionary

import sqlalchemy as sa

from meyrin.domain.errors import NotFound
from meyrin.hub.identity import service as identity
from meyrin.hub.plumbing import world
from meyrin.hub.plumbing.database import Step
from meyrin.hub.sites import capacity, store
from meyrin.hub.sites.capacity import SILENT_AFTER_S, silent_since

HEARD_EVERY_MS = 5_000  # a site that was heard this recently is not written down again


@dataclass(frozen=True, slots=True)
class Standing:
    """A site, the start of its agent that said hello last (empty before the first), why that
    takes nothing new at present (empty when it does), and when it was heard last."""

    name: str
    incarnation: str
    not_now: str
    heard_ms: int | None


@dataclass(frozen=True, slots=True)
class Unheard:
    """Why a site does not tell what becomes of its jobs, and what ends that."""

    why: str
    way_out: str

    @property
    def of_job(self) -> str:
        return (
            f"{self.why}: what becomes of the job is not known, and its hours stay on hold, until"
            " its site is heard again"
        )


@dataclass(frozen=True, slots=True)
class _Seen:
    """A start of a site's agent: at which look it was there first, and when heard last."""

    incarnation: str
    since_ms: int
    heard_ms: int


# who was there at the last look, by database and site
_there: WeakKeyDictionary[sa.Engine, dict[str, _Seen]] = WeakKeyDictionary()


def incarnation(step: Step, site_id: str) -> str:
    """The start of the site's agent that said hello last; empty before the first."""
    return standing(step, site_id).incarnation


def standing(step: Step, site_id: str) -> Standing:
    """How a site and its agent stand. One query."""
    row = store.last_heard(step, site_id)
    if row is None:
        raise NotFound(f"there is no site {site_id}")
    return Standing(row.name, row.incarnation, row.not_now or "", row.last_heard_ms)


def unheard(step: Step, site_id: str) -> Unheard | None:
    """None while the site's agent answers. Two queries."""
    row = standing(step, site_id)
    if identity.credential_made_ms(step, site_id) is None:
        return Unheard(
            f"the agent of {row.name} was revoked",
            f"an operator of {row.name} lets it join again: `meyrin site enrol {row.name} --again`",
        )
    if row.heard_ms is None or not silent_since(
        row.heard_ms, step.now_s, SILENT_AFTER_S, step.started_s
    ):
        return None
    last = datetime.fromtimestamp(row.heard_ms // 1000, UTC)
    return Unheard(
        f"the agent of {row.name} was last heard on {last:%Y-%m-%d at %H:%M} UTC",
        f"an operator of {row.name} starts its agent again",
    )


def steady(step: Step) -> list[str]:
    """Sites whose agent, the same start of it, was there at each look for as long as a site may be
    silent: what began at the site while nobody heard of it has been told by now. For the sweep,
    once a minute: each call is a look, and the first after a hub's start knows none. One query."""
    before, there = _there.get(step.conn.engine, {}), {}
    for row in store.heard_of(step):
        if silent_since(row.last_heard_ms, step.now_s, SILENT_AFTER_S, 0) is not None:
            continue
        heard_ms, seen, since_ms = row.last_heard_ms or 0, before.get(row.name), step.now_ms
        # two looks that are further apart know nothing of the time between
        if (
            seen is not None
            and seen.incarnation == row.incarnation
            and 0 <= heard_ms - seen.heard_ms <= 2 * SILENT_AFTER_S * 1000
        ):
            since_ms = seen.since_ms
        there[row.name] = _Seen(row.incarnation, since_ms, heard_ms)
    _there[step.conn.engine] = there
    return [
        name for name, one in there.items() if step.now_ms - one.since_ms >= SILENT_AFTER_S * 1000
    ]


def heard(step: Step, site_id: str, known: Standing | None = None) -> bool:
    """The site's agent called. One read, none where `known` was read just now; writes at most
    once in five seconds.

    Returns whether it wrote. A site that was silent wakes the broker.
    """
    before = (known or standing(step, site_id)).heard_ms
    # a clock that was set back must not freeze the date in the future
    if before is not None and 0 <= step.now_ms - before < HEARD_EVERY_MS:
        return False
    if not store.set_heard(step, site_id, before):
        return False
    if before is None or step.now_ms - before > SILENT_AFTER_S * 1000:
        step.ring(world.BROKER)
        capacity.note(step)
    return True


def say_not_now(step: Step, site_id: str, reason: str) -> None:
    """Why the site's agent takes nothing new at present; empty when it does again."""
    if store.set_field(step, site_id, store.sites.c.not_now, reason or None):
        world.moved(step)
        capacity.note(step)
