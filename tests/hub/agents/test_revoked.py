"""An agent whose credential is revoked: its call that waits is refused, and nothing goes there."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from meyrin.hub.agents import routes


def revoke(hub):
    return hub.client("root").delete("/api/v1/sites/alps/agent-token")


def test_a_call_that_waits_for_work_is_refused_when_its_credential_is_revoked(hub):
    agent, waiters = hub.agents["alps"], hub.database.bell._waiters
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(agent.lease_raw, wait_s=50)
        while not waiters:
            assert not waiting.done(), waiting.result().text
        assert revoke(hub).status_code == 200
        answer = waiting.result(40)
    assert answer.status_code == 401
    assert "revoked" in answer.json()["error"]["message"]


def test_a_call_that_came_just_before_the_revocation_does_not_undo_it(hub, monkeypatch):
    """It was let in, and waits for its turn to write."""
    agent, job = hub.agents["alps"], hub.submit(sites=("alps",))
    assert hub.step() == 1
    once, came, goes_on = routes._lease_once, threading.Event(), threading.Event()

    def late(*given):
        came.set()
        assert goes_on.wait(60)
        return once(*given)

    monkeypatch.setattr(routes, "_lease_once", late)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(agent.lease_raw)
        assert came.wait(60)
        revoke(hub)
        goes_on.set()
        assert call.result(60).status_code == 401
    assert hub.state(job) == "placed"
    hub.submit(sites=("alps",))
    assert hub.step() == 0


def test_nothing_is_placed_at_a_site_whose_agent_was_revoked_until_another_has_come(hub):
    revoke(hub)
    job = hub.submit(sites=("alps",))
    assert hub.step() == 0
    said = hub.explain(job).summary
    assert "alps" in said
    secret = hub.client("root").post("/api/v1/sites/alps/agent-token").json()["agent_secret"]
    agent = hub.agents["alps"]
    agent.secret = secret
    agent.hello("second")
    agent.lease()
    assert hub.step() == 1
    assert hub.state(job) == "placed"


def test_of_jobs_at_a_revoked_site_it_is_said_that_nothing_is_told(hub):
    agent, job = hub.agents["alps"], hub.submit(sites=("alps",))
    hub.step()
    agent.report(agent.running(agent.lease().work[0]))
    assert hub.detail(job).unheard == hub.explain(job).unheard == ""
    assert revoke(hub).json() == revoke(hub).json() == {"jobs": 1}
    told = hub.detail(job).unheard
    assert "the agent of alps was revoked" in told
    assert "hours stay on hold" in told
    said = hub.explain(job)
    assert said.unheard == told
    assert told in said.summary
    assert any("meyrin site enrol alps --again" in way for way in said.helps)
    page = hub.client("ada").get(f"/jobs/{job}").text
    assert told in page
    assert "enrol alps --again" in page
    reply = hub.cancel(job)
    assert reply.asked == reply.unreached == [job]
    assert "meyrin site enrol alps --again" in reply.unheard[0]


def test_of_jobs_at_a_silent_site_it_is_said_since_when(hub):
    agent, job = hub.agents["alps"], hub.submit(sites=("alps",))
    hub.step()
    agent.report(agent.running(agent.lease().work[0]))
    hub.clock.pass_s(3600)
    for told in (hub.detail(job).unheard, hub.explain(job).unheard, hub.cancel(job).unheard[0]):
        assert "the agent of alps was last heard on 2027-01-15 at 08:00 UTC" in told
    agent.lease()
    assert hub.detail(job).unheard == ""
    assert hub.cancel(job).unreached == []
