"""What a site's own limits should be, and the report of what they lack."""

from __future__ import annotations

import pytest
from tests.hub.facility import GPU

from meyrin.hub.identity import service as identity
from meyrin.hub.plumbing.authz import Actor
from meyrin.hub.sites import service as sites
from meyrin.wire.limits import DriftBody, DriftLine

ROOT = Actor(person="root", name="root", admin=True)


@pytest.fixture
def agent(hub):
    return hub.agents["alps"]


def wanted(hub, agent):
    answer = hub.client(secret=agent.secret).get("/api/v1/agent/limits")
    assert answer.status_code == 200, answer.text
    return {each["project"]: each for each in answer.json()["projects"]}


def test_projects_with_their_people_and_what_is_left(hub, agent):
    hub.project("sea", "bob")
    hub.award("sea", hours=2)
    found = wanted(hub, agent)
    assert sorted(found) == ["lab", "sea"]
    assert found["sea"] == {"project": "sea", "people": ["bob"], "left_s": {"core": 7200}}
    assert "ada" in found["lab"]["people"]


def test_what_is_held_counts_as_left_and_what_was_used_does_not(hub, agent):
    before = wanted(hub, agent)["lab"]["left_s"]["core"]
    hub.submit(walltime_s=600)
    hub.step()
    (work,) = agent.lease().work
    assert wanted(hub, agent)["lab"]["left_s"]["core"] == before
    agent.report(agent.queued(work))
    agent.report(agent.running(work))
    hub.clock.pass_s(7)
    agent.finish(work, elapsed_s=7)
    assert wanted(hub, agent)["lab"]["left_s"]["core"] == before - 7


def test_only_types_that_the_site_charges_and_hours_of_today(hub, agent):
    hub.award("lab", "gh200", hours=5)
    assert wanted(hub, agent)["lab"]["left_s"] == {"core": 1000 * 3600}
    hub.site("jura", GPU)
    assert wanted(hub, hub.agents["jura"])["lab"]["left_s"] == {"gh200": 5 * 3600}
    hub.clock.pass_s(366 * 86_400)
    assert wanted(hub, agent) == {}


def test_of_a_type_that_is_over_nothing_is_left(hub):
    both = hub.site("both", GPU, hub.agents["alps"].partitions[0])
    hub.award("lab", "gh200", hours=5, days=1)
    hub.clock.pass_s(2 * 86_400)
    assert wanted(hub, both)["lab"]["left_s"]["gh200"] == 0


def test_only_projects_that_may_use_the_site(hub, agent):
    hub.project("sea", "bob")
    hub.award("sea", hours=2)
    with hub.write() as step:
        sites.allow_projects(step, ROOT, "alps", [hub.projects["sea"]])
    assert sorted(wanted(hub, agent)) == ["sea"]
    with hub.write() as step:
        sites.allow_projects(step, ROOT, "alps", [])
    assert wanted(hub, agent) == {}


def test_who_is_shut_out_is_not_named(hub, agent):
    with hub.write() as step:
        identity.add_member(step, ROOT, "lab", "bob", "member")
    assert "bob" in wanted(hub, agent)["lab"]["people"]
    with hub.write() as step:
        identity.disable(step, "bob")
    assert "bob" not in wanted(hub, agent)["lab"]["people"]


def test_many_projects_take_no_more_statements(hub, agent):
    def spent():
        with hub.counting() as statements:
            wanted(hub, agent)
        return len(list(statements))

    few = spent()
    for number in range(30):
        hub.project(f"p{number}", "bob")
        hub.award(f"p{number}", hours=1)
    assert spent() == few <= 9


def line(number=0, **changed):
    given = {"kind": "user", "account": f"m_{number}", "outcome": "reported"}
    return DriftLine(**(given | changed))


def report(hub, *lines, **changed):
    given = {"incarnation": "first", "at_ms": hub.clock(), "mode": "report", "lines": list(lines)}
    return DriftBody(**(given | changed))


def seen(hub, who="root", **asked):
    return hub.client(who).get("/api/v1/sites/alps/drift", params=asked)


def test_the_latest_report_counts_and_comes_in_pages(hub, agent):
    assert seen(hub).json()["at_ms"] is None
    assert agent.post("drift", report(hub, *(line(n) for n in range(5)))).status_code == 200
    first = seen(hub, limit=3).json()
    assert (first["mode"], first["at_ms"], len(first["lines"])) == ("report", hub.clock(), 3)
    rest = seen(hub, limit=3, after=first["next"]).json()
    assert ([each["account"] for each in rest["lines"]], rest["next"]) == (["m_3", "m_4"], "")
    agent.post("drift", report(hub, at_ms=hub.clock() - 1, words="late"))
    assert seen(hub).json()["words"] == ""
    hub.clock.pass_s(1)
    agent.post("drift", report(hub, words="accounting did not answer", mode="apply"))
    last = seen(hub).json()
    assert (last["lines"], last["words"]) == ([], "accounting did not answer")


def test_for_those_who_run_the_site_and_from_its_own_agent(hub, agent):
    agent.post("drift", report(hub, line()))
    assert seen(hub, "ada").status_code == 403
    old = report(hub, line())
    agent.hello("second")
    assert agent.post("drift", old).status_code == 409
    assert hub.client("ada").get("/api/v1/agent/limits").status_code == 401
