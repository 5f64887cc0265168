"""However many jobs can't run, those behind them are looked at, and nobody is overtaken for it."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from tests.hub.facility import CPU

from meyrin.domain.job import ArraySpec, Resources
from meyrin.domain.units import NodeShape
from meyrin.engine.model import Funds, Occupied, PartitionState, Policy, State, WaitingJob
from meyrin.engine.placement import decide
from meyrin.hub.broker import explaining, windows
from meyrin.hub.broker import service as broker

WHOLE = Resources(nodes_min=4, tasks=4, cores_per_task=8, memory_mb=100)


@pytest.fixture
def small(empty_hub, monkeypatch):
    """Two sites, and a broker that looks at nine jobs in a step."""
    for room in (broker, explaining):
        monkeypatch.setattr(room, "WINDOWS", (2, 3, 4))
    hub = empty_hub
    hub.site("alps", CPU)
    hub.site("jura", CPU)
    hub.project("two", "bob")
    hub.award("lab")
    return hub


def one_at_a_time(hub, count):
    hub.award("two")
    return {"array": ArraySpec(tuple(range(count + 1)), max_running=1)}


def without_hours(hub, count):
    hub.award("two", hours=1)
    hub.submit(project="two", by="bob", walltime_s=3600)
    return {"array": ArraySpec(tuple(range(count))), "walltime_s": 3600}


def at_a_drained_site(hub, count):
    hub.award("two")
    hub.drain("jura")
    return {"array": ArraySpec(tuple(range(count))), "sites": ("jura",)}


def at_a_full_site(hub, count):
    hub.award("two")
    hub.submit(sites=("jura",), resources=WHOLE)
    return {"array": ArraySpec(tuple(range(count))), "sites": ("jura",)}


KINDS = [one_at_a_time, without_hours, at_a_drained_site, at_a_full_site]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [8, 30])
def test_jobs_that_cannot_run_hide_nobody(small, kind, count):
    small.submit(project="two", by="bob", **kind(small, count))
    small.steps()
    mine = small.submit(sites=("alps",))
    assert sum(small.step() for _ in range(1 + count // 5)) == 1
    assert small.state(mine) == "placed"
    small.books_balance()


def test_a_step_that_finds_no_end_goes_on_at_the_next(small):
    small.submit(project="two", by="bob", **at_a_drained_site(small, 20))
    mine = small.submit()
    assert [small.step() for _ in range(3)] == [0, 0, 1]
    assert small.state(mine) == "placed"


def test_what_becomes_possible_in_front_comes_first_when_the_world_changes(small):
    first = small.submit(project="two", by="bob", **at_a_drained_site(small, 12))
    assert small.step() == 0
    small.drain("alps")
    root = small.client("root")
    assert root.post("/api/v1/sites/jura/resume").status_code < 300
    assert small.step() == 2
    assert small.detail(first).job.site == "jura"


def test_explain_tells_of_those_ahead_whom_the_broker_looks_at_first(small):
    small.submit(project="two", by="bob", **at_a_drained_site(small, 20))
    mine = small.submit()
    small.step()
    said = small.explain(mine)
    told = "at least 6 jobs are ahead of it, and the hub looks at these first"
    assert (said.summary, said.where, said.others) == (told, None, [])
    with small.read() as step:
        forecast = explaining.test_only(step, small.actor("ada"), small.ask())
    assert (forecast.summary, forecast.where) == (told, None)


def test_explain_tells_the_limit_of_an_array_behind_all_that_is_looked_at(small):
    array = small.submit(project="two", by="bob", sites=("alps",), **one_at_a_time(small, 20))
    small.step()
    said = small.explain(f"{array}_19", "bob")
    assert said.refusals[0].reason == "array_limit"
    assert said.summary.endswith("; and at least 6 jobs are ahead of it, and the hub looks at"
                                 " these first")  # fmt: skip
    assert "starts" not in said.summary


def test_explain_sees_those_ahead_in_the_second_window(small):
    for _ in range(4):
        small.submit(resources=WHOLE, sites=("alps",), walltime_s=600)
    mine = small.submit(sites=("alps",), walltime_s=3600)
    small.step()
    assert small.explain(mine).where.expected_start_s == small.clock.now_s + 4 * 600


def test_what_is_decided_and_never_kept_hides_nobody(small, monkeypatch):
    """A site packs otherwise than the engine believes: what is decided there is left out."""

    def fitting(_parts, _taken, placements, *_):
        return tuple(one for one in placements if one.site != "jura")

    monkeypatch.setattr(broker, "fitting", fitting)
    never = [small.submit(sites=("jura",)) for _ in range(3)]
    mine = small.submit(sites=("alps",))
    assert small.step() == 1
    assert small.states(*never, mine) == ["admitted"] * 3 + ["placed"]


def test_what_is_placed_in_front_does_not_start_the_look_anew(small):
    array = one_at_a_time(small, 60)
    small.submit(project="two", by="bob", sites=("alps",), **array)
    mine = small.submit(sites=("jura",))
    alps = small.agents["alps"]
    for _ in range(5):  # an element each, and two steps that look further
        assert sum(small.step() for _ in range(3)) <= 2
        for work in alps.lease().work:
            alps.report(alps.running(work))
            small.clock.pass_s(4)
            alps.report(alps.ended(work, elapsed_s=4))
    assert small.state(mine) == "placed"


def test_many_that_are_decided_and_never_kept_hide_nobody(empty_hub, monkeypatch):
    for room in (broker, explaining):
        monkeypatch.setattr(room, "WINDOWS", (60, 20, 160))
    fit = broker.fitting
    monkeypatch.setattr(
        broker,
        "fitting",
        lambda parts, taken, placements, *rest: tuple(
            one for one in fit(parts, taken, placements, *rest) if one.site != "jura"
        ),
    )
    empty_hub.site("alps", CPU)
    empty_hub.site("jura", replace(CPU, nodes=40))
    empty_hub.award("lab")
    whole = Resources(tasks=1, cores_per_task=8, memory_mb=100)
    array = ArraySpec(tuple(range(130)))
    empty_hub.submit(sites=("jura",), resources=whole, array=array)
    mine = empty_hub.submit(sites=("alps",))
    assert empty_hub.step() == 1
    assert empty_hub.state(mine) == "placed"


# --- windows against one decision over all


def partition(name, rng):
    busy = Occupied(10**6, rng.randint(3, 7), NodeShape(1, 1), rng.randint(2, 9) * 600, None)
    part = replace(CPU, name=name, cores_per_node=1, nodes=8)
    return PartitionState(name, part, drained=rng.random() < 0.1, occupied=(busy,))


def waiting(number, rng):
    tasks = rng.randint(5, 8) if number < 12 else rng.randint(1, 8)
    return WaitingJob(
        number,
        rng.choice(["lab", "poor", "firm"]),
        Resources(tasks=tasks, memory_mb=1),
        rng.randint(1, 20) * 300,
        0,
        sites=rng.choice([(), ("a",), ("b",)]),
    )


@pytest.mark.parametrize("seed", range(40))
def test_window_by_window_places_whom_one_decision_over_all_places(seed):
    rng = random.Random(seed)
    places = tuple(partition(name, rng) for name in "ab")
    funds = (
        Funds("lab", "core", 10**6, 0, 0, 10**6),
        Funds("poor", "core", 900, 0, 0, 10**6),
        Funds("firm", "core", 10**6, 0, 0, 10**6, paid=True),
    )
    jobs = [waiting(number, rng) for number in range(40)]
    policy = Policy(reserve_depth=rng.choice([0, 1, 2, 32]), paid_percent=rng.choice([0, 30]))
    passed, seen = windows.Passed(), 0
    for size in (3, 5, 8, 24):
        near = tuple(job for job in jobs[:seen] if job.job in passed.kept)
        seen += size
        more = seen < len(jobs)
        page = State(1, places, funds, (*near, *jobs[seen - size : seen]), more)
        found = decide(page, policy, 0)
        whole = decide(replace(page, waiting=tuple(jobs[:seen])), policy, 0)
        assert found.placements == whole.placements
        if found.placements:
            return
        passed = windows.over(windows.Window(), page, policy, found)


def test_room_that_comes_meanwhile_is_for_those_who_wait_for_it():
    place = PartitionState("a", CPU)
    jobs = tuple(replace(waiting(number, random.Random(1)), sites=()) for number in range(3))
    funds = (Funds(jobs[0].project, "core", 10**6, 0, 0, 10**6),)
    decision = decide(State(1, (place,), funds, jobs), Policy(), 0)
    first = decision.placements[0].job
    mine = windows.in_turn(decision, windows.Passed(waited=frozenset({first})))
    assert [one.job for one in mine.placements] == [first]
    assert windows.in_turn(decision, windows.Passed()) == decision
    elsewhere = replace(decision.placements[1], site="b")
    both = replace(decision, placements=(decision.placements[0], elsewhere))
    assert windows.in_turn(both, windows.Passed(waited=frozenset({first}))) == both
