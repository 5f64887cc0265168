"""Work of others at a site: it says when a job starts, and so where it goes."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine.states_of_the_world import NOW, policies, states

from meyrin.domain.job import Resources
from meyrin.domain.refusal import Reason
from meyrin.domain.site import Partition
from meyrin.domain.units import NodeShape
from meyrin.engine.admission import Shaped
from meyrin.engine.amounts import Freed, of_job
from meyrin.engine.explain import explain
from meyrin.engine.model import (
    Candidate,
    Funds,
    Occupied,
    Others,
    PartitionState,
    Policy,
    State,
    WaitingJob,
)
from meyrin.engine.placement import decide, forecast
from meyrin.engine.timeline import Timelines

GPU = Partition("gpu", 2, 8, 64, 4, "h100", max_walltime_s=10_000)
FUNDS = (Funds("p", "h100", 10**9, 0, 0, 10**9),)


def theirs(nodes, end_s, number=-1, walltime_s=500):
    return Occupied(number, nodes, GPU.node, walltime_s, end_s)


def place(site, *jobs, nodes=2, occupied=()):
    others = Others(nodes, jobs) if jobs else None
    return PartitionState(site, GPU, occupied=occupied, others=others)


def ask(number=1, walltime_s=100, accelerators=8):
    resources = Resources(accelerators=accelerators)
    return WaitingJob(number, "p", resources, walltime_s, NOW)


def decided(places, *jobs, policy=Policy()):  # noqa: B008 - frozen
    return decide(State(1, tuple(places), FUNDS, jobs or (ask(),)), policy, NOW)


def went(places, *jobs):
    return [(p.site, p.expected_start_s - NOW) for p in decided(places, *jobs).placements]


def test_a_job_goes_where_nobody_else_runs():
    assert went([place("alpha", theirs(2, NOW + 50)), place("beta")]) == [("beta", 0)]


def test_where_others_are_everywhere_it_is_sent_to_the_queue_that_ends_first():
    places = [place("alpha", theirs(2, NOW + 50)), place("beta", theirs(1, NOW + 30))]
    assert went(places) == [("beta", 30)]
    assert went(places, ask(accelerators=4)) == [("beta", 0)], "on the node that is free"


def test_those_who_wait_there_come_first():
    waits = (theirs(2, NOW + 20, -3), theirs(2, None, -2), theirs(1, None, -1))
    assert went([place("alpha", *waits)]) == [("alpha", 20 + 500 + 500)]
    assert went([place("alpha", *waits), place("beta", theirs(2, NOW + 900))]) == [("beta", 900)]


def test_each_of_ours_keeps_its_place_behind_the_one_before():
    busy = place("alpha", theirs(2, NOW + 50), nodes=2)
    assert went([busy], ask(1, accelerators=4), ask(2, accelerators=4)) == [
        ("alpha", 50),
        ("alpha", 50),
    ]
    apart = [busy, place("beta", theirs(2, NOW + 120))]
    assert went(apart, ask(1), ask(2)) == [("alpha", 50), ("beta", 120)]


def test_what_is_not_lent_is_theirs_first():
    """Two of the site's four nodes are lent; others run on two."""
    assert went([place("alpha", theirs(2, NOW + 50), nodes=4)]) == [("alpha", 0)]
    assert went([place("alpha", theirs(3, NOW + 50), nodes=4)]) == [("alpha", 50)]


def test_where_our_own_share_is_taken_it_waits_at_the_hub_as_ever():
    ours = Occupied(900, 2, GPU.node, 500, NOW + 200)
    both = place("alpha", theirs(2, NOW + 300), nodes=4, occupied=(ours,))
    (waiting,) = decided([both]).waiting
    assert waiting.next_start == Candidate("alpha", "gpu", NOW + 200)
    assert [r.reason for r in waiting.refusals] == [Reason.BUSY]
    packed = place("alpha", theirs(4, NOW + 300), nodes=4, occupied=(ours,))
    (waiting,) = decided([packed]).waiting
    assert waiting.next_start == Candidate("alpha", "gpu", NOW + 300)


