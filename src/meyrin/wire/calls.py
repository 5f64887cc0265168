"""Modes, asks for hours and public clocks on the wire; moments in ms, promises in s."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from meyrin.domain.ledger import MAX_AMOUNT_S, MAX_REASON
from meyrin.domain.units import Unit
from meyrin.wire.jobs import Body, Number
from meyrin.wire.names import ModeName, ProjectName

Kind = Literal["startup", "sme", "industry", "academic", "public"]
Purpose = Literal["try", "benchmark", "develop", "train", "science"]
Said = Annotated[str, Field(min_length=1, max_length=MAX_REASON)]


class NewAsk(Body):
    """An ask for hours. `key` makes it one ask however often it is sent; `mode` may be left out."""

    key: Annotated[str, Field(min_length=1, max_length=200)]
    project: ProjectName
    title: Annotated[str, Field(max_length=200)] = ""
    kind: Kind
    purpose: Purpose
    amount_h: Annotated[Number, Field(ge=1, le=10**10)]
    unit: Unit = Unit.ACCELERATOR
    months: Annotated[Number, Field(ge=1, le=60)]
    charged_type: Annotated[str, Field(min_length=1, max_length=64)]
    mode: ModeName | None = None


class GatePart(Body):
    """What part of an award waits for which gate."""

    name: str
    percent: int
    claim: str


class ModeView(Body):
    """A way to get hours: who may ask for what, how much and how long, and by when it is answered:
    `promise` of what it `counts`, from the ask or from its next cut-off."""

    name: str
    title: str
    source: str
    who: list[Kind]
    purposes: list[Purpose]
    pays: list[Kind]
    months: list[int]
    unit: Unit
    least_h: int
    most_h: int
    order: str
    promise: int
    counts: str
    cut_off: bool
    steps: list[str]
    gates: list[GatePart]


class ModesView(Body):
    """Every mode of a hub."""

    modes: list[ModeView]


class Objection(Body):
    """Why a mode does not fit: which answer, what was said and what there is, and in words."""

    field: str
    said: str
    allowed: str
    words: str


class ModeFit(Body):
    """A mode's answer to an ask: by when it is decided, or objections."""

    mode: str
    title: str
    fits: bool
    due_s: int | None
    cutoff_s: int | None
    cutoff_assumed: bool
    pays: bool
    objections: list[Objection]


class PlaceFit(Body):
    """A partition where its hours could be used; `free` cores or accelerators now."""

    site: str
    partition: str
    free: int


class NotThere(Body):
    place: str
    why: str


class RouteView(Body):
    """Where an ask would lead: modes that fit first, places with the freest first."""

    modes: list[ModeFit]
    places: list[PlaceFit]
    not_there: list[NotThere]


class StopView(Body):
    """The clock stood from `start_s` (inclusive) to `end_s`; None: it still stands."""

    start_s: int
    end_s: int | None
    reason: str


class ProposalView(Body):
    """An ask and its clock. `due_s` is None while the clock stands."""

    id: str
    person: str
    project: str
    title: str
    mode: str
    kind: str
    purpose: str
    amount_h: int
    unit: str
    months: int
    charged_type: str
    amount_s: int
    state: str
    reason: str
    decided_by: str
    allocation_id: str | None
    submit_ms: int
    eligible_ms: int | None
    reviewed_ms: int | None
    decided_ms: int | None
    provisioned_ms: int | None
    first_job_ms: int | None
    from_s: int
    due_s: int | None
    stops: list[StopView]


class ProposalList(Body):
    proposals: list[ProposalView]
    next: str


class UnsentView(Body):
    """An ask that its person has not sent yet; `said` is as it was typed, field by field."""

    key: str
    made_ms: int
    saved_ms: int
    said: dict[str, str]


class UnsentList(Body):
    unsent: list[UnsentView]
    next: str


class Decision(Body):
    """An officer's answer. `amount_s` grants another amount than was asked.

    `reviewer` is the public key of who has to sign the plans of the mode's gates, where the mode
    leaves that open.
    """

    grant: bool
    reason: Said
    amount_s: Annotated[Number, Field(ge=1, le=MAX_AMOUNT_S)] | None = None
    reviewer: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""


class ClockStop(Body):
    reason: Said


class SpreadView(Body):
    """Seconds from submission; None where fewer than five."""

    count: int | None
    p50_s: int | None
    p90_s: int | None
    p99_s: int | None


class ModeClockView(Body):
    """How long one mode really took. Counts from one to four are masked (None)."""

    mode: str
    asked: int | None
    waiting: int | None
    kept: int | None
    promised: int | None
    decided: SpreadView
    provisioned: SpreadView
    first_job: SpreadView


class ClocksView(Body):
    """`at_ms` is when it was counted, at most a minute ago."""

    at_ms: int
    modes: list[ModeClockView]
