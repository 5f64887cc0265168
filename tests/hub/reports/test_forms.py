"""Forms of pages: whatever is typed into a field, the answer names it and the form keeps it."""

from __future__ import annotations

import re
from html import unescape

import pytest

from meyrin.domain.units import HOUR_S
from meyrin.hub.calls import proposals, unsent
from meyrin.hub.calls import service as calls
from meyrin.hub.owners import service as owners
from meyrin.hub.reports import apply_form

HTML = {"accept": "text/html"}
ASK = {"key": "k", "project": "idea", "title": "An idea", "amount_h": "50", "charged_type": "core",
       "kind": "academic", "purpose": "try", "months": "3", "mode": ""}  # fmt: skip
NO_NUMBERS = ["", "  ", "-5", "1.5", "1,5", "1 0", "0", "99999999999", "many", "\u0665\u0660",
              "\uff15\uff10", "5e3",
              "+7", "½", "0x10", "1,0000", "1,000 000", "9" * 300, "5\x00"]  # fmt: skip


def told(page: str) -> str:
    found = re.search(
        r'<div class="problem" id="problem" role="alert">(.*?)</div>', page, re.DOTALL
    )
    assert found, page
    return unescape(found[1])


def kept(page: str, name: str) -> str:
    field = re.search(rf'<input [^>]*name="{name}"[^>]* value="([^"]*)"', page)
    if field is None:
        field = re.search(rf'name="{name}".*?<option value="([^"]*)" selected', page)
    if field is None:
        field = re.search(rf'<textarea [^>]*name="{name}"[^>]*>\n(.*?)</textarea>', page, re.DOTALL)
    assert field, page
    return unescape(field[1])


@pytest.mark.parametrize(
    ("field", "values", "named", "allowed"),
    [
        ("amount_h", NO_NUMBERS, "hours", "a whole number from 1 to 10,000,000,000"),
        ("months", [*NO_NUMBERS, "61"], "months", "a whole number from 1 to 60"),
        ("title", ["", " \t ", "a\x00b", "x" * 201], "what it is about", ""),
        ("project", ["", "Idea", "my idea", "../x", "идея", "-x", "a" * 64, "a\x00"],
         "project", ""),
        ("kind", ["", "king"], "what you are", "academic"),
        ("purpose", ["", "fun"], "what it is for", "try"),
        ("charged_type", [""], "what the hours are of", "types that sites lend"),
        ("charged_type", ["gpu9", "b\x00"], "", ""),
        ("mode", ["none-such", "B/\x00"], "mode", ""),
    ],
)  # fmt: skip
def test_an_ask_says_which_field_is_wrong_and_keeps_what_was_typed(
    sqlite_hub, field, values, named, allowed
):
    sqlite_hub.person("zoe")
    zoe = sqlite_hub.client("zoe")
    for value in values:
        answer = zoe.post("/apply", data=ASK | {field: value}, headers=HTML)
        assert answer.status_code in (404, 422), (value, answer.text)
        words = told(answer.text)
        assert named in words, value
        assert allowed in words, value
        assert repr(value.strip()[:59])[1:-1] in words or not value.strip(), value
        assert re.search(rf'name="{field}" aria-invalid="true"', answer.text) or not named
        if value.strip():
            shown = kept(answer.text, field)
            assert shown.replace("\x00", "�") == value.strip().replace("\x00", "�")
        assert kept(answer.text, "title" if field != "title" else "project")
    with sqlite_hub.read() as step:
        assert not proposals.listed(step, sqlite_hub.actor("zoe"), "", "", 9, everybody=False)[0]


def test_hours_may_be_parted_in_threes():
    for text, number in {"50": 50, "1,000": 1000, "1 000": 1000, "1'000'000": 10**6,
                         "12 345 678": 12345678, "007": 7}.items():  # fmt: skip
        typed = apply_form.said(ASK | {"amount_h": text})
        assert apply_form.wanted("k", typed).amount_h == number


def test_where_it_leads_says_what_is_wrong_with_the_hours(sqlite_hub):
    ada = sqlite_hub.client("ada")
    asked = {name: ASK[name] for name in unsent.FIELDS if name != "title"}
    for text in ("-5", "1.5", "many"):
        block = ada.get("/apply/route", params=asked | {"amount_h": text}, headers=HTML).text
        assert f"hours can't be {text!r}" in unescape(block)
        assert "a whole number from 1" in block
        assert "Write how many" not in block
    assert "Write how many" in ada.get("/apply/route", params=asked | {"amount_h": " "}).text
    assert "This leads to" in ada.get("/apply/route", params=asked).text