def test_it_is_explained():
    places = (place("alpha", theirs(1, NOW + 50)), place("beta", theirs(2, NOW + 4000)))
    state = State(1, places, FUNDS, ())
    said = explain(ask(walltime_s=3600), state, Policy(), NOW)
    soon, later = "in about 00:00:50 at alpha/gpu", "next best is beta/gpu, in about 01:06:40"
    assert said.summary == f"starts {soon}; {later}"
    assert [(r.reason, r.asked, r.limit) for r in said.refusals] == [
        (Reason.OTHERS, 2, 1),
        (Reason.OTHERS, 2, 0),
    ]
    assert said.helps == (), "no shorter job would start now beside them"
    assert forecast(state, ask(), Policy(), NOW).expected_start_s == NOW + 50


def test_a_shorter_job_that_would_start_beside_others_is_named():
    half = NodeShape(GPU.node.cores, GPU.node.memory_mb, 2)
    jobs = (Occupied(-2, 1, half, 500, NOW + 5000), Occupied(-1, 2, GPU.node, 500, None))
    state = State(1, (place("alpha", *jobs, nodes=2),), FUNDS, ())
    one = ask(walltime_s=9000, accelerators=4)
    said = explain(one, state, Policy(), NOW)
    (shorter,) = [r for r in said.remedies if r.start_s == NOW]
    assert shorter.job.walltime_s == 5000


@settings(max_examples=60, deadline=None)
@given(states(), policies())
def test_others_who_have_nothing_change_nothing(state, policy):
    def with_others(one):
        return replace(one, others=Others(one.usable.nodes, ()))

    shown = replace(state, partitions=tuple(with_others(one) for one in state.partitions))
    before, after = (decide(each, policy, NOW) for each in (state, shown))
    told = [(p.job, p.expected_start_s) for p in before.placements]
    assert [(p.job, p.expected_start_s) for p in after.placements] == told
    assert [w.job for w in after.waiting] == [w.job for w in before.waiting]


def test_a_job_waits_for_ours_elsewhere_rather_than_for_longer_work_of_others():
    ours = Occupied(900, 2, GPU.node, 500, NOW + 200)
    places = [place("alpha", theirs(2, NOW + 7200)), place("beta", occupied=(ours,))]
    (waiting,) = decided(places).waiting
    assert waiting.next_start == Candidate("beta", "gpu", NOW + 200)


def test_at_pace_none_is_sent_behind_long_work_of_others():
    """Short jobs of ours end at alpha, where others wait with an hour each; beta is free soon."""
    ours = Occupied(900, 2, GPU.node, 500, NOW + 300)
    freed = Freed(of_job(GPU.node, 4), of_job(GPU.node, 2))
    alpha = replace(place("alpha", theirs(2, None), occupied=(ours,)), freed_lately=freed)
    beta = place("beta", occupied=(replace(ours, job=901),))
    (waiting,) = decided([alpha, beta]).waiting
    assert waiting.next_start == Candidate("beta", "gpu", NOW + 300)
    alone = replace(alpha, others=None)
    assert went([alone, beta]) == [("alpha", Policy().pace_ahead_s)]
    assert went([replace(alpha, others=Others(2, (theirs(2, NOW + 100),))), beta]) == [
        ("alpha", Policy().pace_ahead_s)
    ]


@settings(max_examples=60, deadline=None)
@given(states(), st.integers(1, 500), st.integers(0, 3))
def test_others_give_nobody_more_room(state, length_s, spare):
    """Whatever others do, what is sent at once has room now, beside ours, in what is lent."""
    policy = Policy(pace_ahead_s=0)

    def crowded(one):
        return replace(one, others=Others(one.usable.nodes + spare, (theirs(1, NOW + length_s),)))

    crowd = tuple(crowded(one) for one in state.partitions)
    decision = decide(replace(state, partitions=crowd), policy, NOW)
    taken = {}
    for p in decision.placements:
        there = taken.setdefault((p.site, p.partition), [])
        (one,) = [
            s for s in state.partitions if (s.site, s.partition.name) == (p.site, p.partition)
        ]
        lines = Timelines([replace(one, occupied=(*one.occupied, *there))], NOW)
        wants = lines.wants([Shaped(p.nodes, p.asked, p.tasks, p.walltime_s, p.charged_type, 1)])
        assert lines.starts(wants)[0][0] == NOW
        there.append(Occupied(p.job, p.nodes, p.asked, p.walltime_s, NOW + p.walltime_s))
