"""Errors on HTTP: one table, one JSON shape.

{"error": {"code": "...", "message": "...", "hint": "...", "retry": false,
           "facts": {...}, "refusals": [...]}}
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.routing import Match, Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from meyrin.domain import errors
from meyrin.hub.plumbing.authz import STRANGER, Actor

log = structlog.get_logger("meyrin.hub")
MAX_BODY_BYTES = 64 * 2**20
MAX_STRANGERS_BYTES = 2**20  # a log-in and the forms around it need far less
_FRAMES = 30  # of each exception's traceback, the last ones
_SECRET = re.compile(
    "token|secret|password|credential|key|code|cookie|authorization", re.IGNORECASE
)

STATUS: dict[type[errors.MeyrinError], int] = {
    errors.InvalidInput: 422,
    errors.BadDirective: 422,
    errors.Refused: 409,
    errors.TermsMissing: 409,
    errors.NotAllowed: 403,
    errors.NotLoggedIn: 401,
    errors.NotFound: 404,
    errors.Unreachable: 503,
    errors.Failed: 500,
    errors.Conflict: 409,
    errors.IllegalChange: 409,
    errors.WorldMoved: 409,
    errors.StaleEpoch: 409,
    errors.StorageFull: 507,
}


def error_body(error: errors.MeyrinError) -> dict[str, Any]:
    """The one shape in which an error travels."""
    refusals = error.refusals if isinstance(error, errors.Refused) else ()
    return {
        "error": {
            "code": error.code,
            "message": _sayable(error.message),
            "hint": _sayable(error.hint),
            "retry": error.retry,
            "facts": {
                name: _sayable(str(value))
                for name, value in error.facts.items()
                if value is not None
            },
            "refusals": [asdict(refusal) for refusal in refusals],
        }
    }


def _sayable(text: str) -> str:
    """`text` as it can be sent: what was asked may hold half of a character, which can't."""
    return text.encode("utf-8", "backslashreplace").decode()


def _given(place: str, wrong: Mapping[str, Any]) -> str:
    """The value that is not taken, in words, where it is short and no secret."""
    value = wrong.get("input")
    if wrong["type"] == "missing" or not isinstance(value, str | int | float | None):
        return ""
    shown = repr(value)
    return f", not {shown}" if len(shown) <= 80 and not _SECRET.search(place) else ""


def respond(error: errors.MeyrinError) -> JSONResponse:
    return JSONResponse(error_body(error), STATUS[type(error)])


def install(app: FastAPI) -> None:
    """Make the application answer every error in the one shape."""

    @app.exception_handler(errors.MeyrinError)
    def known(_request: Request, error: errors.MeyrinError) -> JSONResponse:
        return respond(error)

    @app.exception_handler(RequestValidationError)
    def unreadable(_request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if part != "body")
        cause = first.get("ctx", {}).get("error")
        if first["type"] == "json_invalid":
            place, cause = "", f"the body is no JSON, from character {place} on"
        said = f"{place or 'the body'}: {first['msg']}{_given(place, first)}"
        message = str(cause) if cause else said
        hint = getattr(cause, "hint", "") or "see /api/openapi.json for what this call takes"
        return respond(errors.InvalidInput(message, hint=hint, field=place))

    @app.exception_handler(HTTPException)
    def routing(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 404:
            hint = "is the hub's address right, and is the hub as new as what calls it?"
            return respond(errors.NotFound("there is nothing at this address", hint=hint))
        if error.status_code in (400, 401, 413):
            found = _of_body(error)
            status = 413 if error.status_code == 413 else STATUS[type(found)]
            return JSONResponse(error_body(found), status)
        if error.status_code == 405:
            takes = ", ".join(_methods(app, request)) or "GET, HEAD"
            asked = request.scope.get("asked", request.method)
            wrong = f"{asked} is nothing that {request.url.path[:200]} takes"
            other = errors.InvalidInput(wrong, hint=f"it takes {takes}")
            return JSONResponse(error_body(other), 405, headers={"Allow": takes})
        body = error_body(errors.Failed(str(error.detail)))
        return JSONResponse(body, error.status_code, headers=dict(error.headers or {}))

    @app.exception_handler(Exception)
    def bug(request: Request, error: Exception) -> JSONResponse:
        # told in the one shape; the exception goes on to stderr, with its words
        log.error(
            "request.bug",
            method=request.method,
            path=request.url.path,
            met=[line for each in _chain(error) for line in _where(each)],
        )
        return respond(errors.Failed("the hub has met a bug of its own; its log says more"))


def _of_body(error: HTTPException) -> errors.MeyrinError:
    """What is wrong with a body, in our words."""
    if error.status_code == 413:
        return errors.InvalidInput(str(error.detail), hint="send less in one call")
    if error.status_code == 401:
        return errors.NotLoggedIn(str(error.detail), hint="run `meyrin login` first")
    hint = "JSON in UTF-8, not nested too deep; see /api/openapi.json"
    return errors.InvalidInput(f"the body: {error.detail}", hint=hint)


def _methods(app: FastAPI, request: Request) -> Iterator[str]:
    """What the address takes, whichever routes say so."""
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        scope = {**request.scope, "method": method}
        routes = (route for route in app.routes if not isinstance(route, Mount))
        if any(route.matches(scope)[0] is Match.FULL for route in routes):
            yield from ("GET", "HEAD") if method == "GET" else (method,)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """What came of what, the first one first."""
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None:
        yield from _chain(before)
    yield error


def _where(error: BaseException) -> Iterator[str]:
    """The exception's kind, and where it came by; its words may hold what somebody sent."""
    yield type(error).__qualname__
    for frame in traceback.extract_tb(error.__traceback__, limit=-_FRAMES):
        yield f"{frame.filename}:{frame.lineno} {frame.name}"


class CutShort:
    """Ends an answer of which the rest can't be had, without a traceback: what is missing is the
    store's or the database's, and whoever reads sees that it is not whole."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.app(scope, receive, send)
        except RuntimeError as error:
            # so Starlette says that an error came after the answer's head
            if not isinstance(error.__cause__, errors.MeyrinError):
                raise
            log.warning("answer.cut", path=scope["path"], code=error.__cause__.code)


class BodyLimit:
    """Refuses a body that is larger than any call needs, before it is kept in memory: bodies
    are read before any route asks who sent them. What is larger than strangers need is read on
    only for whoever is logged in."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        seen, known = 0, False

        async def limited() -> Message:
            nonlocal seen, known
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > MAX_BODY_BYTES:
                raise HTTPException(413, f"the body is larger than {_mib(MAX_BODY_BYTES)}")
            if seen > MAX_STRANGERS_BYTES and not known:
                known = await run_in_threadpool(_is_known, Request(scope))
                if not known:
                    most = _mib(MAX_STRANGERS_BYTES)
                    raise HTTPException(401, f"a body of more than {most} needs a log-in")
            return message

        await self.app(scope, limited if scope["type"] == "http" else receive, send)


def _is_known(request: Request) -> bool:
    """Whether a person or an agent sent this."""
    try:
        actor: Actor = request.app.state.authenticate(request)
    except errors.NotLoggedIn:
        return False
    except errors.MeyrinError:  # a database that is away or busy
        return True  # the route meets it again, and tells it
    return actor != STRANGER


def _mib(number: int) -> str:
    return f"{number // 2**20} MiB"
