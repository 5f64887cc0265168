"""`--test-only`: a forecast says what holds the job back, and refuses what a submission would."""

from __future__ import annotations

import pytest

from meyrin.domain.errors import InvalidInput, Refused
from meyrin.domain.job import Dependency, DependencyKind
from meyrin.domain.units import LAST_S
from meyrin.hub.broker import explaining


def forecast(hub, **asked):
    actor = hub.actor("ada")
    with hub.read() as step:
        return explaining.test_only(step, actor, hub.ask(**asked))


def after(kind, job=None, **more):
    return {"dependencies": (Dependency(kind, job),), **more}


def held_back(hub, **asked):
    """The reasons before any partition is looked at; the forecast and the explanation of the same
    job, submitted, must agree."""
    said = forecast(hub, **asked)
    assert said.where is not None, "as if what holds it back were gone"
    told = [(each.reason, each.asked) for each in said.refusals if not each.partition]
    job = hub.submit(**asked)
    explained = hub.explain(job)
    assert explained.summary == said.summary
    hub.cancel(job)
    return told


def test_a_forecast_says_what_holds_the_job_back(hub):
    later_s = hub.clock.now_s + 3600
    waits = hub.submit(held=True, name="one")
    assert held_back(hub, held=True) == [("held", None)]
    assert held_back(hub, begin_s=later_s) == [("begin", later_s)]
    ok = after(DependencyKind.AFTER_OK, waits)
    assert held_back(hub, **ok) == [("dependency", f"afterok:{waits}")]
    alone = after(DependencyKind.SINGLETON, name="one")
    assert held_back(hub, **alone) == [("dependency", "singleton")]
    both = held_back(hub, **ok, held=True, begin_s=later_s)
    assert [reason for reason, _ in both] == ["held", "begin", "dependency"]


def test_lists_say_what_holds_a_job_back(hub):
    first = hub.submit(held=True)
    later = hub.submit(begin_s=hub.clock.now_s + 60)
    third = hub.submit(**after(DependencyKind.AFTER_OK, first))
    assert [hub.detail(job).job.reason for job in (first, later, third)] == [
        "held",
        "--begin",
        "--dependency",
    ]
    hub.clock.pass_s(61)
    assert hub.detail(later).job.reason == "", "before the broker has looked"


def test_a_forecast_says_why_a_site_takes_nothing(hub):
    hub.drain("alps", "new cooling")
    assert "(new cooling)" in forecast(hub).summary


def test_a_forecast_of_what_nothing_holds_back(hub):
    done = hub.submit(held=True)
    hub.cancel(done)
    waits = hub.submit(held=True)
    for asked in (
        {"begin_s": hub.clock.now_s - 1},
        after(DependencyKind.AFTER_ANY, done),
        after(DependencyKind.SINGLETON, name="nobody else's"),
        {
            "dependencies": (
                Dependency(DependencyKind.AFTER_ANY, done),
                Dependency(DependencyKind.AFTER_ANY, waits),
            ),
            "any_dependency": True,
        },
    ):
        said = forecast(hub, **asked)
        assert (said.where.expected_start_s, said.refusals) == (hub.clock.now_s, []), asked
    said = forecast(hub, **after(DependencyKind.AFTER_OK, done))
    assert said.refusals[0].limit == "can never be met"


def test_a_deadline_that_can_not_be_kept_is_refused_at_once(hub):
    for asked in (
        {"deadline_s": hub.clock.now_s + 599, "walltime_s": 600},
        {
            "begin_s": hub.clock.now_s + 60,
            "deadline_s": hub.clock.now_s + 600,
            "walltime_s": 600,
        },
        {"deadline_s": hub.clock.now_s, "walltime_s": None},
    ):
        for ask in (forecast, lambda hub, **asked: hub.submit(**asked)):
            with pytest.raises(Refused, match="the deadline leaves"):
                ask(hub, **asked)
    kept = hub.submit(deadline_s=hub.clock.now_s + 600, walltime_s=600)
    hub.steps()
    assert hub.state(kept) == "placed"


@pytest.mark.parametrize("wrong", [{"begin_s": LAST_S + 1}, {"begin_s": -1}, {"nice": 2**31}])
def test_a_number_that_no_job_can_have_is_refused_in_a_forecast_too(hub, wrong):
    for ask in (hub.submit, lambda **asked: forecast(hub, **asked)):
        with pytest.raises(InvalidInput, match=f"{next(iter(wrong))} can't be"):
            ask(**wrong)


def test_a_forecast_knows_only_jobs_of_ones_own(hub):
    with pytest.raises(InvalidInput, match="no such job of yours"):
        forecast(hub, **after(DependencyKind.AFTER_OK, 999))
