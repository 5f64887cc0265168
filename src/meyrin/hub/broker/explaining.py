"""Why a job waits, where it went and why, and where one would go: the engine's answer in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Literal

import sqlalchemy as sa

from meyrin.domain.job import JobRequest
from meyrin.domain.refusal import Reason, Refusal
from meyrin.domain.states import AT_SITE, WAITING, JobState
from meyrin.engine import explain as words
from meyrin.engine.model import Candidate, Placement, State, WaitingJob
from meyrin.engine.placement import decide, forecast
from meyrin.hub.broker.service import WINDOWS, Snapshot, as_waiting_jobs, place_view, snapshot
from meyrin.hub.calls import paying
from meyrin.hub.jobs import attempts, eligible
from meyrin.hub.jobs.find import find_first
from meyrin.hub.jobs.submit import (
    as_waiting,
    check_deadline,
    check_dependencies,
    check_numbers,
    check_with_terms,
    project_of,
    without,
)
from meyrin.hub.plumbing.authz import Actor
from meyrin.hub.plumbing.database import Step
from meyrin.hub.sites import presence, terms
from meyrin.hub.sites import service as sites
from meyrin.wire.jobs import ExplainView, PlaceView, RefusalView

ITS_TURN = "for room or for its turn in the site's own queue"
_LATE_MS = 60_000  # a batch system starts jobs in rounds


def explain(step: Step, actor: Actor, label: str) -> ExplainView:
    """Why a job waits, or where it went and why, as data and in words."""
    row = find_first(step, actor, label)
    if JobState(row.state) not in WAITING:
        return _explain_placed(step, row)
    seen, ahead = _up_to(step, row.project_id, row)
    found = [job for job in seen.state.waiting if job.job == row.id]
    (job,) = found or as_waiting_jobs(step, [row])
    state = _with_funds(step, seen.state, row.project_id)
    if row.state == JobState.SUBMITTED:
        job = replace(job, blocked=eligible.blocked(step, row))
    lacking = terms.missing(step, [row.person_id]).get(row.person_id, {})
    say = _words_of_sites(lacking, row.reason, _why_shut(step, state))
    said = words.explain(without(job, lacking), state, seen.policy, step.now_s, say)
    return _view(row.id, row.state, _behind(said, ahead, job, say), lacking, say)


def test_only(step: Step, actor: Actor, request: JobRequest) -> ExplainView:
    """Where and when a request would start now. Raises Refused when it never could."""
    check_numbers(request)
    project_id = project_of(step, actor, request.project)
    seen, ahead = _up_to(step, project_id)
    job = as_waiting(request, project_id, 0, step.now_s)
    state = _with_funds(step, seen.state, project_id)
    lacking = terms.missing(step, [actor.key]).get(actor.key, {})
    check_with_terms(job, lacking, state.partitions, state.funds, step.now_s)
    check_dependencies(step, actor, [request])
    check_deadline(request, step.now_s)
    job = replace(without(job, lacking), blocked=eligible.would_block(step, actor.person, request))
    answer = forecast(state, job, seen.policy, step.now_s)
    if isinstance(answer, Placement) and not ahead:
        where = Candidate(answer.site, answer.partition, answer.expected_start_s)
        others = tuple(
            (o.site, o.partition, o.expected_start_s - step.now_s) for o in answer.others
        )
        summary = words.placed(
            answer.site, answer.partition, answer.expected_start_s - step.now_s, others
        )
        return ExplainView(
            job=0,
            state="forecast",
            summary=summary,
            refusals=[],
            where=place_view(where),
            others=[place_view(other) for other in answer.others],
            helps=[],
        )
    say = _words_of_sites(lacking, shut=_why_shut(step, state))
    said = words.explain(job, state, seen.policy, step.now_s, say)
    return _view(0, "forecast", _behind(said, ahead, job, say), lacking, say)


# --- inside


def _up_to(step: Step, project: str, row: sa.Row[Any] | None = None) -> tuple[Snapshot, int]:
    """The world as a waiting job meets it, or one that comes now, behind those ahead of it as the
    broker reads them; and how many were read, if it is behind them all."""

    def is_behind(seen: Snapshot) -> bool:
        if row is not None and (row.state != JobState.ADMITTED or seen.has(row.id)):
            return False
        # paid work hides only paid work
        more, last = seen.window.more, seen.window.last
        return more or (not last and project in paying.payers(step))

    most = WINDOWS[1]
    seen = snapshot(step, most)
    if not is_behind(seen):
        return seen, 0
    passed = seen.passed(decide(seen.state, seen.policy, step.now_s))
    seen = snapshot(step, most, passed)
    return seen, 2 * most if is_behind(seen) else 0


def _behind(
    said: words.Explanation, ahead: int, job: WaitingJob, say: Callable[[Refusal], tuple[str, str]]
) -> words.Explanation:
    """No start is told of a job that has so many ahead of it: it would be without them."""
    if not ahead or said.next_start is None:
        return said
    held = f"{words.summary(job.blocked, say)}; and " if job.blocked else ""
    summary = f"{held}at least {ahead} jobs are ahead of it, and the hub looks at these first"
    return replace(said, summary=summary, next_start=None, others=())


def _why_shut(step: Step, state: State) -> dict[tuple[str, str], str]:
    """Why partitions take nothing, or less, in their sites' words. One query at most."""
    less = [p.site for p in state.partitions if p.drained or p.usable_nodes is not None]
    return sites.why_shut(step, less)


