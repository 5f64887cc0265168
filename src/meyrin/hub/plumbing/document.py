"""The OpenAPI document: what FastAPI derives, with how callers say who they are and the one shape
in which errors travel."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from meyrin.hub.plumbing.authz import Access

Ways = list[dict[str, list[str]]]

PERSON: Ways = [{"token": []}, {"session": []}]
AGENT: Ways = [{"agent": []}]
_WAYS: dict[Access, Ways] = {
    Access.ANYONE: [],
    Access.AGENT: AGENT,
    Access.CALLER: PERSON + AGENT,
}
_TEXT = {"type": "string"}
_LIMIT = {"anyOf": [{"type": "integer"}, _TEXT, {"type": "null"}]}
_REFUSAL = {
    "type": "object",
    "required": ["reason", "site", "partition", "asked", "limit"],
    "properties": {
        "reason": _TEXT,
        "site": _TEXT,
        "partition": _TEXT,
        "asked": _LIMIT,
        "limit": _LIMIT,
    },
}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "hint", "retry", "facts", "refusals"],
            "properties": {
                "code": _TEXT | {"description": "stable, for programs"},
                "message": _TEXT,
                "hint": _TEXT | {"description": "the way out"},
                "retry": {"type": "boolean", "description": "may the same call succeed later"},
                "facts": {"type": "object", "additionalProperties": _TEXT},
                "refusals": {"type": "array", "items": _REFUSAL},
            },
        }
    },
}


def describe(app: FastAPI, cookie: str) -> None:
    """Make the application's document say so; `cookie` is a browser session's."""
    derive = app.openapi

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            _complete(derive(), cookie)
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _complete(said: dict[str, Any], cookie: str) -> None:
    parts = said["components"]
    for name in ("HTTPValidationError", "ValidationError"):
        parts["schemas"].pop(name, None)
    parts["schemas"]["Error"] = _ERROR
    bearer = {"type": "http", "scheme": "bearer"}
    parts["securitySchemes"] = {
        "token": bearer | {"description": "a person's: `meyrin token new`"},
        "session": {"type": "apiKey", "in": "cookie", "name": cookie},
        "agent": bearer | {"description": "the credential of a site's agent"},
    }
    error = {"$ref": "#/components/schemas/Error"}
    for path in said["paths"].values():
        for call in path.values():
            call["responses"].pop("422", None)
            call["responses"]["default"] = {
                "description": "An error",
                "content": {"application/json": {"schema": error}},
            }
            # FastAPI names the Access that the route declares
            (named,) = call.pop("security")
            ways = _WAYS.get(Access[next(iter(named))], PERSON)
            if ways:
                call["security"] = ways
