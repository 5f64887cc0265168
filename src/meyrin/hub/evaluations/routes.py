"""Gates over HTTP: members of a project bring plans and evidence and ask for decisions;
administrators name the keys that count."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from meyrin.hub.evaluations import service
from meyrin.hub.evaluations import trust as known_keys
from meyrin.hub.plumbing.authz import Access, Allow, Call
from meyrin.hub.plumbing.paging import After, Limit
from meyrin.wire.evaluations import (
    DecisionList,
    DecisionView,
    KeyList,
    KeyView,
    NewDecision,
    NewKey,
    NewPlan,
    NewRun,
    PlanList,
    PlanView,
    RunList,
    RunView,
    ScoreView,
)

router = APIRouter(prefix="/api/v1/gates", tags=["gates"])
Anyone = Annotated[Call, Depends(Allow(Access.ANYONE))]
Person = Annotated[Call, Depends(Allow(Access.PERSON))]
Admin = Annotated[Call, Depends(Allow(Access.ADMIN))]
Family = Annotated[str, Query(max_length=100, description="only of these models")]


@router.get("/keys")
def keys(call: Anyone, after: After = "", limit: Limit = 50) -> KeyList:
    """Whose signatures of evidence count, and whose did. Everybody may check evidence."""
    with call.read() as step:
        rows, following = known_keys.keys(step, after, limit)
    views = [
        KeyView(
            name=row.name,
            role=row.role,
            public=row.public,
            since_ms=row.since_ms,
            ended_ms=row.ended_ms,
            revoked_ms=row.revoked_ms,
        )
        for row in rows
    ]
    return KeyList(keys=views, next=following)


@router.post("/keys", status_code=201)
def trust(body: NewKey, call: Admin) -> KeyView:
    """Let evidence count that this key has signed."""
    with call.write() as step:
        known_keys.trust(step, call.actor, body.name, body.role, body.public)
        return KeyView(
            name=body.name, role=body.role, public=body.public, since_ms=step.now_ms,
            ended_ms=None, revoked_ms=None,
        )  # fmt: skip


@router.delete("/keys/{public}", status_code=204)
def distrust(public: str, call: Admin, revoked: bool = False) -> None:
    """Let what this key signs from now on count no more; revoked: nor what it has signed."""
    with call.write() as step:
        known_keys.distrust(step, call.actor, public, revoked=revoked)


@router.get("/plans")
def plans(
    call: Person,
    project: str | None = None,
    family: Family = "",
    after: After = "",
    limit: Limit = 50,
) -> PlanList:
    """The plans of your projects, newest first."""
    with call.read() as step:
        found, following = service.plans(step, call.actor, project, family, after, limit)
    return PlanList(plans=[_plan(each) for each in found], next=following)


@router.post("/plans", status_code=201)
def register_plan(body: NewPlan, call: Person) -> PlanView:
    """Keep a signed plan. Runs that begin from now on can be decided by it."""
    with call.write() as step:
        return _plan(service.register_plan(step, call.actor, body.project, body.signed))


@router.get("/plans/{project}/{digest}")
def plan(project: str, digest: str, call: Person) -> PlanView:
    """One plan, with its signatures."""
    with call.read() as step:
        return _plan(service.plan(step, call.actor, project, digest))


@router.get("/runs")
def runs(
    call: Person,
    project: str | None = None,
    family: Family = "",
    after: After = "",
    limit: Limit = 50,
) -> RunList:
    """The runs of your projects' models, newest first, with their scores."""
    with call.read() as step:
        found, following = service.runs(step, call.actor, project, family, after, limit)
    return RunList(runs=[_run(each) for each in found], next=following)


@router.post("/runs", status_code=201)
def register_run(request: Request, body: NewRun, call: Person) -> RunView:
    """Keep the run of an uploaded bundle, if it verifies and its site's key counts."""
    state = request.app.state
    found = service.register_run(
        call.database, state.blobs, state.settings, call.actor, body.project, body.bundle
    )
    return _run(found)


@router.get("/runs/{project}/{digest}")
def run(project: str, digest: str, call: Person) -> RunView:
    """One run."""
    with call.read() as step:
        return _run(service.run(step, call.actor, project, digest))


@router.get("/decisions")
def decisions(
    call: Person,
    project: str | None = None,
    family: Family = "",
    after: After = "",
    limit: Limit = 50,
) -> DecisionList:
    """What gates decided about your projects' models, newest first."""
    with call.read() as step:
        found, following = service.decisions(step, call.actor, project, family, after, limit)
    return DecisionList(decisions=[_decision(each) for each in found], next=following)


@router.post("/decisions", status_code=201)
def decide(request: Request, body: NewDecision, call: Person) -> DecisionView:
    """Decide, and let the next tranche follow."""
    blobs = request.app.state.blobs
    made = service.decide(call.database, blobs, call.actor, body.project, body.plan, body.runs)
    return _decision(made)


@router.get("/decisions/{project}/{digest}")
def decision(project: str, digest: str, call: Person) -> DecisionView:
    """One decision with its reasons."""
    with call.read() as step:
        return _decision(service.decision(step, call.actor, project, digest))


def _plan(kept: service.KeptPlan) -> PlanView:
    made = kept.signed.plan
    return PlanView(
        digest=made.digest,
        project=kept.project,
        gate=made.gate,
        family=made.family,
        says=made.says,
        registered_ms=kept.registered_ms,
        since_ms=kept.signed.since_ms or kept.registered_ms,
        expires_ms=made.expires_ms,
        level_ppm=made.level_ppm,
        spend_ppm=made.spend_ppm,
        signed=kept.signed.as_data(),
    )


def _run(kept: service.KeptRun) -> RunView:
    return RunView(
        digest=kept.digest,
        project=kept.project,
        family=kept.family,
        root=kept.root,
        bundle=kept.bundle,
        registered_ms=kept.registered_ms,
        run=kept.run,
        scores=[ScoreView(**each) for each in kept.scores],
        signers=kept.signers,
    )


def _decision(kept: service.KeptDecision) -> DecisionView:
    return DecisionView(
        digest=str(kept.decision["digest"]),
        project=kept.project,
        decided_ms=kept.decided_ms,
        runs=kept.runs,
        decision=kept.decision,
    )
