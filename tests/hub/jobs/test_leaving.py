"""Somebody leaves a project: what ends when, and what the page says of each site."""

from __future__ import annotations

import pytest
from tests.hub.facility import CPU, Facility

from meyrin.hub.agents import limits
from meyrin.hub.identity import leaving as identity_leaving
from meyrin.hub.identity import service as identity
from meyrin.hub.identity import store as identity_store
from meyrin.hub.jobs import leaving
from meyrin.wire.limits import Revoked, RevokedBody

GRACE_S = 300
TEN_MINUTES_S = 600


def sweep(hub: Facility) -> int:
    with hub.write() as step:
        return leaving.end_jobs(step, GRACE_S)


def wanted(hub: Facility, site: str):
    with hub.read() as step:
        return limits.wanted(step, hub.agents[site].site_id)


def confirm(hub: Facility, site: str, outcome: str = "revoked", words: str = "") -> None:
    said = [
        Revoked(departure=each.departure, outcome=outcome, words=words)
        for each in wanted(hub, site).left
    ]
    body = RevokedBody(incarnation="first", said=said)
    assert hub.agents[site].post("revoked", body).status_code == 200


def shown(hub: Facility, site: str) -> dict:
    found = hub.client("ada").get("/api/v1/projects/lab/departures").json()["departures"][0]
    (one,) = [each for each in found["sites"] if each["site"] == site]
    return one


@pytest.fixture
def left(hub: Facility):
    """bob leaves lab with a job running, one in the site's queue, one at the hub, one held."""
    agent = hub.agents["alps"]
    running, queued = hub.submit(by="bob"), hub.submit(by="bob")
    of_ada = hub.submit(by="ada")
    hub.steps()
    works = {work.job: work for work in agent.lease().work}
    agent.report(agent.running(works[running]), agent.queued(works[queued]))
    placed = hub.submit(by="bob")
    hub.steps()
    hub.drain("alps")
    waiting, held = hub.submit(by="bob"), hub.submit(by="bob", held=True)
    assert hub.client("bob").post("/api/v1/projects/lab/leave").status_code == 204
    return works, running, queued, placed, waiting, held, of_ada


def test_rights_end_with_the_next_request(hub: Facility, left) -> None:
    _, running, *_ = left
    bob = hub.client("bob")
    for path in (f"/api/v1/jobs/{running}", "/api/v1/projects/lab", "/projects/lab"):
        assert bob.get(path).status_code == 404, path
    request = {"script": "#!/bin/sh\n", "project": "lab", "walltime_s": 60}
    sent = {"submissions": [{"request": request, "idempotency_key": "a-new-key"}]}
    assert bob.post("/api/v1/jobs", json=sent).status_code == 404


def test_what_waits_ends_at_once_and_what_runs_after_the_grace(hub: Facility, left) -> None:
    works, running, queued, placed, waiting, held, of_ada = left
    agent = hub.agents["alps"]
    assert sweep(hub) == 4
    assert hub.states(placed, waiting, held) == ["cancelled"] * 3
    assert hub.detail(waiting).job.reason == "bob left lab"
    assert agent.lease().cancel == [works[queued].attempt]
    agent.report(agent.cancelled(works[queued]))
    hub.clock.pass_s(GRACE_S - 1)
    assert sweep(hub) == 0
    assert hub.state(running) == "running"
    hub.clock.pass_s(1)
    assert sweep(hub) == 1
    assert agent.lease().cancel == [works[running].attempt]
    agent.report(agent.ended(works[running], end="cancelled"))
    assert GRACE_S + 60 < TEN_MINUTES_S  # the sweep and the site's own grace fit in
    assert hub.state(of_ada) == "leased"  # whoever stays keeps theirs
    sweep(hub)
    with hub.read() as step:
        assert leaving.leaving.jobs_left(step) == []
    hub.books_balance()


def test_accounts_of_all_who_left_are_locked_before_anything_is_written(hub: Facility) -> None:
    job = hub.submit(by="bob")
    hub.steps()
    assert hub.client("bob").post("/api/v1/projects/lab/leave").status_code == 204
    with hub.counting() as statements:
        assert sweep(hub) == 1
        verbs = [one.split(None, 1)[0] for one in statements]
        before = statements[: verbs.index("UPDATE")]
    assert any("FROM accounts" in one for one in before)
    assert hub.state(job) == "cancelled"


def test_a_request_that_was_under_way_is_ended_by_the_next_sweep(hub: Facility) -> None:
    late = hub.actor("bob")  # who they were when the request came in
    assert hub.client("bob").post("/api/v1/projects/lab/leave").status_code == 204
    sweep(hub)
    from meyrin.hub.jobs import submit
    from meyrin.wire.jobs import Submission

    request = hub.ask()
    kept = submit._prepare(Submission(request=request, idempotency_key="late-key"),
                           hub.projects["lab"])  # fmt: skip
    with hub.write() as step:
        submit._insert(step, late, [kept])
    hub.clock.pass_s(30)
    assert sweep(hub) == 1


def test_who_comes_back_keeps_what_they_send_then(hub: Facility) -> None:
    bob, ada = hub.client("bob"), hub.client("ada")
    assert bob.post("/api/v1/projects/lab/leave").status_code == 204
    assert ada.post("/api/v1/projects/lab/members", json={"person": "bob"}).status_code == 200
    job = hub.submit(by="bob", held=True)
    assert sweep(hub) == 0
    assert hub.state(job) == "submitted"
    assert wanted(hub, "alps").left == []


