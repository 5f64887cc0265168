"""Terms of sites on the wire."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from meyrin.wire.jobs import Body


class NewTerms(Body):
    """`text`, an address, or both; a version's words never change."""

    version: Annotated[str, Field(min_length=1, max_length=40)]
    text: Annotated[str, Field(max_length=100_000)] = ""
    url: Annotated[str, Field(max_length=2000)] = ""


class Acceptance(Body):
    """`version` is the one that was read: only the one in force can be accepted."""

    version: Annotated[str, Field(min_length=1, max_length=40)]


class TermsView(Body):
    """Terms in force at a site; `accepted_ms` is when you accepted this version, None: not yet."""

    site: str
    version: str
    text: str
    url: str
    digest: str
    set_ms: int
    set_by: str
    accepted_ms: int | None


class TermsList(Body):
    terms: list[TermsView]
    next: str


class AcceptedView(Body):
    person: str
    version: str
    digest: str
    at_ms: int


class AcceptedList(Body):
    accepted: list[AcceptedView]
    next: str
