"""Pages for people, and what monitors ask. Reads everyone's tables; the one write is a cancel,
which the jobs room does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import PlainTextResponse, RedirectResponse, StreamingResponse
from starlette.convertors import Convertor, register_url_convertor

from meyrin import __version__
from meyrin.domain.errors import InvalidInput, NotFound
from meyrin.domain.states import JobState
from meyrin.domain.units import show_count
from meyrin.hub.calls import notices
from meyrin.hub.jobs import service as jobs_service
from meyrin.hub.plumbing import world
from meyrin.hub.plumbing.authz import Access, Allow, Call
from meyrin.hub.plumbing.database import Step
from meyrin.hub.reports import job_page, metrics, models, money, service, show
from meyrin.hub.reports.pages import SAFETY, PageRoute, View, respond, with_query
from meyrin.hub.sites import queue

router = APIRouter(tags=["reports"], route_class=PageRoute)
Anyone = Annotated[Call, Depends(Allow(Access.ANYONE))]
Person = Annotated[Call, Depends(Allow(Access.PERSON))]
Month = Annotated[str, Query(max_length=7)]
Stream = Annotated[str, Query(pattern="^(stdout|stderr)$")]
Number = Annotated[str, Query(pattern="^[0-9]{0,17}$")]
Filters = Annotated[service.Filters, Depends()]
PAGE = 50
STATES = ("waiting", *map(str, JobState))


# --- pages


@router.get("/", include_in_schema=False)
def overview(request: Request, call: Person) -> Response:
    """Sites with what is free there, the newest jobs, one's projects."""
    with call.read() as step:
        view = _overview(step, call)
    return respond(request, call.actor, step.now_ms, view)


def _overview(step: Step, call: Call) -> View:
    counts = service.live_counts(step, call.actor)
    lines, _ = service.job_lines(step, call.actor, service.Filters(), None, service.NEWEST)
    projects, more = money.project_lines(step, call.actor, "", 20)
    told, older = notices.listed(step, call.actor, "", 1)
    return View(
        "overview",
        "Overview",
        "overview",
        {
            "sites": service.site_uses(step),
            "counts": counts,
            "lines": lines,
            "projects": projects,
            "more_projects": more,
            "told": f"{told[0].project}: {told[0].words}" + (" (and more)" if older else "")
            if told
            else "",
        },
        blocks=("sites", "counts", "newest", "projects"),
        say=f"{show_count(counts['running'], 'job')} running, {counts['sent']} sent to sites, "
        f"{counts['waiting']} waiting",
    )


@router.get("/jobs", include_in_schema=False)
def jobs(request: Request, call: Person, filters: Filters, after: Number = "") -> Response:
    """The jobs of one's projects, newest first, arrays as one line each."""
    chosen = {name: getattr(filters, name) for name in ("state", "site", "project")}
    if filters.state and filters.state not in STATES:
        raise InvalidInput(f"{filters.state!r} is no job state", hint=", ".join(STATES))
    with call.read() as step:
        before = int(after) if after else None
        lines, following = service.job_lines(step, call.actor, filters, before, PAGE)
        projects, _ = money.project_lines(step, call.actor, "", 100)
        values = {
            "lines": lines,
            "filters": filters,
            "states": STATES,
            "site_names": service.site_names(step),
            "project_names": [each.name for each in projects],
            "after": after,
            "next": with_query("/jobs", **chosen, after=following) if following else "",
            "first": with_query("/jobs", **chosen),
        }
    view = View("jobs", "Jobs", "jobs", values, blocks=("job_list",))
    return respond(request, call.actor, step.now_ms, view)


@router.get("/jobs/{label}", include_in_schema=False)
def job(
    request: Request, label: str, call: Person, stream: Stream | None = None, after: Number = ""
) -> Response:
    """One job, or a whole array."""
    with call.read() as step:
        found = job_page.look(step, call.actor, label, int(after) if after else -1)
    if isinstance(found, job_page.ArrayPage):
        return respond(request, call.actor, step.now_ms, _array_view(found))
    return respond(request, call.actor, step.now_ms, _job_view(found, stream or found.first_stream))


def _job_view(found: job_page.JobPage, stream: str) -> View:
    line = found.line
    return View(
        "job",
        f"{line.shown}: job {line.label}, {line.name}",
        "jobs",
        {"job": found, "line": line, "stream": stream},
        blocks=("job_head", "job_why", "job_times", "job_cost", "job_results"),
        say=f"Job {line.label} is {line.shown}",
        live=found.live,
    )


def _array_view(found: job_page.ArrayPage) -> View:
    line = found.line
    words = ", ".join(f"{n} {state}" for state, n in line.counts)
    return View(
        "array",
        f"Array {line.label}, {line.name}",
        "jobs",
        {"job": found, "line": line, "words": words},
        blocks=("array_head", "array_grid"),
        say=f"Array {line.label}: {words}",
        live=found.live,
    )


@router.get("/jobs/{label}/output", include_in_schema=False)
def output_text(label: str, call: Person, stream: Stream = "stdout") -> StreamingResponse:
    """All that a job printed so far, as plain text."""
    pieces, told = job_page.whole_output(call, label, stream)
    text = "text/plain; charset=utf-8"
    return StreamingResponse(pieces, media_type=text, headers=SAFETY | told)


