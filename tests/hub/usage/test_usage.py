"""A usage record counts once; a corrected one is kept beside it and makes new entries."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from tests.hub.facility import at_once

from meyrin.hub.ledger.store import entries
from meyrin.hub.usage.store import usage_records
from meyrin.wire.agents import UsageBody


@pytest.fixture
def ended(hub):
    """A job whose end was reported with ten seconds, the reporter, and its allocation."""
    allocation = hub.award("lab", hours=1, days=1)
    job = hub.submit()
    hub.steps()
    agent = hub.agents["alps"]
    (work,) = agent.lease().work
    agent.report(agent.ended(work, elapsed_s=10))
    return hub, agent, work, job, allocation


def records(hub):
    with hub.read() as step:
        rows = step.rows(sa.select(usage_records).order_by(usage_records.c.id))
    return [(row.version, row.used_s, row.batch_job) for row in rows]


def kinds(hub, work):
    with hub.read() as step:
        statement = sa.select(entries).where(entries.c.attempt == work.attempt)
        rows = step.rows(statement.order_by(entries.c.part))
    return [(row.kind, row.amount_s) for row in rows]


def test_a_record_twice_counts_once(ended):
    hub, agent, work, job, allocation = ended
    before = hub.everything()
    for _ in range(3):
        assert agent.report(agent.ended(work, elapsed_s=10)) == []
    assert hub.everything() == before
    assert records(hub) == [(0, 10, f"b{work.job}")]
    assert kinds(hub, work) == [("hold", 600), ("settle", 10), ("void", 590)]
    assert (hub.detail(job).used_s, hub.balance(allocation).used_s) == (10, 10)


@pytest.mark.parametrize("new_s", [0, 3, 25, 4000])
def test_a_corrected_record_is_kept_beside_the_first(ended, new_s):
    hub, agent, work, job, allocation = ended
    agent.report(agent.ended(work, elapsed_s=10, usage=UsageBody(elapsed_s=new_s)))
    assert records(hub) == [(0, 10, "b1"), (1, new_s, "b1")]
    assert kinds(hub, work)[:3] == [("hold", 600), ("settle", 10), ("void", 590)], "untouched"
    assert {kind for kind, _ in kinds(hub, work)[3:]} == {"correct"}
    assert (hub.detail(job).used_s, hub.balance(allocation).used_s) == (new_s, new_s)
    assert [event.state for event in hub.detail(job).events].count("completed") == 1
    before = hub.everything()
    agent.report(agent.ended(work, elapsed_s=10, usage=UsageBody(elapsed_s=new_s)))
    assert hub.everything() == before
    hub.books_balance()


def test_corrections_follow_each_other(ended):
    hub, agent, work, job, _ = ended
    for used_s in (20, 5, 10, 7):
        agent.report(agent.ended(work, usage=UsageBody(elapsed_s=used_s)))
    assert [(version, used_s) for version, used_s, _ in records(hub)] == [
        (0, 10),
        (1, 20),
        (2, 5),
        (3, 10),
        (4, 7),
    ]
    assert hub.detail(job).used_s == 7
    hub.books_balance()


def test_a_correction_told_by_many_at_once_is_one(ended):
    hub, agent, work, job, _ = ended
    report = agent.ended(work, usage=UsageBody(elapsed_s=33))
    at_once(6, lambda _: agent.report(report))
    assert len(records(hub)) == 2
    assert hub.detail(job).used_s == 33
    hub.books_balance()


def test_a_record_that_comes_late_is_charged(hub):
    """The node died and nothing was measured; accounting knew it in the end."""
    job = hub.submit()
    hub.steps()
    agent = hub.agents["alps"]
    (work,) = agent.lease().work
    agent.report(agent.ended(work, end="lost", exit_code=None, usage=None))
    assert (hub.detail(job).used_s, hub.detail(job).held_s) == (0, 0)
    agent.report(agent.ended(work, end="lost", exit_code=None, usage=UsageBody(elapsed_s=44)))
    assert hub.detail(job).used_s == 44
    assert [(version, used_s) for version, used_s, _ in records(hub)] == [(0, 44)]
    hub.books_balance()


def test_a_record_of_another_site_counts_for_nothing(ended):
    from tests.hub.facility import CPU

    hub, _, work, job, _ = ended
    jura = hub.site("jura", CPU)
    assert jura.report(jura.ended(work, usage=UsageBody(elapsed_s=500))) == [work.attempt]
    assert hub.detail(job).used_s == 10
    assert len(records(hub)) == 1