REASONS = ["", "   ", "x" * 501, "two\nlines", "a\x00b"]


def test_a_decision_without_a_fit_reason_keeps_what_was_typed(sqlite_hub):
    sqlite_hub.person("zoe")
    answer = sqlite_hub.client("zoe").post("/apply", data=ASK | {"amount_h": "5000"})
    ask = answer.headers["location"].rpartition("/")[2]
    root = sqlite_hub.client("root")
    for reason in REASONS:
        for act in ("grant", "refuse"):
            sent = {"act": act, "reason": reason}
            answer = root.post(f"/officer/{ask}", data=sent, headers=HTML)
            assert answer.status_code == 422
            assert "the reason" in told(answer.text)
            assert "1 to 500 characters" in told(answer.text)
            assert kept(answer.text, "reason").strip() == reason.strip()
            assert 'hx-trigger="every' not in answer.text, "what was typed is not polled away"
    for key in ("abc", "g" * 64, "0" * 65):
        sent = {"act": "grant", "reason": "a plan", "reviewer": key}
        answer = root.post(f"/officer/{ask}", data=sent, headers=HTML)
        assert "public key of the gates' reviewer can't be" in told(answer.text)
        assert kept(answer.text, "reason") == "a plan"
    assert "no decision" in told(
        root.post(f"/officer/{ask}", data={"act": "burn", "reason": "x"}, headers=HTML).text
    )
    for _ in range(2):
        sent = {"act": "refuse", "reason": "no"}
        assert root.post(f"/officer/{ask}", data=sent, headers=HTML).status_code == 303
    answer = root.post(f"/officer/{ask}", data={"act": "grant", "reason": "y"}, headers=HTML)
    assert answer.status_code == 409
    assert "is refused already" in told(answer.text)


def test_a_change_is_decided_with_a_fit_reason(sqlite_hub):
    with sqlite_hub.read() as step:
        ((mine, _, _), *_), _ = calls.allocations_page(step, sqlite_hub.actor("ada"), "lab", "", 9)
    body = {"kind": "extend", "end_s": mine.end_s + HOUR_S * 24, "reason": "more", "key": "c1"}
    asked = sqlite_hub.client("ada").post(f"/api/v1/allocations/{mine.id}/changes", json=body)
    assert asked.status_code in (200, 201), asked.text
    change = asked.json()["id"]
    root = sqlite_hub.client("root")
    for reason in REASONS:
        sent = {"act": "grant", "reason": reason}
        answer = root.post(f"/officer/changes/{change}", data=sent, headers=HTML)
        assert answer.status_code == 422
        assert "the reason" in told(answer.text)
        assert kept(answer.text, "reason").strip() == reason.strip()


def test_a_comment_that_does_not_fit_stays(sqlite_hub):
    hub = sqlite_hub
    hub.submit()
    hub.steps()
    (work,) = hub.agents["alps"].lease().work
    hub.clock.pass_s(3600)
    hub.agents["alps"].report(hub.agents["alps"].ended(work, elapsed_s=3600))
    with hub.write() as step:
        owners.speak(step, hub.actor("root"), "alps-owner", "ada")
    ada = hub.client("ada")
    for words, named in (("", "is empty"), ("  ", "is empty"), ("x" * 2001, "has 2,001 characters"),
                         ("why\x00", "in it")):  # fmt: skip
        sent = {"owner": "alps-owner", "words": words, "key": "k"}
        answer = ada.post("/owners/2027-01/comments", data=sent, headers=HTML)
        assert answer.status_code == 422, words
        assert f"the comment {named}" in told(answer.text) or named in told(answer.text)
        assert kept(answer.text, "words").replace("\ufffd", "\x00") == words
    sent = {"owner": "alps-owner", "words": "why?", "key": "k"}
    assert ada.post("/owners/2027-01/comments", data=sent).status_code == 303
    answer = ada.post("/owners/2027-01/comments", data=sent | {"words": "other"}, headers=HTML)
    assert answer.status_code == 409
    assert kept(answer.text, "words") == "other"


def test_a_script_that_is_too_long_stays(sqlite_hub):
    script = "#!/bin/sh\n" + "# " + "x" * (4 * 2**20) + "\n"
    sent = {"project": "lab", "script": script, "key": "key-of-ada"}
    answer = sqlite_hub.client("ada").post("/run", data=sent, headers=HTML)
    assert answer.status_code == 422, answer.text
    assert "more than 4 MiB" in told(answer.text)
    assert kept(answer.text, "script") == script
