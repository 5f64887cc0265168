"""Limits of a site that follow allocations: what should be, and what the site found.

limits  what the hub wants at a site: its projects, their people, what each may still use
drift   how the site's own accounts and limits differ from that, and what became of it
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from meyrin.wire.jobs import Body, Milli, Words

MOST_LINES = 5000
Word = Annotated[Words, Field(max_length=300)]


class ProjectLimits(Body):
    """`left_s`: per charged type, what may still be used, what is held for jobs included."""

    project: str
    people: list[str]
    left_s: dict[str, Annotated[int, Field(ge=0)]]


class Left(Body):
    """Somebody who left a project: the site confirms that they can use its account no longer."""

    departure: str
    project: str
    person: str


class LimitsReply(Body):
    """Every project that may use the site and has hours of a type that it charges; and who left
    one, as long as the site has not confirmed it."""

    at_ms: int
    projects: list[ProjectLimits]
    left: list[Left] = Field(default_factory=list)


class Revoked(Body):
    """What the site found of a departure. `revoked`: their user was in the project's account or
    could have been, and is not now; `no-user`: they have no user here; `unkept`: the agent does
    not keep the site's accounts, or not this one; `failed`: their user is still there, `words` say
    why."""

    departure: str
    outcome: Literal["revoked", "no-user", "unkept", "failed"]
    words: Word = ""


class RevokedBody(Body):
    incarnation: str
    said: Annotated[list[Revoked], Field(max_length=MOST_LINES)]


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
    at_ms: Milli
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
