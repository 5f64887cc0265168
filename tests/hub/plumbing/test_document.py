"""The OpenAPI document says how callers prove who they are, and what an error looks like."""

from __future__ import annotations

from jsonschema import Draft202012Validator
from tests.hub.test_routes import access, routes

from meyrin.hub.plumbing.authz import Access

WAYS = {
    Access.ANYONE: None,
    Access.AGENT: [{"agent": []}],
    Access.CALLER: [{"token": []}, {"session": []}, {"agent": []}],
}


def test_every_call_says_who_may_make_it(sqlite_hub):
    said = sqlite_hub.client().get("/api/openapi.json").json()
    assert set(said["components"]["securitySchemes"]) == {"token", "session", "agent"}
    for method, path, route in routes(sqlite_hub.app):
        if route.include_in_schema:
            plain = path.replace(":path}", "}").replace(":name}", "}")
            told = said["paths"][plain][method.lower()].get("security")
            assert told == WAYS.get(access(route), [{"token": []}, {"session": []}]), path


def test_errors_have_the_shape_that_the_document_says(sqlite_hub):
    said = sqlite_hub.client().get("/api/openapi.json").json()
    assert "ValidationError" not in str(said)
    call = said["paths"]["/api/v1/jobs"]["post"]
    assert set(call["responses"]) == {"200", "default"}
    named = call["responses"]["default"]["content"]["application/json"]["schema"]
    whole = {**named, "components": said["components"]}
    ada, check = sqlite_hub.client("ada"), Draft202012Validator(whole).validate
    request = {"script": "#!/bin/sh\n", "resources": {"nodes_min": 9999}}
    asked = {"submissions": [{"idempotency_key": "12345678", "request": request}]}
    refused = ada.post("/api/v1/jobs", json=asked).json()
    assert refused["error"]["refusals"]
    for answer in (refused, ada.post("/api/v1/jobs", json=[]).json()):
        check(answer)
