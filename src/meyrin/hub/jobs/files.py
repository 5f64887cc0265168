"""Files that travel with jobs: uploads by people and agents, results of ended jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from meyrin.domain.errors import InvalidInput, NotFound
from meyrin.hub.jobs import brought, keeping
from meyrin.hub.jobs.find import find_first
from meyrin.hub.jobs.store import files, uploads
from meyrin.hub.plumbing.authz import Actor
from meyrin.hub.plumbing.blobs import Blobs
from meyrin.hub.plumbing.database import Database, Step
from meyrin.wire.jobs import FileView, UploadState

SURE_MS = 86_400_000  # what is said to be here stays as long, for whoever refers to it then


def upload_state(step: Step, blobs: Blobs, by: str, sha256: str) -> UploadState:
    """How far an upload is. A file that somebody else brought counts for nothing here: who
    knows a digest has not shown to have the bytes. What may be tidied away within a day is asked
    for anew."""
    return _state(step, blobs, by, sha256, _brought(step, by, sha256))


def _brought(step: Step, by: str, sha256: str) -> sa.Row[Any] | None:
    u = uploads.c
    return step.one(sa.select(u.size, u.at_ms).where(u.sha256 == sha256, u.by == by))


def _state(step: Step, blobs: Blobs, by: str, sha256: str, row: sa.Row[Any] | None) -> UploadState:
    if row is not None and row.at_ms > step.now_ms - blobs.unused_ms + SURE_MS:
        return UploadState(sha256=sha256, offset=row.size, complete=True)
    return UploadState(sha256=sha256, offset=blobs.offset(sha256, by), complete=False)


def upload(
    database: Database,
    blobs: Blobs,
    by: str,
    sha256: str,
    offset: int,
    total: int,
    data: bytes,
    most_bytes: int | None = None,
) -> UploadState:
    """Keep one piece; the last one makes the file whole. May be repeated.

    A person may bring `most_bytes` in a time, else Refused; None is for sites.
    """
    with database.read() as step:
        before = _brought(step, by, sha256)
        state = _state(step, blobs, by, sha256, before)
        free = most_bytes is None or brought.claimed(step, by, sha256, total)
    if state.complete:
        return state
    if before is not None:
        with database.write() as step:
            if keeping.renew(step, by, sha256, total):
                return UploadState(sha256=sha256, offset=total, complete=True)
    if not free:
        with database.write() as step:
            assert most_bytes is not None, "whoever has no limit needs no claim"
            brought.claim(step, by, sha256, total, most_bytes)
    try:
        kept = blobs.put(sha256, by, offset, total, data)
    except InvalidInput:
        if most_bytes is not None and not blobs.offset(sha256, by):
            with database.write() as step:
                brought.give_back(step, by, sha256)
        raise
    if kept < total:
        return UploadState(sha256=sha256, offset=kept, complete=False)
    with database.write() as step:
        if not keeping.settle(step, blobs, sha256, total):
            return UploadState(sha256=sha256, offset=0, complete=False)
        row = {"sha256": sha256, "by": by, "size": total, "at_ms": step.now_ms}
        step.add_new(uploads, [row])
    return UploadState(sha256=sha256, offset=total, complete=True)


def check_brought(step: Step, by: str, named: Sequence[FileView]) -> None:
    """Raise InvalidInput unless `by` has uploaded every one of these files. Until the step ends,
    none of them is tidied away: what it writes may refer to them."""
    wanted = {file.sha256: file.name for file in named}
    if not wanted:
        return
    statement = (
        sa.select(uploads.c.sha256)
        .where(step.among(uploads.c.sha256, list(wanted)), uploads.c.by == by)
        .with_for_update(read=True, key_share=True)
    )
    there = {row.sha256 for row in step.rows(statement)}
    for digest in wanted.keys() - there:
        raise InvalidInput(
            f"{wanted[digest]!r} was not uploaded by you (sha256 {digest[:12]}…)",
            hint="upload it first; `meyrin submit --input FILE` does",
            field="files",
        )


def result(step: Step, actor: Actor, label: str, name: str) -> sa.Row[Any]:
    """The result file of a job; NotFound when the job left none of this name."""
    row = find_first(step, actor, label)
    found = step.one(sa.select(files).where(files.c.attempt == row.attempt, files.c.name == name))
    if found is None:
        raise NotFound(
            f"job {label} has no result {name!r}", hint=f"`meyrin show {label}` lists them"
        )
    return found
