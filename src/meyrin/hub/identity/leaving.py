"""Leaving a project: that it happened, and what has become of it since.

The rights themselves end with the membership, at the next request. A departure is the memory by
which the rest is brought about: the jobs end (`hub.jobs.leaving`), and every site is told until
its agent confirms that the person may use the project's account there no longer.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from meyrin.domain.ids import new_id
from meyrin.hub.identity import leaving_store as store
from meyrin.hub.plumbing.paging import cut

if TYPE_CHECKING:
    from meyrin.hub.plumbing.database import Step

CONFIRMED = ("revoked", "no-user")
# for how long a site that keeps no accounts is asked again; the others are until they confirm
ASKED_FOR_MS = 90 * 86_400_000
MOST = 500


@dataclass(frozen=True, slots=True)
class Departure:
    """Who left which project, when, and by whose word. `over_ms`: when the last of their jobs
    there had ended; `returned_ms`: when they were let in again."""

    id: str
    project_id: str
    project: str
    person_id: str
    person: str
    at_ms: int
    by: str
    over_ms: int | None
    returned_ms: int | None


@dataclass(frozen=True, slots=True)
class Said:
    """What a site's agent said last of a departure. `outcome` is one of `CONFIRMED`, or
    `unkept` (the site keeps no accounts through the agent) or `failed`."""

    departure: str
    site_id: str
    outcome: str
    words: str
    at_ms: int


def note(step: Step, project_id: str, person_id: str, by: str) -> str:
    """They left just now. Returns the departure's id."""
    made = new_id("departure", step.entropy)
    row = {
        "id": made,
        "project_id": project_id,
        "person_id": person_id,
        "at_ms": step.now_ms,
        "by": by,
    }
    step.add(store.departures, [row])
    return made


def came_back(step: Step, project_id: str, person_id: str) -> None:
    """They are in the project again: nothing more is to be taken away."""
    store.set_returned(step, project_id, person_id)


def jobs_left(step: Step) -> list[Departure]:
    """Departures whose jobs are not all known to have ended."""
    return [_departure(row) for row in store.with_jobs_left(step, MOST)]


def over(step: Step, ids: Collection[str]) -> None:
    """The last job of these has ended."""
    if ids:
        store.set_over(step, ids)


def unconfirmed(step: Step, site_id: str) -> list[Departure]:
    """What a site has still to confirm. One query."""
    since_ms = step.now_ms - ASKED_FOR_MS
    return [_departure(row) for row in store.unconfirmed(step, site_id, since_ms, MOST)]


def say(step: Step, site_id: str, said: Sequence[tuple[str, str, str]]) -> None:
    """What a site's agent found: departure, outcome and words of each. Unknown ones are dropped."""
    known = {one.id for one in unconfirmed(step, site_id)}
    store.say(
        step,
        [
            {
                "departure_id": departure,
                "site_id": site_id,
                "outcome": outcome,
                "words": words[:300],
                "at_ms": step.now_ms,
            }
            for departure, outcome, words in said
            if departure in known
        ],
    )


def of_project(
    step: Step, project_id: str, after: str, limit: int
) -> tuple[list[Departure], dict[tuple[str, str], Said], str]:
    """One page of who left, newest first, and what sites said by departure and site. Two
    queries."""
    rows, following = cut(store.of_project(step, project_id, after, limit), limit, "key")
    said = store.said(step, [row.id for row in rows]) if rows else []
    return (
        [_departure(row) for row in rows],
        {
            (row.departure_id, row.site_id): Said(
                row.departure_id, row.site_id, row.outcome, row.words, row.at_ms
            )
            for row in said
        },
        following,
    )


def _departure(row: Any) -> Departure:
    return Departure(
        row.id,
        row.project_id,
        row.project,
        row.person_id,
        row.person,
        row.at_ms,
        row.by,
        row.over_ms,
        row.returned_ms,
    )
