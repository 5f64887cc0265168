"""What the page of one job shows: where it is and why, its times, its cost, what was asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from meyrin.domain.errors import NotFound
from meyrin.domain.refusal import PASSING
from meyrin.domain.states import ENDED, JobState
from meyrin.hub.broker import explaining
from meyrin.hub.jobs import output
from meyrin.hub.jobs import service as jobs_service
from meyrin.hub.jobs.find import find_first
from meyrin.hub.plumbing.authz import Actor, Call
from meyrin.hub.plumbing.database import Step
from meyrin.hub.reports import show, store, suite_runs
from meyrin.hub.reports.service import Line, by_state, label_of, line_of
from meyrin.hub.reports.suite_runs import NoEvidence, Tested
from meyrin.wire.jobs import AttemptView, ExplainView, FileView, RefusalView, StreamView

GRID = 500  # elements of an array on one page
TAIL_BYTES = 256 * 1024  # how much of a long output the page begins with
SCRIPT_CHARS = 200_000


@dataclass(frozen=True, slots=True)
class Moment:
    """One state of a job: when it began and how long it lasted (None: it is in it still)."""

    state: str
    at_ms: int
    length_ms: int | None
    detail: str
    attempt: int | None


@dataclass(frozen=True, slots=True)
class Posted:
    """One entry about a job, in words."""

    at_ms: int
    kind: str
    debit: str
    credit: str
    amount_s: int
    reason: str


@dataclass(frozen=True, slots=True)
class JobPage:
    line: Line
    comment: str
    array: int | None
    ended: bool
    moments: tuple[Moment, ...]
    attempts: tuple[AttemptView, ...]
    explain: ExplainView
    held_s: int
    used_s: int
    energy_j: int | None
    charged_type: str | None
    posted: tuple[Posted, ...]
    results: str
    files: tuple[FileView, ...]
    output: dict[str, StreamView]
    options: tuple[tuple[str, str], ...]
    script: str
    script_chars: int
    no_evidence: NoEvidence | None
    tested: Tested | None

    @property
    def live(self) -> bool:
        """Whether anything may still change here."""
        return not self.ended or self.results == "pending"

    @property
    def measured(self) -> bool:
        """Whether a site has told what it used."""
        return any(each.measured_by for each in self.attempts)

    @property
    def in_the_way(self) -> list[RefusalView]:
        """Reasons that may pass by themselves, of places where nothing else is in the way."""
        closed = self._closed
        return [each for each in self.explain.refusals if (each.site, each.partition) not in closed]

    @property
    def never_there(self) -> list[RefusalView]:
        """Reasons at places where this request, as it is, can never run."""
        closed = self._closed
        return [each for each in self.explain.refusals if (each.site, each.partition) in closed]

    @property
    def _closed(self) -> set[tuple[str, str]]:
        lasting = [each for each in self.explain.refusals if each.reason not in PASSING]
        return {(each.site, each.partition) for each in lasting}

    @property
    def first_stream(self) -> str:
        """The one that has something to read: `run` keeps a job's errors apart."""
        return "stderr" if self.size("stderr") and not self.size("stdout") else "stdout"

    def tail(self, stream: str) -> int:
        """The byte where the live log begins."""
        return max(0, self.size(stream) - TAIL_BYTES)

    def size(self, stream: str) -> int:
        """How many bytes it printed so far."""
        return self.output[stream].size if stream in self.output else 0


@dataclass(frozen=True, slots=True)
class Element:
    label: str
    task: int
    state: str
    site: str


@dataclass(frozen=True, slots=True)
class ArrayPage:
    """An array: how many elements are in which state, and a page of them."""

    line: Line
    elements: tuple[Element, ...]
    next: str
    options: tuple[tuple[str, str], ...]
    script: str
    script_chars: int

    @property
    def live(self) -> bool:
        return any(JobState(state) not in ENDED for state, _ in self.line.counts)


def look(step: Step, actor: Actor, label: str, after: int = -1) -> JobPage | ArrayPage:
    """The page that a label means. NotFound also for what the caller may not see."""
    number, task = _read(label)
    row = store.job_where(step, number, task)
    if row is None or not actor.in_project(row.project_id):
        raise NotFound(f"there is no job {label[:40]}", hint="the page of jobs lists yours")
    if task is None and row.task is not None and row.family == number:
        return _array_page(step, row, after)
    return _job_page(step, actor, row)


