"""Terms of a site: accepted once, asked again at a new version; jobs go only where they may."""

from __future__ import annotations

import pytest
from tests.hub.facility import CPU, Facility

from meyrin.domain.errors import NotAllowed, TermsMissing
from meyrin.hub.sites import terms

WORDS = "Be kind to the machine."


def put(hub: Facility, site: str, version: str, text: str = WORDS, by: str = "root", url: str = ""):
    body = {"version": version, "text": text, "url": url}
    return hub.client(by).put(f"/api/v1/sites/{site}/terms", json=body)


def accept(hub: Facility, site: str, version: str, by: str = "ada"):
    path = f"/api/v1/sites/{site}/terms/accept"
    return hub.client(by).post(path, json={"version": version})


def test_where_a_site_asks_for_nothing_nothing_changes(hub: Facility) -> None:
    job = hub.submit()
    hub.steps()
    assert hub.state(job) == "placed"
    assert hub.client("ada").get("/api/v1/terms").json()["terms"] == []
    assert hub.client("ada").get("/api/v1/sites/alps/terms").status_code == 404


def test_a_job_is_refused_with_the_way_out_until_its_sender_accepts(hub: Facility) -> None:
    assert put(hub, "alps", "1").status_code == 200
    with pytest.raises(TermsMissing, match=r"alps \(version 1\)") as refused:
        hub.submit()
    assert "meyrin terms accept alps" in refused.value.hint
    said = hub.client("ada").post(
        "/api/v1/forecast", json={"script": "x", "project": "lab", "walltime_s": 60}
    )
    assert (said.status_code, said.json()["error"]["code"]) == (409, "terms_missing")
    made = accept(hub, "alps", "1")
    assert made.json()["accepted_ms"] == hub.clock.now_ms
    first = made.json()["accepted_ms"]
    hub.clock.pass_s(5)
    assert accept(hub, "alps", "1").json()["accepted_ms"] == first  # once
    job = hub.submit()
    hub.steps()
    assert hub.state(job) == "placed"
    with pytest.raises(TermsMissing):
        hub.submit(by="bob")  # each for themselves


def test_a_new_version_asks_again_and_leaves_what_is_there(hub: Facility) -> None:
    put(hub, "alps", "1")
    accept(hub, "alps", "1")
    agent = hub.agents["alps"]
    runs = hub.submit()
    hub.steps()
    (work,) = agent.lease().work
    agent.report(agent.running(work))
    waits = hub.submit(held=True)
    assert put(hub, "alps", "2", "Be kinder.").status_code == 200
    assert hub.client("ada").post(f"/api/v1/jobs/{waits}/release").status_code < 300
    hub.steps()
    assert hub.states(runs, waits) == ["running", "admitted"]
    found = hub.client("ada").get(f"/api/v1/jobs/{waits}/explain").json()
    assert "version 2, were not accepted" in found["summary"]
    assert [one["reason"] for one in found["refusals"]] == ["terms_missing"]
    assert "meyrin terms accept alps" in found["refusals"][0]["words"]
    assert found["helps"][0].startswith("accept the terms of alps: read them with `meyrin terms")
    assert accept(hub, "alps", "1").status_code == 409  # that was read is not what is in force
    assert accept(hub, "alps", "2").status_code == 200
    hub.steps()
    assert hub.state(waits) == "placed"


def test_a_job_goes_to_another_site_meanwhile(hub: Facility) -> None:
    hub.site("jura", CPU)
    put(hub, "alps", "1")
    job = hub.submit()
    hub.steps()
    assert hub.detail(job).job.site == "jura"
    with pytest.raises(TermsMissing):
        hub.submit(sites=("alps",))


def test_a_version_has_the_words_that_were_accepted(hub: Facility) -> None:
    first = put(hub, "alps", "1").json()
    assert put(hub, "alps", "1").json() == first
    assert put(hub, "alps", "1", "Something else.").status_code == 409
    assert put(hub, "alps", "2", "").status_code == 422
    assert put(hub, "alps", "2", "", url="http://plain.example").status_code == 422
    assert put(hub, "alps", "a b").status_code == 422
    assert put(hub, "alps", "2", "", url="https://alps.example/terms").status_code == 200
    assert first["digest"] == terms.digest_of("1", WORDS, "")
    assert put(hub, "alps", "1").json() == first  # back to one that was accepted before


def test_only_operators_set_terms_and_see_who_accepted(hub: Facility) -> None:
    hub.person("olga")
    hub.client("root").post("/api/v1/sites/alps/operators", json={"person": "olga"})
    assert put(hub, "alps", "1", by="ada").status_code == 403
    assert put(hub, "alps", "1", by="olga").status_code == 200
    accept(hub, "alps", "1")
    hub.clock.pass_s(1)
    accept(hub, "alps", "1", by="bob")
    path = "/api/v1/sites/alps/terms/accepted"
    with hub.counting() as statements:
        page = hub.client("olga").get(path, params={"limit": 1}).json()
    assert len(statements) <= 7
    assert [one["person"] for one in page["accepted"]] == ["bob"]
    page = hub.client("olga").get(path, params={"limit": 1, "after": page["next"]}).json()
    assert [one["person"] for one in page["accepted"]] == ["ada"]
    assert hub.client("ada").get(path).status_code == 403
    actor = hub.actor("ada")
    with hub.write() as step, pytest.raises(NotAllowed):
        terms.end(step, actor, "alps")
    assert hub.client("olga").delete("/api/v1/sites/alps/terms").status_code == 204
    hub.submit(by="root", project="lab")


def test_acceptances_are_in_the_audit_with_version_and_digest(hub: Facility) -> None:
    digest = put(hub, "alps", "1").json()["digest"]
    accept(hub, "alps", "1")
    accept(hub, "alps", "1")
    rows = hub.client("root").get("/api/v1/audit", params={"thing": "alps"}).json()["rows"]
    assert [(row["actor"], row["verb"]) for row in rows] == [
        ("ada", "terms.accept"),
        ("root", "terms.set"),
    ]
    assert rows[0]["facts"]["version"] == "1"
    assert rows[0]["facts"]["digest"] == digest


def test_the_list_of_terms_comes_in_pages_with_few_queries(hub: Facility) -> None:
    for number in range(30):
        hub.site(f"s{number:02d}", CPU, lend=False)
        put(hub, f"s{number:02d}", "1")
    ada = hub.client("ada")
    with hub.counting() as statements:
        page = ada.get("/api/v1/terms", params={"limit": 20}).json()
    assert len(statements) <= 5
    rest = ada.get("/api/v1/terms", params={"limit": 20, "after": page["next"]}).json()
    names = [one["site"] for one in page["terms"] + rest["terms"]]
    assert names == [f"s{number:02d}" for number in range(30)]
