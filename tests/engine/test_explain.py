from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from tests.engine.states_of_the_world import NOW, make_policy, make_state, policies, states

from meyrin.domain.job import Resources
from meyrin.domain.refusal import NEVER_MET, Reason, Refusal
from meyrin.domain.site import Partition
from meyrin.domain.units import NodeShape
from meyrin.engine.admission import Shaped, admit
from meyrin.engine.explain import explain, in_words, placed, summary, way_out
from meyrin.engine.model import Funds, Occupied, PartitionState, Policy, State, WaitingJob
from meyrin.engine.placement import before, decide

GPU = Partition(
    "gpu", 4, 32, 131072, 4, "h100", max_walltime_s=86400, default_walltime_s=3600, features=("ib",)
)
PLENTY = Funds("p", "h100", 10**9, 0, 0, 10**9)


def state(job, *, place=None, funds=(PLENTY,), waiting=()):
    place = place or PartitionState("alpha", GPU)
    return State(1, (place,), funds, (job, *waiting))


def ask(walltime_s=3600, **resources):
    more = {k: resources.pop(k) for k in ("sites", "partitions", "features") if k in resources}
    return WaitingJob(7, "p", Resources(**resources), walltime_s, NOW, **more)


@pytest.mark.parametrize(
    ("job", "funds", "words"),
    [
        (
            ask(nodes_min=1, accelerators=8, accelerators_per="node"),
            PLENTY,
            "for alpha/gpu: ask --nodes=2 --gpus-per-node=4",
        ),
        (
            ask(tasks=1, accelerators=8),
            PLENTY,
            "for alpha/gpu: ask --nodes=2 --gpus-per-node=4, and leave out --ntasks, --gpus",
        ),
        (
            ask(accelerators=1, accelerator_type="a100"),
            PLENTY,
            "for alpha/gpu: ask --gpus=h100:1",
        ),
        (ask(cores_per_task=64), PLENTY, "for alpha/gpu: ask --cpus-per-task=32"),
        (
            ask(nodes_min=1, tasks_per_node=64),
            PLENTY,
            "for alpha/gpu: ask --nodes=2 --ntasks=64, and leave out --ntasks-per-node",
        ),
        (ask(memory_mb=10**6), PLENTY, "for alpha/gpu: ask --mem=131072M"),
        (ask(nodes_min=9), PLENTY, "for alpha/gpu: ask --nodes=4"),
        (ask(features=("ib", "nvme")), PLENTY, "for alpha/gpu: ask --constraint=ib"),
        (ask(features=("nvme",)), PLENTY, "for alpha/gpu: leave out --constraint"),
        (ask(90000), PLENTY, "for alpha/gpu: ask --time=1-00:00:00"),
        (ask(sites=("beta",)), PLENTY, "for alpha/gpu: ask --clusters=beta,alpha"),
        (ask(partitions=("cpu",)), PLENTY, "for alpha/gpu: ask --partition=cpu,gpu"),
        (ask(accelerators=4), replace(PLENTY, free_s=7200), "for alpha/gpu: ask --time=00:30:00"),
        (
            ask(accelerators=4),
            replace(PLENTY, end_s=NOW - 1),
            "for alpha/gpu: get an allocation with 4.000 h100-hours free",
        ),
    ],
)
def test_names_the_way_out(job, funds, words):
    said = explain(job, state(job, funds=(funds,)), Policy(), NOW)
    assert said.helps[0] == words
    assert said.next_start is None
    assert said.refusals


def test_a_shorter_job_may_start_before_one_that_is_ahead():
    busy = tuple(Occupied(i, 1, NodeShape(32, 131072, 4), 9999, NOW + 600 * i) for i in range(1, 4))
    place = PartitionState("alpha", GPU, occupied=busy)
    ahead = replace(ask(nodes_min=3), job=1)
    job = ask(nodes_min=2, exclusive=True)
    said = explain(job, state(job, place=place, waiting=(ahead,)), Policy(), NOW)
    assert said.next_start is not None
    assert said.next_start.expected_start_s > NOW
    assert [r.reason for r in said.refusals] == [Reason.BUSY]
    short = ask(nodes_min=1, exclusive=True, walltime_s=9000)
    said = explain(short, state(short, place=place, waiting=(ahead,)), Policy(), NOW)
    assert said.helps == ("for alpha/gpu: ask --time=00:20:00",)
    assert said.remedies[0].start_s == NOW