def test_who_is_shut_out_leaves_every_project(hub: Facility) -> None:
    job = hub.submit(by="bob", held=True)
    assert hub.client("root").post("/api/v1/people/bob/disable").status_code == 200
    assert sweep(hub) == 1
    assert hub.state(job) == "cancelled"
    assert [each.person for each in wanted(hub, "alps").left] == ["bob"]


def test_each_site_is_told_until_it_confirms_and_the_page_says_what_is_known(
    hub: Facility, left
) -> None:
    works, running, queued, *_ = left
    hub.site("jura", CPU)
    agent = hub.agents["alps"]
    sweep(hub)
    one = shown(hub, "alps")
    assert (one["state"], one["at_ms"], one["jobs"]) == ("waiting", None, 2)
    (told,) = wanted(hub, "alps").left
    assert (told.project, told.person) == ("lab", "bob")
    confirm(hub, "alps", words="bobby is not in m_lab")
    assert shown(hub, "alps")["state"] == "waiting"  # a job of theirs still runs there
    hub.clock.pass_s(GRACE_S)
    sweep(hub)
    agent.report(agent.cancelled(works[queued]), agent.ended(works[running], end="cancelled"))
    one = shown(hub, "alps")
    assert (one["state"], one["words"]) == ("revoked", "bobby is not in m_lab")
    assert wanted(hub, "alps").left == []
    # the other site is away: nobody claims that it was done there
    assert shown(hub, "jura")["state"] == "waiting"
    assert "not answered" in shown(hub, "jura")["words"]
    page = hub.client("ada").get("/projects/lab/people").text
    assert "not confirmed yet" in page
    assert "revoked at" in page


def test_a_site_that_keeps_no_accounts_says_so_and_is_asked_again(hub: Facility) -> None:
    assert hub.client("bob").post("/api/v1/projects/lab/leave").status_code == 204
    confirm(hub, "alps", "unkept", "limits.mode is off")
    assert shown(hub, "alps")["state"] == "unkept"
    assert wanted(hub, "alps").left == []
    hub.clock.pass_s(3601)
    assert len(wanted(hub, "alps").left) == 1
    confirm(hub, "alps", "failed", "Job(s) active")
    assert (shown(hub, "alps")["state"], shown(hub, "alps")["words"]) == (
        "waiting",
        "Job(s) active",
    )


@pytest.mark.parametrize("said", [None, "failed", "unkept"])
def test_a_site_that_was_away_for_long_is_still_told(hub: Facility, said) -> None:
    """One that keeps no accounts is not asked for ever."""
    assert hub.client("bob").post("/api/v1/projects/lab/leave").status_code == 204
    if said:
        confirm(hub, "alps", said)
    hub.clock.pass_s(366 * 86_400)
    assert [each.person for each in wanted(hub, "alps").left] == (
        [] if said == "unkept" else ["bob"]
    )
    confirm(hub, "alps")
    assert wanted(hub, "alps").left == []


def test_what_a_site_can_not_do_holds_up_nothing_new(hub: Facility, monkeypatch) -> None:
    monkeypatch.setattr(identity_leaving, "MOST", 1)
    assert hub.client("bob").post("/api/v1/projects/lab/leave").status_code == 204
    confirm(hub, "alps", "failed", "Job(s) active")
    hub.person("eve")
    add = {"person": "eve"}
    assert hub.client("ada").post("/api/v1/projects/lab/members", json=add).status_code == 200
    hub.clock.pass_s(60)
    assert hub.client("eve").post("/api/v1/projects/lab/leave").status_code == 204
    assert [each.person for each in wanted(hub, "alps").left] == ["eve"]
    confirm(hub, "alps")
    assert [each.person for each in wanted(hub, "alps").left] == ["bob"]


def test_who_is_shut_out_while_a_lead_changes_their_role_leaves(
    postgres_hub: Facility, monkeypatch
):
    hub = postgres_hub
    job = hub.submit(by="bob", held=True)
    hold, other = identity_store.hold_person, hub.second_hub()

    def after_another(step, person_id):
        with other.write() as of_root:
            identity.disable(of_root, "bob", "root")
        hold(step, person_id)

    monkeypatch.setattr(identity_store, "hold_person", after_another)
    change = {"person": "bob", "role": "lead"}
    answer = hub.client("ada").post("/api/v1/projects/lab/members", json=change)
    assert answer.json()["error"]["message"] == "bob is disabled"
    assert sweep(hub) == 1
    assert hub.state(job) == "cancelled"


def test_only_leads_see_who_left(hub: Facility) -> None:
    hub.person("eve")
    path = "/api/v1/projects/lab/departures"
    assert hub.client("bob").get(path).status_code == 403
    assert hub.client("eve").get(path).status_code == 404
    with hub.counting() as statements:
        assert hub.client("ada").get(path).json() == {"departures": [], "next": ""}
    few = len(statements)
    for number in range(12):
        hub.person(f"p{number}")
        hub.client("ada").post("/api/v1/projects/lab/members", json={"person": f"p{number}"})
        hub.clock.pass_s(1)
        hub.client(f"p{number}").post("/api/v1/projects/lab/leave")
    seen, after = [], ""
    while True:
        with hub.counting() as statements:
            page = hub.client("ada").get(path, params={"limit": 5, "after": after}).json()
        assert len(statements) <= few + 4 <= 10
        seen += [each["person"] for each in page["departures"]]
        after = page["next"]
        if not after:
            break
    assert seen == [f"p{number}" for number in reversed(range(12))]
