"""A job's walk over the wire: leased, reported, ended, charged."""

from __future__ import annotations


def test_a_job_walks_from_submit_to_charged(hub):
    allocation = hub.award("lab", hours=1, days=1)
    agent = hub.agents["alps"]
    job = hub.submit(walltime_s=600)
    assert hub.state(job) == "admitted"
    assert hub.step() == 1
    assert hub.state(job) == "placed"
    assert hub.balance(allocation).held_s == 600
    (work,) = agent.lease().work
    assert hub.state(job) == "leased"
    assert agent.report(agent.queued(work)) == []
    assert hub.state(job) == "queued"
    assert agent.report(agent.running(work)) == []
    hub.clock.pass_s(7)
    agent.finish(work, elapsed_s=7)
    found = hub.detail(job)
    assert (found.job.state, found.job.exit_code, found.used_s, found.held_s) == (
        "completed",
        0,
        7,
        0,
    )
    assert [event.state for event in found.events] == [
        "submitted",
        "admitted",
        "placed",
        "leased",
        "queued",
        "running",
        "completed",
    ]
    balance = hub.balance(allocation)
    assert (balance.held_s, balance.used_s) == (0, 7)
    hub.books_balance()
