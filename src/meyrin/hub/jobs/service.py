"""Verbs on jobs: look, list, cancel, release. Submitting is in `submit`, states in `change`."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from typing import Any

import sqlalchemy as sa

from meyrin.domain.errors import InvalidInput, Refused
from meyrin.domain.job import JobRequest
from meyrin.domain.states import AT_SITE, ENDED, JobState, shown
from meyrin.hub.identity import service as identity
from meyrin.hub.jobs import attempts as tries
from meyrin.hub.jobs import change, output
from meyrin.hub.jobs.find import find, label_of
from meyrin.hub.jobs.store import attempts, events, files, jobs, requests, scripts
from meyrin.hub.jobs.submit import REQUEST, submit
from meyrin.hub.ledger import service as ledger
from meyrin.hub.plumbing.authz import Actor
from meyrin.hub.plumbing.bulk import one_of
from meyrin.hub.plumbing.database import Step
from meyrin.hub.plumbing.paging import cut, number, page
from meyrin.hub.sites import presence
from meyrin.hub.sites import service as sites
from meyrin.hub.usage import service as usage
from meyrin.wire.jobs import (
    AttemptView,
    CancelReply,
    CostView,
    EventView,
    FileView,
    JobDetail,
    JobList,
    JobView,
    PlaceView,
)

SPEC = sa.cast(requests.c.spec, sa.Text).label("spec")  # read once, by what checks it
# put together once: the broker and the agents ask at every step
_SPECS = sa.select(requests.c.id, SPEC).where(one_of(requests.c.id, "ids"))
_WITH_SCRIPTS = _SPECS.add_columns(scripts.c.text).join(
    scripts, scripts.c.sha256 == requests.c.script_sha256
)

__all__ = ["cancel", "detail", "find", "jobs_page", "load_requests", "release", "submit"]


def view(row: sa.Row[Any], people: dict[str, str], projects: dict[str, str], now_s: int) -> JobView:
    return JobView(
        job=row.id,
        label=label_of(row),
        array_job=None if row.task is None else row.family,
        task=row.task,
        name=row.name,
        project=projects.get(row.project_id, "?"),
        person=people.get(row.person_id, "?"),
        state=row.state,
        shown=shown(JobState(row.state), row.site_word),
        reason=row.reason or _held_back(row, now_s),
        site=row.site,
        partition=row.partition,
        walltime_s=row.walltime_s,
        submit_ms=row.submit_ms,
        start_ms=row.start_ms,
        end_ms=row.end_ms,
        exit_code=row.exit_code,
        signal=row.signal,
    )


def _held_back(row: sa.Row[Any], now_s: int) -> str:
    """Why it is not looked at yet, in a word; `explain` says it whole."""
    if row.state != JobState.SUBMITTED:
        return ""
    if row.held:
        return "held"
    if row.begin_s is not None:
        return "--begin" if row.begin_s > now_s else ""  # what else there is, `explain` finds out
    return "--dependency"


def views(step: Step, rows: Iterable[sa.Row[Any]]) -> list[JobView]:
    """The rows as lists show them, in three queries whatever their number."""
    listed = list(rows)
    people = identity.people_names(step, {row.person_id for row in listed})
    projects = identity.project_names(step, {row.project_id for row in listed})
    return [view(row, people, projects, step.now_s) for row in listed]


def jobs_page(
    step: Step,
    actor: Actor,
    *,
    project: str | None = None,
    states: tuple[str, ...] = (),
    site: str | None = None,
    mine: bool = False,
    after: str = "",
    limit: int = 50,
) -> JobList:
    """A page of the jobs that the caller may see, newest first."""
    statement = sa.select(jobs)
    if project is not None:
        statement = statement.where(
            jobs.c.project_id == identity.project_by_name(step, actor, project).id
        )
    elif not actor.admin:
        statement = statement.where(jobs.c.project_id.in_(sorted(actor.projects)))
    if states:
        for state in states:
            if state not in list(JobState):
                raise InvalidInput(
                    f"{state!r} is no job state", hint=", ".join(JobState), field="state"
                )
        statement = statement.where(jobs.c.state.in_(states))
    if site is not None:
        statement = statement.where(jobs.c.site == site)
    if mine:
        statement = statement.where(jobs.c.person_id == actor.person)
    rows = step.rows(page(statement, jobs.c.id, number(after), limit, newest=True))
    rows, following = cut(rows, limit, "id")
    return JobList(jobs=views(step, rows), next=following)


def request_of(spec: str, script: str) -> JobRequest:
    """The request that was kept as `spec`, as JSON, and its script."""
    more = "" if spec == "{}" else ","
    return REQUEST.validate_json(f'{{"script":{json.dumps(script)}{more}{spec[1:]}')


def specs(step: Step, request_ids: Iterable[int]) -> dict[int, JobRequest]:
    """The requests without their scripts, by number."""
    rows = step.rows(_SPECS, ids=sorted(set(request_ids)))
    return {row.id: request_of(row.spec, "-") for row in rows}


def load_requests(step: Step, request_ids: Iterable[int]) -> dict[int, JobRequest]:
    """The requests with their scripts, by number."""
    rows = step.rows(_WITH_SCRIPTS, ids=sorted(set(request_ids)))
    return {row.id: request_of(row.spec, row.text) for row in rows}


def attempt_view(row: sa.Row[Any], used: usage.Known | None) -> AttemptView:
    return AttemptView(
        attempt=row.id,
        number=row.epoch,
        site=row.site,
        partition=row.partition,
        nodes=row.nodes,
        cores_per_node=row.cores,
        memory_mb_per_node=row.memory_mb,
        accelerators_per_node=row.accelerators,
        charged_type=row.charged_type,
        hold_s=row.hold_s,
        placed_ms=row.placed_ms,
        expected_start_s=row.expected_start_s,
        start_ms=row.start_ms,
        end_ms=row.end_ms,
        batch_job=row.batch_job,
        end=row.end,
        why=row.why,
        others=[PlaceView(**other) for other in row.others],
        elapsed_s=None if used is None else used.elapsed_s,
        energy_j=None if used is None else used.energy_j,
        measured_by=None if used is None else used.source,
    )


def detail(step: Step, actor: Actor, label: str) -> JobDetail:
    """One job with everything known of it; for an array's number, its first element, how many
    elements are in which state, and what they cost together."""
    rows = find(step, actor, label)
    row = rows[0]
    attempted = step.rows(
        sa.select(attempts).where(attempts.c.job_id == row.id).order_by(attempts.c.epoch)
    )
    history = step.rows(sa.select(events).where(events.c.job_id == row.id).order_by(events.c.id))
    tried = [each.id for each in attempted]
    costs, used = ledger.attempt_cost(step, tried), usage.known(step, tried)
    listed = step.rows(
        sa.select(files).where(files.c.attempt == row.attempt).order_by(files.c.name)
    )
    counts: dict[str, int] = {}
    for each in rows if len(rows) > 1 else []:
        counts[each.state] = counts.get(each.state, 0) + 1
    request = specs(step, [row.request_id])[row.request_id]
    job = views(step, [row])[0]
    at_site = JobState(row.state) in AT_SITE
    unheard = presence.unheard(step, attempted[-1].site_id) if at_site else None
    return JobDetail(
        job=job,
        comment=request.comment,
        array=counts,
        array_costs=_array_costs(step, [each.id for each in rows]) if len(rows) > 1 else [],
        attempts=[attempt_view(each, used.get(each.id)) for each in attempted],
        events=[
            EventView(state=e.state, at_ms=e.at_ms, detail=e.detail, attempt=e.attempt)
            for e in history
        ],
        held_s=sum(cost.held_s for cost in costs.values()),
        used_s=sum(cost.used_s for cost in costs.values()),
        charged_type=attempted[-1].charged_type if attempted else None,
        results=attempted[-1].results if attempted else "none",
        files=[FileView(name=f.name, sha256=f.sha256, size=f.size) for f in listed],
        energy_j=usage.energy_j(used.values()),
        output=output.kept(step, job, row.attempt, request),
        unheard="" if unheard is None else unheard.of_job,
    )


def _array_costs(step: Step, job_ids: list[int]) -> list[CostView]:
    tried = step.rows(sa.select(attempts.c.id).where(step.among(attempts.c.job_id, job_ids)))
    return [
        CostView(charged_type=kind, held_s=held_s, used_s=used_s)
        for kind, held_s, used_s in ledger.costs_by_type(step, [row.id for row in tried])
    ]


def cancel(step: Step, actor: Actor, label: str) -> CancelReply:
    """End the jobs of a label: at once while no agent knows of them, else by asking the site.

    Cancelling what has ended changes nothing and says so.
    """
    rows = find(step, actor, label)
    reply = end(step, [row.id for row in rows], f"cancelled by {actor.name}")
    if not reply.asked:
        return reply
    # one may have gone to its site since it was looked for
    asked = step.rows(sa.select(jobs.c.id, jobs.c.site).where(step.among(jobs.c.id, reply.asked)))
    places = {row.id: row.site for row in asked}
    unheard = {
        name: why
        for name in sorted(set(places.values()))
        if (why := presence.unheard(step, sites.id_of(step, name)))
    }
    return reply.model_copy(
        update={
            "unreached": [job for job, name in places.items() if name in unheard],
            "unheard": [f"{why.why}; {why.way_out}" for why in unheard.values()],
        }
    )


def end(step: Step, job_ids: Iterable[int], why: str) -> CancelReply:
    """End these jobs, as `cancel` does; for rooms that know why."""
    return end_rows(step, change.locked(step, job_ids).values(), why, JobState.CANCELLED)


def end_rows(step: Step, rows: Collection[sa.Row[Any]], why: str, state: JobState) -> CancelReply:
    """As `end`, jobs that are locked; what no agent knows of is in `state` then."""
    early = [row for row in rows if JobState(row.state) not in ENDED | AT_SITE]
    at_site = [row for row in rows if JobState(row.state) in AT_SITE]
    close_placed(step, early, why)
    now = ((state, step.now_ms),)
    change.apply(
        step,
        [change.Move(r, now, r.attempt, detail=why, values={"reason": why}) for r in early],
    )
    if at_site:
        tries.ask_end(step, [row.attempt for row in at_site], why)
        for row in at_site:
            step.ring(f"site:{row.site}")
    return CancelReply(
        ended=[r.id for r in early],
        asked=[r.id for r in at_site],
        already=[r.id for r in rows if JobState(r.state) in ENDED],
    )


def close_placed(step: Step, rows: Iterable[sa.Row[Any]], why: str) -> None:
    """End the attempts of those of the jobs that are placed, which no agent has taken, and give
    their hours back; the jobs are locked, and to be moved by the caller."""
    placed = [row.attempt for row in rows if row.state == JobState.PLACED]
    if placed:
        tries.close_unleased(step, placed, why)
        ledger.void(step, placed, why)


def release(step: Step, actor: Actor, label: str) -> list[int]:
    """Let held jobs go; returns their numbers. Raises Refused when none of them is held."""
    rows = [row for row in find(step, actor, label) if row.held and row.state == "submitted"]
    if not rows:
        raise Refused(
            f"job {label} is not held", hint=f"`meyrin explain {label}` says why it waits"
        )
    ids = [row.id for row in rows]
    step.change(sa.update(jobs).where(step.among(jobs.c.id, ids)).values(held=False))
    step.ring("broker")
    return ids
