"""Errors on HTTP: one table, one JSON shape.

{"error": {"code": "...", "message": "...", "hint": "...", "retry": false,
           "facts": {...}, "refusals": [...]}}
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from meyrin.domain import errors

STATUS: dict[type[errors.MeyrinError], int] = {
    errors.InvalidInput: 422,
    errors.BadDirective: 422,
    errors.Refused: 409,
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
            "message": error.message,
            "hint": error.hint,
            "retry": error.retry,
            "facts": {name: str(value) for name, value in error.facts.items()},
            "refusals": [asdict(refusal) for refusal in refusals],
        }
    }


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
        message = str(cause) if cause else f"{place or 'the body'}: {first['msg']}"
        hint = getattr(cause, "hint", "") or "see /api/docs for what this call takes"
        return respond(errors.InvalidInput(message, hint=hint, field=place))

    @app.exception_handler(HTTPException)
    def routing(_request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 404:
            return respond(errors.NotFound("there is nothing at this address"))
        body = error_body(errors.Failed(str(error.detail)))
        return JSONResponse(body, error.status_code, headers=dict(error.headers or {}))
