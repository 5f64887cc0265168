"""A site's no counts as long as what it stands on; then the job is offered there again."""

from __future__ import annotations

import pytest

from meyrin.domain.site import OwnerShare
from meyrin.hub.plumbing import world
from meyrin.hub.plumbing.authz import Actor
from meyrin.hub.sites import presence, refusals
from meyrin.hub.sites import service as sites

ROOT = Actor(person="root", name="root", admin=True)


@pytest.fixture
def refused(hub):
    """A job that the only site said no to, under its rules `aa`."""
    agent = hub.agents["alps"]
    agent.rules_mark = "aa"
    agent.hello()
    job = hub.submit()
    hub.steps()
    (work,) = agent.lease().work
    assert agent.report(agent.refused(work)) == []
    assert asked_again(hub) == []
    return hub, agent, job, work


def asked_again(hub):
    hub.steps()
    return [work.job for work in hub.agents["alps"].lease().work]


def reasons(hub, job):
    return [refusal.reason for refusal in hub.explain(job).refusals]


def test_the_no_stays_while_nothing_changes(refused):
    hub, agent, job, _ = refused
    for _ in range(3):
        agent.hello()
        hub.clock.pass_s(5)
        assert asked_again(hub) == []
    assert reasons(hub, job) == ["site_said_no"]
    found = hub.explain(job)
    assert found.summary == hub.detail(job).job.reason
    assert found.summary.startswith("alps said no: "), "in the site's own words"
    assert "change the job so" in found.refusals[0].words


def test_a_site_that_takes_nothing_new_says_why(hub):
    with hub.write() as step:
        presence.say_not_now(step, sites.ids_of(step, ["alps"])["alps"], "quiet hours until 18:00")
    job = hub.submit()
    found = hub.explain(job)
    assert "takes no new jobs at present (quiet hours until 18:00)" in found.summary
    assert found.refusals[0].words.partition(": ")[0] in found.summary


def test_other_rules_or_another_veto_wake_it(refused):
    hub, agent, job, _ = refused
    with hub.read() as step:
        before = world.version(step)
    agent.rules_mark = "bb"
    agent.hello()
    with hub.read() as step:
        assert world.version(step) > before, "whoever decides meanwhile decides anew"
    assert asked_again(hub) == [job]


def test_other_allowed_projects_wake_it(refused):
    hub, _, job, _ = refused
    with hub.write() as step:
        sites.allow_projects(step, ROOT, "alps", [hub.projects["lab"]])
    assert asked_again(hub) == [job]


def test_another_offer_wakes_it_and_so_does_the_end_of_one(refused):
    hub, agent, job, _ = refused
    with hub.write() as step:
        lent = sites.lend(step, "alps", "more", (OwnerShare("uni", 1),), start_s=step.now_s + 99)
    hub.steps()
    (work,) = agent.lease().work
    assert work.job == job
    agent.report(agent.refused(work))
    assert asked_again(hub) == []
    with hub.write() as step:
        sites.end_offer(step, "alps", lent.id)
    assert asked_again(hub) == [job]


def test_a_no_of_before_that_arrives_late_wakes_it_too(hub):
    """The rules changed while the word was on its way: it is a no under rules that are gone."""
    agent = hub.agents["alps"]
    agent.rules_mark = "aa"
    agent.hello()
    job = hub.submit()
    hub.steps()
    (work,) = agent.lease().work
    late = agent.refused(work)
    agent.rules_mark = "bb"
    agent.hello()
    agent.report(late)
    assert asked_again(hub) == [job]


def test_a_second_no_under_the_new_rules_counts(refused):
    hub, agent, job, _ = refused
    agent.rules_mark = "bb"
    agent.hello()
    hub.steps()
    (work,) = agent.lease().work
    agent.report(agent.refused(work))
    assert asked_again(hub) == []
    agent.rules_mark = "aa"
    agent.hello()
    assert asked_again(hub) == [job], "back to rules that said no: it asks once more"


def test_an_agent_without_marks_refuses_as_before(hub):
    job = hub.submit()
    hub.steps()
    agent = hub.agents["alps"]
    (work,) = agent.lease().work
    agent.report(agent.refused(work))
    assert asked_again(hub) == []
    assert reasons(hub, job) == ["site_said_no"]
    agent.rules_mark = "aa"  # it is a later version now
    agent.hello()
    assert asked_again(hub) == [job]


def test_words_of_refusals():
    words = refusals.with_no("", "alps", 0, "aa")
    words = refusals.with_no(words, "jura", 2, "")
    assert words == "alps=0/aa jura=2/"
    assert refusals.with_no(words, "alps", 1, "bb") == "jura=2/ alps=1/bb"
    assert refusals.counting(words, frozenset({"alps=0/aa"})) == ("alps",)
    assert refusals.counting("old new=1/", frozenset({"old", "new=2/"})) == ("old",)
