"""Who may give which role, what each lets do, and that it ends with the next request."""

from __future__ import annotations

import pytest
from tests.hub.facility import Facility, at_once

from meyrin.domain.errors import Conflict, MeyrinError, NotAllowed, NotFound, Refused
from meyrin.hub.calls import roles
from meyrin.hub.identity import leaving, outside
from meyrin.hub.identity import outside_store as identity_rows
from meyrin.hub.identity import service as identity

CALLS = {"starter", "reviewed"}


def give(hub: Facility, by: str, role: str, thing: str = "", person: str = "", **more: str) -> None:
    actor = hub.actor(by)
    with hub.write() as step:
        roles.give(step, actor, roles.Wish(role, thing, person, **more), CALLS)


def take(hub: Facility, by: str, role: str, thing: str = "", person: str = "", **more: str) -> None:
    actor = hub.actor(by)
    with hub.write() as step:
        roles.take(step, actor, roles.Wish(role, thing, person, **more), CALLS)


@pytest.fixture
def peopled(hub: Facility) -> Facility:
    """One of every kind: ada leads lab, bob is in it."""
    for name in ("eve", "olga", "rita", "otto", "petra", "aude"):
        hub.person(name)
    give(hub, "root", "operator", "alps", "olga")
    give(hub, "root", "programme-officer", person="petra")
    give(hub, "root", "auditor", person="aude")
    give(hub, "petra", "officer", "reviewed", "otto")
    give(hub, "otto", "reviewer", "reviewed", "rita")
    hub.person("anna", admin=True, officer=False)
    return hub


# who may give what, as the reader of the table expects it: everything else is refused
MAY = {
    "member": {"ada", "root", "anna"},
    "lead": {"ada", "root", "anna"},
    "operator": {"olga", "root", "anna"},
    "reviewer": {"otto", "petra", "root", "anna"},
    "officer": {"petra", "root", "anna"},
    "programme-officer": {"root", "anna"},
    "auditor": {"root", "anna"},
    "administrator": {"root", "anna"},
}
THINGS = {"project": "lab", "site": "alps", "call": "reviewed", "facility": ""}


def test_nobody_gives_what_they_hold_no_right_to_give(peopled: Facility) -> None:
    people = ("ada", "bob", "eve", "olga", "rita", "otto", "petra", "aude", "root", "anna")
    assert set(MAY) == set(roles.SCOPES)
    for role, scope in roles.SCOPES.items():
        allowed = set()
        for by in people:
            try:
                give(peopled, by, role, THINGS[scope], "eve")
            except (NotAllowed, NotFound):
                continue
            allowed.add(by)
            take(peopled, by, role, THINGS[scope], "eve")
            if role == "lead":
                take(peopled, by, "member", "lab", "eve")
        assert allowed == MAY[role], role


def test_an_officer_of_one_call_is_none_of_another(peopled: Facility) -> None:
    with pytest.raises(NotAllowed, match="a programme officer"):
        give(peopled, "otto", "officer", "starter", "eve")
    with pytest.raises(NotAllowed):
        give(peopled, "otto", "reviewer", "starter", "eve")
    body = {
        "key": "k1", "project": "idea", "title": "An idea", "kind": "academic", "purpose": "try",
        "amount_h": 500, "unit": "accelerator", "months": 3, "charged_type": "core",
    }  # fmt: skip
    made = peopled.client("eve").post("/api/v1/proposals", json=body).json()
    path = f"/api/v1/proposals/{made['id']}"
    yes = {"grant": True, "reason": "good"}
    assert peopled.client("anna").post(f"{path}/decide", json=yes).status_code == 403
    assert peopled.client("rita").post(f"{path}/decide", json=yes).status_code == 403
    assert peopled.client("rita").get(path).status_code == 200
    assert peopled.client("rita").post(f"{path}/withdraw").status_code == 403
    give(peopled, "petra", "officer", "starter", "aude")
    assert peopled.client("aude").post(f"{path}/decide", json=yes).status_code == 404
    assert peopled.client("aude").get("/api/v1/proposals/all").json()["proposals"] == []
    assert peopled.client("otto").post(f"{path}/decide", json=yes).json()["state"] == "granted"


def test_a_role_ends_with_the_next_request(peopled: Facility) -> None:
    auditor = peopled.client("aude")
    assert auditor.get("/api/v1/audit").status_code == 200
    take(peopled, "root", "auditor", person="aude")
    assert auditor.get("/api/v1/audit").status_code == 403
    with pytest.raises(NotFound):
        take(peopled, "root", "auditor", person="aude")


def test_the_last_administrator_stays_one(peopled: Facility) -> None:
    take(peopled, "root", "administrator", person="anna")
    with pytest.raises(Refused, match="last administrator"):
        take(peopled, "root", "administrator", person="root")
    give(peopled, "root", "administrator", person="anna")
    actors = {name: peopled.actor(name) for name in ("root", "anna")}

    def end(number: int) -> bool:
        by, whom = (("root", "anna"), ("anna", "root"))[number]
        try:
            with peopled.write() as step:
                wish = roles.Wish("administrator", "", whom)
                roles.take(step, actors[by], wish, CALLS)
        except MeyrinError:
            return False
        return True

    assert sum(at_once(2, end)) == 1


def test_the_last_lead_makes_another_first(peopled: Facility) -> None:
    ada = peopled.client("ada")
    assert ada.post("/api/v1/projects/lab/leave").status_code == 409
    with pytest.raises(Refused, match="last lead"):
        take(peopled, "ada", "lead", "lab", "ada")
    give(peopled, "ada", "lead", "lab", "bob")
    assert ada.post("/api/v1/projects/lab/leave").status_code == 204
    assert ada.get("/api/v1/projects/lab").status_code == 404


