"""Every error in one shape, from a table that has every class."""

from __future__ import annotations

import json

import pytest
import structlog
from sqlalchemy.exc import OperationalError

from meyrin.domain import errors
from meyrin.domain.errors import InvalidInput
from meyrin.domain.refusal import Reason, Refusal
from meyrin.hub.plumbing import http, texts

JSON = {"content-type": "application/json"}


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
    answer = http.respond(kind("it is so", hint="do this", field="x", value=3, line=None))
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
    in_shape(ada.patch(jobs), 405, "invalid_input")
    in_shape(nobody.get(jobs), 401, "not_logged_in")
    in_shape(ada.get("/api/v1/people"), 403, "not_allowed")
    in_shape(ada.get(f"{jobs}/999"), 404, "not_found")
    in_shape(ada.get(jobs, params={"limit": "many"}), 422, "invalid_input")
    in_shape(ada.post(jobs, content=b'{"submissions": [', headers=said), 422, "invalid_input")
    in_shape(ada.post(jobs, content=b"\xff\xfe", headers=said), 422, "invalid_input")
    for content in (b"[" * 100_000, b'{"submissions": "\xe9"}'):
        error = in_shape(ada.post(jobs, content=content, headers=said), 422, "invalid_input")
        assert "UTF-8" in error["hint"]
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
    answer = sqlite_hub.client(who).post("/api/v1/jobs", content=content, headers=JSON)
    in_shape(answer, 413, "invalid_input")


@pytest.mark.parametrize("header", [None, "Bearer myr_nobody", "Basic x"])
def test_only_who_is_logged_in_sends_much(sqlite_hub, monkeypatch, header):
    monkeypatch.setattr(http, "MAX_STRANGERS_BYTES", 1000)
    body = json.dumps({"submissions": [], "x": "x" * 2000})
    headers = JSON | ({"authorization": header} if header else {})
    answer = sqlite_hub.client().post("/api/v1/jobs", content=body, headers=headers)
    error = in_shape(answer, 401, "not_logged_in")
    assert error["message"].endswith("needs a log-in"), "it was not read to its end"
    answer = sqlite_hub.client("ada").post("/api/v1/jobs", content=body, headers=JSON)
    in_shape(answer, 422, "invalid_input")


@pytest.mark.parametrize("size", [10, 2000])
def test_a_hub_without_its_database_says_so_to_a_body_of_any_size(sqlite_hub, monkeypatch, size):
    monkeypatch.setattr(http, "MAX_STRANGERS_BYTES", 1000)
    client = sqlite_hub.client("ada")

    def away():
        raise OperationalError("x", {}, Exception("connection refused"))

    monkeypatch.setattr(client.app.state.database.engine, "connect", away)
    body = json.dumps({"submissions": [], "x": "x" * size})
    answer = client.post("/api/v1/jobs", content=body, headers=JSON)
    assert in_shape(answer, 503, "unreachable")["retry"]


ADDRESSES = {
    "/api/v1/jobs": "GET, HEAD, POST",
    "/api/v1/jobs/1/cancel": "POST",
    "/jobs/1/cancel": "GET, HEAD, POST",
    "/healthz": "GET, HEAD",
    "/static/meyrin.css": "GET, HEAD",
}


@pytest.mark.parametrize("path", ADDRESSES)
def test_what_an_address_takes_is_told_whole(sqlite_hub, path):
    answer = sqlite_hub.client("ada").patch(path)
    error = in_shape(answer, 405, "invalid_input")
    assert answer.headers["allow"] == ADDRESSES[path]
    assert error["hint"] == f"it takes {ADDRESSES[path]}"


def test_a_bug_is_told_without_its_secrets(sqlite_hub, monkeypatch):
    """Where it is stands in the log of which the answer speaks; its words may be anybody's."""

    def broken(*_args, **_kwargs):
        try:
            {}["secret"]
        except KeyError as error:
            raise AssertionError("secret") from error

    monkeypatch.setattr("meyrin.hub.jobs.service.jobs_page", broken)
    with structlog.testing.capture_logs() as lines:
        answer = sqlite_hub.client("ada").get("/api/v1/jobs")
    in_shape(answer, 500, "failed")
    assert "secret" not in answer.text + repr(lines)
    (line,) = [each for each in lines if each["event"] == "request.bug"]
    assert (line["method"], line["path"], line["met"][0]) == ("GET", "/api/v1/jobs", "KeyError")
    assert line["met"].index("AssertionError") > 1
    assert f"{__file__}:" in line["met"][-1]


