"""Placed jobs that no agent takes go elsewhere; those that are too late end."""

from __future__ import annotations

import pytest
from tests.hub.facility import CPU

from meyrin.domain.job import Resources
from meyrin.hub.jobs import sweeping
from meyrin.hub.sites import service as sites
from meyrin.hub.worker import Worker


@pytest.fixture
def two(empty_hub):
    hub = empty_hub
    hub.site("alps", CPU)
    hub.site("jura", CPU)
    hub.allocation = hub.award("lab")
    return hub


def sweep(hub, what=sweeping.take_back):
    with hub.write() as step:
        return what(step)


def others_call(hub, silent):
    for name, agent in hub.agents.items():
        if name != silent:
            agent.lease()


def test_a_job_that_its_silent_site_does_not_fetch_goes_elsewhere(two):
    job = two.submit()
    two.steps()
    site = two.detail(job).job.site
    assert sweep(two) == 0
    two.clock.pass_s(120)
    others_call(two, site)
    Worker(two.database)._sweep()
    assert two.state(job) == "admitted"
    assert two.balance(two.allocation).held_s == 0
    assert two.step() == 1
    found = two.detail(job)
    assert found.job.site != site
    assert [one.end for one in found.attempts] == ["cancelled", None]
    two.agents[site].hello()
    assert not two.agents[site].lease().work
    two.books_balance()


def test_a_job_whose_partition_is_no_longer_lent_goes_elsewhere(two):
    job = two.submit()
    two.steps()
    site = two.detail(job).job.site
    with two.write() as step:
        (offer,) = [one for one in sites.offers_at(step, step.now_s).values() if one.site == site]
        sites.end_offer(step, site, offer.id)
    two.clock.pass_s(1)
    assert sweep(two) == 1
    assert two.step() == 1
    assert two.detail(job).job.site != site


def test_what_an_agent_has_taken_stays(two):
    job = two.submit()
    two.steps()
    site = two.detail(job).job.site
    assert two.agents[site].lease().work
    two.clock.pass_s(120)
    others_call(two, site)
    assert sweep(two) == 0
    assert two.state(job) == "leased"


def late(hub, **wanted):
    job = hub.submit(deadline_s=hub.clock.now_s + 700, walltime_s=600, **wanted)
    hub.steps()
    return job, hub.agents[hub.detail(job).job.site]


def test_a_placed_job_that_can_not_end_in_time_expires(two):
    job, _ = late(two)
    two.clock.pass_s(100)
    assert sweep(two, sweeping.end_late) == 0
    two.clock.pass_s(1)
    others_call(two, "alps")
    Worker(two.database)._deadlines()
    assert two.state(job) == "expired"
    assert two.detail(job).job.reason == "deadline"
    assert two.balance(two.allocation).held_s == 0
    assert not [work for agent in two.agents.values() for work in agent.lease().work]
    two.books_balance()


def minutes_pass(hub, agent, *seconds):
    """The sweep looks once after each of these times, and finds the agent there."""
    for each in seconds:
        hub.clock.pass_s(each)
        agent.lease()
        assert sweep(hub, sweeping.end_late) == 0


@pytest.mark.parametrize("queued", [False, True])
def test_the_end_of_one_that_waits_at_its_site_is_asked(two, queued):
    job, agent = late(two)
    (work,) = agent.lease().work
    if queued:
        agent.report(agent.queued(work))
    minutes_pass(two, agent, 40)
    two.clock.pass_s(61)
    agent.lease()
    assert sweep(two, sweeping.end_late) == 1
    assert agent.lease().cancel == [work.attempt]
    assert sweep(two, sweeping.end_late) == 0
    agent.report(agent.cancelled(work))
    found = two.detail(job).job
    assert (found.state, found.reason) == ("cancelled", "deadline")


def test_what_runs_or_may_run_unseen_goes_on(two):
    whole = Resources(nodes_min=4, tasks=4, cores_per_task=8, memory_mb=100)
    (one, runs), (other, silent) = late(two, resources=whole), late(two, resources=whole)
    assert runs is not silent
    (work,) = runs.lease().work
    runs.report(runs.running(work))
    (unseen,) = silent.lease().work
    silent.report(silent.queued(unseen))
    minutes_pass(two, runs, 60, 60, 80)
    assert sweep(two, sweeping.end_late) == 0
    assert two.states(one, other) == ["running", "queued"]
    assert not runs.lease().cancel


def test_what_began_while_the_hub_was_away_goes_on(two):
    job, agent = late(two)
    (work,) = agent.lease().work
    agent.report(agent.queued(work))
    minutes_pass(two, agent, 0, 60)  # the hub before knew this agent well
    two.clock.pass_s(30)
    began_ms = two.clock()
    two.clock.pass_s(30)
    other = two.second_hub()
    for _ in range(2):  # before the agent calls, and after its call before its report
        with other.write() as step:
            assert sweeping.end_late(step) == 0
        assert not agent.lease().cancel
    agent.report(agent.running(work, start_ms=began_ms))
    assert two.state(job) == "running"


@pytest.mark.parametrize("anew", [False, True])
def test_what_began_while_its_agent_was_away_goes_on(two, anew):
    _, agent = late(two)
    (work,) = agent.lease().work
    agent.report(agent.queued(work))
    minutes_pass(two, agent, 0, 60)
    two.clock.pass_s(50 if anew else 300)
    if not anew:
        assert sweep(two, sweeping.end_late) == 0
    agent.hello("later" if anew else "first")
    assert sweep(two, sweeping.end_late) == 0
    minutes_pass(two, agent, 50)
    assert not agent.lease().cancel
    two.clock.pass_s(10)
    assert sweep(two, sweeping.end_late) == 1, "it had a minute to tell"
