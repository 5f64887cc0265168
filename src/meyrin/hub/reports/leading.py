"""Where an ask would lead, before it is sent: the mode that answers first, and the sites where its
hours could be used, the freest first; with reasons why not the others. Nothing is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from meyrin.domain.errors import NotFound
from meyrin.domain.units import Unit
from meyrin.engine.model import PartitionState
from meyrin.hub.calls import proposals
from meyrin.hub.calls.modes.file import Mode
from meyrin.hub.calls.modes.route import Fit
from meyrin.hub.identity import service as identity
from meyrin.hub.plumbing.authz import Access, Actor, Allow, Call
from meyrin.hub.plumbing.database import Step
from meyrin.hub.reports import service
from meyrin.hub.sites import service as sites
from meyrin.wire.calls import Kind, ModeFit, NotThere, Objection, PlaceFit, Purpose, RouteView

router = APIRouter(prefix="/api/v1", tags=["calls"])
Person = Annotated[Call, Depends(Allow(Access.PERSON))]


@dataclass(frozen=True, slots=True)
class Place:
    """A partition where the hours could be used, and how much of it Meyrin's jobs leave free."""

    site: str
    partition: str
    free: int
    noun: str


@dataclass(frozen=True, slots=True)
class Leading:
    """Every mode's answer, those that fit first; places, and why not at the others."""

    fits: tuple[Fit, ...]
    places: tuple[Place, ...]
    others: tuple[tuple[str, str], ...]


@router.get("/route")
def route(
    request: Request,
    call: Person,
    kind: Kind,
    purpose: Purpose,
    amount_h: Annotated[int, Query(ge=1, le=10**10)],
    months: Annotated[int, Query(ge=1, le=60)],
    charged_type: Annotated[str, Query(min_length=1, max_length=64)],
    unit: Unit = Unit.ACCELERATOR,
    project: Annotated[str, Query(max_length=63)] = "",
) -> RouteView:
    """The mode and the sites that an ask would lead to, and why not to the others."""
    wanted = proposals.Ask(
        "", project, "", kind, purpose, amount_h, unit, months, charged_type, None
    )
    with call.read() as step:
        found = lead(step, call.actor, wanted, request.app.state.modes)
    return RouteView(
        modes=[_mode(fit) for fit in found.fits],
        places=[
            PlaceFit(site=one.site, partition=one.partition, free=one.free) for one in found.places
        ],
        not_there=[NotThere(place=place, why=why) for place, why in found.others],
    )


def lead(step: Step, actor: Actor, wanted: proposals.Ask, modes: Sequence[Mode]) -> Leading:
    """Where this ask would lead now. NotFound when no site lends its type, InvalidInput for a
    mode that there is not. A fixed number of queries."""
    fits = proposals.fits(step, wanted, modes)
    free = {
        (site.name, each.partition.name): each.use
        for site in service.site_uses(step)
        for each in site.partitions
    }
    places: list[Place] = []
    others: list[tuple[str, str]] = []
    project = _project(step, actor, wanted.project)
    for state in sites.partition_states(step, step.now_s, hub_start_s=step.started_s):
        part = state.partition
        why = _why_not(state, wanted.charged_type, project)
        if why:
            others.append((f"{state.site}/{part.name}", why))
            continue
        use = free[state.site, part.name]
        places.append(Place(state.site, part.name, use.free, use.noun))
    places.sort(key=lambda place: (-place.free, place.site, place.partition))
    return Leading(fits, tuple(places), tuple(others))


def _why_not(state: PartitionState, charged_type: str, project: str) -> str:
    """Why hours of this type can't be used there at present; "" where they can."""
    if state.partition.charged_type != charged_type:
        return f"it has {state.partition.charged_type}, not {charged_type}"
    if not state.offered:
        return "it lends nothing at present"
    if state.silent_since_s is not None:
        return "nothing was heard of it lately"
    if state.drained:
        return "it takes nothing new at present"
    if state.allowed_projects is not None and project not in state.allowed_projects:
        return "it takes jobs of some projects alone"
    return ""


def _project(step: Step, actor: Actor, name: str) -> str:
    """The id of a project that they have, "" for a name that may become one."""
    try:
        return identity.project_by_name(step, actor, name).id if name else ""
    except NotFound:
        return ""


def _mode(fit: Fit) -> ModeFit:
    return ModeFit(
        mode=fit.mode.name,
        title=fit.mode.title,
        fits=fit.fits,
        due_s=fit.promise.due_s if fit.promise else None,
        cutoff_s=fit.promise.cutoff_s if fit.promise else None,
        cutoff_assumed=fit.mode.clock.assumed,
        pays=fit.pays,
        objections=[
            Objection(field=each.field, said=each.said, allowed=each.allowed, words=each.words)
            for each in fit.objections
        ],
    )
