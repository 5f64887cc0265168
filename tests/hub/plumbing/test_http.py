"""Every error in one shape, from a table that has every class."""

from __future__ import annotations

import json

import pytest

from meyrin.domain import errors
from meyrin.domain.refusal import Reason, Refusal
from meyrin.hub.plumbing import http


def tree(root=errors.MeyrinError):
    """Every class of the tree but its root."""
    for each in root.__subclasses__():
        if each.__module__ == "meyrin.domain.errors":
            yield each
            yield from tree(each)


def test_the_table_has_every_error_and_no_other():
    assert set(http.STATUS) == set(tree())


@pytest.mark.parametrize("kind", sorted(tree(), key=lambda each: each.__name__))
def test_every_error_travels_in_the_one_shape(kind):
    answer = http.respond(kind("it is so", hint="do this", field="x", value=3))
    assert answer.status_code == http.STATUS[kind]
    assert json.loads(answer.body) == {
        "error": {
            "code": kind.code,
            "message": "it is so",
            "hint": "do this",
            "retry": kind.retry,
            "facts": {"field": "x", "value": "3"},
            "refusals": [],
        }
    }


def test_refusals_travel_with_the_error_that_carries_them():
    no = Refusal(Reason.WALLTIME, "alps", "cpu", 7, 5)
    body = json.loads(http.respond(errors.Refused("no", refusals=(no,))).body)
    assert body["error"]["refusals"] == [
        {"reason": "walltime", "site": "alps", "partition": "cpu", "asked": 7, "limit": 5}
    ]


def in_shape(answer, status, code):
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error"}
    error = answer.json()["error"]
    assert set(error) == {"code", "message", "hint", "retry", "facts", "refusals"}
    assert error["code"] == code
    assert error["message"]
    return error


def test_whatever_goes_wrong_is_said_in_the_one_shape(sqlite_hub):
    ada, nobody = sqlite_hub.client("ada"), sqlite_hub.client()
    jobs = "/api/v1/jobs"
    said = {"content-type": "application/json"}
    in_shape(ada.get("/api/v1/nowhere"), 404, "not_found")
    in_shape(ada.patch(jobs), 405, "failed")
    in_shape(nobody.get(jobs), 401, "not_logged_in")
    in_shape(ada.get("/api/v1/people"), 403, "not_allowed")
    in_shape(ada.get(f"{jobs}/999"), 404, "not_found")
    in_shape(ada.get(jobs, params={"limit": "many"}), 422, "invalid_input")
    in_shape(ada.post(jobs, content=b'{"submissions": [', headers=said), 422, "invalid_input")
    in_shape(ada.post(jobs, content=b"\xff\xfe", headers=said), 422, "invalid_input")
    in_shape(ada.post(jobs, content=b"[" * 100_000, headers=said), 400, "failed")
    in_shape(ada.post(jobs, json=[]), 422, "invalid_input")
    in_shape(ada.post(jobs), 422, "invalid_input")
    error = in_shape(ada.post(jobs, json={"submissions": []}), 422, "invalid_input")
    assert error["facts"] == {"field": "submissions"}
    error = in_shape(ada.post(jobs, content=b"{nope", headers=said), 422, "invalid_input")
    assert "no JSON" in error["message"]
    error = in_shape(
        ada.post("/api/v1/forecast", json={"script": "x", "walltime_s": -1}), 422, "invalid_input"
    )
    assert error["hint"] == "seconds, 1 or more"


def test_what_is_not_taken_is_named_with_its_value_unless_it_is_secret(sqlite_hub):
    ada = sqlite_hub.client("ada")
    ask = {"key": "k1", "project": "astro", "kind": "academic", "purpose": "try", "months": 3}
    ask |= {"amount_h": 10, "charged_type": "h100"}

    def said(**wrong):
        answer = ada.post("/api/v1/proposals", json=ask | wrong)
        return in_shape(answer, 422, "invalid_input")["message"]

    assert said(months=0).endswith("greater than or equal to 1, not 0")
    assert said(kind="hobby").endswith("'public', not 'hobby'")
    assert "not" not in said(key="")
    assert said(title="x" * 300).endswith("200 characters")
    assert said(project="My stars!") == "project can't be called 'My stars!'"


@pytest.mark.parametrize("who", ["ada", None])
@pytest.mark.parametrize("method", ["said", "in pieces"])
def test_a_body_that_no_call_needs_is_refused_while_it_comes(sqlite_hub, monkeypatch, who, method):
    monkeypatch.setattr(http, "MAX_BODY_BYTES", 1000)
    pieces = [b'"' + b"x" * 300] * 10
    content = b"".join(pieces) if method == "said" else iter(pieces)
    headers = {"content-type": "application/json"}
    answer = sqlite_hub.client(who).post("/api/v1/jobs", content=content, headers=headers)
    in_shape(answer, 413, "invalid_input")


def test_a_bug_is_told_without_its_secrets(sqlite_hub, monkeypatch):
    def broken(*_args, **_kwargs):
        raise AssertionError("secret")

    monkeypatch.setattr("meyrin.hub.jobs.service.jobs_page", broken)
    answer = sqlite_hub.client("ada").get("/api/v1/jobs")
    in_shape(answer, 500, "failed")
    assert "secret" not in answer.text
