from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine.states_of_the_world import NOW, policies, states
from tests.oracles.naive_placement import Nodes

from meyrin.domain.job import Resources
from meyrin.domain.refusal import Reason, Refusal
from meyrin.domain.site import Partition
from meyrin.domain.units import NodeShape
from meyrin.engine.admission import Shaped, admit
from meyrin.engine.amounts import Freed, of_job
from meyrin.engine.model import (
    Candidate,
    Funds,
    Occupied,
    PartitionState,
    Placement,
    Policy,
    State,
    Waiting,
    WaitingJob,
)
from meyrin.engine.placement import decide, forecast

GPU = Partition("gpu", 2, 8, 64, 4, "h100", max_walltime_s=10_000)
CPU = Partition("cpu", 2, 8, 64, max_walltime_s=10_000)
FUNDS = (Funds("p", "h100", 10**9, 0, 0, 10**9), Funds("p", "core", 10**9, 0, 0, 10**9))


def ask(number, walltime_s=100, submit_s=NOW, **resources):
    return WaitingJob(number, "p", Resources(**resources), walltime_s, submit_s)


def world(jobs, *places, funds=FUNDS):
    return State(3, places or (PartitionState("alpha", GPU),), funds, tuple(jobs))


def full(site, end_s, partition=GPU):
    occupied = Occupied(900, partition.nodes, partition.node, 500, end_s)
    return PartitionState(site, partition, occupied=(occupied,))


def test_places_what_fits_with_all_that_the_site_needs():
    decision = decide(world([ask(1, accelerators=6)]), Policy(), NOW)
    shape = NodeShape(1, 8, 3)
    assert decision.placements == (
        Placement(1, "alpha", "gpu", 2, shape, 2, 100, "h100", 600, NOW),
    )
    assert (decision.version, decision.waiting) == (3, ())


def test_an_array_spreads_over_equal_sites():
    places = [PartitionState(site, GPU) for site in ("alpha", "beta")]
    decision = decide(world([ask(n, accelerators=1) for n in range(8)], *places), Policy(), NOW)
    assert Counter(p.site for p in decision.placements) == {"alpha": 4, "beta": 4}
    assert [p.site for p in decision.placements][:2] == ["alpha", "beta"]


def test_a_job_goes_where_those_that_it_depends_on_ran_unless_another_starts_it_sooner():
    places = [PartitionState(site, GPU) for site in ("alpha", "beta", "gamma")]
    job = replace(ask(1, accelerators=1), near=("beta", "delta"))
    assert [p.site for p in decide(world([job], *places), Policy(), NOW).placements] == ["beta"]
    places[1] = full("beta", NOW + 5)
    assert [p.site for p in decide(world([job], *places), Policy(), NOW).placements] == ["alpha"]
    busy = [full("alpha", NOW + 50), full("beta", NOW + 50)]
    (waiting,) = decide(world([job], *busy), Policy(), NOW).waiting
    assert waiting.next_start == Candidate("beta", "gpu", NOW + 50)


def test_a_job_without_accelerators_leaves_them_to_others():
    places = [PartitionState("alpha", GPU), full("beta", None, CPU), PartitionState("gamma", CPU)]
    decision = decide(world([ask(n, tasks=8) for n in range(3)], *places), Policy(), NOW)
    assert [p.partition for p in decision.placements] == ["cpu", "cpu", "gpu"]


def test_waits_where_it_starts_first_and_says_why():
    state = world([ask(1)], full("alpha", NOW + 50), full("beta", NOW + 30))
    (waiting,) = decide(state, Policy(), NOW).waiting
    assert waiting.next_start == Candidate("beta", "gpu", NOW + 30)
    assert [(r.reason, r.site, r.asked, r.limit) for r in waiting.refusals] == [
        (Reason.BUSY, "alpha", 1, 0),
        (Reason.BUSY, "beta", 1, 0),
    ]


def test_is_sent_ahead_within_the_policy():
    state = world([ask(n, exclusive=True) for n in range(4)], full("alpha", NOW + 50))
    ahead = Policy(send_ahead_s=50, queue_ahead=1)
    decision = decide(state, ahead, NOW)
    assert [(p.job, p.expected_start_s) for p in decision.placements] == [(0, NOW + 50)]
    assert [w.next_start and w.next_start.expected_start_s for w in decision.waiting] == [
        NOW + 50, NOW + 150, NOW + 150,
    ]  # fmt: skip
    assert not decide(state, replace(ahead, send_ahead_s=49), NOW).placements


def paced(place, nodes):
    """Short jobs freed so many of its nodes in the last four seconds, one each."""
    node = place.partition.node
    return replace(place, freed_lately=Freed(of_job(node, nodes), of_job(node, 1)))


