"""Slurm's rules, one line a case: what is asked, and what it becomes on a node of 32 cores,
128 GiB and 4 accelerators."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meyrin.domain.job import Resources
from meyrin.domain.refusal import Reason
from meyrin.domain.site import Partition
from meyrin.domain.units import NodeShape
from meyrin.engine.admission import Shaped, admit, pay, shape
from meyrin.engine.model import Funds, PartitionState, WaitingJob

GPU = Partition(
    "gpu", 8, 32, 131072, 4, "h100", max_walltime_s=86400, default_walltime_s=3600,
    max_nodes_per_job=6, features=("ib", "nvme"),
)  # fmt: skip
CPU = Partition("cpu", 8, 32, 131072, default_memory_mb_per_core=2048)
NOW = 1000
WHOLE = (32, 131072, 4)


@pytest.mark.parametrize(
    ("asked", "nodes", "node", "tasks"),
    [
        ({}, 1, (1, 4096, 0), 1),
        ({"tasks": 4}, 1, (4, 16384, 0), 4),
        ({"tasks": 4, "cores_per_task": 8}, 1, (32, 131072, 0), 4),
        ({"tasks": 5, "cores_per_task": 8}, 2, (24, 98304, 0), 5),
        ({"nodes_min": 2}, 2, (1, 4096, 0), 2),
        ({"nodes_min": 2, "nodes_max": 4}, 2, (1, 4096, 0), 2),
        ({"nodes_min": 2, "nodes_max": 4, "tasks": 96}, 3, (32, 131072, 0), 96),
        ({"nodes_max": 4, "tasks": 64}, 2, (32, 131072, 0), 64),
        ({"nodes_min": 4, "tasks": 2}, 2, (1, 4096, 0), 2),
        ({"nodes_min": 2, "tasks_per_node": 4, "cores_per_task": 8}, 2, (32, 131072, 0), 8),
        ({"tasks": 8, "tasks_per_node": 2}, 4, (2, 8192, 0), 8),
        ({"tasks": 7, "tasks_per_node": 2}, 4, (2, 8192, 0), 7),
        ({"tasks_per_node": 4}, 1, (4, 16384, 0), 4),
        ({"accelerators": 4}, 1, (1, 4096, 4), 1),
        ({"accelerators": 8}, 2, (1, 4096, 4), 2),
        ({"accelerators": 6}, 2, (1, 4096, 3), 2),
        ({"nodes_min": 4, "accelerators": 8}, 4, (1, 4096, 2), 4),
        ({"accelerators": 2, "accelerators_per": "node", "nodes_min": 3}, 3, (1, 4096, 2), 3),
        ({"accelerators": 1, "accelerators_per": "task", "tasks": 8}, 2, (4, 16384, 4), 8),
        ({"accelerators": 1, "accelerator_type": "h100"}, 1, (1, 4096, 1), 1),
        ({"accelerators": 1, "accelerator_type": "H100"}, 1, (1, 4096, 1), 1),
        ({"memory_mb": 9000}, 1, (1, 9000, 0), 1),
        ({"memory_mb": 0}, 1, (1, 131072, 0), 1),
        ({"memory_mb": 3000, "memory_per": "core", "tasks": 4}, 1, (4, 12000, 0), 4),
        ({"memory_mb": 8192, "memory_per": "core", "tasks": 32}, 2, (16, 131072, 0), 32),
        ({"memory_mb": 9000, "memory_per": "accelerator", "accelerators": 2}, 1, (1, 18000, 2), 1),
        ({"memory_mb": 9000, "memory_per": "accelerator"}, 1, (1, 4096, 0), 1),
        ({"exclusive": True}, 1, WHOLE, 1),
        ({"exclusive": True, "nodes_min": 2, "tasks_per_node": 4}, 2, WHOLE, 8),
    ],
)
def test_shapes_as_slurm_does(asked, nodes, node, tasks):
    shaped = shape(Resources(**asked), None, GPU)
    assert isinstance(shaped, Shaped)
    got = (shaped.asked.cores, shaped.asked.memory_mb, shaped.asked.accelerators)
    assert (shaped.nodes, got, shaped.tasks) == (nodes, node, tasks)
    assert shaped.walltime_s == 3600


R = Reason


@pytest.mark.parametrize(
    ("asked", "total"),
    [
        ({"accelerators": 3}, 3),
        ({"accelerators": 1, "accelerators_per": "node", "nodes_min": 3}, 3),
        ({"nodes_min": 1, "exclusive": True}, 4),
    ],
)
def test_the_most_accelerators_of_a_job_are_asked_of_all_its_nodes(asked, total):
    place = replace(GPU, max_accelerators_per_job=2)
    (no,) = shape(Resources(**asked), 60, place)
    assert (no.reason, no.asked, no.limit) == (R.ACCELERATOR_COUNT, total, 2)
    assert isinstance(shape(Resources(accelerators=2), 60, place), Shaped)
    assert isinstance(shape(Resources(), 60, replace(GPU, max_accelerators_per_job=0)), Shaped)
    assert isinstance(shape(Resources(**asked), 60, GPU), Shaped)


@pytest.mark.parametrize("more", [{}, {"nodes_min": 1}, {"nodes_min": 3}])
def test_where_there_are_no_accelerators_the_number_told_is_what_was_asked(more):
    (no,) = shape(Resources(accelerators=9999, **more), 60, CPU)
    assert (no.reason, no.asked, no.limit) == (R.ACCELERATORS_PER_NODE, 9999, 0)


@pytest.mark.parametrize(
    ("asked", "walltime_s", "features", "reasons"),
    [
        ({"accelerators": 8, "tasks": 1}, 60, (), [(R.ACCELERATORS_PER_NODE, 8, 4)]),
        ({"accelerators": 8, "nodes_min": 1}, 60, (), [(R.ACCELERATORS_PER_NODE, 8, 4)]),
        ({"accelerators": 28}, 60, (), [(R.NODE_COUNT, 7, 6)]),
        ({"nodes_min": 9}, 60, (), [(R.NODE_COUNT, 9, 6)]),
        ({"tasks": 9, "tasks_per_node": 1}, 60, (), [(R.NODE_COUNT, 9, 6)]),
        ({"tasks": 8, "tasks_per_node": 2, "nodes_min": 2}, 60, (), [(R.NODE_COUNT, 4, 2)]),
        ({"cores_per_task": 33}, 60, (), [(R.CORES_PER_NODE, 33, 32)]),
        ({"memory_mb": 131073}, 60, (), [(R.MEMORY_PER_NODE, 131073, 131072)]),
        ({"accelerators": 1, "accelerator_type": "a100"}, 60, (),
         [(R.ACCELERATOR_TYPE, "a100", "h100")]),
        ({}, 86401, (), [(R.WALLTIME, 86401, 86400)]),
        ({}, 60, ("ib", "tape"), [(R.FEATURE, "tape", "ib,nvme")]),
        (
            {"nodes_min": 9, "cores_per_task": 64, "memory_mb": 2**30, "accelerators": 5,
             "accelerators_per": "node", "accelerator_type": "x"},
            10**6,
            ("tape",),
            [(R.ACCELERATOR_TYPE, "x", "h100"), (R.ACCELERATORS_PER_NODE, 5, 4),
             (R.CORES_PER_NODE, 64, 32), (R.MEMORY_PER_NODE, 2**30, 131072),
             (R.NODE_COUNT, 9, 6), (R.FEATURE, "tape", "ib,nvme"), (R.WALLTIME, 10**6, 86400)],
        ),
    ],
)  # fmt: skip
def test_every_reason_is_found(asked, walltime_s, features, reasons):
    refusals = shape(Resources(**asked), walltime_s, GPU, features)
    assert isinstance(refusals, tuple)
    assert [(r.reason, r.asked, r.limit) for r in refusals] == reasons
    assert {r.partition for r in refusals} == {"gpu"}


def test_partition_defaults():
    shaped = shape(Resources(tasks=4), 60, CPU)
    assert isinstance(shaped, Shaped)
    assert shaped.asked == NodeShape(4, 8192)
    assert (shaped.charged_type, shaped.hold_s) == ("core", 240)
    refusals = shape(Resources(), None, CPU)
    assert [r.reason for r in refusals] == [Reason.NO_WALLTIME]  # type: ignore[union-attr]
    longest = shape(Resources(), None, replace(CPU, max_walltime_s=7200))
    assert isinstance(longest, Shaped)
    assert longest.walltime_s == 7200
    whole = shape(Resources(), 60, replace(CPU, whole_node=True))
    assert isinstance(whole, Shaped)
    assert (whole.asked, whole.hold_s) == (CPU.node, 32 * 60)
    greedy = shape(Resources(tasks=32), 60, replace(CPU, default_memory_mb_per_core=8192))
    assert isinstance(greedy, Shaped)
    assert greedy.asked.memory_mb == CPU.memory_mb_per_node


def job(**fields):
    return WaitingJob(1, "p", fields.pop("resources", Resources(accelerators=4)), 3600, 0, **fields)


PLACE = PartitionState("alpha", GPU)
FUNDS = Funds("p", "h100", 14400, 0, 0, 10**6)


@pytest.mark.parametrize(
    ("asked", "place", "funds", "reasons"),
    [
        (job(sites=("beta",)), PLACE, FUNDS, [R.SITE_NOT_ASKED]),
        (job(partitions=("cpu",)), PLACE, FUNDS, [R.PARTITION_NOT_ASKED]),
        (job(refused_by=("alpha",)), PLACE, FUNDS, [R.SITE_SAID_NO]),
        (job(), replace(PLACE, allowed_projects=("q",)), FUNDS, [R.PROJECT_NOT_ALLOWED]),
        (job(), replace(PLACE, offered=False), FUNDS, [R.NO_OFFER]),
        (job(), replace(PLACE, silent_since_s=5), FUNDS, [R.SITE_SILENT]),
        (job(), replace(PLACE, drained=True), FUNDS, [R.SITE_DRAINED]),
        (job(), PLACE, replace(FUNDS, project="q"), [R.NO_ALLOCATION]),
        (job(), PLACE, replace(FUNDS, charged_type="core"), [R.NO_ALLOCATION]),
        (job(), PLACE, replace(FUNDS, start_s=NOW + 1), [R.NO_ALLOCATION]),
        (job(), PLACE, replace(FUNDS, end_s=NOW), [R.ALLOCATION_ENDED]),
        (job(), PLACE, replace(FUNDS, end_s=NOW + 1), []),
        (job(), PLACE, replace(FUNDS, free_s=14399), [R.BALANCE]),
        (job(), PLACE, replace(FUNDS, free_s=14399, held_s=1), [R.BALANCE_HELD]),
        (job(resources=Resources(cores_per_task=99)), PLACE, FUNDS, [R.CORES_PER_NODE]),
        (
            job(sites=("beta",), features=("tape",)),
            replace(PLACE, drained=True, silent_since_s=4),
            replace(FUNDS, end_s=1),
            [R.SITE_NOT_ASKED, R.FEATURE, R.ALLOCATION_ENDED, R.SITE_SILENT, R.SITE_DRAINED],
        ),
    ],
)
def test_admits_or_says_why(asked, place, funds, reasons):
    answer = admit(asked, place, [funds], NOW)
    if not reasons:
        assert isinstance(answer, Shaped)
        assert answer.hold_s == 14400
        return
    assert isinstance(answer, tuple)
    assert [refusal.reason for refusal in answer] == reasons
    assert {(refusal.site, refusal.partition) for refusal in answer} == {("alpha", "gpu")}


NUMBER = st.none() | st.integers(1, 40)


@given(
    st.builds(
        Resources,
        nodes_min=NUMBER,
        tasks=NUMBER,
        tasks_per_node=NUMBER,
        cores_per_task=st.integers(1, 40),
        memory_mb=st.none() | st.integers(0, 200_000),
        memory_per=st.sampled_from(["node", "core", "accelerator"]),
        accelerators=st.integers(0, 40),
        accelerators_per=st.sampled_from(["job", "node", "task"]),
        exclusive=st.booleans(),
    ),
    st.integers(1, 90_000),
)
def test_a_shape_fits_and_holds_what_was_asked(resources, walltime_s):
    shaped = shape(resources, walltime_s, GPU)
    if isinstance(shaped, tuple):
        assert shaped
        assert not any(refusal.passing for refusal in shaped)
        return
    assert shaped.asked.fits_in(GPU.node)
    assert 1 <= shaped.nodes <= 6
    assert shaped.nodes * shaped.asked.cores >= (resources.tasks or 1) * resources.cores_per_task
    if resources.accelerators_per == "job":
        assert shaped.nodes * shaped.asked.accelerators >= resources.accelerators
    if resources.tasks_per_node and resources.tasks:
        assert shaped.nodes * resources.tasks_per_node >= resources.tasks
    assert shaped.hold_s >= shaped.nodes * shaped.asked.accelerators * walltime_s
    assert shaped.hold_s <= shaped.nodes * 4 * walltime_s
    fewer = shaped.nodes - 1
    if fewer and resources.nodes_min is None:
        one_less = shape(replace(resources, nodes_min=fewer, nodes_max=fewer), walltime_s, GPU)
        assert isinstance(one_less, tuple), "the number of nodes is the smallest that fits"


def test_the_allocation_that_ends_first_pays_if_it_has_enough():
    poor, soon, late = (
        replace(FUNDS, end_s=end_s, free_s=free_s)
        for end_s, free_s in ((2000, 9), (3000, 50), (4000, 90))
    )
    left = pay([late, soon, poor], 40, NOW)
    assert sorted((f.end_s, f.free_s, f.held_s) for f in left) == [
        (2000, 9, 0),
        (3000, 10, 40),
        (4000, 90, 0),
    ]
    ended = replace(soon, end_s=NOW)
    assert min(f.free_s for f in pay([late, ended], 40, NOW)) == 50
