"""From submitted to admitted or to an early end: dates, releases, dependencies, deadlines."""

from __future__ import annotations

import pytest
from tests.hub.facility import CPU

from meyrin.domain.errors import InvalidInput, Refused
from meyrin.domain.job import ArraySpec, Dependency, DependencyKind
from meyrin.domain.states import MEANING, JobState
from meyrin.hub.jobs import eligible
from meyrin.hub.jobs import service as jobs
from meyrin.hub.plumbing.database import Step

OK, ANY, NOT_OK = DependencyKind.AFTER_OK, DependencyKind.AFTER_ANY, DependencyKind.AFTER_NOT_OK
SINGLETON = DependencyKind.SINGLETON


def on(kind, job=None, element=None):
    return Dependency(kind, job, element)


def after(hub, *dependencies, **wanted):
    return hub.submit(dependencies=dependencies, **wanted)


def run(hub):
    """Place and lease what can be; the work by job."""
    hub.steps()
    return {work.job: work for work in hub.agents["alps"].lease().work}


def end(hub, *exits, work):
    """End these jobs with these exit codes; then one broker step."""
    agent = hub.agents["alps"]
    for job, exit_code in exits:
        agent.finish(work[job], exit_code)
    hub.step()


# --- dates and holds


def test_a_job_begins_no_earlier_than_it_may(hub):
    job = hub.submit(begin_s=hub.clock.now_s + 100)
    hub.steps()
    assert hub.state(job) == "submitted"
    hub.clock.pass_s(99)
    assert hub.steps() == 0
    hub.clock.pass_s(1)
    hub.agents["alps"].lease()
    assert hub.steps() == 1
    assert hub.state(hub.submit(begin_s=hub.clock.now_s)) == "admitted"


def test_a_held_job_waits_for_its_release(hub):
    job = hub.submit(held=True)
    assert hub.steps() == 0
    ada = hub.client("ada")
    assert ada.post(f"/api/v1/jobs/{job}/release").json() == [job]
    assert hub.steps() == 1
    assert ada.post(f"/api/v1/jobs/{job}/release").status_code == 409


def test_elements_are_released_one_by_one_or_all_at_once(hub):
    array = hub.submit(array=ArraySpec((3, 5, 8)), held=True)
    with hub.write() as step:
        actor = hub.actor("bob")
        assert jobs.release(step, actor, f"{array}_5") == [array + 1]
        with pytest.raises(Refused, match="not held"):
            jobs.release(step, actor, f"{array}_5")
    assert hub.steps() == 1
    assert hub.states(f"{array}_3", f"{array}_5") == ["submitted", "placed"]
    with hub.write() as step:
        assert jobs.release(step, hub.actor("bob"), str(array)) == [array, array + 2]
    assert hub.steps() == 2


def test_a_job_that_can_not_end_before_its_deadline_expires(hub):
    """sbatch(1): removed if no ending is possible before the deadline."""
    deadline_s = hub.clock.now_s + 1000
    hub.drain("alps")
    jobs = [
        hub.submit(deadline_s=deadline_s, walltime_s=600),
        hub.submit(deadline_s=deadline_s, walltime_s=60, held=True),
    ]
    hub.clock.pass_s(400)
    hub.step()
    assert hub.states(*jobs) == ["admitted", "submitted"]
    hub.clock.pass_s(1)
    hub.step()
    assert hub.states(*jobs) == ["expired", "submitted"]
    hub.clock.pass_s(600)
    hub.step()
    assert hub.states(*jobs) == ["expired", "expired"]
    assert hub.detail(jobs[0]).job.reason == "deadline"


def test_a_deadline_does_not_touch_what_runs(hub):
    job = hub.submit(deadline_s=hub.clock.now_s + 700, walltime_s=600)
    work = run(hub)
    hub.agents["alps"].report(hub.agents["alps"].running(work[job]))
    hub.clock.pass_s(800)
    hub.step()
    assert hub.state(job) == "running"


