"""Jobs over HTTP: submit, look, follow, cancel, and the files that travel with them."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from meyrin.domain.errors import InvalidInput, NotAllowed, NotFound, Unreachable
from meyrin.domain.states import ENDED, JobState, shown
from meyrin.hub.jobs import brought, files, output, service
from meyrin.hub.jobs.find import find_first
from meyrin.hub.plumbing.any_name import NAME
from meyrin.hub.plumbing.authz import Access, Allow, Call
from meyrin.hub.plumbing.blobs import PIECE_BYTES, check_digest
from meyrin.hub.plumbing.paging import After, Limit
from meyrin.hub.plumbing.sending import file_response
from meyrin.wire.jobs import (
    CancelReply,
    JobDetail,
    JobList,
    SubmitBody,
    SubmitReply,
    UploadState,
)

router = APIRouter(prefix="/api/v1", tags=["jobs"])
Person = Annotated[Call, Depends(Allow(Access.PERSON))]
Caller = Annotated[Call, Depends(Allow(Access.CALLER))]
Stream = Literal["stdout", "stderr"]
_KEEP_ALIVE_S = 15.0
_NUMBER = re.compile(r"[0-9]{1,16}")
Offset = Annotated[int, Query(ge=0, le=2**53)]


@router.post("/jobs")
def submit(body: SubmitBody, call: Person) -> SubmitReply:
    """Keep all submissions or none; the same idempotency key again gives the same job."""
    with call.write() as step:
        return SubmitReply(jobs=service.submit(step, call.actor, body.submissions))


@router.get("/jobs")
def jobs(
    call: Person,
    project: str | None = None,
    state: Annotated[list[str] | None, Query()] = None,
    site: str | None = None,
    mine: bool = False,
    after: After = "",
    limit: Limit = 50,
) -> JobList:
    """Jobs of your projects, newest first."""
    with call.read() as step:
        return service.jobs_page(
            step,
            call.actor,
            project=project,
            states=tuple(state or ()),
            site=site,
            mine=mine,
            after=after,
            limit=limit,
        )


@router.get("/jobs/{label}")
def job(label: str, call: Person) -> JobDetail:
    """One job: its states, attempts, cost and results."""
    with call.read() as step:
        return service.detail(step, call.actor, label)


@router.post("/jobs/{label}/cancel")
def cancel(label: str, call: Person) -> CancelReply:
    """End a job, or all elements of an array."""
    with call.write() as step:
        return service.cancel(step, call.actor, label)


@router.post("/jobs/{label}/release")
def release(label: str, call: Person) -> list[int]:
    """Let a held job go; answers with the numbers of the jobs released."""
    with call.write() as step:
        return service.release(step, call.actor, label)


@router.get("/jobs/{label}/output")
def output_bytes(
    label: str, call: Person, stream: Stream = "stdout", offset: Offset = 0
) -> Response:
    """What the job printed so far, from a byte offset on; at most about a MiB a call.

    `X-Meyrin-Cut` says how many bytes are kept of a stream that printed more.
    """
    with call.read() as step:
        attempt = find_first(step, call.actor, label).attempt
        data = output.read(step, attempt, stream, offset) if attempt else b""
        headers = output.cut_header(step, attempt, stream)
    headers["X-Meyrin-Next-Offset"] = str(offset + len(data))
    return Response(data, media_type="application/octet-stream", headers=headers)


@router.get("/jobs/{label}/follow")
async def follow(
    request: Request,
    label: str,
    call: Person,
    stream: Stream = "stdout",
    offset: Offset = 0,
    last_event_id: Annotated[str | None, Header()] = None,
) -> StreamingResponse:
    """Output and states as they come (server-sent events); goes on after Last-Event-ID.

    `cut_bytes` of the last event: so many are kept of a stream that printed more.
    """
    if last_event_id is not None:
        if not _NUMBER.fullmatch(last_event_id):
            raise InvalidInput(f"Last-Event-ID is {last_event_id!r}", hint="a byte offset")
        offset = int(last_event_id)
    await run_in_threadpool(_look, call, label, stream, 0)  # refuse before the stream begins

    def renewed() -> Call:
        return Call(request.app.state.authenticate(request), call.database)

    return StreamingResponse(
        _events(request, renewed, label, stream, offset),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _events(
    request: Request, renewed: Callable[[], Call], label: str, stream: Stream, offset: int
) -> AsyncIterator[str]:
    """The stream's events. Who reads it, and whether they may, is asked anew each time: it ends
    when its reader leaves the project or is shut out."""
    said = ""
    while not await request.is_disconnected():
        try:
            call = await run_in_threadpool(renewed)
            bell = call.database.bell
            if bell.closed:
                return
            topics = await run_in_threadpool(_topics, call, label)
            counts = {topic: bell.count(topic) for topic in topics}
            data, state, over = await run_in_threadpool(_look, call, label, stream, offset)
        except (NotAllowed, NotFound, Unreachable):
            return  # where only the database is away, its reader comes again
        if data:
            offset += len(data)
            yield f"id: {offset}\nevent: output\ndata: {base64.b64encode(data).decode()}\n\n"
            continue
        if state != said:
            said = state
            yield f"event: state\ndata: {state}\n\n"
        if over:
            yield f"event: end\ndata: {state}\n\n"
            return
        if not await bell.wait_any(counts, _KEEP_ALIVE_S):
            yield ": still here\n\n"


def _topics(call: Call, label: str) -> list[str]:
    with call.read() as step:
        row = find_first(step, call.actor, label)
    topics = [f"job:{row.family}"]
    return [*topics, f"output:{row.attempt}"] if row.attempt else topics


def _look(call: Call, label: str, stream: Stream, offset: int) -> tuple[bytes, str, bool]:
    """New bytes, the state as JSON, and whether nothing more will come."""
    with call.read() as step:
        row = find_first(step, call.actor, label)
        # an agent sends the output before it reports the end, so an end means all is here
        over = JobState(row.state) in ENDED
        data = output.read(step, row.attempt, stream, offset) if row.attempt else b""
        last = over and not data
        cut_bytes = output.cut_bytes(step, row.attempt, stream) if last else None
    state = {
        "state": row.state,
        "shown": shown(JobState(row.state), row.site_word),
        "exit_code": row.exit_code,
        "signal": row.signal,
        "reason": row.reason,
        "site": row.site,
        "partition": row.partition,
    }
    state |= {} if cut_bytes is None else {"cut_bytes": cut_bytes}
    return data, json.dumps(state), over


@router.get(f"/jobs/{{label}}/files/{NAME}")
def result(request: Request, label: str, name: str, call: Person) -> Response:
    """A result file, or a part of it (`Range: bytes=N-`); its digest is its ETag."""
    with call.read() as step:
        found = files.result(step, call.actor, label, name)
    return file_response(request, found.sha256, found.size)


@router.get("/uploads/{sha256}")
def upload_state(request: Request, sha256: str, call: Caller) -> UploadState:
    """How much of your upload is here."""
    check_digest(sha256)
    with call.read() as step:
        return files.upload_state(step, request.app.state.blobs, call.actor.key, sha256)


@router.put("/uploads/{sha256}")
async def upload(
    request: Request,
    sha256: str,
    call: Caller,
    offset: Offset,
    size: Offset,
) -> UploadState:
    """One piece of a file, at most 8 MiB; the last one makes it whole.

    One person may bring so much in thirty days (setting `upload_gib`); the first piece claims
    the whole size.
    """
    check_digest(sha256)
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > PIECE_BYTES:
            raise InvalidInput("a piece is larger than 8 MiB", hint="send smaller pieces")
    return await run_in_threadpool(
        files.upload,
        call.database,
        request.app.state.blobs,
        call.actor.key,
        sha256,
        offset,
        size,
        bytes(data),
        request.app.state.settings.upload_gib * brought.GIB if call.actor.person else None,
    )