def test_a_lead_who_is_shut_out_is_made_a_member(peopled: Facility) -> None:
    give(peopled, "ada", "lead", "lab", "bob")
    assert peopled.client("root").post("/api/v1/people/bob/disable").status_code == 200
    take(peopled, "root", "lead", "lab", "bob")
    with peopled.read() as step:
        assert identity.role_in(step, "lab", "bob") == "member"
        assert [one.person for one in leaving.jobs_left(step)] == ["bob"], "their jobs still end"
    with pytest.raises(NotFound, match="no lead"):
        take(peopled, "root", "lead", "lab", "bob")


def test_an_organisation_may_look_and_run_and_never_decide(peopled: Facility) -> None:
    with peopled.write() as step:
        outside.add_organisation(step, "uni-a", "uni-a.example", "")
        found = peopled.people["eve"].id
        identity_rows.set_person(step, found, organisation="uni-a")
    eve = peopled.client("eve")
    assert eve.get("/api/v1/audit").status_code == 403
    give(peopled, "root", "auditor", organisation="uni-a")
    give(peopled, "root", "operator", "alps", organisation="uni-a")
    assert eve.get("/api/v1/audit").status_code == 200
    assert eve.post("/api/v1/sites/alps/drain", json={"reason": "floor"}).status_code == 200
    for role in ("administrator", "programme-officer"):
        with pytest.raises(Refused, match="an organisation can't be"):
            give(peopled, "root", role, organisation="uni-a")
    with pytest.raises(Refused, match="person by person"):
        give(peopled, "ada", "member", "lab", organisation="uni-a")
    with pytest.raises(NotFound):
        give(peopled, "root", "auditor", organisation="nowhere")
    held = eve.get("/api/v1/roles", params={"person": "eve"}).json()["roles"]
    assert [(one["role"], one["thing"], one["organisation"]) for one in held] == [
        ("auditor", "", "uni-a"),
        ("operator", "alps", "uni-a"),
    ]
    with peopled.write() as step:
        outside.remove_organisation(step, "uni-a")
    assert eve.get("/api/v1/audit").status_code == 403


def test_each_gift_is_in_the_audit_once(peopled: Facility) -> None:
    """Also where it was lost in between by an act of another name, and is given again."""
    root = peopled.client("root")
    home = {"name": "uni-a", "domain": "uni-a.example"}
    gifts = [
        {"role": "operator", "thing": "alps", "organisation": "uni-a"},
        {"role": "operator", "thing": "alps", "person": "eve"},
        {"role": "lead", "thing": "lab", "person": "eve"},
        {"role": "administrator", "person": "eve"},
    ]
    for _ in range(2):
        root.post("/api/v1/organisations", json=home)
        for gift in [*gifts, *gifts]:
            assert root.post("/api/v1/roles", json=gift).status_code == 200
        root.delete("/api/v1/organisations/uni-a")
    rows = root.get("/api/v1/audit", params={"limit": 200}).json()["rows"]
    given = [row["facts"] for row in rows if row["verb"] == "role.give"]
    assert [facts["role"] for facts in given if facts["person"] == "eve"] == [
        "administrator",
        "lead",
        "operator",
    ]
    assert len([facts for facts in given if facts["organisation"] == "uni-a"]) == 2


def test_who_is_out_or_waits_is_given_nothing(peopled: Facility) -> None:
    peopled.client("root").post("/api/v1/people/eve/disable")
    with pytest.raises(Conflict, match="disabled"):
        give(peopled, "root", "auditor", person="eve")
    with pytest.raises(NotFound):
        give(peopled, "root", "officer", "nowhere", "bob")
    with pytest.raises(NotFound):
        give(peopled, "root", "auditor", person="nobody")


def test_roles_are_listed_for_those_who_may_see_them(peopled: Facility) -> None:
    everybody = peopled.client("aude").get("/api/v1/roles").json()["roles"]
    shown = {(one["person"], one["role"], one["thing"]) for one in everybody}
    assert ("ada", "lead", "lab") in shown
    assert ("otto", "officer", "reviewed") in shown
    assert ("olga", "operator", "alps") in shown
    assert ("anna", "administrator", "") in shown
    assert [one["role"] for one in peopled.client("bob").get("/api/v1/roles").json()["roles"]] == [
        "member"
    ]
    bob = peopled.client("bob")
    assert bob.get("/api/v1/roles", params={"person": "ada"}).status_code == 404
    assert bob.get("/api/v1/people/ada").text.replace("ada", "X") == bob.get(
        "/api/v1/people/nobody"
    ).text.replace("nobody", "X")
    mine = bob.get("/api/v1/people/bob").json()
    assert (mine["person"]["name"], mine["roles"][0]["thing"]) == ("bob", "lab")


def test_the_list_comes_in_pages_with_few_queries(peopled: Facility) -> None:
    aude = peopled.client("aude")
    whole = aude.get("/api/v1/roles").json()["roles"]
    seen, after = [], ""
    while True:
        with peopled.counting() as statements:
            page = aude.get("/api/v1/roles", params={"limit": 3, "after": after}).json()
        assert len(statements) <= 7
        seen += page["roles"]
        after = page["next"]
        if not after:
            break
    assert seen == whole
    assert len(whole) >= 9


def test_giving_and_taking_is_in_the_audit(peopled: Facility) -> None:
    root = peopled.client("root")
    body = {"role": "auditor", "person": "bob"}
    assert root.post("/api/v1/roles", json=body).status_code == 200
    assert root.delete("/api/v1/roles", params=body).status_code == 204
    rows = root.get("/api/v1/audit", params={"thing": "bob"}).json()["rows"]
    assert [row["verb"] for row in rows] == ["role.take", "role.give"]
    assert rows[0]["facts"]["role"] == "auditor"
