"""The page that runs a job: a script to write or paste, for whoever has no command line yet."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from meyrin.client.sbatch import parse, read_script
from meyrin.domain.errors import InvalidInput, MeyrinError
from meyrin.domain.job import JobRequest
from meyrin.hub.jobs import service as jobs
from meyrin.hub.plumbing.authz import Access, Allow, Call
from meyrin.hub.plumbing.database import Step
from meyrin.hub.plumbing.http import STATUS
from meyrin.hub.reports import money
from meyrin.hub.reports.pages import SAFETY, PageRoute, View, respond
from meyrin.wire.jobs import Submission

router = APIRouter(tags=["reports"], route_class=PageRoute)
Person = Annotated[Call, Depends(Allow(Access.PERSON))]
Key = Annotated[str, Form(min_length=8, max_length=200)]
PROJECTS = 100
EXAMPLE = """#!/bin/bash
#SBATCH --job-name=first
#SBATCH --time=10
{more}echo "Hello from $(hostname)"
for step in 1 2 3 4 5 6 7 8 9 10; do
    echo "step $step of 10"
    sleep 1
done
"""


@router.get("/run", include_in_schema=False)
def form(
    request: Request, call: Person, project: Annotated[str, Query(max_length=63)] = ""
) -> Response:
    """A script that runs as it stands, for a project of one's own."""
    with call.read() as step:
        return _form(request, call, step, project, None)


@router.post("/run", include_in_schema=False)
def run(
    request: Request,
    call: Person,
    key: Key,
    project: Annotated[str, Form()] = "",
    script: Annotated[str, Form()] = "",
) -> Response:
    """Submit it and show the job; or the script again with what is wrong. The same key is the
    same job."""
    try:
        with call.write() as step:
            wanted = _wanted(project, script.replace("\r\n", "\n"), step.now_s)
            sent = Submission(request=wanted, idempotency_key=key)
            made = jobs.submit(step, call.actor, [sent])[0]
    except MeyrinError as error:
        with call.read() as step:
            return _form(request, call, step, project, script, key=key, error=error)
    return RedirectResponse(f"/jobs/{made.job}", 303, SAFETY)


def _wanted(project: str, script: str, now_s: int) -> JobRequest:
    """The script as `meyrin submit` would read it; the project that it names must be the one that
    was chosen, and goes without saying where it names none."""
    if not project:
        raise InvalidInput("which project pays?", hint="choose one of yours", field="project")
    read = read_script(script.encode("utf-8", "surrogatepass"))
    found = parse(read, ["script"], {}, cwd="/", host="", now_s=now_s)
    named = found.request.project
    if named not in {None, project}:
        raise InvalidInput(
            f"the script says --account={named}, and {project} is chosen to pay",
            hint=f"choose {named}, or take that option out of the script",
            field="project",
        )
    if found.client.test_only:
        raise InvalidInput(
            "--test-only means that nothing is to run",
            hint="take that line out to run it; `meyrin submit --test-only` forecasts",
            field="script",
        )
    return replace(found.request, project=project)


def _form(
    request: Request,
    call: Call,
    step: Step,
    project: str,
    script: str | None,
    *,
    key: str = "",
    error: MeyrinError | None = None,
) -> Response:
    lines, _ = money.project_lines(step, call.actor, "", PROJECTS)
    mine = [line for line in lines if line.role and not line.closed]
    chosen = next((line for line in mine if line.name == project), None)
    chosen = chosen or next((line for line in mine if line.balances), None)
    types = (
        [one.charged_type for one in chosen.balances if one.balance.free_s > 0] if chosen else []
    )
    more = f"#SBATCH --gpus={types[0]}:1\n" if types and types[0] != "core" else ""
    view = View(
        "run",
        "Run a job",
        "jobs",
        {
            "projects": [line.name for line in mine],
            "project": chosen.name if chosen else "",
            "hours": bool(types),
            "script": EXAMPLE.format(more=more) if script is None else script,
            "key": key or step.entropy().hex(),
            "error": error,
        },
    )
    status = 200 if error is None else STATUS[type(error)]
    return respond(request, call.actor, step.now_ms, view, status)
