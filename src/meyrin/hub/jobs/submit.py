"""Keeping a request: same key, same job; refused at once if no site could ever run it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import sqlalchemy as sa
from pydantic import TypeAdapter

from meyrin.domain.errors import Conflict, InvalidInput, Refused
from meyrin.domain.job import MAX_ARRAY, DependencyKind, JobRequest, check_input_names
from meyrin.domain.states import JobState
from meyrin.domain.units import LAST_S, show_count, show_duration
from meyrin.engine import explain
from meyrin.engine.admission import admit
from meyrin.engine.model import Funds, PartitionState, WaitingJob
from meyrin.hub.calls import paying
from meyrin.hub.identity import service as identity
from meyrin.hub.jobs import eligible, files
from meyrin.hub.jobs.store import dependencies, events, jobs, requests, scripts
from meyrin.hub.plumbing import turns
from meyrin.hub.plumbing.authz import Actor
from meyrin.hub.plumbing.bulk import JsonText, one_of
from meyrin.hub.plumbing.database import Step
from meyrin.hub.plumbing.world import BROKER
from meyrin.hub.sites import service as sites
from meyrin.hub.sites import terms
from meyrin.wire.jobs import Accepted, FileView, Submission

REQUEST: TypeAdapter[JobRequest] = TypeAdapter(JobRequest)


@dataclass(frozen=True, slots=True)
class _Kept:
    """A submission with what its rows need."""

    request: JobRequest
    key: str
    project: str
    digest: str
    spec: JsonText
    script_sha256: str

    @property
    def tasks(self) -> tuple[int | None, ...]:
        return self.request.array.indices if self.request.array else (None,)


def submit(step: Step, actor: Actor, submissions: Sequence[Submission]) -> list[Accepted]:
    """Keep all submissions or none; the same key again gives the same job.

    Raises Refused when a request can never run, Conflict when a key was used for another
    request, InvalidInput for an input file or a dependency that the hub does not know.
    """
    assert actor.person is not None
    names = {submission.request.project for submission in submissions}
    projects = {name: project_of(step, actor, name) for name in names}
    asked = [_prepare(each, projects[each.request.project]) for each in submissions]
    _check_elements_together(asked)
    known = _known(step, actor.person, [kept.key for kept in asked])
    fresh: dict[str, _Kept] = {}
    for kept in asked:  # numbers go up in the order of the call: who is first among equals
        if kept.key not in known:
            fresh.setdefault(kept.key, kept)
    _check_admissible(step, actor, list(fresh.values()))
    inserted = _insert(step, actor, list(fresh.values()))
    # a key that another client used in the meantime names that client's job
    known |= _known(step, actor.person, [key for key in fresh if key not in inserted])
    replies: list[Accepted] = []
    for kept in asked:
        row = inserted.get(kept.key) or known[kept.key]
        if row.body_sha256 != kept.digest:
            raise Conflict(
                f"the key {kept.key!r} was used for another request",
                hint="take a new key for a new request",
                idempotency_key=kept.key,
            )
        again = kept.key in known
        replies.append(Accepted(job=row.first_job, elements=row.elements, again=again))
        known[kept.key] = row
    return replies


def project_of(step: Step, actor: Actor, name: str | None) -> str:
    """The id of the named project, or of the caller's only one."""
    if name is None:
        return identity.default_project(step, actor).id
    return identity.project_by_name(step, actor, name).id


def _prepare(submission: Submission, project: str) -> _Kept:
    request = submission.request
    check_numbers(request)
    _check_inputs(request)
    try:
        spec = REQUEST.dump_json(request, exclude={"script"}, exclude_defaults=True)
        script = hashlib.sha256(request.script.encode())
    except ValueError:  # half of a character can't be written
        spec = _NUL
    if _NUL in spec:
        _check_texts(request)
    digest = hashlib.sha256(script.digest() + spec).hexdigest()
    text = JsonText(spec.decode())
    key = submission.idempotency_key
    return _Kept(request, key, project, digest, text, script.hexdigest())


_NUL = b"\\u0000"  # as JSON writes it
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
_MOST_NICE = 2**31 - 4  # as sbatch(1) has it
_MOST_INDEX = 10**9 - 1  # nine digits in a label
_MOST_DEPENDENCIES = 1000
_MOST_CONDITIONS = 200_000  # rows, of one call


