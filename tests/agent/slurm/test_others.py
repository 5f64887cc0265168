"""What others have of a cluster, and what of theirs waits before us, on our partitions."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.agent.slurm.recorded import RELEASES, Recorded

from meyrin.agent.slurm.ask import discovered
from meyrin.agent.slurm.batch import SlurmBatch
from meyrin.agent.slurm.others import lies, others
from meyrin.agent.slurm.transport import ClusterFacts, Gres, NodeFacts, PartitionFacts, QueueRow
from meyrin.wire.queue import MOST_OTHERS

NOW = 1_800_000_000
GPUS = (Gres("gpu", "h100", 4),)


def node(name, *parts, gres=GPUS, state="IDLE"):
    return NodeFacts(name, state, 64, 256_000, gres, (), parts)


def lying(*nodes, parts=("gpu",)):
    facts = ClusterFacts("24.05", "c", "u", tuple(PartitionFacts(p, "UP") for p in parts), nodes)
    return {name: lies(place, facts) for name, place in discovered(facts).items()}


FOUR = lying(*(node(f"n{n}", "gpu") for n in range(1, 5)))
ROW = QueueRow(
    "17", "", "ada", "gpu", "RUNNING", start_s=NOW - 100, walltime_s=3600, nodes=2, cores=128,
    memory_mb=400_000, accelerators=8, priority=10, node_list="n[1-2]",
)  # fmt: skip
END = NOW + 3600  # its 3,500 s rounded up to whole 240 s
WAITS = replace(ROW, state="PENDING", reason="Priority", start_s=None, node_list="")


def told(*rows, of=FOUR):
    return {
        one.partition: [
            (job.nodes, job.cores, job.memory_mb, job.accelerators, job.end_s) for job in one.jobs
        ]
        for one in others(rows, of, NOW)
    }


def test_what_runs_is_told_by_node_with_its_end():
    assert told(ROW) == {"gpu": [(2, 64, 200_000, 4, END)]}
    (one,) = others([ROW], FOUR, NOW)
    assert one.nodes == 4
    assert told() == {}


def test_ends_are_rounded_up_by_an_eighth_at_most():
    for left_s in (1, 59, 61, 600, 3500, 86_400, 1_000_000):
        row = replace(ROW, start_s=NOW, walltime_s=left_s)
        end_s = told(row)["gpu"][0][4] - NOW
        assert left_s <= end_s <= max(left_s, 60) + max(60, left_s // 8)


def test_equal_shares_of_a_node_are_packed_as_one():
    """Sixteen cores and a GPU each: four fit a node, and of nine the last lies alone."""
    small = replace(ROW, nodes=1, cores=16, memory_mb=1000, accelerators=1, node_list="n1")
    rows = [replace(small, batch_job=str(n), start_s=NOW - 100 - n) for n in range(9)]
    wide = replace(small, nodes=3, cores=48, memory_mb=3000, accelerators=3, node_list="n[1-3]")
    assert told(wide, wide) == {"gpu": [(3, 32, 2000, 2, END)]}, "on three nodes each"
    assert told(*rows) == {"gpu": [(2, 64, 4000, 4, END), (1, 16, 1000, 1, END)]}
    later = replace(small, walltime_s=36_000)
    assert len(told(*rows, later)["gpu"]) == 3


def test_where_it_lies_counts_and_not_the_partition_that_it_named():
    of = lying(
        *(node(f"n{n}", "gpu", "debug") for n in range(2)), node("n7", "debug"),
        parts=("debug", "gpu"),
    )  # fmt: skip
    row = replace(ROW, partition="elsewhere", node_list="n[0,7]")
    assert {name: jobs[0][0] for name, jobs in told(row, of=of).items()} == {"debug": 2, "gpu": 1}
    assert told(replace(row, node_list="x[1-2]"), of=of) == {}


@pytest.mark.parametrize("node_list", ["", "n[a-b]"])
def test_without_known_nodes_its_partition_counts(node_list):
    assert told(replace(ROW, node_list=node_list)) == {"gpu": [(2, 64, 200_000, 4, END)]}
    assert told(replace(ROW, node_list=node_list, partition="cpu")) == {}


def test_what_waits_for_room_comes_in_the_order_of_its_priority():
    low = replace(WAITS, nodes=1, cores=8, memory_mb=1000, accelerators=1, priority=5)
    high = replace(WAITS, reason="Resources")
    assert [(job[0], job[4]) for job in told(low, high)["gpu"]] == [(2, None), (1, None)]
    array = replace(WAITS, batch_job="18_[1-7%2]")
    assert len(told(array)["gpu"]) == 7


@pytest.mark.parametrize("reason", ["JobHeldUser", "Dependency", "AssocGrpCpuLimit", "BeginTime"])
def test_what_waits_for_anything_else_is_in_nobodys_way(reason):
    assert told(replace(WAITS, reason=reason)) == {}


def test_what_no_node_of_ours_can_take_waits_elsewhere():
    assert told(replace(WAITS, partition="cpu")) == {}
    assert told(replace(WAITS, nodes=5)) == {}
    assert told(replace(WAITS, accelerators=16)) == {}
    assert set(told(replace(WAITS, partition="cpu,gpu"))) == {"gpu"}
    kinds = lying(node("n1", "gpu"), node("n2", "gpu", gres=()))
    cpu_only = replace(WAITS, nodes=1, accelerators=0, cores=8, memory_mb=1000)
    assert len(told(cpu_only, of=kinds)) == 1, "it waits once"
    (name,) = told(replace(cpu_only, accelerators=4), of=kinds)
    assert "h100" in name


def test_what_is_unknown_is_not_taken_for_nothing():
    bare = QueueRow("1", "", "u", "gpu", "RUNNING", node_list="n3")
    ((*amounts, end_s),) = told(bare)["gpu"]
    assert amounts == [1, 1, 0, 0]
    assert end_s >= NOW + 30 * 24 * 3600, "a month"
    vast = replace(ROW, walltime_s=(2**32 - 3) * 60)
    assert told(vast)["gpu"][0][4] == end_s, "no further than that"
    over = replace(ROW, start_s=NOW - 5000)
    assert told(over)["gpu"][0][4] == NOW + 60, "it may run on, until the next look"


def test_a_job_that_is_ending_holds_nothing_and_an_ended_one_neither():
    for state in ("COMPLETING", "COMPLETED", "FAILED"):
        assert told(replace(ROW, state=state)) == {}
    assert told(replace(ROW, state="SUSPENDED"))


def test_a_large_queue_is_told_by_its_largest():
    small = [
        replace(ROW, nodes=1, node_list="n1", cores=1 + n % 60, memory_mb=n, accelerators=0)
        for n in range(600)
    ]
    many = [replace(WAITS, batch_job=f"{n}") for n in range(1000, 1300)]
    (one,) = others([*small, ROW, *many], FOUR, NOW)
    assert len(one.jobs) == MOST_OTHERS
    assert one.jobs[0].nodes == 2
    assert sum(job.end_s is None for job in one.jobs) == 64


@pytest.mark.parametrize("release", RELEASES)
def test_every_release_tells_what_is_not_ours(release, tmp_path):
    transport = Recorded(release).transport()
    batch = SlurmBatch(tmp_path, transport, clock_s=lambda: NOW)
    batch.partitions()
    queue = batch.whole_queue()
    found = [job for one in queue.others for job in one.jobs]
    assert len(queue.entries) == 4
    # its two nodes are in two partitions, and so of both of ours
    running = [(job.nodes, job.accelerators) for job in found if job.end_s is not None]
    assert sorted(running) == [(1, 2), (1, 2), (2, 4), (2, 4)]
    waiting = [job for job in found if job.end_s is None]
    assert {(job.nodes, job.accelerators) for job in waiting} == {(2, 0), (1, 8)}
