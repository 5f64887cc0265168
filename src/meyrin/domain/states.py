"""The one table of job states: which may follow which, and what each means to a reader.

A word that a site reports and that is not in this table is never mapped to a neighbour: the job
keeps its last known state and is shown as `unknown (their word)`.
"""

from __future__ import annotations

from enum import StrEnum

from meyrin.domain.errors import IllegalChange


class JobState(StrEnum):
    SUBMITTED = "submitted"
    ADMITTED = "admitted"
    PLACED = "placed"
    LEASED = "leased"
    QUEUED = "queued"
    RUNNING = "running"
    PREEMPTED = "preempted"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


_S = JobState

MEANING: dict[JobState, str] = {
    _S.SUBMITTED: "kept by the hub; waits for a date, a dependency or a release",
    _S.ADMITTED: "passed admission; waits for a placement",
    _S.PLACED: "a site and partition are chosen and the hours are held",
    _S.LEASED: "the site's agent has taken it",
    _S.QUEUED: "waits in the site's own batch system",
    _S.RUNNING: "runs",
    _S.PREEMPTED: "stopped by the site to make room; goes back to its queue",
    _S.COMPLETED: "ended with exit code 0",
    _S.FAILED: "ended without success",
    _S.CANCELLED: "ended by a person or by a rule that a person set",
    _S.EXPIRED: "could not end before its deadline any more",
}

LEGAL: dict[JobState, frozenset[JobState]] = {
    _S.SUBMITTED: frozenset({_S.ADMITTED, _S.CANCELLED, _S.EXPIRED}),
    # back to submitted: the dependency or release that let it in was taken back
    _S.ADMITTED: frozenset({_S.SUBMITTED, _S.PLACED, _S.CANCELLED, _S.EXPIRED}),
    # back to admitted: taken back before any agent heard of it
    _S.PLACED: frozenset({_S.LEASED, _S.ADMITTED, _S.CANCELLED, _S.EXPIRED}),
    # back to admitted: the site's rule or veto said no
    _S.LEASED: frozenset({_S.QUEUED, _S.ADMITTED, _S.FAILED, _S.CANCELLED}),
    _S.QUEUED: frozenset({_S.RUNNING, _S.FAILED, _S.CANCELLED, _S.EXPIRED}),
    _S.RUNNING: frozenset({_S.COMPLETED, _S.FAILED, _S.CANCELLED, _S.PREEMPTED}),
    _S.PREEMPTED: frozenset({_S.QUEUED, _S.FAILED, _S.CANCELLED}),
    _S.COMPLETED: frozenset(),
    _S.FAILED: frozenset(),
    _S.CANCELLED: frozenset(),
    _S.EXPIRED: frozenset(),
}

ENDED: frozenset[JobState] = frozenset(s for s, after in LEGAL.items() if not after)
WAITING: frozenset[JobState] = frozenset({_S.SUBMITTED, _S.ADMITTED})
# an agent may know of it: only the agent can say how it ended
AT_SITE: frozenset[JobState] = frozenset({_S.LEASED, _S.QUEUED, _S.RUNNING, _S.PREEMPTED})
HOLDS_HOURS: frozenset[JobState] = AT_SITE | {_S.PLACED}


def may_follow(before: JobState, after: JobState) -> bool:
    """Whether the table allows `after` to follow `before`."""
    return after in LEGAL[before]


def check_change(before: JobState, after: JobState) -> None:
    """Raise IllegalChange unless the table allows it."""
    if not may_follow(before, after):
        allowed = ", ".join(sorted(LEGAL[before])) or "nothing: it has ended"
        raise IllegalChange(
            f"a job that is {before} can't become {after}",
            hint=f"after {before} comes {allowed}",
            before=str(before),
            after=str(after),
        )


def shown(state: JobState, site_word: str | None) -> str:
    """The state as people read it; a word of the site that we don't know is kept as theirs."""
    return f"unknown ({site_word})" if site_word and state not in ENDED else str(state)
