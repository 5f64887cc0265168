"""Limits of a site that follow allocations: what should be, and what the site found.

limits  what the hub wants at a site: its projects, their people, what each may still use
drift   how the site's own accounts and limits differ from that, and what became of it
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from meyrin.wire.jobs import Body

MOST_LINES = 5000
Word = Annotated[str, Field(max_length=300)]


class ProjectLimits(Body):
    """`left_s`: per charged type, what may still be used, what is held for jobs included."""

    project: str
    people: list[str]
    left_s: dict[str, Annotated[int, Field(ge=0)]]


class LimitsReply(Body):
    """Every project that may use the site and has hours of a type that it charges."""

    at_ms: int
    projects: list[ProjectLimits]


class DriftLine(Body):
    """One difference. `done`: mended; `reported`: left, for the site only looks; `later`: left
    for another pass, `why` says what it waits for; `failed`: tried, in vain."""

    kind: Literal["account", "user", "limit", "open", "close", "remove", "foreign"]
    account: Word
    user: Word = ""
    wanted: Word = ""
    found: Word = ""
    outcome: Literal["done", "reported", "later", "failed"]
    why: Word = ""


class DriftBody(Body):
    """One pass. `words` say why nothing was compared, or are empty."""

    incarnation: str
    at_ms: Annotated[int, Field(ge=0, le=2**53)]
    mode: Literal["report", "apply"]
    words: Word = ""
    lines: Annotated[list[DriftLine], Field(max_length=MOST_LINES)]


class SiteDrift(Body):
    """The latest pass, a page of its lines at a time. `at_ms` None: the site keeps none."""

    site: str
    at_ms: int | None
    mode: str
    words: str
    lines: list[DriftLine]
    next: str
