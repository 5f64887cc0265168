"""Reports in an order that no batch system has, or after an end was asked for."""

from __future__ import annotations

import pytest
from tests.hub.agents.test_reports import leased
from tests.hub.facility import CPU


@pytest.mark.parametrize("for_now", [True, False])
def test_what_was_cancelled_and_then_refused_goes_nowhere_else(hub, for_now):
    hub.site("jura", CPU)
    job = hub.submit(sites=("alps", "jura"), partitions=("cpu",))
    hub.step()
    place = hub.detail(job).job.site
    agent = hub.agents[place]
    (work,) = agent.lease().work
    assert hub.cancel(job).asked == [job]
    no = agent.refused(work, "full today").model_copy(update={"for_now": for_now})
    assert agent.report(no) == []
    found = hub.detail(job)
    assert (found.job.state, found.job.site) == ("cancelled", place)
    assert found.job.reason == "cancelled by ada"
    assert found.events[-1].detail == "full today"
    assert (found.held_s, found.used_s) == (0, 0)
    assert hub.steps() == 0
    before = hub.everything()
    agent.report(no)
    assert hub.everything() == before
    hub.books_balance()


def test_no_word_of_waiting_or_refusal_counts_of_what_runs(hub):
    """Whatever an agent says, what it said runs can be ended, and ends."""
    job, work = leased(hub)
    agent = hub.agents["alps"]
    agent.report(agent.running(work))
    before = hub.everything()
    agent.report(agent.said(work, "held", run=1, why="no room"))
    agent.report(agent.refused(work))
    assert hub.everything() == before
    hub.cancel(job)
    assert agent.lease().cancel == [work.attempt]
    agent.finish(work, exit_code=1)
    assert hub.state(job) == "failed"
    hub.books_balance()


def test_a_late_word_of_an_earlier_run_changes_nothing_while_it_runs_again(hub):
    agent, now = hub.agents["alps"], hub.clock()
    _, work = leased(hub)
    over = agent.running(work, start_ms=now, end_ms=now + 1000)
    agent.report(over)
    agent.report(agent.queued(work, run=1))
    agent.report(agent.running(work, run=1))
    before = hub.everything()
    assert agent.report(over) == []
    assert hub.everything() == before, "what it has is in use"


def test_so_many_returns_that_nobody_counted_are_told_by_their_number(sqlite_hub):
    agent = sqlite_hub.agents["alps"]
    job, work = leased(sqlite_hub)
    agent.report(agent.running(work, run=100_000, why="nodes fail"))
    events = sqlite_hub.detail(job).events
    assert len(events) < 20
    assert events[-1].detail == "its site took it back 100000 times; nodes fail"
    before = sqlite_hub.everything()
    agent.report(agent.running(work, run=99_999))
    assert sqlite_hub.everything() == before, "all of them count"
    agent.report(agent.ended(work, run=100_000))
    assert sqlite_hub.state(job) == "completed"
