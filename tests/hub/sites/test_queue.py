"""The latest snapshot of a site's queue: replaced, paged, for operators; an outline for all."""

from __future__ import annotations

import pytest

from meyrin.hub.sites import service as sites
from meyrin.wire.queue import ForgetQueueBody, QueueBody, QueuedJob


def job(number, **changed):
    given = {
        "key": f"{number:016x}", "user": "00000000000000aa", "account": None,
        "partition": "cpu", "waits": True, "state": "PENDING", "nodes": 2, "accelerators": 0,
        "submit_s": 1_799_999_000 + number,
    }  # fmt: skip
    return QueuedJob(**(given | changed))


def body(hub, *jobs, **changed):
    given = {"incarnation": "first", "at_ms": hub.clock(), "jobs": list(jobs)}
    return QueueBody(**(given | changed))


@pytest.fixture
def agent(hub):
    return hub.agents["alps"]


def seen(hub, who="root", **asked):
    return hub.client(who).get("/api/v1/sites/alps/queue", params=asked)


def test_the_latest_counts(hub, agent):
    assert seen(hub).json() == {
        "site": "alps", "at_ms": None, "left_out": 0, "partitions": [], "jobs": [], "next": "",
    }  # fmt: skip
    assert agent.post("queue", body(hub, job(1), job(2, count=5), left_out=7)).status_code == 200
    told = seen(hub).json()
    assert (told["at_ms"], told["left_out"], len(told["jobs"])) == (hub.clock(), 7, 2)
    (cpu,) = told["partitions"]
    assert (cpu["waiting"], cpu["running"], cpu["waiting_nodes"]) == (6, 0, 12)
    assert cpu["oldest_s"] == 1_799_999_001
    hub.clock.pass_s(60)
    agent.post("queue", body(hub, job(3, waits=False)))
    (cpu,) = seen(hub).json()["partitions"]
    assert (cpu["waiting"], cpu["running"], cpu["oldest_s"]) == (0, 1, None)


def test_one_that_comes_late_is_dropped(hub, agent):
    agent.post("queue", body(hub, job(1)))
    agent.post("queue", body(hub, job(2), job(3), at_ms=hub.clock() - 1))
    assert len(seen(hub).json()["jobs"]) == 1


def test_a_clock_that_runs_ahead_shuts_nothing_out(hub, agent):
    agent.post("queue", body(hub, job(1), at_ms=hub.clock() + 10**9))
    assert seen(hub).json()["at_ms"] == hub.clock()
    hub.clock.pass_s(60)
    agent.post("queue", body(hub, job(1), job(2)))
    assert len(seen(hub).json()["jobs"]) == 2


def test_it_comes_in_pages(hub, agent):
    agent.post("queue", body(hub, *(job(n) for n in range(5))))
    keys, after = [], ""
    while True:
        page = seen(hub, after=after, limit=2).json()
        keys += [each["key"] for each in page["jobs"]]
        after = page["next"]
        if not after:
            break
    assert keys == [f"{n:016x}" for n in range(5)]


def test_only_those_who_run_the_site_see_it(hub, agent):
    agent.post("queue", body(hub, job(1)))
    assert seen(hub, "ada").status_code == 403
    assert seen(hub, None).status_code == 401
    with hub.write() as step:
        sites.add_operator(step, "alps", "ada")
    assert seen(hub, "ada").status_code == 200


def test_forgotten_when_it_is_shared_no_longer(hub, agent):
    agent.post("queue", body(hub, job(1)))
    assert agent.post("queue/forget", ForgetQueueBody(incarnation="first")).status_code == 200
    assert seen(hub).json()["at_ms"] is None
    assert agent.post("queue/forget", ForgetQueueBody(incarnation="first")).status_code == 200


def test_an_agent_that_was_replaced_is_not_heard(hub, agent):
    old = body(hub, job(1))
    agent.hello("second")
    assert agent.post("queue", old).status_code == 409
    assert agent.post("queue/forget", ForgetQueueBody(incarnation="first")).status_code == 409


def test_names_do_not_fit_in(hub, agent):
    raw = body(hub, job(1)).model_dump(mode="json")
    raw["jobs"][0]["user"] = "ada"
    client = hub.client(secret=agent.secret)
    assert client.post("/api/v1/agent/queue", json=raw).status_code == 422


def test_a_large_one_takes_no_more_statements(hub, agent):
    def spent(count):
        hub.clock.pass_s(1)
        told = body(hub, *(job(n) for n in range(count)))
        with hub.counting() as statements:
            assert agent.post("queue", told).status_code == 200
        return len(list(statements))

    spent(1)
    assert spent(1000) == spent(1) <= 8
    with hub.counting() as statements:
        seen(hub, limit=500)
    assert len(statements) <= 5


def test_the_page_of_the_site_shows_the_outline_to_everybody(hub, agent):
    assert "shares no snapshot" in hub.client("ada").get("/sites/alps").text
    agent.post("queue", body(hub, job(1, count=41, accelerators=3), left_out=9))
    text = hub.client("ada").get("/sites/alps").text
    assert "123" in text
    assert "9 more were left out" in text
    assert "00000000000000aa" not in text