def test_a_job_whose_allocation_has_ended_waits_for_hours_and_says_so(empty_hub):
    """More hours, or a longer end, may come at any time: it is not for the hub to give it up."""
    empty_hub.site("alps", CPU)
    empty_hub.award("lab", days=2)
    job = empty_hub.submit(begin_s=empty_hub.clock.now_s + 3 * 86_400)
    empty_hub.clock.pass_s(30 * 86_400)
    empty_hub.agents["alps"].lease()
    empty_hub.steps()
    assert empty_hub.state(job) == "admitted"
    assert "has ended" in empty_hub.explain(job).summary
    empty_hub.award("lab")
    assert empty_hub.step() == 1
    assert "allocation" not in MEANING[JobState.EXPIRED]


# --- dependencies on single jobs


KINDS = {
    (OK, 0): "placed",
    (OK, 1): "cancelled",
    (ANY, 0): "placed",
    (ANY, 1): "placed",
    (NOT_OK, 0): "cancelled",
    (NOT_OK, 1): "placed",
}


def test_each_kind_on_a_single_job(hub):
    for (kind, exit_code), state in KINDS.items():
        first = hub.submit()
        second = after(hub, on(kind, first))
        work = run(hub)
        assert first in work
        assert second not in work
        assert hub.state(second) == "submitted"
        hub.step()
        assert hub.explain(second).refusals[0].asked == f"{kind}:{first}"
        end(hub, (first, exit_code), work=work)
        assert hub.state(second) == state, (kind, exit_code)
        if state == "cancelled":
            assert hub.detail(second).job.reason == "dependency never satisfied"


def test_a_cancelled_job_is_an_end_but_no_good_one(hub):
    first = hub.submit(held=True)
    dependents = [after(hub, on(kind, first)) for kind in (OK, ANY, NOT_OK)]
    hub.cancel(first)
    hub.step()
    assert hub.states(*dependents) == ["cancelled", "placed", "placed"]


def test_a_dependency_on_what_has_ended_already(hub):
    first = hub.submit()
    end(hub, (first, 0), work=run(hub))
    good, bad = after(hub, on(OK, first)), after(hub, on(NOT_OK, first))
    hub.step()
    assert hub.states(good, bad) == ["placed", "cancelled"]


def test_a_chain_falls_when_its_first_link_does(hub):
    first = hub.submit()
    second = after(hub, on(OK, first))
    third = after(hub, on(OK, second))
    end(hub, (first, 1), work=run(hub))
    hub.step()
    assert hub.states(second, third) == ["cancelled", "cancelled"]


def test_never_satisfied_may_wait_for_ever_when_asked_to(hub):
    first = hub.submit()
    second = after(hub, on(OK, first), kill_on_invalid_dependency=False)
    end(hub, (first, 1), work=run(hub))
    assert hub.state(second) == "submitted"
    assert hub.explain(second).refusals[0].limit == "can never be met"


def test_all_conditions_or_any_of_them(hub):
    first, second = hub.submit(), hub.submit()
    both = after(hub, on(OK, first), on(OK, second))
    either = after(hub, on(OK, first), on(OK, second), any_dependency=True)
    neither = after(hub, on(NOT_OK, first), on(NOT_OK, second), any_dependency=True)
    work = run(hub)
    end(hub, (first, 0), work=work)
    assert hub.states(both, either, neither) == ["submitted", "placed", "submitted"]
    end(hub, (second, 0), work=work)
    assert hub.states(both, either, neither) == ["placed", "placed", "cancelled"]


# --- dependencies on arrays and elements


def test_a_dependency_on_an_array_means_all_its_elements(hub):
    array = hub.submit(array=ArraySpec((1, 2)))
    good, over = after(hub, on(OK, array)), after(hub, on(ANY, array))
    bad = after(hub, on(NOT_OK, array))
    work = run(hub)
    end(hub, (array, 0), work=work)
    assert hub.states(good, over, bad) == ["submitted"] * 3
    end(hub, (array + 1, 1), work=work)
    assert hub.states(good, over, bad) == ["cancelled", "placed", "placed"]


