"""Studies that people publish: who may, who reads them, what they hold.

A study is shown as it was handed in, and never changed; publishing the same again is the same
study. Its page comes from a person's own machine, so it is served as something foreign: see
`routes`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from meyrin.domain.errors import InvalidInput, NotAllowed, NotFound
from meyrin.hub.identity import service as identity
from meyrin.hub.jobs import files as job_files
from meyrin.hub.plans import store
from meyrin.hub.plumbing.authz import Actor
from meyrin.hub.plumbing.database import Step
from meyrin.hub.plumbing.paging import cut, number
from meyrin.wire.jobs import FileView
from meyrin.wire.plans import NewPlan, PlanView

PAGE = "report.html"
TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
    "toml": "text/plain; charset=utf-8",
    "svg": "image/svg+xml",
    "png": "image/png",
}


@dataclass(frozen=True, slots=True)
class Served:
    """A file of a study: where its bytes are, and what kind it is."""

    sha256: str
    size: int
    media_type: str


def publish(step: Step, actor: Actor, new: NewPlan) -> PlanView:
    """Show a study to a project, or (administrators) to everybody; again: the same study."""
    assert actor.person is not None
    project_id = None
    if new.project is not None:
        project_id = identity.project_by_name(step, actor, new.project).id
    elif not actor.admin:
        raise NotAllowed(
            "only administrators may show a study to everybody",
            hint="name one of your projects: `meyrin plan publish DIR --project NAME`",
        )
    _check_names(new.files)
    job_files.check_brought(step, str(actor.person), new.files)
    said = [new.title, new.kind, project_id, sorted((f.name, f.sha256) for f in new.files)]
    digest = hashlib.sha256(json.dumps(said).encode()).hexdigest()
    before = store.same(step, actor.person, digest)
    if before is None:
        number = step.next_ids(store.plans, 1)[0]
        row = {
            "id": number,
            "title": new.title,
            "kind": new.kind,
            "person_id": actor.person,
            "project_id": project_id,
            "sha256": digest,
            "files": len(new.files),
            "size": sum(file.size for file in new.files),
            "created_ms": step.now_ms,
            "withdrawn_ms": None,
        }
        if step.add_new(store.plans, [row]):
            rows = [{"plan_id": number, **file.model_dump()} for file in new.files]
            step.add(store.plan_files, rows)
        before = store.same(step, actor.person, digest)
        assert before is not None
    if before.withdrawn_ms is not None:
        _set_withdrawn(step, before.id, None)
    return views(step, [before])[0]


def _check_names(files: Iterable[FileView]) -> None:
    names = [file.name for file in files]
    for name in names:
        parts = name.split("/")
        plain = all(part and part not in {".", ".."} and part.isprintable() for part in parts)
        if not plain or "\\" in name or name.rpartition(".")[2] not in TYPES:
            raise InvalidInput(
                f"a study has no file {name!r}",
                hint=f"files that end in {', '.join(TYPES)}, below its folder",
                field="files",
                value=name,
            )
    if len(set(names)) != len(names):
        raise InvalidInput("a file is named twice", hint="name each once", field="files")
    if PAGE not in names:
        raise InvalidInput(
            f"there is no {PAGE} among the files",
            hint="publish the folder that `meyrin plan impact --out` wrote",
            field="files",
        )


def plans_page(step: Step, actor: Actor, after: str, limit: int) -> tuple[list[PlanView], str]:
    """One page of the studies that `actor` may read, newest first."""
    mine = None if actor.admin else list(actor.projects)
    found = store.listed(step, mine, number(after), limit)
    rows, following = cut(found, limit, "id")
    return views(step, rows), following


def plan(step: Step, actor: Actor, plan_id: str) -> tuple[PlanView, list[FileView]]:
    """A study that `actor` may read, with its files."""
    row = _readable(step, actor, plan_id)
    files = [
        FileView(name=file.name, sha256=file.sha256, size=file.size)
        for file in store.files_of(step, row.id)
    ]
    return views(step, [row])[0], files


def file(step: Step, actor: Actor, plan_id: str, name: str) -> Served:
    """One file of a study that `actor` may read."""
    row = _readable(step, actor, plan_id)
    found = store.file(step, row.id, name)
    if found is None:
        raise NotFound(f"study {plan_id} has no file {name!r}")
    return Served(found.sha256, found.size, TYPES[name.rpartition(".")[2]])


def withdraw(step: Step, actor: Actor, plan_id: str) -> None:
    """Show it to nobody any more. Its author may, leads of its project, administrators."""
    row = _readable(step, actor, plan_id)
    leads = row.project_id is not None and actor.leads(row.project_id)
    if not (actor.admin or leads or row.person_id == actor.person):
        raise NotAllowed(
            "this study is not yours to withdraw",
            hint="its author may, a lead of its project, or an administrator",
        )
    _set_withdrawn(step, row.id, step.now_ms)


def _set_withdrawn(step: Step, plan_id: int, at_ms: int | None) -> None:
    table = store.plans
    step.change(sa.update(table).where(table.c.id == plan_id).values(withdrawn_ms=at_ms))


def _readable(step: Step, actor: Actor, plan_id: str) -> sa.Row[Any]:
    """The study, if `actor` may know of it; one of others can't be told from none."""
    number = int(plan_id) if plan_id.isascii() and plan_id.isdigit() and len(plan_id) < 19 else 0
    row = store.one(step, number)
    if row is None or not (row.project_id is None or actor.in_project(row.project_id)):
        raise NotFound(
            f"there is no study {plan_id}",
            hint="it may have been withdrawn; `meyrin plan list` shows those that you may read",
        )
    return row


def views(step: Step, rows: Iterable[sa.Row[Any]]) -> list[PlanView]:
    """The rows as lists show them, in two queries whatever their number."""
    listed = list(rows)
    people = identity.people_names(step, {row.person_id for row in listed})
    ids = {row.project_id for row in listed if row.project_id is not None}
    projects = identity.project_names(step, ids)
    return [
        PlanView(
            id=str(row.id),
            title=row.title,
            kind=row.kind,
            project=projects[row.project_id] if row.project_id is not None else None,
            person=people[row.person_id],
            created_ms=row.created_ms,
            files=row.files,
            size=row.size,
        )
        for row in listed
    ]