def check_numbers(request: JobRequest) -> None:
    """Raise InvalidInput for a number that no database or batch system takes."""
    numbers = {
        "nice": (request.nice, _MOST_NICE),
        "begin_s": (request.begin_s or 0, LAST_S),
        "deadline_s": (request.deadline_s or 0, LAST_S),
        "array": (request.array.indices[-1] if request.array else 0, _MOST_INDEX),
    }
    count = len(request.dependencies)
    if count > _MOST_DEPENDENCIES:
        raise InvalidInput(
            f"a job with {count} dependencies",
            hint=f"at most {_MOST_DEPENDENCIES}: let some jobs depend on a part of them each, and"
            " this one on those; the number of an array stands for all its elements",
            field="dependency",
        )
    for dependency in request.dependencies:
        numbers["dependency"] = (max(dependency.job or 0, dependency.element or 0), _MOST_INDEX)
        if numbers["dependency"][0] > _MOST_INDEX:
            break
    for name, (value, most) in numbers.items():
        least = -most if name == "nice" else 0
        if not least <= value <= most:
            hint = f"from {least} to {most}"
            raise InvalidInput(f"{name} can't be {value}", hint=hint, field=name)


def _check_inputs(request: JobRequest) -> None:
    """Raise InvalidInput for inputs that can't all lie in the job's folder."""
    check_input_names(file.name for file in request.inputs)
    digests: dict[str, str] = {}
    for file in request.inputs:
        if digests.setdefault(file.name, file.sha256) != file.sha256:
            raise InvalidInput(
                f"two inputs are called {file.name!r}", hint="name one anew", field="inputs"
            )


def _check_elements_together(asked: Sequence[_Kept]) -> None:
    """Raise InvalidInput for more than one call may make: it is all made in memory."""
    count = sum(len(kept.tasks) for kept in asked)
    if count > MAX_ARRAY:
        raise InvalidInput(
            f"{show_count(count, 'job')} in one call",
            hint=f"at most {MAX_ARRAY}, elements of arrays counted: send them in several calls",
            field="submissions",
        )
    conditions = sum(len(kept.tasks) * len(kept.request.dependencies) for kept in asked)
    if conditions > _MOST_CONDITIONS:  # each element keeps its own
        raise InvalidInput(
            f"{show_count(count, 'job')} with {conditions:,} dependencies in one call",
            hint=f"at most {_MOST_CONDITIONS}, of each element counted: let one small job depend on"
            " them, and the others on that one",
            field="dependency",
        )


def _check_texts(request: JobRequest) -> None:
    """Raise InvalidInput for a text with a character that no batch system takes."""
    for field in fields(request):
        if _is_broken(getattr(request, field.name)):
            raise InvalidInput(
                f"{field.name} has a NUL, or half of a character, in it",
                hint="no batch system takes one; take it out",
                field=field.name,
            )


def _is_broken(value: object) -> bool:
    """Whether there is a text in it that is no text."""
    if isinstance(value, str):
        return _NO_TEXT.search(value) is not None
    if isinstance(value, tuple):
        return any(_is_broken(part) for part in value)
    return is_dataclass(value) and any(
        _is_broken(getattr(value, field.name)) for field in fields(value)
    )


_TOLD = (
    requests.c.id,
    requests.c.idempotency_key,
    requests.c.body_sha256,
    requests.c.first_job,
    requests.c.elements,
)
_KNOWN = sa.select(*_TOLD).where(
    requests.c.person_id == sa.bindparam("person"), one_of(requests.c.idempotency_key, "keys")
)


def _known(step: Step, person: str, keys: list[str]) -> dict[str, sa.Row[Any]]:
    if not keys:
        return {}
    return {row.idempotency_key: row for row in step.rows(_KNOWN, person=person, keys=keys)}


def as_waiting(request: JobRequest, project: str, job: int, submit_s: int) -> WaitingJob:
    """The request as the engine sees it, before anything about its place in the world."""
    return WaitingJob(
        job=job,
        project=project,
        resources=request.resources,
        walltime_s=request.walltime_s,
        submit_s=submit_s,
        nice=request.nice,
        sites=request.sites,
        partitions=tuple(name.lower() for name in request.partitions),  # as ours are called
        features=request.features,
    )


