"""The kernel and its plain twin agree on small random clusters with every feature on."""

from __future__ import annotations

import random
from dataclasses import fields

import numpy as np
import pytest
from tests.oracles.cluster_cases import random_facility, random_jobs, random_rules
from tests.oracles.cluster_twin import Twin

from meyrin.engine.cluster import Cluster, Facility, Jobs
from meyrin.engine.rules import Rules

CASES = 5000
FILES = 20


def _case(seed: int, left_out: tuple[int, ...] = ()) -> tuple[Rules, Facility, Jobs]:
    """The case of a seed, without some of its jobs."""
    chance = random.Random(seed)
    rules, place = random_rules(chance), random_facility(chance)
    work = random_jobs(chance, place)
    kept = [job for job in range(len(work.submit)) if job not in left_out]
    after = [kept.index(job) if job in kept else -1 for job in work.after[kept].tolist()]
    fewer = Jobs(*(column[kept] for column in work))
    return rules, place, fewer._replace(after=np.array(after, np.int32))


def _outcomes(seed: int, left_out: tuple[int, ...] = ()) -> list[tuple[object, object]]:
    """What became of each job, by the kernel and by the twin."""
    rules, place, work = _case(seed, left_out)
    twin, kernel = Twin(rules, place, work).run(), Cluster(rules, place, work)
    while not kernel.done:
        kernel.advance(1000)
    columns = (
        kernel.status, kernel.eligible, kernel.first_start, kernel.start, kernel.end,
        kernel.attempts, kernel.wasted,
    )  # fmt: skip
    return [
        (
            [int(column[job.number]) for column in columns]
            + [sorted(kernel.nodes(job.number).tolist()) if job.attempts else []],
            [
                job.status, job.eligible, job.first_start, job.start, job.end, job.attempts,
                job.lost, sorted(job.ran[-1][2]) if job.ran else [],
            ],
        )
        for job in twin.jobs
    ]  # fmt: skip


def _differs(seed: int, left_out: tuple[int, ...] = ()) -> bool:
    return any(kernel != twin for kernel, twin in _outcomes(seed, left_out))


def _story(seed: int) -> str:
    """The case of a seed with as few jobs as still differ, in words."""
    left_out: tuple[int, ...] = ()
    for job in range(len(_case(seed)[2].submit) - 1, -1, -1):
        if _differs(seed, (*left_out, job)):
            left_out = (*left_out, job)
    rules, place, work = _case(seed, left_out)
    plain = Rules()
    changed = {
        field.name: getattr(rules, field.name)
        for field in fields(rules)
        if getattr(rules, field.name) != getattr(plain, field.name)
    }
    lines = [f"seed {seed} without jobs {sorted(left_out)}", f"Rules(**{changed})", str(place)]
    lines += [f"{name}: {column.tolist()}" for name, column in work._asdict().items()]
    lines += ["[status, eligible, first start, start, end, attempts, wasted, nodes]"]
    for job, (kernel, twin) in enumerate(_outcomes(seed, left_out)):
        lines.append(f"job {job}: kernel {kernel}, twin {twin}")
    return "\n".join(lines)


@pytest.mark.parametrize("part", range(FILES))
def test_the_kernel_does_what_the_twin_does(part: int) -> None:
    each = CASES // FILES
    for seed in range(part * each, (part + 1) * each):
        assert not _differs(seed), _story(seed)


def test_the_cases_meet_every_feature() -> None:
    seen: set[str] = set()
    for seed in range(400):
        rules, place, work = _case(seed)
        twin = Twin(rules, place, work).run()
        seen |= {rules.order, rules.backfill, rules.preemption, rules.packing}
        if rules.order == "multifactor" and rules.priority_weight_fair_share and twin.factors:
            seen |= {rules.fair_share}
        seen |= {f"status {job.status}" for job in twin.jobs}
        seen |= {"gang" for job in twin.jobs if job.nodes > 1 and job.attempts}
        seen |= {"again" for job in twin.jobs if job.attempts > 1}
        seen |= {"whole" for job in twin.jobs if twin.whole[job.partition] and job.attempts}
        seen |= {"shared" for node in twin.partitions if len(twin.partitions) > 1}
    wanted = {"gang", "again", "whole", "shared", "none", "easy", "easy-sjf", "conservative"}
    wanted |= {"slurm", "submit", "multifactor", "dominant-share", "off", "requeue", "cancel"}
    wanted |= {
        "packed",
        "spread",
        "fair-tree",
        "classic",
        *(f"status {number}" for number in (0, 2, 3, 4, 5)),
    }
    assert seen == wanted
