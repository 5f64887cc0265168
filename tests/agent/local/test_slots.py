"""Who starts where, and that nothing is given twice."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some
from tests.agent.contract import read_line, run, start, until
from tests.agent.local.conftest import GPU, Make

from meyrin.agent.batch import Phase
from meyrin.agent.keeper_proc import kill_one
from meyrin.agent.keeper_slots import PASSES, Part, Waiting, compress, parts
from meyrin.agent.keeper_wire import pack_partition
from meyrin.agent.local import LocalBatch
from meyrin.domain.errors import InvalidInput
from meyrin.domain.site import Partition
from meyrin.domain.units import NodeShape


def part(partition: Partition) -> Part:
    return parts({"partitions": [pack_partition(partition)], "devices": {}})[partition.name]


jobs = some.tuples(
    some.integers(1, 2),
    some.builds(NodeShape, some.integers(1, 8), some.integers(0, 1000), some.integers(0, 4)),
)


@given(some.lists(some.one_of(jobs, some.integers(0, 50)), max_size=60), some.booleans())
def test_nothing_is_oversubscribed(steps: list[tuple[int, NodeShape] | int], whole: bool) -> None:
    """Any order of submits and ends: never more than there is, no accelerator twice."""
    one = part(Partition("gpu", 2, 8, 1000, 4, "h100", whole_node=whole))
    running, serial = [], 0
    for step in steps:
        if isinstance(step, int):
            if running:
                job, place = running.pop(step % len(running))
                one.release(place, job.asked)
        else:
            serial += 1
            one.push(Waiting(serial, *step))
        for job, place in one.picks():
            assert len(place.nodes) == job.nodes
            assert all(len(devices) == job.asked.accelerators for devices in place.devices)
            running.append((job, place))
        for node in one.nodes:
            assert min(node.cores, node.memory_mb) >= 0
        given_out = Counter(d for _, place in running for each in place.devices for d in each)
        assert not given_out or max(given_out.values()) == 1
    for job, place in running:
        one.release(place, job.asked)
    fresh = part(Partition("gpu", 2, 8, 1000, 4, "h100", whole_node=whole))
    if not one.lines:
        assert one.nodes == fresh.nodes


def test_a_large_job_is_passed_a_limited_number_of_times() -> None:
    one = part(Partition("cpu", 1, 4, 1000))
    small, large = NodeShape(1, 10, 0), NodeShape(4, 10, 0)
    one.push(Waiting(1, 1, small))
    ((first, place),) = one.picks()
    one.push(Waiting(2, 1, large))
    for serial in range(3, 3 * PASSES):
        one.push(Waiting(serial, 1, small))
    running, passed = [(first, place)], 0
    while True:
        more = list(one.picks())
        running += more
        passed += len(more)
        if any(job.serial == 2 for job, _ in running):
            break
        job, place = running.pop(0)
        one.release(place, job.asked)
    assert passed - 1 <= PASSES + 4


@pytest.mark.parametrize(
    ("counts", "text"), [([8], "8"), ([8, 8], "8(x2)"), ([2, 2, 1], "2(x2),1"), ([], "")]
)
def test_counts_per_node(counts: list[int], text: str) -> None:
    assert compress(counts) == text


def test_accelerators_are_exclusive_and_counted_through(make: Make, tmp_path: Path) -> None:
    batch = make((GPU,))
    go, end = tmp_path / "go", tmp_path / "end"
    os.mkfifo(go)
    os.mkfifo(end)
    script = f"echo $SLURMD_NODENAME:$CUDA_VISIBLE_DEVICES:$SLURM_JOB_GPUS > {go}; read x < {end}"
    starts = [start(batch, tmp_path, script, asked=NodeShape(1, 10, 2)) for _ in range(4)]
    seen = []
    for one in starts:
        batch.submit((one,))
        seen.append(read_line(go))
    assert seen == ["gpu-1:0,1:0,1", "gpu-1:2,3:2,3", "gpu-2:4,5:4,5", "gpu-2:6,7:6,7"]
    with end.open("r+b", buffering=0) as ends:
        ends.write(b"end\n" * 4)
        until(batch, [one.attempt for one in starts])


def test_devices_may_be_named(make: Make, tmp_path: Path) -> None:
    one_gpu = Partition("gpu", 1, 8, 1000, 1, "h100")
    batch = make((one_gpu,), devices={"gpu": ("GPU-5d1e",)})
    out = tmp_path / "out"
    run(
        batch,
        start(batch, tmp_path, "echo $CUDA_VISIBLE_DEVICES", asked=one_gpu.node, stdout=str(out)),
    )
    assert out.read_text() == "GPU-5d1e\n"
    with pytest.raises(InvalidInput):
        LocalBatch(tmp_path, (one_gpu,), devices={"gpu": ("0", "1")})
    with pytest.raises(InvalidInput):
        LocalBatch(tmp_path, (GPU,), devices={"gpu": ("0",) * 8})


def test_several_nodes_are_held_and_the_script_runs_once(make: Make, tmp_path: Path) -> None:
    batch = make((GPU,))
    out = tmp_path / "out"
    script = "echo $SLURM_JOB_NODELIST $SLURM_JOB_CPUS_PER_NODE $SLURM_TASKS_PER_NODE >> ran"
    one = start(batch, tmp_path, script, nodes=2, tasks=3, stdout=str(out))
    assert run(batch, one).exit_code == 0
    assert (tmp_path / "ran").read_text() == "gpu-1,gpu-2 1(x2) 2,1\n"


def test_jobs_start_in_submission_order(make: Make, tmp_path: Path) -> None:
    batch = make((Partition("one", 1, 1, 100),))
    starts = tuple(
        start(batch, tmp_path, f"echo {i} >> order", asked=NodeShape(1, 10 + i % 3, 0))
        for i in range(20)
    )
    batch.submit(starts)
    until(batch, [one.attempt for one in starts])
    assert (tmp_path / "order").read_text().split() == [str(i) for i in range(20)]


def test_other_settings_take_over(make: Make, tmp_path: Path) -> None:
    go, end = tmp_path / "go", tmp_path / "end"
    os.mkfifo(go)
    os.mkfifo(end)
    large, small = Partition("p", 2, 4, 1000), Partition("p", 1, 2, 1000)
    first = make((large,))
    script = f"echo go > {go}; read x < {end}"
    runs = start(first, tmp_path, script, asked=NodeShape(2, 10, 0))
    first.submit((runs,))
    read_line(go)
    waits = [start(first, tmp_path, "true", nodes=2, asked=NodeShape(4, 10, 0)) for _ in range(2)]
    first.submit(tuple(waits))
    second = make((small,))
    too_large = until(second, [one.attempt for one in waits])
    assert {job.end for job in too_large.values()} == {"not_started"}
    fits = start(second, tmp_path, "exit 3")
    second.submit((fits,))
    assert second.look_up((fits.attempt,))[fits.attempt].phase is Phase.QUEUED
    end.write_text("end\n")
    assert until(second, [fits.attempt])[fits.attempt].exit_code == 3


def test_two_thousand_queued(make: Make, tmp_path: Path) -> None:
    batch = make((Partition("p", 1, 4, 1000),))
    starts = tuple(start(batch, tmp_path, "true", job=i) for i in range(2000))
    batch.submit(starts)
    batch.cancel(tuple(one.attempt for one in starts[1500:]))
    ended = until(batch, [one.attempt for one in starts])
    ends = Counter(job.end for job in ended.values())
    assert ends["exit"] >= 1500 - 4
    assert ends["exit"] + ends["cancelled"] == 2000
    batch.forget(tuple(one.attempt for one in starts))
    assert batch.changes("", 0).jobs == ()


def test_a_job_that_waits_is_told_to_be_queued_also_after_the_keeper_was_killed(
    make: Make, tmp_path: Path
) -> None:
    batch = make((Partition("p", 1, 1, 100),))
    first, second = start(batch, tmp_path, "exec sleep 600"), start(batch, tmp_path, "true")
    batch.submit((first, second))
    told = until(batch, [second.attempt], lambda job: job.phase is Phase.QUEUED)
    assert told[second.attempt].start_ms is None
    kill_one(batch.start(), signal.SIGKILL)
    batch.start()
    until(batch, [second.attempt], lambda job: job.phase is Phase.QUEUED)
    batch.cancel((first.attempt,))
    assert until(batch, [second.attempt])[second.attempt].exit_code == 0