def test_a_dependency_on_one_element(hub):
    array = hub.submit(array=ArraySpec((1, 2)))
    by_index = after(hub, on(OK, array, 2))
    by_number = after(hub, on(OK, array + 1))
    end(hub, (array + 1, 0), work=run(hub))
    assert hub.states(by_index, by_number) == ["placed", "placed"]
    assert hub.explain(after(hub, on(OK, array, 1))).refusals[0].asked == f"afterok:{array}_1"


def test_an_array_may_depend(hub):
    first = hub.submit()
    array = after(hub, on(OK, first), array=ArraySpec((0, 1, 2)))
    work = run(hub)
    assert set(work) == {first}
    end(hub, (first, 0), work=work)
    assert hub.detail(array).array == {"placed": 3}


@pytest.mark.parametrize("element", [0, 3])
def test_an_element_that_is_not_there_is_no_condition(hub, element):
    array, single = hub.submit(array=ArraySpec((1, 2))), hub.submit()
    for job in (array, single):
        with pytest.raises(InvalidInput, match="no such element"):
            after(hub, on(ANY, job, element))


# --- singleton


def test_a_singleton_waits_for_its_namesakes(hub):
    first = hub.submit(name="sim")
    other = hub.submit(name="sim", by="bob")
    second = after(hub, on(SINGLETON), name="sim")
    third = after(hub, on(SINGLETON), name="sim")
    work = run(hub)
    assert set(work) == {first, other}
    end(hub, (other, 0), work=work)
    assert hub.state(second) == "submitted", "another person's job of that name"
    end(hub, (first, 1), work=work)
    assert hub.states(second, third) == ["placed", "submitted"]
    hub.cancel(second)
    hub.step()
    assert hub.state(third) == "placed"


def test_elements_of_one_array_are_no_namesakes(hub):
    array = after(hub, on(SINGLETON), name="sweep", array=ArraySpec((0, 1)))
    hub.steps()
    assert hub.detail(array).array == {"placed": 2}


def test_many_who_wait_for_one_don_t_close_the_door(hub):
    """Others' conditions are looked at however many jobs wait on something slow."""
    slow, quick = hub.submit(), hub.submit()
    for _ in range(3):
        after(hub, on(OK, slow), array=ArraySpec(tuple(range(8000))))
    behind = after(hub, on(OK, quick), by="bob")
    end(hub, (quick, 0), work=run(hub))
    assert hub.state(behind) == "placed"


# --- cancelling


def test_a_job_is_cancelled_in_every_state(hub):
    allocation = hub.award("lab", hours=1, days=1)
    agent = hub.agents["alps"]
    submitted, admitted = hub.submit(held=True), hub.submit()
    assert hub.cancel(submitted).ended == [submitted]
    assert hub.cancel(admitted).ended == [admitted]
    placed = hub.submit()
    hub.steps()
    assert hub.balance(allocation).held_s == 600
    assert hub.cancel(placed).ended == [placed]
    assert hub.balance(allocation).held_s == 0
    assert agent.lease().work == []
    assert hub.states(submitted, admitted, placed) == ["cancelled"] * 3
    found = hub.detail(placed)
    assert found.job.reason == "cancelled by ada"
    assert found.events[-1].attempt == found.attempts[0].attempt
    hub.books_balance()


@pytest.mark.parametrize("state", ["leased", "queued", "running"])
def test_a_job_at_a_site_ends_when_the_site_says_so(hub, state):
    agent = hub.agents["alps"]
    job = hub.submit()
    work = run(hub)[job]
    if state != "leased":
        agent.report(agent.queued(work))
    if state == "running":
        agent.report(agent.running(work))
    reply = hub.cancel(job, by="bob")
    assert (reply.ended, reply.asked) == ([], [job])
    assert hub.state(job) == state
    assert agent.lease().cancel == [work.attempt]
    assert agent.lease().cancel == []
    hub.clock.pass_s(11)
    assert agent.lease().cancel == [work.attempt], "told again until the site answers"
    hub.cancel(job, by="ada")
    report = agent.ended(work, end="cancelled", exit_code=None) if state == "running" else (
        agent.cancelled(work))  # fmt: skip
    agent.report(report)
    assert hub.state(job) == "cancelled"
    assert hub.detail(job).job.reason == "cancelled by bob", "the first who asked"
    assert hub.detail(job).used_s == (10 if state == "running" else 0)
    hub.clock.pass_s(11)
    assert agent.lease().cancel == []
    assert hub.cancel(job).already == [job]
    hub.books_balance()


