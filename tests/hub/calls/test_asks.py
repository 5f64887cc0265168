"""Lists of asks come in an order that holds across pages: one's own, and the officer's queue."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
import sqlalchemy as sa
from tests.hub.facility import Facility

from meyrin.hub.calls import proposals_store
from meyrin.hub.reports import apply_routes


def ask(hub: Facility, key: str) -> str:
    """A day after the one before, so due later than it."""
    hub.clock.pass_s(86_400)
    wanted = {"key": key, "project": "lab", "title": key, "kind": "academic", "months": 12,
              "purpose": "science", "amount_h": 10**6, "charged_type": "core"}  # fmt: skip
    answer = hub.client("ada").post("/api/v1/proposals", json=wanted)
    assert answer.status_code < 300, answer.text
    return str(answer.json()["id"])


def pages(client: Any, address: str) -> list[list[str]]:
    """The asks of each page, over its link `More`."""
    found = []
    while address:
        text = client.get(address, headers={"accept": "text/html"}).text
        found.append(re.findall(r'<a href="/proposals/(prp_\w+)"', text))
        more = re.search(r'<p class="more"><a href="([^"]+)">', text)
        address = html.unescape(more[1]) if more else ""
    return found


@pytest.fixture
def asked(hub: Facility, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Seven asks of ada, and three on a page."""
    monkeypatch.setattr(apply_routes, "PAGE", 3)
    return [ask(hub, f"ask-{number}") for number in range(7)]


def test_own_asks_are_there_newest_first(hub: Facility, asked: list[str]) -> None:
    newest = asked[::-1]
    ada = hub.client("ada")
    assert pages(ada, "/apply") == [newest[:3], newest[3:6], newest[6:]]
    told = ada.get("/api/v1/proposals", params={"limit": 4}).json()
    assert [one["id"] for one in told["proposals"]] == newest[:4]


def test_the_most_urgent_is_on_the_first_page(hub: Facility, asked: list[str]) -> None:
    p = proposals_store.proposals
    with hub.write() as step:  # a clock stands, and one was promised sooner
        step.change(sa.update(p).where(p.c.id == asked[0]).values(due_s=None))
        step.change(sa.update(p).where(p.c.id == asked[6]).values(due_s=hub.clock.now_s))
    urgent = [asked[6], *asked[1:6], asked[0]]
    root = hub.client("root")
    assert pages(root, "/officer") == [urgent[:3], urgent[3:6], urgent[6:]]
    assert "3 asks and more waiting" in root.get("/officer").text