def _check_admissible(step: Step, actor: Actor, news: list[_Kept]) -> None:
    if not news:
        return
    states = sites.partition_states(step, step.now_s, hub_start_s=step.started_s)
    funds = paying.funds(step, sorted({kept.project for kept in news}))
    lacking = terms.missing(step, [actor.key]).get(actor.key, {})
    for job in {as_waiting(kept.request, kept.project, 0, step.now_s) for kept in news}:
        check_with_terms(job, lacking, states, funds, step.now_s)
    brought = [FileView(name=f.name, sha256=f.sha256, size=f.size)
               for kept in news for f in kept.request.inputs]  # fmt: skip
    files.check_brought(step, actor.key, brought)
    wanted = [kept.request for kept in news]
    check_dependencies(step, actor, wanted)
    for request in wanted:
        check_deadline(request, step.now_s)


def check_with_terms(
    job: WaitingJob,
    lacking: Mapping[str, str],
    states: Sequence[PartitionState],
    funds: Sequence[Funds],
    now_s: int,
) -> None:
    """As `check_somewhere`; TermsMissing when accepting terms is what is lacking (by site, the
    version)."""
    try:
        check_somewhere(without(job, lacking), states, funds, now_s)
    except Refused:
        if lacking:
            check_somewhere(job, states, funds, now_s)
            raise terms.refusal(lacking, job.sites) from None
        raise


def without(job: WaitingJob, sites: Iterable[str]) -> WaitingJob:
    """The job as it is kept away from sites whose terms its sender has not accepted."""
    return replace(job, refused_by=tuple(sorted({*job.refused_by, *sites})))


def check_somewhere(
    job: WaitingJob, states: Sequence[PartitionState], funds: Sequence[Funds], now_s: int
) -> None:
    """Raise Refused, with every partition's reasons, when waiting can't help anywhere."""
    if not states:
        raise Refused(
            "no site has joined this hub yet",
            hint="start an agent (`meyrin agent --help`), or `meyrin up` with its local site",
        )
    refusals = []
    for state in states:
        answer = admit(job, state, funds, now_s)
        if not isinstance(answer, tuple):
            return
        lasting = [refusal for refusal in answer if not refusal.passing]
        if not lasting:
            return
        refusals += lasting
    summary, hint = _no_such_name(job, states) or (
        explain.summary(tuple(refusals)),
        explain.way_out(tuple(refusals)),
    )
    raise Refused(summary, refusals=tuple(refusals), hint=hint)


def _no_such_name(job: WaitingJob, states: Sequence[PartitionState]) -> tuple[str, str] | None:
    """What to say where it asks for names, and nothing here has any of them."""
    places = {(state.site, state.partition.name) for state in states}
    for noun, asked, which in (("site", job.sites, 0), ("partition", job.partitions, 1)):
        if asked and not any(place[which] in asked for place in places):
            there = sorted({place[0] if noun == "site" else "/".join(place) for place in places})
            return f"there is no {noun} {', '.join(asked)} here", f"there are: {', '.join(there)}"
    return None


def check_deadline(request: JobRequest, now_s: int) -> None:
    """Raise Refused when it can't end before its deadline wherever it starts (sbatch(1))."""
    if request.deadline_s is None:
        return
    left_s = request.deadline_s - max(now_s, request.begin_s or 0)
    if (request.walltime_s or 1) > left_s:
        wants = "" if request.walltime_s is None else f" of {show_duration(request.walltime_s)}"
        raise Refused(
            f"its wall time{wants} does not fit: the deadline leaves "
            f"{show_duration(max(0, left_s))}",
            hint="ask a later --deadline, a shorter --time or an earlier --begin",
        )


def check_dependencies(step: Step, actor: Actor, news: Sequence[JobRequest]) -> None:
    """Raise InvalidInput for a dependency on a job, or an element, that the caller can't see."""
    wanted = {
        dependency.job
        for request in news
        for dependency in request.dependencies
        if dependency.job is not None
    }
    if not wanted:
        return
    columns = (jobs.c.id, jobs.c.project_id, jobs.c.family)
    rows = step.rows(sa.select(*columns).where(step.among(jobs.c.id, sorted(wanted))))
    seen = {row.id: row.family for row in rows if actor.in_project(row.project_id)}
    _check_elements(step, seen, news)
    for number in sorted(wanted - seen.keys()):
        raise InvalidInput(
            f"dependency on job {number}: there is no such job of yours",
            hint="`meyrin jobs` lists yours",
            field="dependency",
            value=str(number),
        )


