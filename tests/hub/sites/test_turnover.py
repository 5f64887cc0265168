"""What short jobs freed lately: how it is counted, and what is sent ahead by it."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meyrin.domain.job import Resources
from meyrin.engine.amounts import Freed
from meyrin.hub.reports import service as reports
from meyrin.hub.sites import service as sites
from meyrin.hub.sites import store, turnover

NODE = Resources(nodes_min=1, tasks=1, cores_per_task=8, memory_mb=100)
ALPS = {"resources": NODE, "sites": ("alps",), "partitions": ("cpu",)}


@given(st.lists(st.tuples(st.integers(0, 9_000), st.integers(1, 50)), max_size=20))
def test_what_was_freed_is_counted_for_four_seconds(ends):
    """Never more than in the last eight, and all of what lies in the span that is under way."""
    begun, kept = 1_700_000_000_000, None
    for after_ms, cores in sorted(ends):
        span = (begun + after_ms) // 4000
        now, before = turnover._spans(kept, span)
        had = (1, cores, 0, 0)
        kept = json.loads(json.dumps({"span": span, "now": now.plus(had, had), "before": before}))
    asked = begun + 9_000
    found = turnover.lately(kept, asked).together[1]
    this = sum(c for at, c in ends if (begun + at) // 4000 == asked // 4000)
    both = sum(c for at, c in ends if (begun + at) // 4000 >= asked // 4000 - 1)
    assert this <= found <= both
    assert turnover.lately(kept, asked + 8_000) == Freed()
    late = [c for at, c in ends if (begun + at) // 4000 >= asked // 4000 - 1]
    assert turnover.lately(kept, asked).most[1] == max(late, default=0)


def test_a_partition_that_freed_nothing_has_no_pace():
    assert turnover.lately(None, 5) == Freed()


@pytest.fixture
def busy(hub):
    """All four nodes of `alps` taken, and two jobs that wait."""
    jobs = [hub.submit(**ALPS) for _ in range(4)]
    hub.steps()
    works = hub.agents["alps"].lease().work
    begun = hub.clock()
    for work in works:
        hub.agents["alps"].report(hub.agents["alps"].running(work, start_ms=begun))
    return hub, jobs, works, [hub.submit(**ALPS) for _ in range(6)]


def end(hub, works, after_s, late_s=0):
    begun = hub.clock()
    hub.clock.now_ms += after_s * 1000
    agent, ended = hub.agents["alps"], begun + after_s * 1000
    hub.clock.now_ms += late_s * 1000
    for work in works:
        agent.report(agent.ended(work, 0, after_s, start_ms=begun, end_ms=ended))


def test_jobs_follow_short_ones_ahead_of_room(busy):
    hub, _, works, waiting = busy
    end(hub, works, 2)
    hub.steps()
    assert [hub.state(job) for job in waiting] == ["placed"] * 6, "four in room, two ahead of it"
    ahead = [hub.detail(job).attempts[0] for job in waiting[4:]]
    assert [each.expected_start_s for each in ahead] == [hub.clock.now_s + 2] * 2
    more = hub.submit(**ALPS)
    hub.steps()
    assert hub.state(more) == "admitted", "no more than was freed on the way"
    hub.books_balance()


@pytest.mark.parametrize(("after_s", "late_s"), [(31, 0), (2, 5)], ids=["long", "told late"])
def test_nothing_follows_long_jobs_or_old_news_ahead_of_room(busy, after_s, late_s):
    hub, _, works, waiting = busy
    end(hub, works, after_s, late_s)
    hub.steps()
    assert [hub.state(job) for job in waiting] == ["placed"] * 4 + ["admitted"] * 2


def test_an_end_counts_once_however_often_it_is_told(busy):
    hub, _, works, waiting = busy
    agent, begun = hub.agents["alps"], hub.clock()
    hub.clock.now_ms += 2000
    over = {"start_ms": begun, "end_ms": begun + 2000}
    for _ in range(3):
        agent.report(agent.running(works[0], **over))
    for _ in range(2):
        agent.report(agent.ended(works[0], 0, 2, **over))
    hub.steps()
    states = [hub.state(job) for job in waiting]
    assert states == ["placed"] + ["admitted"] * 5, "half a node is no node"


def test_an_end_waits_for_nobody_who_has_the_partition(postgres_hub):
    """Who announces partitions has their rows, and may want what a report has."""
    hub = postgres_hub
    hub.submit(**ALPS)
    hub.steps()
    agent, (work,) = hub.agents["alps"], hub.agents["alps"].lease().work
    begun = hub.clock()
    hub.clock.now_ms += 2000
    with hub.write() as step:
        store.mark_seen(step, sites.site_by_name(step, "alps").id, ["cpu"])
        with ThreadPoolExecutor(1) as pool:
            over = agent.ended(work, 0, 2, start_ms=begun, end_ms=hub.clock())
            assert pool.submit(agent.report, over).result(60) == []
    with hub.read() as step:
        states = sites.partition_states(step, step.now_s)
    assert {each.freed_lately for each in states} == {Freed()}


def test_what_a_script_had_is_shown_as_free_when_it_is_over(busy):
    hub, _, works, _ = busy
    agent, begun = hub.agents["alps"], hub.clock()
    with hub.read() as step:
        (use,) = reports.site_uses(step)[0].uses
    assert (use.running, use.total) == (32, 32)
    agent.report(agent.running(works[0], start_ms=begun, end_ms=begun + 1))
    with hub.read() as step:
        (use,) = reports.site_uses(step)[0].uses
    assert use.running == 24
