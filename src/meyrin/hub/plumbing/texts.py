"""Texts that no database keeps (a NUL, half of a character) are refused where they come in, by
the name of their field, so that every database gives the same answer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from meyrin.domain.errors import InvalidInput

_NO_TEXT = re.compile("[\0\ud800-\udfff]")
# so JSON writes them: a NUL, a first half without a second, a second without a first
_WRITTEN = re.compile(
    rb"\\u(?:0000|[dD][89abAB]..(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB]..\\u)[dD][c-fC-F])",
    re.DOTALL,
)
# what a site's programs say is mended instead, as one odd word must not stop all reports; and the
# bytes of a file are nobody's text
_LEFT = ("/api/v1/agent/", "/api/v1/uploads/")


def check(texts: Iterable[tuple[str, Any]]) -> None:
    """Raise InvalidInput for the first text that is none; each comes with its field."""
    for name, text in texts:
        if _is_none(text):
            _refuse(name)


def _refuse(name: str) -> NoReturn:
    raise InvalidInput(
        f"{name[:80]!r} has a NUL, or half of a character, in it",
        hint="take it out",
        field=name[:80],
    )


async def check_request(request: Request) -> None:
    """Asked of every route: what stands in its path, its query and its JSON body."""
    check(request.path_params.items())
    check(request.query_params.multi_items())
    if "json" not in request.headers.get("content-type", "").lower():
        return
    if request.url.path.startswith(_LEFT) or not _WRITTEN.search(await request.body()):
        return
    try:
        body = await request.json()  # kept with the request: the route reads it no second time
    except (ValueError, RecursionError):
        return  # the route tells it, if it takes a body
    await run_in_threadpool(check_body, body)


def check_body(body: Any) -> None:
    """As `check`, of all texts in it, names among them."""
    if isinstance(body, str):
        check([("the body", body)])
    way: list[str] = []  # to what is looked at
    levels = [_inside(body)]
    while levels:
        name, value = next(levels[-1], (None, None))
        if name is None:
            levels.pop()
            del way[-1:]
            continue
        if _is_none(name):
            _refuse(".".join(way) or "the body")
        if _is_none(value):
            _refuse(".".join([*way, str(name)]))
        if isinstance(value, (dict, list)):
            way.append(str(name)[:80])
            levels.append(_inside(value))


def _is_none(text: object) -> bool:
    return isinstance(text, str) and _NO_TEXT.search(text) is not None


def _inside(value: object) -> Iterator[tuple[str | int, Any]]:
    if isinstance(value, dict):
        return iter(value.items())
    return enumerate(value) if isinstance(value, list) else iter(())