def test_a_job_that_ended_before_the_cancel_arrived_has_its_own_end(hub):
    job = hub.submit()
    work = run(hub)[job]
    hub.cancel(job)
    hub.agents["alps"].finish(work)
    assert hub.state(job) == "completed"
    before = hub.everything()
    assert hub.cancel(job).already == [job]
    assert hub.everything() == before


def test_an_array_is_cancelled_where_each_element_is(hub):
    hub.site("jura", CPU)
    array = hub.submit(array=ArraySpec((0, 1, 2, 3)))
    hub.steps()
    agent = hub.agents["alps"]
    works = agent.lease().work
    agent.finish(works[0])
    reply = hub.cancel(array)
    assert len(reply.ended) == 2
    assert (reply.asked, reply.already) == ([works[1].job], [works[0].job])
    one = hub.submit(array=ArraySpec((4, 5)))
    assert hub.cancel(f"{one}_5").ended == [one + 1]
    assert hub.state(f"{one}_4") == "admitted"


def test_who_waits_for_a_held_job_hides_nobody(hub, monkeypatch):
    """More requests than one step looks at, and none of them can go on."""
    monkeypatch.setattr(eligible, "_MOST", 3)
    root = hub.submit(held=True)
    first = hub.submit()
    for _ in range(7):
        after(hub, on(OK, root), by="bob")
    mine, begins = after(hub, on(ANY, first)), hub.submit(begin_s=hub.clock.now_s + 10)
    end(hub, (first, 0), work=run(hub))
    hub.clock.pass_s(10)
    assert hub.step() == 1
    assert hub.state(begins) == "placed"
    for _ in range(3):
        hub.step()
    assert hub.state(mine) == "placed"
    hub.client("ada").post(f"/api/v1/jobs/{root}/release")
    assert hub.step() == 1  # and round again: nobody before is forgotten


def work_of(hub, look):
    """How much SQLite does for a look, in thousands of its steps."""
    ticks = []
    with hub.read() as step:
        raw = step.conn.connection.driver_connection
        raw.set_progress_handler(lambda: ticks.append(1), 1000)
        look(step)
        raw.set_progress_handler(None, 0)
    return len(ticks)


@pytest.mark.parametrize("look", [eligible.near, eligible.conditions])
def test_many_after_a_large_array_cost_little_more_than_a_few(sqlite_hub, look):
    first = sqlite_hub.submit(array=ArraySpec(tuple(range(1000))))
    sqlite_hub.steps()
    waiting = after(sqlite_hub, on(OK, first), array=ArraySpec(tuple(range(200))))
    numbers = list(range(waiting, waiting + 200))
    few = work_of(sqlite_hub, lambda step: look(step, numbers[:20]))
    many = work_of(sqlite_hub, lambda step: look(step, numbers))
    assert many < 3 * few


def test_no_element_of_a_large_array_is_read_by_itself(sqlite_hub, monkeypatch):
    read = []
    real = Step.rows

    def rows(step, statement, **values):
        found = real(step, statement, **values)
        read.append(len(found))
        return found

    first = sqlite_hub.submit(array=ArraySpec(tuple(range(100))))
    waiting = after(sqlite_hub, on(OK, first))
    monkeypatch.setattr(Step, "rows", rows)
    with sqlite_hub.read() as step:
        assert not eligible.conditions(step, [waiting])[waiting][0].met
        assert not eligible.near(step, [waiting])
    assert max(read) <= 2