def _with_funds(step: Step, state: State, project_id: str) -> State:
    """The state with this project's allocations too; those ahead in the queue keep theirs."""
    if any(funds.project == project_id for funds in state.funds):
        return state
    return replace(state, funds=(*state.funds, *paying.funds(step, [project_id])))


def _explain_placed(step: Step, row: sa.Row[Any]) -> ExplainView:
    attempt = attempts.attempt(step, row.attempt)
    if attempt is None:
        summary = f"job {row.id} was {row.state} before it was placed"
        return ExplainView(
            job=row.id,
            state=row.state,
            summary=summary + (f": {row.reason}" if row.reason else ""),
            refusals=[],
            where=None,
            others=[],
            helps=[],
        )
    others = [PlaceView(**other) for other in attempt.others]
    where = PlaceView(
        site=attempt.site, partition=attempt.partition, expected_start_s=attempt.expected_start_s
    )
    summary = words.placed(
        attempt.site,
        attempt.partition,
        attempt.expected_start_s - attempt.placed_ms // 1000,
        tuple(
            (o.site, o.partition, o.expected_start_s - attempt.placed_ms // 1000) for o in others
        ),
        done=True,
    )
    waits = _waits_there(step, row, attempt)
    summary += f"; it waits there: {waits}" if waits else ""
    at_site = JobState(row.state) in AT_SITE
    unheard = presence.unheard(step, attempt.site_id) if at_site else None
    summary += f"; {unheard.of_job}" if unheard else ""
    return ExplainView(
        job=row.id,
        state=row.state,
        summary=summary,
        refusals=[],
        where=where,
        others=others,
        helps=[unheard.way_out] if unheard else [],
        waits=waits,
        unheard=unheard.of_job if unheard else "",
    )


def _waits_there(step: Step, row: sa.Row[Any], attempt: sa.Row[Any]) -> str:
    """What it waits for at its site. That it waits for its turn the site does not tell, as this
    changes all the time: it is said of what should have started by now."""
    if JobState(row.state) not in AT_SITE or attempt.cancel_ms is not None:
        return ""
    late = row.state == JobState.QUEUED and step.now_ms > attempt.expected_start_s * 1000 + _LATE_MS
    return attempt.why or (ITS_TURN if late and not row.site_word else "")


def _words_of_sites(
    lacking: Mapping[str, str],
    kept: str = "",
    shut: Mapping[tuple[str, str], str] = MappingProxyType({}),
) -> Callable[[Refusal], tuple[str, str]]:
    """What a refusal is told as where the site has words of its own.

    `lacking` are sites whose terms were not accepted, with the version. `kept` is the reason that
    is noted with the job: where a site said no, its own words; `shut` is why partitions take
    nothing, or less.
    """

    def say(refusal: Refusal) -> tuple[str, str]:
        site, reason = refusal.site, refusal.reason
        if reason is Reason.SITE_SAID_NO and site in lacking:
            place = f"{site}/{refusal.partition}"
            told = f"the terms of {place}, version {lacking[site]}, were not accepted"
            return told, terms.way_out(site)
        if reason is Reason.SITE_SAID_NO and kept.startswith(f"{site} said no"):
            return kept, "change the job so, or let it go elsewhere"
        clash, way_out = words.parts(refusal)
        why = shut.get((site, refusal.partition))
        if reason is Reason.SITE_DRAINED and why:
            clash = f"{clash} ({why})"
        return clash, way_out

    return say


def _view(
    job: int,
    state: str,
    said: words.Explanation,
    lacking: Mapping[str, str],
    say: Callable[[Refusal], tuple[str, str]],
) -> ExplainView:
    """The engine sees a site of `lacking` as a no of the site; people see what they can do."""
    refusals, unread = [], set()
    for refusal in said.refusals:
        reason: Reason | Literal["terms_missing"] = refusal.reason
        if reason is Reason.SITE_SAID_NO and refusal.site in lacking:
            reason = "terms_missing"
            unread.add(refusal.site)
        refusals.append(
            RefusalView(
                reason=reason,
                site=refusal.site,
                partition=refusal.partition,
                asked=refusal.asked,
                limit=refusal.limit,
                words=": ".join(say(refusal)),
            )
        )
    return ExplainView(
        job=job,
        state=state,
        summary=said.summary,
        refusals=refusals,
        where=place_view(said.next_start) if said.next_start else None,
        others=[place_view(other) for other in said.others],
        helps=[*terms.help_with(sorted(unread)), *said.helps],
    )
