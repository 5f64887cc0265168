"""The agent's side of the HTTP API. Agents call; the hub never calls them."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from meyrin.hub.agents import late, limits, service
from meyrin.hub.evaluations import service as evaluations
from meyrin.hub.jobs import output
from meyrin.hub.plumbing import audit
from meyrin.hub.plumbing.any_name import NAME
from meyrin.hub.plumbing.authz import Access, Allow, Call
from meyrin.hub.plumbing.paging import After, Limit
from meyrin.hub.plumbing.sending import file_response
from meyrin.hub.plumbing.settings import HubSettings
from meyrin.hub.sites import joining, presence
from meyrin.wire.agents import (
    CorrectionsBody,
    CorrectionsReply,
    CountedList,
    FollowBody,
    HelloBody,
    HelloReply,
    JoinBody,
    JoinReply,
    LeaseBody,
    LeaseReply,
    OutputBody,
    OutputReply,
    ReportsBody,
    ReportsReply,
    ResultsBody,
    SelfReply,
)
from meyrin.wire.limits import DriftBody, LimitsReply, RevokedBody
from meyrin.wire.queue import ForgetQueueBody, QueueBody

router = APIRouter(prefix="/api/v1/agent", tags=["agents"])
Anyone = Annotated[Call, Depends(Allow(Access.ANYONE))]
Agent = Annotated[Call, Depends(Allow(Access.AGENT))]
Moment = Annotated[int, Query(ge=0, lt=2**62, description="milliseconds since 1970")]


def _site(call: Call) -> str:
    assert call.actor.site is not None
    return call.actor.site


@router.post("/join")
def join(body: JoinBody, call: Anyone) -> JoinReply:
    """An enrolment token, once, for the credential whose SHA-256 is told; may be repeated."""
    with call.write() as step:
        site = joining.join(step, body.enrolment, body.digest, body.site)
        audit.note(step, "", "site.join", site.name, credential=body.digest[:12])
        return JoinReply(site=site.name, title=site.title, now_ms=step.now_ms)


@router.post("/credential", status_code=204)
def follow(body: FollowBody, call: Agent) -> None:
    """The credential that follows the caller's, which still counts for ten minutes."""
    with call.write() as step:
        joining.follow_credential(step, _site(call), call.actor.token, body.digest)


@router.get("/self")
def who(call: Agent) -> SelfReply:
    """The site of the caller's credential, and how it stands."""
    with call.read() as step:
        return service.who(step, _site(call))


@router.post("/hello")
def hello(body: HelloBody, call: Agent) -> HelloReply:
    """Announce the site's partitions; this start of the agent is the one that counts now."""
    with call.write() as step:
        return service.hello(step, _site(call), body, call.actor.token)


@router.post("/lease")
async def lease(request: Request, body: LeaseBody, call: Agent) -> LeaseReply:
    """Work for the site; waits up to `wait_s` for some, holding no thread while it waits."""
    settings: HubSettings = request.app.state.settings
    bell = call.database.bell
    name = await run_in_threadpool(_site_name, call, body)
    end = time.monotonic() + body.wait_s
    not_now: str | None = body.not_now  # said once: a later call may say otherwise meanwhile
    while True:
        counts = {f"site:{name}": bell.count(f"site:{name}")}
        reply = await run_in_threadpool(_lease_once, call, body, settings.lease_s, not_now)
        not_now = None
        left = end - time.monotonic()
        idle = not (reply.work or reply.cancel) and left > 0 and not bell.closed
        if not idle or await request.is_disconnected():
            return reply
        await bell.wait_any(counts, min(left, 10))
        if await request.is_disconnected():  # work given to nobody would wait for its next turn
            return reply


def _site_name(call: Call, body: LeaseBody) -> str:
    """Take what is new about the site, and its name."""
    if body.about is not None:
        with call.write() as step:
            service.say_anew(step, _site(call), body)
    with call.read() as step:
        return presence.standing(step, _site(call)).name


def _lease_once(call: Call, body: LeaseBody, lease_s: int, not_now: str | None) -> LeaseReply:
    with call.write() as step:
        return service.lease(
            step,
            _site(call),
            body.incarnation,
            body.most,
            lease_s,
            not_now=not_now,
            token=call.actor.token,
        )


@router.post("/reports")
def reports(body: ReportsBody, call: Agent) -> ReportsReply:
    """What became of attempts; may be repeated."""
    with call.write() as step:
        return ReportsReply(stale=service.report(step, _site(call), body.reports))


@router.post("/usage")
def correct(body: CorrectionsBody, call: Agent) -> CorrectionsReply:
    """What accounting says of ended attempts late, or otherwise than before; may be repeated."""
    with call.write() as step:
        return late.correct(step, _site(call), body.corrections)


@router.get("/usage")
def counted(
    call: Agent, from_ms: Moment, until_ms: Moment, after: After = "", limit: Limit = 50
) -> CountedList:
    """Attempts that ended at the caller's site in a time, and what was counted for each."""
    with call.read() as step:
        return late.counted(step, _site(call), from_ms, until_ms, after, limit)


@router.post("/output")
def take_output(request: Request, body: OutputBody, call: Agent) -> OutputReply:
    """Pieces of output by offset; may be repeated."""
    limit = request.app.state.settings.output_limit_bytes
    with call.write() as step:
        return OutputReply(sizes=output.take(step, _site(call), body.chunks, limit))


@router.post("/results")
def results(request: Request, body: ResultsBody, call: Agent) -> None:
    """Which result files an ended attempt left; their bytes were uploaded before."""
    state = request.app.state
    site, said = _site(call), body.state
    brought, why = evaluations.receive(
        call.database, state.blobs, state.settings, site, body.attempt, body.files
    )
    if why:
        said = why if said == "complete" else f"{said}; {why}"
    with call.write() as step:
        service.results(step, site, body.model_copy(update={"files": brought, "state": said}))


@router.post("/queue")
def take_queue(body: QueueBody, call: Agent) -> None:
    """The site's whole queue now; may be repeated, the latest counts."""
    with call.write() as step:
        service.take_queue(step, _site(call), body)


@router.post("/queue/forget")
def forget_queue(body: ForgetQueueBody, call: Agent) -> None:
    """The site shares its queue no longer: what is kept of it goes. May be repeated."""
    with call.write() as step:
        service.forget_queue(step, _site(call), body.incarnation)


@router.get("/limits")
def wanted_limits(call: Agent) -> LimitsReply:
    """What the site's own accounts and limits should be, now."""
    with call.read() as step:
        return limits.wanted(step, _site(call))


@router.post("/drift")
def take_drift(body: DriftBody, call: Agent) -> None:
    """How they differ from that, and what became of it; may be repeated, the latest counts."""
    with call.write() as step:
        service.take_drift(step, _site(call), body)


@router.post("/revoked")
def take_revoked(body: RevokedBody, call: Agent) -> None:
    """What the site found of people who left a project; may be repeated."""
    with call.write() as step:
        service.take_revoked(step, _site(call), body)


@router.get(f"/attempts/{{attempt}}/inputs/{NAME}")
def input_file(request: Request, attempt: str, name: str, call: Agent) -> Response:
    """An input file of an attempt that this site was given, or a part of it."""
    with call.read() as step:
        sha256 = service.input_digest(step, _site(call), attempt, name)
    return file_response(request, sha256, request.app.state.blobs.size(sha256))