def _check_elements(step: Step, families: dict[int, int], news: Sequence[JobRequest]) -> None:
    """Raise InvalidInput for a dependency on an element that its array does not have."""
    wanted = {
        (families[dependency.job], dependency.element)
        for request in news
        for dependency in request.dependencies
        if dependency.element is not None and dependency.job in families
    }
    if not wanted:
        return
    there = {
        (row.family, row.task)
        for row in step.rows(
            sa.select(jobs.c.family, jobs.c.task).where(
                step.among(jobs.c.family, sorted({family for family, _ in wanted})),
                step.among(jobs.c.task, sorted({element for _, element in wanted})),
            )
        )
    }
    for family, element in sorted(wanted - there):
        raise InvalidInput(
            f"dependency on {family}_{element}: that job has no such element",
            hint=f"`meyrin show {family}` says which it has",
            field="dependency",
            value=f"{family}_{element}",
        )


def _insert(step: Step, actor: Actor, news: list[_Kept]) -> dict[str, sa.Row[Any]]:
    """Insert requests whose key is free, and their jobs; returns the requests by key."""
    if not news:
        return {}
    step.add_new(
        scripts,
        [
            {"sha256": sha, "text": text}
            # in one order for everybody: two that wait for each other would be a deadlock
            for sha, text in sorted({k.script_sha256: k.request.script for k in news}.items())
        ],
    )
    kinds = {each.kind for kept in news for each in kept.request.dependencies}
    if DependencyKind.SINGLETON in kinds:  # of the same name the first number is the first seen
        turns.alone(step, f"singletons of {actor.person}")
    request_ids = step.next_ids(requests, len(news))
    job_ids = iter(step.next_ids(jobs, sum(len(kept.tasks) for kept in news)))
    numbered = [(kept, [next(job_ids) for _ in kept.tasks]) for kept in news]
    rows = [
        {
            "id": request_id,
            "person_id": actor.person,
            "project_id": kept.project,
            "idempotency_key": kept.key,
            "body_sha256": kept.digest,
            "script_sha256": kept.script_sha256,
            "spec": kept.spec,
            "first_job": numbers[0],
            "elements": len(numbers),
            "created_ms": step.now_ms,
        }
        for request_id, (kept, numbers) in zip(request_ids, numbered, strict=True)
    ]
    rows.sort(key=lambda row: str(row["idempotency_key"]))
    inserted = {row.idempotency_key: row for row in step.add_new(requests, rows, _TOLD)}
    new = [pair for pair in numbered if pair[0].key in inserted]
    _insert_jobs(step, actor, [(kept, inserted[kept.key].id, ids) for kept, ids in new])
    return inserted


def _insert_jobs(step: Step, actor: Actor, news: list[tuple[_Kept, int, list[int]]]) -> None:
    job_rows: list[dict[str, Any]] = []
    history: list[dict[str, Any]] = []
    conditions: list[dict[str, Any]] = []
    asked = [d.job for kept, _, _ in news for d in kept.request.dependencies if d.job is not None]
    families = eligible.families(step, asked)
    for kept, request_id, numbers in news:
        ready = is_ready(kept.request, step.now_s)
        for number, task in zip(numbers, kept.tasks, strict=True):
            job_rows.append(_job_row(step, actor, kept, request_id, number, task, numbers[0]))
            for state in ("submitted", "admitted") if ready else ("submitted",):
                history.append({"job_id": number, "state": state, "at_ms": step.now_ms})
            for index, dependency in enumerate(kept.request.dependencies):
                family, own_task = families.get(dependency.job or 0, (None, None))
                element = own_task if dependency.element is None else dependency.element
                conditions.append(
                    {
                        "job_id": number,
                        "number": index,
                        "kind": str(dependency.kind),
                        "on_family": family,
                        "on_task": element,
                    }
                )
    step.add(jobs, job_rows)
    step.add(events, history)
    step.add(dependencies, conditions)
    step.ring(BROKER)


def is_ready(request: JobRequest, now_s: int) -> bool:
    """Whether nothing but a placement is missing."""
    begun = request.begin_s is None or request.begin_s <= now_s
    return begun and not request.held and not request.dependencies


def _job_row(
    step: Step,
    actor: Actor,
    kept: _Kept,
    request_id: int,
    number: int,
    task: int | None,
    family: int,
) -> dict[str, Any]:
    request = kept.request
    ready = is_ready(request, step.now_s)
    return {
        "id": number,
        "request_id": request_id,
        "project_id": kept.project,
        "person_id": actor.person,
        "family": family,
        "task": task,
        "name": request.name,
        "state": str(JobState.ADMITTED if ready else JobState.SUBMITTED),
        "nice": request.nice,
        "held": request.held,
        "begin_s": request.begin_s,
        "deadline_s": request.deadline_s,
        "walltime_s": request.walltime_s,
        "submit_ms": step.now_ms,
    }
