"""An agent whose credential is revoked: its call that waits is refused, and nothing goes there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor


def revoke(hub):
    return hub.client("root").delete("/api/v1/sites/alps/agent-token")


def test_a_call_that_waits_for_work_is_refused_when_its_credential_is_revoked(hub):
    agent, waiters = hub.agents["alps"], hub.database.bell._waiters
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(agent.lease_raw, wait_s=50)
        while not waiters:
            assert not waiting.done(), waiting.result().text
        assert revoke(hub).status_code == 204
        answer = waiting.result(40)
    assert answer.status_code == 401
    assert "revoked" in answer.json()["error"]["message"]


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
