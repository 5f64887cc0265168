"""Errors on HTTP: one table, one JSON shape.

{"error": {"code": "...", "message": "...", "hint": "...", "retry": false,
           "facts": {...}, "refusals": [...]}}
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from meyrin.domain import errors

MAX_BODY_BYTES = 64 * 2**20
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
            "facts": {name: _sayable(str(value)) for name, value in error.facts.items()},
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
    def routing(_request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 404:
            hint = "is the hub's address right, and is the hub as new as what calls it?"
            return respond(errors.NotFound("there is nothing at this address", hint=hint))
        if error.status_code == 413:
            large = errors.InvalidInput(str(error.detail), hint="send less in one call")
            return JSONResponse(error_body(large), 413)
        body = error_body(errors.Failed(str(error.detail)))
        return JSONResponse(body, error.status_code, headers=dict(error.headers or {}))

    @app.exception_handler(Exception)
    def bug(_request: Request, _error: Exception) -> JSONResponse:
        # told in the one shape; the exception goes on to the server's log
        return respond(errors.Failed("the hub has met a bug of its own; its log says more"))


class BodyLimit:
    """Refuses a body that is larger than any call needs, before it is kept in memory: bodies
    are read before anybody asks who sent them."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        seen = 0

        async def limited() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > MAX_BODY_BYTES:
                limit = f"{MAX_BODY_BYTES // 2**20} MiB"
                raise HTTPException(413, f"the body is larger than {limit}")
            return message

        await self.app(scope, limited if scope["type"] == "http" else receive, send)
