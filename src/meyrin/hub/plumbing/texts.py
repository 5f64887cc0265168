"""Texts that no database keeps (a NUL, half of a character) are refused where they come in, by
the name of their field, so that every database gives the same answer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from fastapi import Request

from meyrin.domain.errors import InvalidInput

_NO_TEXT = re.compile("[\0\ud800-\udfff]")
_WRITTEN = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")  # so JSON writes them
# what a site's programs say is mended instead, as one odd word must not stop all reports; and the
# bytes of a file are nobody's text
_LEFT = ("/api/v1/agent/", "/api/v1/uploads/")


def check(texts: Iterable[tuple[str, Any]]) -> None:
    """Raise InvalidInput for the first text that is none; each comes with its field."""
    for name, text in texts:
        if isinstance(text, str) and _NO_TEXT.search(text):
            raise InvalidInput(
                f"{name[:80]!r} has a NUL, or half of a character, in it",
                hint="take it out",
                field=name[:80],
            )


async def check_request(request: Request) -> None:
    """Asked of every route: what stands in its path, its query and its JSON body."""
    check(request.path_params.items())
    check(request.query_params.multi_items())
    if "json" not in request.headers.get("content-type", ""):
        return
    if request.url.path.startswith(_LEFT) or not _WRITTEN.search(await request.body()):
        return
    try:
        body = await request.json()
    except (ValueError, RecursionError):
        return  # the route tells it, if it takes a body
    check(_texts(body))


def _texts(body: Any) -> Iterator[tuple[str, Any]]:
    """All of a body's texts by their place, names of what is in it among them."""
    left: list[tuple[str, Any]] = [("", body)]
    while left:
        place, value = left.pop()
        if isinstance(value, dict):
            inside = list(value.items())
            yield from ((f"{place or 'the body'}", name) for name in value)
        elif isinstance(value, list):
            inside = list(enumerate(value))
        else:
            yield place or "the body", value
            continue
        left += [(f"{place}.{name}".removeprefix("."), one) for name, one in reversed(inside)]