def test_is_sent_ahead_where_short_jobs_free_as_much_on_the_way():
    place = paced(full("alpha", NOW + 5000), nodes=3)  # two seconds of four: one and a half
    state = world([ask(n, exclusive=True) for n in range(3)], place)
    decision = decide(state, Policy(), NOW)
    assert [(p.job, p.expected_start_s) for p in decision.placements] == [(0, NOW + 2)]
    assert not decide(state, Policy(pace_ahead_s=0), NOW).placements
    more = decide(state, Policy(pace_ahead_s=4), NOW)
    assert [(p.job, p.expected_start_s) for p in more.placements] == [
        (0, NOW + 4), (1, NOW + 4), (2, NOW + 4),
    ]  # fmt: skip
    sent = Occupied(901, 1, GPU.node, 500, None)
    there = replace(place, occupied=(*place.occupied, sent))
    assert not decide(replace(state, partitions=(there,)), Policy(), NOW).placements


def test_is_sent_ahead_to_the_site_with_the_pace_though_another_may_be_free_first():
    slow = full("beta", NOW + 50)
    state = world([ask(1, exclusive=True)], paced(full("alpha", NOW + 5000), nodes=3), slow)
    (placed,) = decide(state, Policy(), NOW).placements
    assert (placed.site, placed.expected_start_s) == ("alpha", NOW + 2)
    assert placed.others == (Candidate("beta", "gpu", NOW + 50),)


def test_pace_lets_nobody_pass_one_that_waits_and_carries_no_larger_job():
    place = paced(full("alpha", NOW + 5000), nodes=3)
    wide, small = ask(1, exclusive=True, nodes_min=2), ask(2, cores_per_task=1)
    assert not decide(world([wide, small], place), Policy(), NOW).placements
    first = replace(small, job=0)
    assert [p.job for p in decide(world([first, wide], place), Policy(), NOW).placements] == [0]
    cores = Freed((99, 99, 999, 0), (1, 1, 64, 0))  # of many jobs without accelerators
    many = replace(place, freed_lately=cores)
    for large in (ask(1, accelerators=1), ask(1, cores_per_task=8), wide):
        assert not decide(world([large], many), Policy(), NOW).placements
    assert decide(world([small], many), Policy(), NOW).placements


def test_paid_work_is_not_sent_ahead():
    funds = (replace(FUNDS[0], paid=True),)
    place = paced(full("alpha", NOW + 5000), nodes=3)
    state = world([ask(1, exclusive=True)], place, funds=funds)
    assert not decide(state, Policy(paid_percent=100), NOW).placements


def test_jobs_behind_fill_gaps_but_delay_nobody():
    running = Occupied(900, 1, GPU.node, 500, NOW + 100)
    place = PartitionState("alpha", GPU, occupied=(running,))
    wide = ask(1, exclusive=True, nodes_min=2)
    long, short = ask(2, 101, exclusive=True), ask(3, 100, exclusive=True)
    decision = decide(world([wide, long, short], place), Policy(), NOW)
    assert [p.job for p in decision.placements] == [3]
    assert {w.job: w.next_start.expected_start_s for w in decision.waiting if w.next_start} == {
        1: NOW + 100,
        2: NOW + 200,
    }
    unkept = decide(world([wide, long, short], place), Policy(reserve_depth=0), NOW)
    assert [p.job for p in unkept.placements] == [2]


def test_the_sites_queue_goes_first():
    queued = Occupied(900, 2, GPU.node, 60, None)
    place = PartitionState("alpha", GPU, occupied=(queued,))
    (waiting,) = decide(world([ask(1)], place), Policy(), NOW).waiting
    assert waiting.next_start == Candidate("alpha", "gpu", NOW + 60)


def test_a_job_past_its_end_still_has_its_nodes():
    (waiting,) = decide(world([ask(1)], full("alpha", NOW - 60)), Policy(), NOW).waiting
    assert waiting.next_start == Candidate("alpha", "gpu", NOW + 1)


def test_more_running_than_there_is_room_for_is_borne():
    jobs = tuple(Occupied(n, 3, NodeShape(9, 99, 9), 60, NOW + 10 * n) for n in range(1, 4))
    (waiting,) = decide(
        world([ask(1)], PartitionState("alpha", GPU, occupied=jobs)), Policy(), NOW
    ).waiting
    assert waiting.next_start is not None


def test_hours_are_taken_as_jobs_are_placed():
    funds = (replace(FUNDS[0], free_s=250), replace(FUNDS[0], project="q", free_s=0))
    decision = decide(world([ask(n, accelerators=1) for n in range(3)], funds=funds), Policy(), NOW)
    assert [p.hold_s for p in decision.placements] == [100, 100]
    (refusal,) = decision.waiting[0].refusals
    assert (refusal.reason, refusal.asked, refusal.limit) == (Reason.BALANCE_HELD, 100, 50)


