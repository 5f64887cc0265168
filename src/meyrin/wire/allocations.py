"""What becomes of allocations on the wire: changes, pace, idle hours, notices, awards elsewhere.

Amounts are whole seconds of the charged type; `_s` of a moment is seconds since the epoch.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from meyrin.domain.ledger import MAX_AMOUNT_S, MAX_REASON
from meyrin.domain.units import Unit
from meyrin.wire.calls import Said
from meyrin.wire.jobs import Body, Number, Second
from meyrin.wire.ledger import AllocationView, Key, OfferId
from meyrin.wire.names import Owner, ProjectName


class NewChange(Body):
    """A change of an allocation; its key makes it one however often it is sent.

    `transfer` moves `amount_s` to the allocation `to`. `extend` gives a later `end_s`, `amount_s`
    more, or both. `exempt` answers that idle hours shall not go back this time. `amount_s` is in
    seconds of `unit`, converted exactly. `owner` and `offer_id` say whose share more hours come
    out of, where an officer gives them.
    """

    kind: Literal["transfer", "extend", "pause", "resume", "exempt"]
    key: Key
    reason: Said
    to: Annotated[str, Field(pattern=r"^[a-z0-9_]{0,64}$")] = ""
    amount_s: Annotated[Number, Field(ge=0, le=MAX_AMOUNT_S)] = 0
    unit: Unit = Unit.ACCELERATOR
    end_s: Second | None = None
    owner: Owner = "facility"
    offer_id: OfferId = ""


class ChangeView(Body):
    """What was asked (`asked`), done or refused; `answer` is the officer's reason."""

    id: str
    kind: str
    allocation_id: str
    to_id: str
    project: str
    amount_s: int
    end_s: int | None
    state: str
    reason: str
    asked_by: str
    asked_ms: int
    decided_by: str
    decided_ms: int | None
    answer: str


class ChangeList(Body):
    changes: list[ChangeView]
    next: str


class ChangeDecision(Body):
    """An officer's answer to what a lead asked for."""

    grant: bool
    reason: Said


class PaceView(Body):
    """How an allocation is used against its length.

    `verdict` is early, on, slow, fast or over. `used_s` counts what jobs hold; `expected_s` is
    what is expected by the end of the last whole week; `weeks` are the charges of each. If things
    go on so, the hours are used up at `ends_s`, and about eight times of ten between the two
    others (None: not in sight). All three are None where too little is known.
    """

    verdict: str
    used_s: int
    expected_s: int
    left_s: int
    weeks: list[int]
    ends_s: int | None
    earliest_s: int | None
    latest_s: int | None
    words: str


class PacedAllocation(Body):
    """`id` is the allocation's."""

    id: str
    allocation: AllocationView
    pace: PaceView


class PaceList(Body):
    paces: list[PacedAllocation]
    next: str


class NoticeView(Body):
    """Something to know about an allocation, shown to each person until they put it away."""

    id: int
    project: str
    allocation_id: str
    words: str
    created_ms: int


class NoticeList(Body):
    notices: list[NoticeView]
    next: str


class ReclaimView(Body):
    """A step by which idle hours go back: comes, announced, done, exempt or nothing.

    `takes_s` is what would go back if it happened now, or what did; `waits` says what holds it up.
    """

    allocation_id: str
    project: str
    charged_type: str
    number: int
    state: str
    rule: str
    due_s: int
    takes_s: int
    waits: str
    reason: str


class ReclaimList(Body):
    """`next` is empty on the last page."""

    reclaims: list[ReclaimView]
    next: str


class Reclaimed(Body):
    """What a run of the step has settled."""

    reclaims: list[ReclaimView]


class AwardRow(Body):
    """One award as files have it. `award` is its name where it comes from.

    `amount_s` is in whole seconds of the charged type, `start_s` and `end_s` are moments. `lead`
    and `title` make a project that is not there yet. `promised_s` waits in tranches: it goes out
    so that nobody overlooks it, and does not come in.
    """

    award: Annotated[str, Field(min_length=1, max_length=200)]
    project: ProjectName
    charged_type: Annotated[str, Field(min_length=1, max_length=64)]
    amount_s: Annotated[Number, Field(ge=0, le=MAX_AMOUNT_S)]
    start_s: Second
    end_s: Second
    reason: Annotated[str, Field(min_length=1, max_length=MAX_REASON)]
    owner: Owner = "facility"
    offer_id: OfferId = ""
    mode: Annotated[str, Field(max_length=63)] = ""
    title: Annotated[str, Field(max_length=200)] = ""
    lead: Annotated[str, Field(max_length=63)] = ""
    promised_s: Annotated[Number, Field(ge=0, le=MAX_AMOUNT_S)] = 0


class LinedAward(Body):
    """A row and where it stood."""

    line: Annotated[int, Field(ge=0, le=2**31)]
    row: AwardRow


class AwardImport(Body):
    """All rows of a file, awarded together or not at all; `dry_run` says what would be."""

    rows: Annotated[list[LinedAward], Field(max_length=5000)]
    dry_run: bool = False


class ImportedView(Body):
    """`new` was awarded now (or would be), `known` was before. No id in a dry run of a new one."""

    line: int
    award: str
    project: str
    charged_type: str
    amount_s: int
    state: str
    allocation_id: str
    new_project: bool


class ImportReply(Body):
    dry_run: bool
    rows: list[ImportedView]


class OutgoingAward(Body):
    """`id` is the allocation's."""

    id: str
    row: AwardRow


class AwardList(Body):
    awards: list[OutgoingAward]
    next: str