def stoppable(step: Step, actor: Actor, label: str) -> tuple[Line, int]:
    """What a cancel of this label is about, and how many jobs of it have not ended."""
    number, task = _read(label)
    row = store.job_where(step, number, task)
    if row is None or not actor.in_project(row.project_id):
        raise NotFound(f"there is no job {label[:40]}", hint="the page of jobs lists yours")
    line = line_of(row)
    if task is None and row.task is not None and row.family == number:
        line = _with_counts(step, row)
    states = line.counts or ((line.state, 1),)
    return line, sum(n for state, n in states if JobState(state) not in ENDED)


def whole_output(call: Call, label: str, stream: str) -> tuple[Iterator[bytes], dict[str, str]]:
    """A stream of a job's output from its beginning, and headers that say whether it was cut."""
    with call.read() as step:
        attempt = find_first(step, call.actor, label).attempt
        headers = output.cut_header(step, attempt, stream)
    return _pieces(call, attempt, stream), headers


def _pieces(call: Call, attempt: str | None, stream: str) -> Iterator[bytes]:
    offset = 0
    while attempt is not None:
        with call.read() as step:
            data = output.read(step, attempt, stream, offset)
        if not data:
            return
        offset += len(data)
        yield data


def _read(label: str) -> tuple[int, int | None]:
    number, mark, task = label.partition("_")
    parts = (number, task) if mark else (number,)
    if all(part.isascii() and part.isdigit() and len(part) < 18 for part in parts):
        return int(number), int(task) if mark else None
    raise NotFound(
        f"{label[:40]!r} is no job", hint="a job is a number, or NUMBER_TASK in an array"
    )


def _with_counts(step: Step, row: Any) -> Line:
    line = line_of(row)
    counts = by_state(store.family_counts(step, [row.family]))
    return Line(
        **{name: getattr(line, name) for name in Line.__slots__}
        | {"label": str(row.family), "counts": counts}
    )


def _array_page(step: Step, row: Any, after: int) -> ArrayPage:
    found = store.elements(step, row.family, after, GRID)
    asked = store.asked(step, row.id)
    assert asked is not None, "a job has its request"
    return ArrayPage(
        line=_with_counts(step, row),
        elements=tuple(
            Element(
                f"{row.family}_{each.task}",
                each.task,
                "unknown" if each.site_word and JobState(each.state) not in ENDED else each.state,
                each.site or "",
            )
            for each in found[:GRID]
        ),
        next=str(found[GRID - 1].task) if len(found) > GRID else "",
        options=tuple(show.options(asked.spec)),
        script=asked.text[:SCRIPT_CHARS],
        script_chars=len(asked.text),
    )


def _job_page(step: Step, actor: Actor, row: Any) -> JobPage:
    label = label_of(row)
    detail = jobs_service.detail(step, actor, label)
    posted = store.entries_of(step, [each.attempt for each in detail.attempts])
    named = show.offers_named(
        [name for e in posted for name in (e.debit_account, e.credit_account)]
    )
    places = store.offer_places(step, named)
    asked = store.asked(step, row.id)
    assert asked is not None, "a job has its request"
    ended = JobState(row.state) in ENDED
    current = detail.attempts[-1].attempt if detail.attempts else ""
    told = suite_runs.of_job(step, row, asked.text, current, detail.results)
    return JobPage(
        line=line_of(row),
        comment=detail.comment,
        array=None if row.task is None else row.family,
        ended=ended,
        moments=_moments(detail.events, detail.attempts, ended),
        attempts=tuple(detail.attempts),
        explain=explaining.explain(step, actor, label),
        held_s=detail.held_s,
        used_s=detail.used_s,
        energy_j=detail.energy_j,
        charged_type=detail.charged_type,
        posted=tuple(
            Posted(
                e.at_ms,
                e.kind,
                show.account(e.debit_account, places),
                show.account(e.credit_account, places),
                e.amount_s,
                e.reason,
            )
            for e in posted
        ),
        results=detail.results,
        files=tuple(detail.files),
        output={each.stream: each for each in detail.output},
        options=tuple(show.options(asked.spec)),
        script=asked.text[:SCRIPT_CHARS],
        script_chars=len(asked.text),
        no_evidence=told if isinstance(told, NoEvidence) else None,
        tested=told if isinstance(told, Tested) else None,
    )


def _moments(events: list[Any], attempts: list[AttemptView], ended: bool) -> tuple[Moment, ...]:
    numbers = {each.attempt: each.number for each in attempts}
    several = len(numbers) > 1
    found = []
    for i, event in enumerate(events):
        last = i + 1 == len(events)
        length = 0 if last and ended else None if last else events[i + 1].at_ms - event.at_ms
        number = numbers.get(event.attempt or "") if several else None
        found.append(Moment(event.state, event.at_ms, length, event.detail, number))
    return tuple(found)
