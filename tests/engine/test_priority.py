from __future__ import annotations

import random

from meyrin.domain.job import Resources
from meyrin.engine.model import Policy, WaitingJob
from meyrin.engine.priority import in_order, priority


def job(number, submit_s=0, nice=0):
    return WaitingJob(number, "p", Resources(), 60, submit_s, nice)


def test_older_first_then_the_lower_number():
    jobs = [job(4, 10), job(3, 10), job(2, 20), job(1, 30)]
    assert [j.job for j in in_order(jobs, Policy(), 100)] == [3, 4, 2, 1]


def test_a_step_of_nice_is_a_minute():
    assert priority(job(1, 0, nice=1), Policy(), 100) == 40
    late, nice = job(1, 59), job(2, 0, nice=1)
    assert in_order([nice, late], Policy(), 100) == [late, nice]
    assert in_order([nice, job(1, 61)], Policy(), 100)[0] == nice
    assert in_order([nice, late], Policy(nice_weight=0), 100) == [nice, late]


def test_any_input_order_gives_one_order():
    rng = random.Random(1)
    jobs = [job(n, rng.randrange(5), rng.randrange(3)) for n in range(100)]
    once = in_order(jobs, Policy(), 100)
    rng.shuffle(jobs)
    assert in_order(jobs, Policy(), 100) == once
