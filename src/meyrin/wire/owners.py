"""Owners' statements on the wire. Amounts are whole accelerator-seconds (or core-seconds)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from meyrin.wire.jobs import Body
from meyrin.wire.names import Owner


class MonthView(Body):
    """`state` is draft, closed (its document is being kept), frozen or published. `digest` is the
    SHA-256 of the frozen document."""

    month: str
    state: str
    frozen_ms: int | None
    digest: str | None
    published_ms: int | None
    published_by: str | None


class MonthList(Body):
    months: list[MonthView]
    next: str


class OwnerLine(Body):
    """One owner and charged type.

    `entitled_s` is its part of what could be used, `delivered_s` its part of what was,
    `paid_s` how much of that came by the paid door, `income_cents` what that earned (None where
    an offer has no price). `returned_s` is what was used of hours that the owner gave out.
    """

    owner: str
    charged_type: str
    entitled_s: int
    delivered_s: int
    paid_s: int
    returned_s: int
    income_cents: int | None


class OfferLine(Body):
    """The same of one offer."""

    owner: str
    charged_type: str
    offer_id: str
    site: str
    partition: str
    entitled_s: int
    delivered_s: int
    paid_s: int
    income_cents: int | None


class CorrectionLine(Body):
    """Entries of this month that mend the closed month `corrects`; they are in the sums above."""

    corrects: str
    charged_type: str
    owner: str
    offer_id: str
    amount_s: int
    entries: int


class UnknownLine(Body):
    """For how long an offer's capacity is not on record; nothing is entitled for it."""

    offer_id: str
    site: str
    partition: str
    seconds: int


class Document(Body):
    """A month from `from_s` until just before `until_s`."""

    version: int
    month: str
    from_s: int
    until_s: int
    owners: list[OwnerLine]
    offers: list[OfferLine]
    corrections: list[CorrectionLine]
    unknown: list[UnknownLine]


class ReturnView(Body):
    """An owner's part of what was used over its part of what was entitled.

    The fraction is exact; `coefficient` is it with three decimals, rounded down. `band` is
    very poor (below 0.40), poor (below 1.00), balanced, or unknown.
    """

    owner: str
    charged_type: str
    entitled_s: int
    returned_s: int
    numerator: int | None
    denominator: int | None
    coefficient: str
    band: str


class OwnersStatement(Body):
    state: MonthView
    document: Document
    returns: list[ReturnView]


class YearView(Body):
    """Coefficients over the months of a year; `drafts` are those that may still change."""

    year: int
    months: list[str]
    drafts: list[str]
    returns: list[ReturnView]


class NewComment(Body):
    """What an owner says of a month; `key` makes it one comment however often it is sent."""

    owner: Owner
    words: Annotated[str, Field(min_length=1, max_length=2000)]
    key: Annotated[str, Field(min_length=1, max_length=200)]


class CommentView(Body):
    """`phase` is draft or published: what the month was when it was said."""

    id: int
    at_ms: int
    person: str
    owner: str
    phase: str
    words: str


class CommentList(Body):
    comments: list[CommentView]
    next: str


class SpeakerBody(Body):
    """A person who may comment for an owner."""

    owner: Owner
    person: Annotated[str, Field(min_length=1, max_length=63)]


class SpeakerView(Body):
    owner: str
    person: str
    since_ms: int


class SpeakerList(Body):
    speakers: list[SpeakerView]
    next: str
