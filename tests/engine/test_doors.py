"""Free and paid doors on one queue: paid work goes ahead of entitled work by the policy alone."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from meyrin.domain.job import Resources
from meyrin.domain.refusal import Reason
from meyrin.domain.site import Partition
from meyrin.domain.units import NodeShape
from meyrin.engine.admission import payer_of
from meyrin.engine.explain import explain, in_words
from meyrin.engine.model import Funds, Occupied, PartitionState, Policy, State, WaitingJob
from meyrin.engine.placement import decide, forecast

NOW = 1_000_000
PART = Partition("p", 10, 10, 10_000, max_walltime_s=10**6)
FREE = Funds("free", "core", 10**12, 0, 0, 10**9)
PAYS = Funds("pays", "core", 10**12, 0, 0, 10**9, paid=True)


def job(number, project, cores=10, wall=100, submit=0):
    return WaitingJob(
        number, project, Resources(tasks=1, cores_per_task=cores, memory_mb=1), wall, submit
    )


def state(*jobs, occupied=(), funds=(FREE, PAYS), **more):
    return State(1, (PartitionState("s", PART, occupied=occupied),), funds, jobs, **more)


def placed(answer):
    return [one.job for one in answer.placements]


def running(number, nodes, paid=False, end=50):
    return Occupied(number, nodes, NodeShape(10, 1, 0), 1000, NOW + end, paid)


def test_entitled_hours_pay_before_paid_ones():
    mine = [replace(PAYS, end_s=10**7), FREE]
    assert payer_of(mine, 5, NOW) == FREE


def test_all_entitled_jobs_come_first_where_paid_work_may_not_go_ahead():
    paid = [job(n, "pays") for n in range(1, 9)]
    free = [job(n, "free", submit=NOW - 1) for n in range(11, 19)]
    answer = decide(state(*paid, *free), Policy(), NOW)
    assert placed(answer) == [11, 12, 13, 14, 15, 16, 17, 18, 1, 2]


def test_within_the_policy_paid_work_goes_by_its_priority():
    paid = [job(n, "pays") for n in range(1, 9)]
    free = [job(n, "free", submit=NOW - 1) for n in range(11, 19)]
    answer = decide(state(*paid, *free), Policy(paid_percent=30), NOW)
    assert placed(answer) == [1, 2, 3, 11, 12, 13, 14, 15, 16, 17]
    there = (running(99, 2, paid=True),)
    answer = decide(state(*paid, *free, occupied=there), Policy(paid_percent=30), NOW)
    assert placed(answer)[0] == 1
    assert placed(answer)[1:] == [11, 12, 13, 14, 15, 16, 17]


def test_a_paid_job_delays_no_entitled_one_that_waits():
    wide = replace(
        job(1, "free"),
        resources=Resources(nodes_min=10, nodes_max=10, tasks=10, cores_per_task=10, memory_mb=1),
    )
    there = (running(99, 5),)
    long, short = job(2, "pays", wall=1000), job(3, "pays", wall=50)
    answer = decide(state(wide, long, short, occupied=there), Policy(), NOW)
    assert placed(answer) == [3]  # over before the wide one's nodes are needed
    # without a kept start for the wide one, paid work waits altogether, and is told why
    answer = decide(state(wide, long, short, occupied=there), Policy(reserve_depth=0), NOW)
    assert placed(answer) == []
    reasons = {one.job: {r.reason for r in one.refusals} for one in answer.waiting}
    assert reasons[3] == {Reason.PAID_BEHIND}


def test_paid_work_waits_while_not_all_entitled_jobs_are_seen():
    answer = decide(state(job(1, "pays"), more_waiting=True), Policy(), NOW)
    assert [r.reason for r in answer.waiting[0].refusals] == [Reason.PAID_BEHIND]
    assert placed(decide(state(job(1, "pays"), more_waiting=True), Policy(paid_percent=10), NOW))


def test_it_is_explained():
    there = state(job(1, "pays"), more_waiting=True)
    said = explain(there.waiting[0], there, Policy(paid_percent=5), NOW)
    (refusal,) = said.refusals
    assert (refusal.asked, refusal.limit, refusal.passing) == (10, 5, True)
    assert "paid work" in in_words(refusal)
    assert "entitled" in said.summary


def test_a_forecast_meets_the_world_that_decide_would_leave():
    free = [job(n, "free", submit=NOW - 1) for n in range(11, 21)]
    paid = job(1, "pays")
    answer = forecast(state(*free, paid), paid, Policy(), NOW)
    assert answer.expected_start_s == NOW + 100


def law(seed):
    """Random queues at policy zero and beyond; returns how many paid jobs were placed."""
    chance = random.Random(seed)
    there = tuple(
        running(
            900 + n, chance.randint(1, 3), paid=chance.random() < 0.5, end=chance.randint(1, 99)
        )
        for n in range(chance.randint(0, 3))
    )
    jobs = [
        job(
            n,
            chance.choice(["free", "pays", "both"]),
            cores=chance.randint(1, 10),
            wall=chance.choice([10, 100, 1000]),
            submit=NOW - chance.randint(0, 500),
        )
        for n in range(1, 60)
    ]
    both = [replace(FREE, project="both", free_s=3000), replace(PAYS, project="both")]
    seen = state(*jobs, occupied=there, funds=(FREE, PAYS, *both))
    percent = chance.choice([0, 0, 20, 50])
    policy = Policy(paid_percent=percent, reserve_depth=chance.choice([0, 2, 32]))
    answer = decide(seen, policy, NOW)
    by_number = {each.job: each for each in jobs}
    surely_paid = [p for p in answer.placements if by_number[p.job].project == "pays"]
    waiting_free = [w for w in answer.waiting if by_number[w.job].project == "free"]
    # the same without any paid work: what entitled jobs get then, they get with it
    alone = decide(
        replace(seen, waiting=tuple(each for each in jobs if each.project == "free")), policy, NOW
    )
    without = {p.job for p in alone.placements}
    if percent == 0:
        got = {p.job for p in answer.placements}
        only = all(each.project != "both" for each in jobs)
        assert not only or without <= got
        for one in waiting_free:  # none of them fits now: every reason is that there is no room
            assert {r.reason for r in one.refusals} == {Reason.BUSY}
            assert one.next_start is not None
            assert one.next_start.expected_start_s > NOW
    held = sum(o.nodes * 10 for o in there if o.paid) + sum(
        p.nodes * p.asked.cores for p in surely_paid
    )
    if waiting_free and policy.reserve_depth == 0:
        assert not surely_paid or held * 100 <= percent * 100
    return len(surely_paid)


@pytest.mark.parametrize("part", range(4))
def test_no_paid_job_starts_while_an_entitled_one_that_fits_waits(part):
    assert sum(law(1000 * part + seed) for seed in range(60)) > 0
