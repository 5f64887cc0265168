"""Studies on the hub's pages, and jobs as a planner takes them, on the wire."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from meyrin.wire.jobs import Body, FileView

MAX_FILES = 400


class NewPlan(Body):
    """A study to publish: its files were uploaded before. `project` None shows it to everybody
    who is logged in; only administrators may do that."""

    title: Annotated[str, Field(min_length=1, max_length=200)]
    kind: Annotated[str, Field(pattern="^[a-z]{1,32}$")] = "impact"
    project: str | None = None
    files: Annotated[list[FileView], Field(min_length=1, max_length=MAX_FILES)]


class PlanView(Body):
    """A study as lists show it; `project` None is for everybody."""

    id: str
    title: str
    kind: str
    project: str | None
    person: str
    created_ms: int
    files: int
    size: int


class PlanList(Body):
    plans: list[PlanView]
    next: str


class PlanDetail(Body):
    plan: PlanView
    files: list[FileView]


class TraceJob(Body):
    """A job that was placed, with pseudonyms: hashes under a key that only the exporter has."""

    job: int
    person: str
    project: str
    site: str
    partition: str
    submit_ms: int
    start_ms: int | None
    end_ms: int | None
    nodes: int
    cores: int
    accelerators: int
    memory_mb: int
    walltime_s: int
    state: str


class TraceJobs(Body):
    jobs: list[TraceJob]
    next: str
