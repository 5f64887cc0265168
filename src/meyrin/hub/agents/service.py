"""What an agent may say and get. Everything may be repeated; what is out of date is refused.

Locks are taken in one order everywhere: jobs, then attempts, then accounts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import sqlalchemy as sa

from meyrin.domain.errors import StaleEpoch
from meyrin.domain.job import InputFile, JobRequest
from meyrin.domain.states import JobState
from meyrin.domain.units import NodeShape
from meyrin.engine.ahead import LATELY_S, SHORT_S
from meyrin.engine.amounts import Freed, of_job
from meyrin.hub.identity import leaving
from meyrin.hub.identity import service as identity
from meyrin.hub.jobs import attempts, change, files
from meyrin.hub.jobs import service as jobs_service
from meyrin.hub.ledger import service as ledger
from meyrin.hub.plumbing import texts
from meyrin.hub.plumbing.database import Step
from meyrin.hub.sites import capacity, drift, joining, presence, queue, refusals, turnover
from meyrin.hub.sites import service as sites
from meyrin.hub.usage import service as usage
from meyrin.wire.agents import (
    HelloBody,
    HelloReply,
    LeaseBody,
    LeaseReply,
    LentOffer,
    Report,
    ResultsBody,
    SelfReply,
    Work,
)
from meyrin.wire.limits import DriftBody, RevokedBody
from meyrin.wire.queue import QueueBody

_ENDS = ("exit", "signal", "timeout", "cancelled", "lost", "not_started")
_Said = tuple[Report, sa.Row[Any], sa.Row[Any]]  # a report, its attempt and its job
_RETURNS_SHOWN = 3  # of one report: a site may count as many as it likes
_RANK = {"held": -1, "leased": -1, "queued": 0, "running": 1, "refused": 2, "ended": 3}


def who(step: Step, site_id: str) -> SelfReply:
    """How the site of a credential stands. Five queries at most."""
    site = sites.site(step, site_id)
    offers = sites.offers_of(step, site)
    heard_s = (site.last_heard_ms or 0) // 1000
    return SelfReply(
        site=site.name,
        title=site.title,
        now_ms=step.now_ms,
        incarnation=site.incarnation,
        answers=bool(site.incarnation) and step.now_s - heard_s <= capacity.SILENT_AFTER_S,
        drained=site.drained_reason,
        lent=sorted({one.partition for one in offers if one.start_s <= step.now_s}),
        offers=[
            LentOffer(
                id=one.id,
                partition=one.partition,
                owners=list(one.shares),
                start_s=one.start_s,
                end_s=one.end_s,
            )
            for one in offers
        ],
    )


def hello(step: Step, site_id: str, body: HelloBody, token: str = "") -> HelloReply:
    """Note what the site has; from now on only this incarnation of the agent is heard."""
    agreed = body.about is not None and joining.may_lend(step, site_id, token)
    site = _announce(step, site_id, body)
    if token:
        identity.note_used(step, token)
    if agreed:
        joining.lend_proposed(step, site)
    attempts.offer_again(step, site_id)
    return HelloReply(site=site.name, now_ms=step.now_ms)


def _announce(step: Step, site_id: str, body: HelloBody) -> sites.Site:
    said = body.model_dump(mode="json", include={"partitions", "about"})
    texts.check_body(said)  # names; the site's words came with a mark in place of what is none
    return sites.announce(
        step, site_id, body.batch_kind, tuple(body.partitions), body.incarnation, said["about"]
    )


def say_anew(step: Step, site_id: str, body: LeaseBody) -> None:
    """What hello said and is no longer so, if this call says it."""
    if body.partitions is None or body.about is None:
        return
    row = sites.site(step, site_id)
    _check_incarnation(step, site_id, body.incarnation)
    said = HelloBody(
        incarnation=body.incarnation,
        version=body.about.version,
        batch_kind=row.batch_kind,
        partitions=body.partitions,
        about=body.about,
    )
    _announce(step, site_id, said)


def lease(
    step: Step,
    site_id: str,
    incarnation: str,
    most: int,
    lease_s: int,
    *,
    not_now: str | None = None,
    token: str = "",
) -> LeaseReply:
    """Placed attempts become leased; leased ones that were never spoken of come again.

    `not_now` is why the site takes nothing new at present (empty: it does; None: as it said
    before): nothing more is placed there until it says otherwise. What was placed before still
    comes, for the site to say no to. `token` is the caller's credential, which may have been
    revoked since the call came (NotLoggedIn).
    """
    known = _check_incarnation(step, site_id, incarnation)
    if presence.heard(step, site_id, known) and token:
        identity.note_used(step, token)
    if not_now is not None and not_now != known.not_now:
        presence.say_not_now(step, site_id, not_now)
    if token:  # a revocation holds the site's row, which was just written if anything was said
        identity.check_counts(step, token)
    again_before_ms = step.now_ms - lease_s * 1000
    offered = attempts.offered(step, site_id, again_before_ms, most)
    rows = change.locked(step, [row.job_id for row in offered])
    taken = _take(step, [row.id for row in offered], rows, again_before_ms)
    cancels = attempts.to_cancel(step, site_id)
    if not taken:
        return LeaseReply(work=[], requests={}, cancel=cancels)
    wanted = jobs_service.load_requests(step, {rows[row.job_id].request_id for row in taken})
    people = identity.people_names(step, {rows[row.job_id].person_id for row in taken})
    projects = identity.project_names(step, {rows[row.job_id].project_id for row in taken})
    return LeaseReply(
        work=[_work(row, rows[row.job_id], wanted, people, projects) for row in taken],
        requests=wanted,
        cancel=cancels,
    )


def _check_incarnation(step: Step, site_id: str, incarnation: str) -> presence.Standing:
    """Raises StaleEpoch; returns how the site stands."""
    known = presence.standing(step, site_id)
    if known.incarnation != incarnation:
        raise StaleEpoch(
            "another start of this site's agent has said hello since",
            hint="one agent per site: leave the work to the other one, which may run on a copy of"
            " this one's folder; or end that one and start this one again",
        )
    return known


def _take(
    step: Step, attempt_ids: list[str], rows: dict[int, sa.Row[Any]], again_before_ms: int
) -> list[sa.Row[Any]]:
    """Those of the attempts that are still to be taken, marked as leased now."""
    leased = attempts.lease(step, attempt_ids, again_before_ms)
    taken = [row for row in leased if rows[row.job_id].attempt == row.id]
    change.apply(
        step,
        [
            change.Move(
                rows[row.job_id], ((JobState.LEASED, step.now_ms),), row.id, detail=row.site
            )
            for row in taken
            if rows[row.job_id].state == JobState.PLACED
        ],
    )
    return taken


def _work(
    attempt: sa.Row[Any],
    job: sa.Row[Any],
    wanted: dict[int, JobRequest],
    people: dict[str, str],
    projects: dict[str, str],
) -> Work:
    array = wanted[job.request_id].array
    return Work(
        attempt=attempt.id,
        epoch=attempt.epoch,
        job=job.id,
        array_job=None if job.task is None else job.family,
        task=job.task,
        task_count=len(array.indices) if array else 0,
        person=people[job.person_id],
        project=projects[job.project_id],
        partition=attempt.partition,
        nodes=attempt.nodes,
        cores=attempt.cores,
        memory_mb=attempt.memory_mb,
        accelerators=attempt.accelerators,
        tasks=attempt.tasks,
        walltime_s=attempt.walltime_s,
        request_id=job.request_id,
    )


def report(step: Step, site_id: str, reports: Sequence[Report]) -> list[str]:
    """Take reports; returns the attempts that are no longer current, which the agent must end.

    A report says everything up to its phase, so that of several of one attempt the furthest
    counts, and one that is behind what is known changes nothing.
    """
    furthest: dict[str, Report] = {}
    for each in sorted(reports, key=lambda r: (r.run, _RANK[r.phase])):
        furthest[each.attempt] = each
    rows = change.locked_of(step, site_id, furthest)
    # read once their jobs are locked: what another report says now comes after this one
    known = attempts.of_site(step, site_id, furthest)
    current, stale = [], []
    for attempt_id, each in furthest.items():
        attempt = known.get(attempt_id)
        job = rows.get(attempt.job_id) if attempt is not None else None
        if attempt is None or job is None or job.attempt != attempt_id or job.epoch != each.epoch:
            stale.append(attempt_id)
        else:
            current.append((_possible(step, each, attempt), attempt, job))
    counted = _apply(step, current)
    turnover.note(step, site_id, _freed(step, counted))
    return stale


def _possible(step: Step, each: Report, attempt: sa.Row[Any]) -> Report:
    """The report, where its use can't be without it: that is as unknown as what nobody measured,
    and said."""
    why = usage.impossible(step, attempt, each.usage)
    words = "; ".join(filter(None, (each.why, why)))
    return each.model_copy(update={"usage": None, "why": words}) if why else each


def _apply(step: Step, current: list[_Said]) -> list[_Said]:
    """Returns those that said something new."""
    moves, updates, measured, voided, counted = [], [], [], [], []
    refused = [a.site_id for each, a, _ in current if each.phase == "refused"]
    version = refusals.version(step, refused[0]) if refused else 0
    for each, attempt, job in current:
        again = each.run - attempt.run
        if attempt.state in ("ended", "refused"):
            if each.phase == "ended":
                measured += _measured(each, attempt)  # a corrected record, or the same again
            continue
        if _is_behind(each, attempt, job, again):
            continue
        counted.append((each, attempt, job))
        path = _path(JobState(job.state), each, attempt, again)
        values = _values(each, job, attempt, version)
        moves.append(change.Move(job, path, attempt.id, detail=_detail(each, again), values=values))
        updates.append(_attempt_update(each, attempt))
        if each.phase == "ended" and each.usage is not None and _started(each):
            measured += _measured(each, attempt)
        elif each.phase in ("ended", "refused"):
            voided.append((attempt.id, _why_nothing(each)))
    change.apply(step, [move for move in moves if move.states or move.values])
    attempts.note_reported(step, updates)
    reasons = sorted({why for _, why in voided})
    if len(reasons) + bool(measured) > 1:
        ledger.lock_of(step, [one.attempt for one in measured] + [one for one, _ in voided])
    usage.record(step, measured)
    for why in reasons:
        ledger.void(step, [attempt for attempt, reason in voided if reason == why], why)
    return counted


def _is_behind(each: Report, attempt: sa.Row[Any], job: sa.Row[Any], again: int) -> bool:
    """Whether more is known already: also where a no, or a word that it waits at the agent, comes
    after the batch system had the job.

    `again` is how many more returns to the queue the report knows of than the hub.
    """
    if each.phase in ("held", "refused"):
        return bool(job.state != JobState.LEASED)
    if again:
        return again < 0
    return _RANK[each.phase] < _RANK.get(attempt.state, 0)


def _started(each: Report) -> bool:
    measured = each.usage is not None and each.usage.elapsed_s > 0
    return each.start_ms is not None or measured or _final(each) is JobState.COMPLETED


def _why_nothing(each: Report) -> str:
    """Why nothing is charged: one of a few reasons, so that many are voided at once."""
    if each.phase == "refused":
        return "the site said no"
    return f"no use: {each.end}" if each.end in _ENDS else "no use"


def _detail(each: Report, again: int) -> str:
    """Of the events: returns to the queue beyond those that are shown are at least counted."""
    told = f"its site took it back {again} times" if again > _RETURNS_SHOWN else ""
    return "; ".join(filter(None, (told, each.why)))


def _path(
    state: JobState, each: Report, attempt: sa.Row[Any], again: int
) -> tuple[tuple[JobState, int], ...]:
    """The states that a job in `state` still goes through to be where the report says."""
    if each.phase == "held":
        return ()
    if each.phase == "refused":  # where its end was asked for, nobody wants it elsewhere
        asked = attempt.cancel_ms is not None
        return ((JobState.CANCELLED if asked else JobState.ADMITTED, each.at_ms),)
    path: list[tuple[JobState, int]] = []
    if state in (JobState.LEASED, JobState.PREEMPTED):
        path.append((JobState.QUEUED, each.start_ms or each.at_ms))
    # it ran, and its site took it back: the same job, the same attempt
    for _ in range(min(again, _RETURNS_SHOWN)):
        if state is not JobState.RUNNING:
            path.append((JobState.RUNNING, each.at_ms))
        path += [(JobState.PREEMPTED, each.at_ms), (JobState.QUEUED, each.at_ms)]
        state = JobState.QUEUED
    runs = each.phase == "running" or (each.phase == "ended" and _started(each))
    if runs and state is not JobState.RUNNING:
        path.append((JobState.RUNNING, each.start_ms or each.end_ms or each.at_ms))
    if each.phase == "ended":
        path.append((_final(each), each.end_ms or each.at_ms))
    return tuple(path)


def _final(each: Report) -> JobState:
    if each.end == "exit" and each.exit_code == 0:
        return JobState.COMPLETED
    if each.end == "cancelled":
        return JobState.CANCELLED
    return JobState.FAILED


def _values(each: Report, job: sa.Row[Any], attempt: sa.Row[Any], version: int) -> dict[str, Any]:
    values: dict[str, Any] = {"site_word": each.site_word}
    if each.phase == "refused" and attempt.cancel_ms is not None:
        values["reason"] = attempt.why
    elif each.phase == "refused":
        refused_by = job.refused_by
        if not each.for_now:
            refused_by = refusals.with_no(refused_by, attempt.site, version, each.rules_mark)
        values |= {
            "attempt": None,
            "site": None,
            "partition": None,
            "refused_by": refused_by,
            "reason": f"{attempt.site} said no: {each.why}",
        }
    elif each.phase == "ended":
        values |= {
            "reason": _reason(each, attempt),
            "exit_code": each.exit_code,
            "signal": each.signal,
            "start_ms": each.start_ms,
            "end_ms": each.end_ms,
        }
    elif each.start_ms is not None:
        values["start_ms"] = each.start_ms
    return values


def _reason(each: Report, attempt: sa.Row[Any]) -> str:
    """In a word or a sentence, why it ended; empty for a good end."""
    if each.end == "cancelled" and attempt.cancel_ms is not None:
        return str(attempt.why)
    if each.end == "exit":
        words = "" if each.exit_code == 0 else f"exit code {each.exit_code}"
        return ": ".join(filter(None, (words, each.why)))
    if each.end == "signal":
        return ": ".join(filter(None, (f"ended by signal {each.signal}", each.why)))
    if each.end == "timeout":
        return "wall time was over"
    return each.why or str(each.end)


def _state(each: Report) -> str:
    """Of the attempt. One that is queued again after it ran is known apart, so that an older word
    of it is seen as such."""
    if each.phase == "held":
        return "leased"
    return "preempted" if each.phase == "queued" and each.run else each.phase


def _why(each: Report, attempt: sa.Row[Any]) -> str:
    """A later word replaces what it waited for; why it is to be ended stays until it has."""
    if attempt.cancel_ms is None:
        return each.why
    return (each.why if each.phase == "ended" else "") or str(attempt.why)


def _attempt_update(each: Report, attempt: sa.Row[Any]) -> dict[str, Any]:
    """Of what ended unseen, the end is when the site told it."""
    return {
        "id": attempt.id,
        "state": _state(each),
        "run": attempt.run if each.phase == "held" else each.run,
        "start_ms": each.start_ms or attempt.start_ms,
        "end_ms": each.end_ms or (each.at_ms if each.phase == "ended" else None),
        "batch_job": each.batch_job or attempt.batch_job,
        "end": each.end,
        "why": _why(each, attempt),
        "results": "pending" if each.results_follow else attempt.results,
    }


def _freed(step: Step, counted: list[_Said]) -> dict[str, Freed]:
    """By partition, what short jobs had that ended just now."""
    freed: defaultdict[str, Freed] = defaultdict(Freed)
    for each, attempt, _ in counted:
        if each.end_ms is None or attempt.end_ms is not None:
            continue
        ran_ms = each.end_ms - (each.start_ms or attempt.start_ms or 0)
        late_ms = step.now_ms - each.end_ms
        if ran_ms <= SHORT_S * 1000 and late_ms <= LATELY_S * 1000:
            shape = NodeShape(attempt.cores, attempt.memory_mb, attempt.accelerators)
            had = of_job(shape, attempt.nodes)
            freed[attempt.partition] = freed[attempt.partition].plus(had, had)
    return freed


def _measured(each: Report, attempt: sa.Row[Any]) -> list[usage.Measured]:
    if each.usage is None:
        return []
    return [
        usage.Measured(
            site_id=attempt.site_id,
            batch_job=each.batch_job or attempt.batch_job or "",
            attempt=attempt.id,
            offer_id=attempt.offer_id,
            charged_type=attempt.charged_type,
            rate=Fraction(attempt.rate_num, attempt.rate_den),
            usage=each.usage,
            placed_s=attempt.placed_ms // 1000,
            ended_ms=each.end_ms or each.at_ms,
        )
    ]


def take_queue(step: Step, site_id: str, body: QueueBody) -> None:
    """Keep the site's snapshot of its own queue in place of the one before."""
    _check_incarnation(step, site_id, body.incarnation)
    queue.keep(step, site_id, body.at_ms, body.jobs, body.left_out, body.others)