TEXTLESS = {"NUL": "\0", "half": "\ud800"}


@pytest.mark.parametrize("odd", TEXTLESS.values(), ids=TEXTLESS)
def test_a_text_that_is_none_is_refused_by_its_field(hub, odd):
    """On every database alike."""
    ada = hub.client("ada")
    asked = {"idempotency_key": f"{odd}12345678", "request": {"script": "#!/bin/sh\n"}}
    said = {"content-type": "application/json"}
    body = json.dumps({"submissions": [asked]}).encode()
    error = in_shape(ada.post("/api/v1/jobs", content=body, headers=said), 422, "invalid_input")
    assert error["facts"] == {"field": "submissions.0.idempotency_key"}
    body = json.dumps({"name": "é\U0001f600", "days": 1}).encode()
    assert ada.post("/api/v1/tokens", content=body, headers=said).status_code == 201


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"a": [0, {"b": "x\0"}]}, "a.1.b"),
        ({"a": {"\ud83d": 1}}, "a"),
        (["\ude00"], "0"),
        ("\0", "the body"),
        ({"k" * 300: ["\0"]}, "k" * 80),
        ({"a": ["\U0001f600", "\\u0000", 0, None]}, ""),
        ([[]] * 1000, ""),
    ],
)
def test_the_place_of_a_text_that_is_none(body, field):
    if not field:
        texts.check_body(body)
        return
    with pytest.raises(InvalidInput) as refused:
        texts.check_body(body)
    assert refused.value.facts["field"] == field


def test_only_a_body_that_has_one_is_looked_through(hub, monkeypatch):
    looked = []
    monkeypatch.setattr(texts, "check_body", looked.append)
    ada = hub.client("ada")
    for kind in ("application/json", "Application/JSON"):
        said = {"content-type": kind}
        for name in ("\U0001f600", "é", "ud83d"):
            ada.post("/api/v1/tokens", content=json.dumps({"name": name}).encode(), headers=said)
        assert looked == []
        for name in ("\ud83d", "\ude00", "\ud83dx", "\0"):
            ada.post("/api/v1/tokens", content=json.dumps({"name": name}).encode(), headers=said)
        assert len(looked) == 4
        looked.clear()


def test_a_nul_in_an_address_is_refused_by_its_field(hub):
    ada = hub.client("ada")
    for path, field in (("jobs?site=a%00", "site"), ("projects/a%00", "name")):
        error = in_shape(ada.get(f"/api/v1/{path}"), 422, "invalid_input")
        assert error["facts"] == {"field": field}
    page = ada.get("/projects/a%00", headers={"accept": "text/html"})
    assert (page.status_code, "has a NUL" in page.text) == (422, True)
    form = ada.post("/run", data={"script": "a\0"}, headers={"accept": "text/html"})
    assert (form.status_code, "script" in form.text) == (422, True)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"walltime_s": True}, "walltime_s"),
        ({"resources": {"tasks": False}}, "tasks"),
        ({"array": {"indices": [True]}}, "indices"),
        ({"dependencies": [{"kind": "afterok", "job": True}]}, "job"),
    ],
)
def test_true_is_no_number(sqlite_hub, wrong, field):
    ada = sqlite_hub.client("ada")
    request = {"script": "#!/bin/sh\n", "held": True, **wrong}
    asked = {"submissions": [{"idempotency_key": "12345678", "request": request}]}
    for path, body in (("jobs", asked), ("forecast", request)):
        error = in_shape(ada.post(f"/api/v1/{path}", json=body), 422, "invalid_input")
        assert error["facts"] == {"field": field}
    error = in_shape(
        ada.post("/api/v1/tokens", json={"name": "x", "days": True}), 422, "invalid_input"
    )
    assert error["facts"] == {"field": "days"}