def test_a_blocked_job_sees_what_would_be():
    job = replace(ask(), blocked=(Refusal(Reason.DEPENDENCY, asked="afterok:3"),))
    said = explain(job, state(job), Policy(), NOW)
    assert said.summary == "depends on afterok:3, not yet met; else it starts now at alpha/gpu"
    assert said.next_start is not None


def test_a_dependency_that_can_never_be_met_is_not_to_be_waited_for():
    dead = Refusal(Reason.DEPENDENCY, asked="afterok:3", limit=NEVER_MET)
    assert in_words(dead) == (
        "depends on afterok:3, can never be met: cancel it, and submit again without --dependency"
    )


@pytest.mark.parametrize("reason", list(Reason))
@pytest.mark.parametrize("known", [True, False])
def test_every_reason_has_words(reason, known):
    refusal = Refusal(reason, "alpha", "gpu", 8 if known else None, 4 if known else None)
    said = in_words(refusal)
    assert "{" not in said
    assert "None" not in said or not known
    assert ": " in said
    assert "\n" not in said


def test_the_summary_is_about_a_place_that_was_asked_for():
    other = Refusal(Reason.PARTITION_NOT_ASKED, "alps", "gpu", "short", "gpu")
    mine = (
        Refusal(Reason.NO_OFFER, "alps", "short"),
        Refusal(Reason.NO_ALLOCATION, "alps", "short", "core"),
    )
    said = summary((other, *mine))
    assert said.startswith("alps/short is lent to nobody at present; ")
    assert "not among" not in said
    assert "not among" in summary((other,))


def test_a_place_without_accelerators_has_none():
    none = Refusal(Reason.ACCELERATORS_PER_NODE, "alps", "cpu", 9999, 0)
    assert summary((none,)) == "asks 9,999 accelerators; alps/cpu has none"
    assert way_out((none,)) == "choose a partition that has them"


def test_the_summary_is_about_the_nearest_partition():
    far = [Refusal(r, "alpha", "cpu", 2, 1) for r in (Reason.WALLTIME, Reason.NODE_COUNT)]
    near = Refusal(Reason.ACCELERATORS_PER_NODE, "beta", "gpu", 8, 4)
    assert summary((*far, near)) == (
        "asks 8 accelerators on one node; beta/gpu has 4 (and 1 more refused it)"
    )
    assert way_out((*far, near)).startswith("spread them over more nodes")
    assert way_out(()) == ""
    assert placed("a", "b", 90, (("c", "d", 0),)) == (
        "starts in about 00:01:30 at a/b; next best is c/d, now"
    )


@settings(max_examples=300, deadline=None)
@given(states(), policies())
def test_what_would_help_does(state, policy):
    for job in state.waiting:
        said = explain(job, state, policy, NOW)
        world = before(state, job, policy, NOW)
        for one in said.remedies:
            place = next(
                p
                for p in state.partitions
                if (p.site, p.partition.name) == (one.site, one.partition)
            )
            funds = (one.funds,) if one.funds else state.funds
            answer = admit(one.job, place, funds, NOW)
            assert isinstance(answer, Shaped) or all(r.passing for r in answer)
            if one.start_s is not None:
                options = world.look(one.job).options
                starts = {
                    (world.candidate(o).site, world.candidate(o).partition): o for o in options
                }
                assert starts[one.site, one.partition].start_s == one.start_s
            assert one.options or one.without or one.funds


def test_what_is_explained_is_what_is_decided():
    for seed in range(300):
        rng = random.Random(seed)
        state, policy = make_state(rng), make_policy(rng)
        decision = decide(state, policy, NOW)
        for waiting in decision.waiting:
            job = next(j for j in state.waiting if j.job == waiting.job)
            said = explain(job, state, policy, NOW)
            if not job.blocked:
                assert said.refusals == waiting.refusals
                assert said.next_start == waiting.next_start


def test_what_helps_a_job_with_a_start_is_sooner():
    places = tuple(
        PartitionState(site, GPU, occupied=(Occupied(n, 4, GPU.node, 9999, NOW + end_s),))
        for n, (site, end_s) in enumerate((("alpha", 600), ("beta", 60), ("gamma", 6000)))
    )
    job = ask(sites=("alpha",), exclusive=True)
    said = explain(job, State(1, places, (PLENTY,), (job,)), Policy(), NOW)
    assert said.helps == ("for beta/gpu: ask --clusters=alpha,beta",)
    assert said.remedies[0].start_s == NOW + 60
    assert said.summary == "starts in about 00:10:00 at alpha/gpu"