def test_what_blocks_is_passed_on_and_nothing_is_taken():
    held = replace(ask(1), blocked=(Refusal(Reason.HELD),))
    decision = decide(world([held]), Policy(), NOW)
    assert decision.waiting == (Waiting(1, (Refusal(Reason.HELD),)),)
    assert forecast(world([held]), held, Policy(), NOW) == decision.waiting[0]


def test_without_any_site_there_is_a_reason():
    (waiting,) = decide(State(1, (), FUNDS, (ask(1),)), Policy(), NOW).waiting
    assert [r.reason for r in waiting.refusals] == [Reason.NO_OFFER]


def test_forecast_comes_after_the_jobs_ahead():
    state = world([ask(n, exclusive=True, nodes_min=2) for n in range(1, 4)])
    new = ask(9, exclusive=True)
    seen = forecast(state, new, Policy(), NOW)
    assert isinstance(seen, Placement)
    assert seen.expected_start_s == NOW + 300
    urgent = forecast(state, replace(new, nice=-10), Policy(), NOW)
    assert isinstance(urgent, Placement)
    assert urgent.expected_start_s == NOW
    assert isinstance(forecast(state, ask(9, cores_per_task=99), Policy(), NOW), Waiting)


@settings(max_examples=300, deadline=None)
@given(states(), policies())
def test_every_job_is_answered_once(state, policy):
    decision = decide(state, policy, NOW)
    jobs = [p.job for p in decision.placements] + [w.job for w in decision.waiting]
    assert sorted(jobs) == sorted(job.job for job in state.waiting)
    assert all(waiting.refusals for waiting in decision.waiting)
    assert decision.version == state.version
    assert decide(state, policy, NOW) == decision


@settings(max_examples=200, deadline=None)
@given(states(), policies(), st.randoms(use_true_random=False))
def test_any_input_order_gives_one_answer(state, policy, rng):
    mixed = replace(
        state,
        partitions=shuffled(
            rng, (replace(p, occupied=shuffled(rng, p.occupied)) for p in state.partitions)
        ),
        funds=shuffled(rng, state.funds),
        waiting=shuffled(rng, state.waiting),
    )
    assert decide(mixed, policy, NOW) == decide(state, policy, NOW)


@settings(max_examples=300, deadline=None)
@given(states(), policies())
def test_no_node_is_oversubscribed_and_no_balance_negative(state, policy):
    decision = decide(state, policy, NOW)
    now = [p for p in decision.placements if p.expected_start_s == NOW]
    for place in state.partitions:
        mine = [p for p in now if (p.site, p.partition) == (place.site, place.partition.name)]
        nodes = Nodes(place, NOW)
        for p in mine:
            asked = (p.asked.accelerators, p.asked.cores, p.asked.memory_mb)
            assert len(nodes.room(asked, NOW, p.walltime_s)) >= p.nodes
            nodes.put(asked, p.nodes, NOW, p.walltime_s)
        for node in nodes.nodes:
            assert min(node.free_at(NOW)) >= 0
    projects = {job.job: job.project for job in state.waiting}
    held = Counter[tuple[str, str]]()
    for p in decision.placements:
        held[projects[p.job], p.charged_type] += p.hold_s
    for key, hold_s in held.items():
        assert hold_s <= sum(
            f.free_s
            for f in state.funds
            if (f.project, f.charged_type) == key and f.start_s <= NOW < f.end_s
        )


@settings(max_examples=300, deadline=None)
@given(states(), policies())
def test_on_an_empty_machine_the_first_job_is_placed(state, policy):
    empty = replace(state, partitions=tuple(replace(p, occupied=()) for p in state.partitions))
    for job in state.waiting:
        alone = replace(empty, waiting=(job,))
        may = not job.blocked and any(
            isinstance(admit(job, place, state.funds, NOW), Shaped) for place in state.partitions
        )
        assert bool(decide(alone, policy, NOW).placements) == may


@settings(max_examples=150, deadline=None)
@given(states(), policies(), st.integers(0, 13))
def test_jobs_behind_never_change_what_is_ahead(state, policy, keep):
    decision = decide(state, policy, NOW)
    answers = {a.job: a for a in (*decision.placements, *decision.waiting)}
    ordered = sorted(
        state.waiting,
        key=lambda j: (-(NOW - j.submit_s - policy.nice_weight * j.nice), j.job),
    )
    front = decide(replace(state, waiting=tuple(ordered[:keep])), policy, NOW)
    for answer in (*front.placements, *front.waiting):
        assert answers[answer.job] == answer


def shuffled(rng: random.Random, items):
    mixed = list(items)
    rng.shuffle(mixed)
    return tuple(mixed)
