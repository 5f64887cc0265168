"""What becomes of the jobs of somebody who left a project, and how far each site is with it.

What waits, at the hub or in a site's queue, is cancelled within seconds. What runs is ended after
a grace that is a setting of the hub, so that it may write what it has. A sweep does this, whatever
way they left, and again and again: a request may have been under way when its sender left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from meyrin.domain.errors import NotAllowed
from meyrin.domain.states import ENDED, JobState
from meyrin.hub.identity import leaving
from meyrin.hub.identity import service as identity
from meyrin.hub.jobs import change
from meyrin.hub.jobs.service import end
from meyrin.hub.jobs.store import IS_LIVE, attempts, jobs
from meyrin.hub.ledger import service as ledger
from meyrin.hub.plumbing.authz import Actor
from meyrin.hub.plumbing.database import Step
from meyrin.hub.sites import service as sites

SETTLED_MS = 120_000  # longer than a request lasts that was sent before they left
_NOT_ENDED = [str(state) for state in JobState if state not in ENDED]


@dataclass(frozen=True, slots=True)
class AtSite:
    """How far a site is with a departure: `revoked`, `unkept` (its accounts are not kept by its
    agent) or `waiting`. `jobs` of theirs are still there."""

    site: str
    state: str
    at_ms: int | None
    words: str
    jobs: int
    last_heard_ms: int | None


@dataclass(frozen=True, slots=True)
class Gone:
    """A departure, how many of their jobs have not ended, and each site."""

    departure: leaving.Departure
    jobs: int
    sites: tuple[AtSite, ...]


def end_jobs(step: Step, grace_s: int) -> int:
    """End what people who left have in the project that they left; returns how many jobs were
    ended or asked to end. Done again and again; two queries when there is nothing to do."""
    gone = leaving.jobs_left(step)
    if not gone:
        return 0
    left = _jobs_of(step, gone)
    due: list[tuple[leaving.Departure, list[int]]] = []
    for one in gone:
        mine = [row for row in left if (row.project_id, row.person_id) == _key(one)]
        grace_is_over = step.now_ms - one.at_ms >= grace_s * 1000
        due.append((one, [r.id for r in mine if r.state != JobState.RUNNING or grace_is_over]))
    # all of them at once, and what they are paid from: whoever else locks several does so in order
    rows = change.locked(step, [job for _, ids in due for job in ids])
    if placed := [row.attempt for row in rows.values() if row.state == JobState.PLACED]:
        ledger.lock_of(step, placed)
    ended = 0
    for one, ids in due:
        if ids:
            end(step, ids, f"{one.person} left {one.project}")
            ended += len(ids)
    busy = {(row.project_id, row.person_id) for row in left}
    leaving.over(
        step,
        [one.id for one in gone if _key(one) not in busy and step.now_ms - one.at_ms >= SETTLED_MS],
    )
    return ended


def departures(
    step: Step, actor: Actor, project: str, after: str, limit: int
) -> tuple[list[Gone], str]:
    """One page of who left a project, newest first, with every site. For its leads. Six
    queries."""
    found = identity.project_by_name(step, actor, project)
    if not actor.leads(found.id):
        raise NotAllowed(f"this needs a lead of {project}", hint="ask one of its leads")
    gone, said, following = leaving.of_project(step, found.id, after, limit)
    if not gone:
        return [], following
    there = _live(step, gone)
    left = Counter((row.project_id, row.person_id) for row in _jobs_of(step, gone))
    places = sites.heard_of(step)
    return [
        Gone(
            one,
            left[_key(one)],
            tuple(_at_site(one, place, said, there[(*_key(one), place.id)]) for place in places),
        )
        for one in gone
    ], following


def _at_site(
    one: leaving.Departure,
    place: Any,
    said: dict[tuple[str, str], leaving.Said],
    count: int,
) -> AtSite:
    found = said.get((one.id, place.id))
    state, at_ms = "waiting", None
    if found is None:
        words = "its agent has not answered yet"
    elif found.outcome in leaving.CONFIRMED:
        state, at_ms, words = "revoked", found.at_ms, found.words
    elif found.outcome == "unkept":
        state, at_ms, words = "unkept", found.at_ms, found.words
    else:
        words = found.words
    if count:
        state, at_ms, words = "waiting", None, f"{count} of their jobs are still there"
    return AtSite(place.name, state, at_ms, words, count, place.last_heard_ms)


def _key(one: leaving.Departure) -> tuple[str, str]:
    return one.project_id, one.person_id


def _jobs_of(step: Step, gone: Sequence[leaving.Departure]) -> list[sa.Row[Any]]:
    """Jobs of these people, in the projects that they left, that have not ended."""
    columns = (jobs.c.id, jobs.c.project_id, jobs.c.person_id, jobs.c.state)
    return step.rows(
        sa.select(*columns).where(_theirs(gone), jobs.c.state.in_(_NOT_ENDED)).order_by(jobs.c.id)
    )


def _live(step: Step, gone: Sequence[leaving.Departure]) -> Counter[tuple[str, str, str]]:
    """How many of their attempts are at each site, by project, person and site."""
    rows = step.rows(
        sa.select(jobs.c.project_id, jobs.c.person_id, attempts.c.site_id)
        .join(attempts, attempts.c.job_id == jobs.c.id)
        .where(IS_LIVE, _theirs(gone))
    )
    return Counter((row.project_id, row.person_id, row.site_id) for row in rows)


def _theirs(gone: Sequence[leaving.Departure]) -> sa.ColumnElement[bool]:
    """Jobs that these people sent in the projects that they left; none of who came back."""
    pairs = sorted({_key(one) for one in gone if one.returned_ms is None})
    if not pairs:
        return sa.false()
    return sa.or_(
        *(sa.and_(jobs.c.project_id == project, jobs.c.person_id == who) for project, who in pairs)
    )