def forget_queue(step: Step, site_id: str, incarnation: str) -> None:
    """Drop the site's snapshot."""
    _check_incarnation(step, site_id, incarnation)
    queue.forget(step, site_id)


def take_drift(step: Step, site_id: str, body: DriftBody) -> None:
    """Keep the site's report of a pass over its accounts and limits."""
    _check_incarnation(step, site_id, body.incarnation)
    drift.keep(step, site_id, body.at_ms, body.mode, body.words, body.lines)


def take_revoked(step: Step, site_id: str, body: RevokedBody) -> None:
    """Keep what the site found of people who left a project."""
    _check_incarnation(step, site_id, body.incarnation)
    leaving.say(step, site_id, [(one.departure, one.outcome, one.words) for one in body.said])


def results(step: Step, site_id: str, body: ResultsBody) -> None:
    """Note which files an ended attempt left in the content store. May be repeated."""
    attempt = attempts.one_of_site(step, site_id, body.attempt)
    for file in body.files:
        InputFile(file.name, file.sha256, file.size)  # raises for a name that leads elsewhere
    files.check_brought(step, site_id, body.files)
    attempts.note_results(step, attempt, body.state, body.files)


def input_digest(step: Step, site_id: str, attempt_id: str, name: str) -> str:
    """The digest of an attempt's input file, for an agent that was given the attempt."""
    return attempts.input_digest(step, attempts.one_of_site(step, site_id, attempt_id), name)
