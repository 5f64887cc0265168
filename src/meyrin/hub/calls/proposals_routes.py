"""Asks for hours over HTTP: people ask, officers decide, everybody sees how long it took."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Request

from meyrin.hub.calls import proposals
from meyrin.hub.calls.modes.file import Mode
from meyrin.hub.plumbing import audit
from meyrin.hub.plumbing.authz import Access, Allow, Call
from meyrin.hub.plumbing.paging import After, Limit
from meyrin.wire.calls import (
    ClockStop,
    ClocksView,
    Decision,
    GatePart,
    ModeClockView,
    ModesView,
    ModeView,
    NewAsk,
    ProposalList,
    ProposalView,
)

router = APIRouter(prefix="/api/v1", tags=["calls"])
Anyone = Annotated[Call, Depends(Allow(Access.ANYONE))]
Person = Annotated[Call, Depends(Allow(Access.PERSON))]
Officer = Annotated[Call, Depends(Allow(Access.OFFICER))]


@router.post("/proposals", status_code=201)
def ask(body: NewAsk, request: Request, call: Person) -> ProposalView:
    """Ask for hours: a small ask is granted at once by rule, a larger one waits for an officer."""
    wanted = proposals.Ask(**dict(body))
    with call.write() as step:
        made = proposals.ask(step, call.actor, wanted, request.app.state.modes)
        if made.submit_ms == step.now_ms:
            audit.note(step, call.actor.name, "proposal.ask", made.id, mode=made.mode,
                       state=made.state)  # fmt: skip
    return made


@router.get("/proposals")
def mine(call: Person, state: str = "", after: After = "", limit: Limit = 50) -> ProposalList:
    """Your asks."""
    with call.read() as step:
        found, following = proposals.listed(step, call.actor, state, after, limit, everybody=False)
    return ProposalList(proposals=found, next=following)


@router.get("/proposals/all")
def everybodys(
    call: Officer, state: str = "", after: After = "", limit: Limit = 50
) -> ProposalList:
    """Everybody's asks of the calls whose officer or reviewer you are."""
    with call.read() as step:
        found, following = proposals.listed(step, call.actor, state, after, limit, everybody=True)
    return ProposalList(proposals=found, next=following)


@router.get("/proposals/{proposal}")
def one(proposal: str, call: Person) -> ProposalView:
    with call.read() as step:
        return proposals.one(step, call.actor, proposal)


@router.post("/proposals/{proposal}/decide")
def decide(proposal: str, body: Decision, request: Request, call: Officer) -> ProposalView:
    """Grant or refuse what waits, with a reason."""
    with call.write() as step:
        made = proposals.decide(
            step, call.actor, proposal, grant=body.grant, reason=body.reason,
            amount_s=body.amount_s, modes=request.app.state.modes, reviewer=body.reviewer,
        )  # fmt: skip
        audit.note_change(step, call.actor.name, "proposal.decide", made.id, grant=body.grant,
                   reason=body.reason)  # fmt: skip
    return made


@router.post("/proposals/{proposal}/withdraw")
def withdraw(proposal: str, call: Person) -> ProposalView:
    """Take your ask back while it waits."""
    with call.write() as step:
        made = proposals.withdraw(step, call.actor, proposal)
        audit.note_change(step, call.actor.name, "proposal.withdraw", made.id)
    return made


@router.post("/proposals/{proposal}/stop-clock")
def stop_clock(proposal: str, body: ClockStop, call: Officer) -> ProposalView:
    """The applicant has to do something first."""
    with call.write() as step:
        made = proposals.stop_clock(step, call.actor, proposal, body.reason)
        audit.note_change(step, call.actor.name, "proposal.stop-clock", made.id, reason=body.reason)
    return made


@router.post("/proposals/{proposal}/start-clock")
def start_clock(proposal: str, request: Request, call: Officer) -> ProposalView:
    """Go on with a clock that stood."""
    with call.write() as step:
        made = proposals.start_clock(step, call.actor, proposal, request.app.state.modes)
        audit.note_change(step, call.actor.name, "proposal.start-clock", made.id)
    return made


@router.get("/modes")
def modes(request: Request, _call: Person) -> ModesView:
    """The ways to get hours here: who may ask, how much, for how long, and by when."""
    return ModesView(modes=[_mode(each) for each in request.app.state.modes])


def _mode(mode: Mode) -> ModeView:
    return ModeView(
        name=mode.name,
        title=mode.title,
        source=mode.source,
        who=list(mode.who),
        purposes=list(mode.purposes),
        pays=list(mode.pays),
        months=list(mode.months),
        unit=mode.size.unit,
        least_h=mode.size.least_h,
        most_h=mode.size.most_h,
        order=mode.order,
        promise=mode.clock.promise,
        counts=mode.clock.counts,
        cut_off=bool(mode.clock.cutoffs),
        steps=[step.kind for step in mode.step],
        gates=[
            GatePart(name=gate.name, percent=gate.percent, claim=gate.claim) for gate in mode.gate
        ],
    )


@router.get("/clocks")
def clocks(request: Request, _call: Anyone) -> ClocksView:
    """How long asks really took, by mode; groups of fewer than five are masked.

    Counted at `at_ms`, and anew once a minute.
    """
    found = request.app.state.clocks.look()
    modes = [ModeClockView.model_validate(asdict(one)) for one in found.modes]
    return ClocksView(at_ms=found.at_ms, modes=modes)
