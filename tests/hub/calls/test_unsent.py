"""Asks that are being written: kept for one person, never overwritten unseen, gone when sent."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from tests.hub.facility import Facility

from meyrin.domain.errors import Conflict, InvalidInput, NotFound, Refused
from meyrin.hub.calls import unsent

SAID = {
    "project": "my-idea", "title": "An idea, ideally", "amount_h": "50", "kind": "sme",
    "purpose": "train", "months": "6", "charged_type": "core", "mode": "starter",
}  # fmt: skip
HTMX = {"HX-Request": "true", "accept": "text/html"}


@pytest.fixture
def hub(empty_hub: Facility) -> Facility:
    """Two people and a site that lends something."""
    from tests.hub.facility import CPU

    empty_hub.site("alps", CPU)
    for name in ("zoe", "yan"):
        empty_hub.person(name)
    return empty_hub


def keep(hub: Facility, who: str, mark: str, began_from: str = "", key: str = "k", **said: Any):
    actor = hub.actor(who)
    with hub.write() as step:
        return unsent.keep(step, actor, key, SAID | said, mark, began_from)


def keys(hub: Facility, who: str) -> list[str]:
    return [one["key"] for one in hub.client(who).get("/api/v1/unsent").json()["unsent"]]


def test_what_was_written_is_kept_as_it_was_typed(hub: Facility) -> None:
    first = keep(hub, "zoe", "a", amount_h="about 50?")
    hub.clock.pass_s(5)
    again = keep(hub, "zoe", "a", title="")
    assert dict(again.said) == SAID | {"title": ""}
    assert again.saved_ms == first.saved_ms + 5000
    assert again.made_ms == first.made_ms
    shown = hub.client("zoe").get("/api/v1/unsent").json()
    assert (shown["unsent"][0]["said"], shown["next"]) == (SAID | {"title": ""}, "")


def test_it_is_ones_own_only(hub: Facility) -> None:
    keep(hub, "zoe", "a")
    actor = hub.actor("yan")
    with hub.read() as step, pytest.raises(NotFound):
        unsent.one(step, actor, "k")
    keep(hub, "yan", "b", title="by the same key, another's")
    assert hub.client("yan").delete("/api/v1/unsent/k").status_code == 204
    assert keys(hub, "yan") == []
    with hub.read() as step:
        assert unsent.one(step, hub.actor("zoe"), "k").said == SAID
    for name in ("yan", "root"):
        page = hub.client(name).get("/apply?unsent=k", headers={"accept": "text/html"})
        assert page.status_code == 404
        assert "An idea, ideally" not in page.text


def test_another_window_is_never_overwritten_unseen(hub: Facility) -> None:
    keep(hub, "zoe", "first")
    keep(hub, "zoe", "second", began_from="first", title="of the second window")
    with pytest.raises(Conflict, match="another window"):
        keep(hub, "zoe", "first", title="of the first window")
    keep(hub, "zoe", "second", title="the second goes on")
    with pytest.raises(Conflict):
        keep(hub, "zoe", "third", began_from="first")
    # the same words are no conflict: an answer was lost, and they are sent again
    assert keep(hub, "zoe", "third", title="the second goes on").mark == "second"


def test_sending_ends_it_and_a_late_keeping_changes_nothing(hub: Facility) -> None:
    keep(hub, "zoe", "a")
    zoe = hub.client("zoe")
    sent = zoe.post("/apply", data={**SAID, "purpose": "try", "months": "3", "key": "k"})
    assert sent.status_code == 303, sent.text
    assert keys(hub, "zoe") == []
    with pytest.raises(Conflict, match="sent already"):
        keep(hub, "zoe", "a")
    back = zoe.get("/apply?unsent=k", headers={"accept": "text/html"})
    assert (back.status_code, back.headers["location"]) == (303, sent.headers["location"])


def test_what_is_refused_when_sent_stays_kept(hub: Facility) -> None:
    keep(hub, "zoe", "a")
    answer = hub.client("zoe").post("/apply", data={**SAID, "amount_h": "x", "key": "k"})
    assert answer.status_code == 422
    assert keys(hub, "zoe") == ["k"]


def test_twenty_are_kept_and_no_more(hub: Facility) -> None:
    for number in range(unsent.MOST):
        keep(hub, "zoe", "a", key=f"k{number}")
    with pytest.raises(Refused, match="20 unsent asks"):
        keep(hub, "zoe", "a", key="one more")
    keep(hub, "zoe", "a", key="k3", title="those that there are can be written on")
    assert hub.client("zoe").delete("/api/v1/unsent/k7").status_code == 204
    assert hub.client("zoe").delete("/api/v1/unsent/k7").status_code == 204
    keep(hub, "zoe", "a", key="one more")


@pytest.mark.parametrize("said", [{"title": "x" * 201}, {"project": "a\0b"}])
def test_what_can_not_be_kept_says_so(hub: Facility, said: dict[str, str]) -> None:
    with pytest.raises(InvalidInput, match=r"title has 201|NUL"):
        keep(hub, "zoe", "a", **said)


def test_the_page_keeps_by_htmx_and_by_a_button(hub: Facility) -> None:
    zoe = hub.client("zoe")
    form = {**SAID, "key": "k", "mark": "a", "from": ""}
    by_itself = zoe.post("/apply/keep", data=form, headers=HTMX)
    assert by_itself.status_code == 200
    assert by_itself.text.startswith('<p id="saved"')
    other = zoe.post("/apply/keep", data={**form, "mark": "b", "title": "else"}, headers=HTMX)
    assert other.status_code == 409
    assert "Not saved: this ask was changed in another window" in other.text
    button = zoe.post("/apply/keep", data={**form, "title": "By hand", "later": "yes"})
    assert (button.status_code, button.headers["location"]) == (303, "/apply?unsent=k&saved=true")
    page = zoe.get("/apply?unsent=k", headers={"accept": "text/html"}).text
    assert 'value="By hand"' in page
    assert '<option value="starter" selected>' in page
    listed = zoe.get("/apply", headers={"accept": "text/html"}).text
    assert '<a href="/apply?unsent=k">my-idea</a>' in listed
    assert 'value="By hand"' not in listed
    assert zoe.post("/apply/discard", data={"key": "k"}).status_code == 303
    assert keys(hub, "zoe") == []


def test_the_list_comes_in_pages_and_costs_the_same(hub: Facility) -> None:
    zoe = hub.client("zoe")
    costs = []
    for number in range(9):
        keep(hub, "zoe", "a", key=f"k{number}")
        with hub.counting() as statements:
            zoe.get("/api/v1/unsent")
            api = len(statements)
        with hub.counting() as statements:
            zoe.get("/apply", headers={"accept": "text/html"})
            costs.append((api, len(statements)))
    assert set(costs) == {costs[0]}
    assert costs[0][0] <= 4
    assert costs[0][1] <= 12, costs
    first = zoe.get("/api/v1/unsent?limit=5").json()
    rest = zoe.get("/api/v1/unsent", params={"limit": 5, "after": first["next"]}).json()
    seen = [one["key"] for one in first["unsent"] + rest["unsent"]]
    assert seen == [f"k{number}" for number in range(8, -1, -1)]


def test_the_form_offers_first_what_a_site_takes_jobs_for_now(hub: Facility) -> None:
    from tests.hub.facility import GPU

    hub.site("jura", replace(GPU, accelerator_type="a100"))
    hub.drain("jura")
    page = hub.client("zoe").get("/apply", headers={"accept": "text/html"}).text
    first, second = re.findall(r'<option value="(?:core|a100)">([^<]*)</option>', page)
    assert (first, second) == ("core", "a100 (no site takes jobs for it now)")