@router.get("/jobs/{label}/cancel", include_in_schema=False)
def ask_to_cancel(request: Request, label: str, call: Person) -> Response:
    """The question before a job is cancelled."""
    with call.read() as step:
        line, left = job_page.stoppable(step, call.actor, label)
    view = View("cancel", f"Cancel job {line.label}?", "jobs", {"line": line, "left": left})
    return respond(request, call.actor, step.now_ms, view)


@router.post("/jobs/{label}/cancel", include_in_schema=False)
def cancel(label: str, call: Person) -> Response:
    """Cancel a job, or what has not ended of an array."""
    with call.write() as step:
        jobs_service.cancel(step, call.actor, label)
    return RedirectResponse(f"/jobs/{show.part(label)}", 303, SAFETY)


@router.get("/sites", include_in_schema=False)
def sites(request: Request, call: Person) -> Response:
    """All sites with what is free and busy there."""
    with call.read() as step:
        found = service.site_uses(step)
    view = View("sites", "Sites", "sites", {"sites": found}, blocks=("sites",))
    return respond(request, call.actor, step.now_ms, view)


@router.get("/sites/{name}", include_in_schema=False)
def site(request: Request, name: str, call: Person) -> Response:
    """One site: partitions, offers, and the jobs that are there now."""
    with call.read() as step:
        found = service.site_use(step, name)
        lines, more = service.jobs_at(step, call.actor, found.id)
        values = {
            "site": found,
            "offers": service.site_offers(step, found.id),
            "credential_ms": service.credential_ms(step, found.id),
            "queue": queue.outline(step, found.id),
            "lines": lines,
            "more": more,
        }
    view = View(
        "site",
        found.name,
        "sites",
        values,
        blocks=("site_head", "site_partitions", "site_queue", "site_jobs"),
        say=f"Site {found.name}: {found.state}",
    )
    return respond(request, call.actor, step.now_ms, view)


@router.get("/projects", include_in_schema=False)
def projects(
    request: Request, call: Person, after: Annotated[str, Query(max_length=63)] = ""
) -> Response:
    """One's projects with their balances."""
    with call.read() as step:
        found, following = money.project_lines(step, call.actor, after, PAGE)
    values = {"projects": found, "more_projects": following, "after": after}
    view = View("projects", "Projects", "projects", values, blocks=("projects",))
    return respond(request, call.actor, step.now_ms, view)


@router.get("/projects/{name}", include_in_schema=False)
def project(
    request: Request, name: str, call: Person, month: Month = "", after: Number = ""
) -> Response:
    """A project's statement."""
    with call.read() as step:
        before = int(after) if after else None
        found = money.project_page(step, call.actor, name, month, before, request.app.state.modes)
    values = {"page": found, "line": found.line, "after": after}
    blocks = ("project_balance", "project_hours", "project_statement", "project_entries")
    view = View("project", found.line.name, "projects", values, blocks=blocks)
    return respond(request, call.actor, step.now_ms, view)


@router.get("/projects/{name}/models", include_in_schema=False)
def models_of(
    request: Request, name: str, call: Person, family: Annotated[str, Query(max_length=100)] = ""
) -> Response:
    """A project's models: verdicts of gates, and scores over versions."""
    with call.read() as step:
        found = models.look(step, call.actor, name, family)
    values = {"page": found, "project": name, "family": family}
    return respond(
        request, call.actor, step.now_ms, View("models", f"Models of {name}", "projects", values)
    )


@router.get("/projects/{name}/statement.csv", include_in_schema=False)
def statement_csv(name: str, call: Person, month: Month = "") -> StreamingResponse:
    """The entries of a statement as CSV."""
    pieces = money.csv_lines(call, name, month)
    first = next(pieces)  # errors come before the first byte
    file_name = "-".join(part for part in ("statement", name, month) if part)

    def body() -> Iterator[str]:
        yield first
        yield from pieces

    headers = {**SAFETY, "Content-Disposition": f'attachment; filename="{file_name}.csv"'}
    return StreamingResponse(body(), media_type="text/csv; charset=utf-8", headers=headers)


# --- monitors


@router.get("/metrics")
def measured(call: Person) -> PlainTextResponse:
    """Numbers for Prometheus; give it a token of a person."""
    with call.read() as step:
        text = metrics.text(step)
    return PlainTextResponse(text, headers=SAFETY, media_type=metrics.CONTENT_TYPE)


@router.get("/healthz")
def healthz(call: Anyone) -> dict[str, str | int]:
    """The database answers."""
    with call.read() as step:
        return {"status": "ok", "version": __version__, "world": world.version(step)}


# --- the rest


class _Elsewhere(Convertor[str]):
    """Any address that is neither the API's nor a static file's."""

    regex = "(?!api/|static/).*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("elsewhere", _Elsewhere())


@router.get("/{address:elsewhere}", include_in_schema=False)
def nothing(address: str, call: Anyone) -> Response:  # noqa: ARG001 - every route has its guard
    """What no other route knows; the last one of the application."""
    raise NotFound("there is nothing at this address", hint="the overview is at /")
