"""Turns values into pages: templates, live blocks, safety headers, errors as pages.

A live page is made of blocks. The browser asks the page's own address again every two seconds and
says which blocks it has (`seen`, a short hash each); it gets those that differ, or 204.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.exceptions import HTTPException

from meyrin import __version__
from meyrin.domain.errors import InvalidInput, MeyrinError, NotLoggedIn
from meyrin.domain.job import MAX_SCRIPT_BYTES
from meyrin.domain.units import show_count
from meyrin.hub.plumbing.authz import STRANGER, Actor
from meyrin.hub.plumbing.http import STATUS
from meyrin.hub.reports import show

SAFETY = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; object-src 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    # not no-referrer: browsers would then send `Origin: null` with our own forms
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("meyrin.hub.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    names = (
        "tone",
        "symbol",
        "meaning",
        "iso",
        "utc",
        "clock",
        "day",
        "span",
        "energy",
        "hours",
        "unit",
        "part",
        "happened",
    )
    made.filters |= {name: getattr(show, name) for name in names}
    made.filters |= {"bytes": show.bytes_, "path": show.path, "counted": show_count}
    made.globals |= {"version": __version__, "with_query": with_query}
    return made


def with_query(address: str, **values: Any) -> str:
    """An address with the parameters that say something."""
    query = urlencode({name: value for name, value in values.items() if value not in ("", None)})
    return f"{address}?{query}" if query else address


_templates = _environment()


@dataclass(frozen=True, slots=True)
class View:
    """A page: its template and title, the templates of its live blocks, and what they show.

    `say` is read out to who can't see the page, whenever it changes. `live` is False where
    nothing changes any more.
    """

    template: str
    title: str
    section: str
    values: Mapping[str, Any]
    blocks: tuple[str, ...] = ()
    say: str = ""
    live: bool = True


def respond(request: Request, actor: Actor, now_ms: int, view: View, status: int = 200) -> Response:
    """The whole page, or what changed of it for a browser that has it."""
    common = {
        "actor": actor,
        "now_ms": now_ms,
        "title": view.title,
        "here": view.section,
        "say": view.say,
        **view.values,
    }
    blocks = {
        name: Markup(_templates.get_template(f"blocks/{name}.html").render(common))  # noqa: S704
        for name in view.blocks
    }
    hashes = {name: _digest(text) for name, text in {**blocks, "say": view.say}.items()}
    common["poll"] = _poll_address(request, hashes) if view.blocks and view.live else ""
    seen = request.query_params.get("seen")
    if seen is None or "hx-request" not in request.headers:
        page = _templates.get_template(f"{view.template}.html").render(common, blocks=blocks)
        return HTMLResponse(page, status, SAFETY)
    known = dict(pair.split(".", 1) for pair in seen.split("-") if "." in pair)
    changed = [name for name in blocks if known.get(name) != hashes[name]]
    said = known.get("say") != hashes["say"]
    if not changed and not said:
        return Response(status_code=204, headers=SAFETY)
    part = _templates.get_template("changed.html").render(
        common, blocks={name: blocks[name] for name in changed}, said=said
    )
    return HTMLResponse(part, status, SAFETY)


@dataclass(frozen=True, slots=True)
class Tried:
    """A decision that could not be taken as it was written: for what, what was typed, and why."""

    id: str
    reason: str
    error: MeyrinError
    reviewer: str = ""

    @property
    def status(self) -> int:
        return STATUS[type(self.error)]


def part(name: str, values: Mapping[str, Any], status: int = 200) -> Response:
    """One block by itself, for a page that asked for it."""
    return HTMLResponse(
        _templates.get_template(f"blocks/{name}.html").render(values), status, SAFETY
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _poll_address(request: Request, hashes: Mapping[str, str]) -> str:
    query = [(key, value) for key, value in request.query_params.multi_items() if key != "seen"]
    query.append(("seen", "-".join(f"{name}.{value}" for name, value in hashes.items())))
    return f"{quote(request.url.path)}?{urlencode(query)}"


# --- errors

MAX_FIELD_BYTES = 4 * MAX_SCRIPT_BYTES  # what is a little too long comes back with a word


class PageRoute(APIRoute):
    """A route for people: to a browser, its errors are pages and who is unknown may log in."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handler(request: Request) -> Response:
            try:
                if request.method == "POST":  # read once, here; FastAPI allows 1 MiB a field
                    await request.form(max_part_size=MAX_FIELD_BYTES)
                return await handle(request)
            except (MeyrinError, RequestValidationError, HTTPException) as error:
                page = _told(request, error) if wants_page(request) else None
                if page is None:
                    raise
                return page

        return handler


def _told(
    request: Request, error: MeyrinError | RequestValidationError | HTTPException
) -> Response | None:
    """The error as a page; None for what is no word to whoever asks for pages."""
    if isinstance(error, NotLoggedIn):
        return _log_in(request) or error_page(request, error)
    if isinstance(error, MeyrinError):
        return error_page(request, error)
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        words = f"{where}: {first['msg']}"
        if first["type"] == "string_pattern_mismatch":  # as a form it says nothing to people
            words = f"{where} can't be {first['input'][:80]!r}"
        hint = "this address is not one of the hub's own links: go back and take the link there"
        return error_page(request, InvalidInput(words, hint=hint))
    if error.status_code not in (400, 413):
        return None
    hint = "go back, where what you wrote still is, and send less"
    return error_page(request, InvalidInput(str(error.detail), hint=hint))


def wants_page(request: Request) -> bool:
    """Whether a browser asks; programs get errors as JSON."""
    return "text/html" in request.headers.get("accept", "") or "hx-request" in request.headers


def _log_in(request: Request) -> Response | None:
    """The way to the log-in page and back; None for what can't be asked again by address."""
    if request.method not in ("GET", "HEAD"):
        return None
    query = [(key, value) for key, value in request.query_params.multi_items() if key != "seen"]
    back = quote(request.url.path) + (f"?{urlencode(query)}" if query else "")
    address = with_query("/login", next="" if back == "/" else back)
    if "hx-request" in request.headers:  # a page whose session has ended meanwhile
        return Response(status_code=401, headers={**SAFETY, "HX-Redirect": address})
    return RedirectResponse(address, 303, SAFETY)


_TITLES = {
    400: "This could not be read",
    401: "You are not logged in",
    403: "This is not yours to do",
    404: "Nothing here",
    409: "This can't be done now",
    422: "This could not be read",
    503: "No answer",
    507: "The disk is full",
}


def error_page(request: Request, error: MeyrinError) -> Response:
    """The error as JSON would say it: the same message, hint and status."""
    status = STATUS[type(error)]
    view = View(
        "error",
        _TITLES.get(status, "Something went wrong"),
        "",
        {
            "status": status,
            "message": error.message,
            "hint": error.hint,
            "code": error.code,
            "retry": error.retry,
        },
    )
    return respond(request, STRANGER, 0, view, status)
