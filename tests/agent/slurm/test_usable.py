"""What operators closed, or took out, is told as what partitions take now."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meyrin.agent.slurm import describe, rest_facts
from meyrin.agent.slurm.ask import Place, discovered, nodes_of
from meyrin.agent.slurm.batch import SlurmBatch
from meyrin.agent.slurm.command import CommandTransport
from meyrin.agent.slurm.transport import ClusterFacts, Gres, NodeFacts, PartitionFacts
from meyrin.agent.slurm.usable import shortages
from meyrin.testing.slurm import FakeCommands, FakeSlurm

GPUS = (Gres("gpu", "h100", 4),)


def cluster(*states: str, partition: str = "UP", reason: str = "") -> ClusterFacts:
    nodes = tuple(
        NodeFacts(f"n{n}", state, 64, 256_000, GPUS, (), ("gpu",), reason=reason)
        for n, state in enumerate(states)
    )
    return ClusterFacts("24.05", "c", "u", (PartitionFacts("gpu", partition),), nodes)


def said(facts: ClusterFacts, places: dict[str, Place] | None = None) -> list[tuple[int, str]]:
    found = shortages(discovered(facts) if places is None else places, facts)
    return [(one.usable_nodes, one.why) for one in found]


@pytest.mark.parametrize("state", ["DOWN", "DRAIN", "INACTIVE"])
def test_a_partition_that_is_closed_takes_nothing(state: str) -> None:
    assert said(cluster("IDLE", "IDLE", partition=state)) == [(0, f"gpu is {state}")]


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("RootOnly=YES ReqResv=NO", "gpu takes jobs of root alone (RootOnly)"),
        ("RootOnly=NO ReqResv=YES", "gpu takes jobs in a reservation alone (ReqResv)"),
    ],
)
def test_a_partition_that_lets_no_job_of_ours_in_takes_nothing(word: str, told: str) -> None:
    facts = cluster("IDLE")
    there = describe.partition(f"PartitionName=gpu {word} State=UP")
    closed = replace(facts, partitions=(there,))
    assert said(closed) == [(0, told)]
    assert not said(facts)
    places = {n: replace(p, reservation="ours") for n, p in discovered(closed).items()}
    assert not said(replace(closed, user="root"), places)


def test_slurmrestd_up_to_22_05_tells_who_is_let_in() -> None:
    said = {"root": ["root_only"], "ours": ["reservation_required"], "all": ["default"]}
    parts = [{"name": name, "flags": flags} for name, flags in said.items()]
    facts = rest_facts.cluster("mtb1", {}, {"partitions": parts}, {})
    assert [p.name for p in facts.partitions if p.root_only] == ["root"]
    assert [p.name for p in facts.partitions if p.needs_reservation] == ["ours"]


@pytest.mark.parametrize(
    ("states", "told"),
    [
        (("IDLE", "MIXED", "ALLOCATED+PLANNED"), []),
        (("IDLE*", "IDLE+NOT_RESPONDING", "IDLE+CLOUD+POWERED_DOWN"), []),
        (("IDLE+DRAIN", "MIXED+DRAIN"), [(0, "all its nodes are drained: new cooling")]),
        (("DOWN*", "DOWN*+NOT_RESPONDING"), [(0, "all its nodes are down: new cooling")]),
        (
            ("IDLE", "DOWN*+DRAIN", "FAIL"),
            [(1, "of its 3 nodes 1 drained, 1 failing: new cooling")],
        ),
        (("IDLE", "FUTURE"), []),  # there is no such node yet
        # what still runs there is room that is taken already
        (("IDLE", "MIXED+DRAIN", "COMPLETING+DRAIN"), []),
        (
            ("IDLE", "IDLE+DRAIN", "ALLOCATED+DRAIN"),
            [(2, "of its 3 nodes 2 drained: new cooling")],
        ),
        (("IDLE", "DOWN*+ALLOCATED"), [(1, "of its 2 nodes 1 down: new cooling")]),
    ],
)
def test_nodes_that_are_out_are_not_counted(
    states: tuple[str, ...], told: list[tuple[int, str]]
) -> None:
    assert said(cluster(*states, reason="new cooling [root@2026-11-30T12:00:00]")) == told


def test_a_reason_may_be_in_any_alphabet_and_any_encoding() -> None:
    odd = b"r\xe9par\xe9 \x00".decode("utf-8", "surrogateescape")
    assert said(cluster("IDLE+DRAIN", reason=odd)) == [
        (0, "all its nodes are drained: r\ufffdpar\ufffd \ufffd")
    ]


def test_two_kinds_of_accelerator_have_no_node_in_common() -> None:
    kinds = [(Gres("gpu", kind, 4),) for kind in ("h100", "a100")]
    nodes = tuple(NodeFacts(g[0].type, "IDLE", 64, 256_000, g, (), ("gpu",)) for g in kinds)
    facts = ClusterFacts("24.05", "c", "u", (PartitionFacts("gpu", "UP"),), nodes)
    found = {
        name: [node.name for node in nodes_of(place, facts)]
        for name, place in discovered(facts).items()
    }
    assert found == {"gpu-h100x4": ["h100"], "gpu-a100x4": ["a100"]}


def test_a_partition_stays_what_it_is_while_nodes_are_out() -> None:
    """Or jobs would be refused for good that wait for its nodes."""
    there, out = (discovered(cluster(*states)) for states in (("IDLE",) * 3, ("DOWN",) * 3))
    assert out == there
    assert there["gpu"].partition.nodes == 3


def test_of_an_operators_own_partition_its_share_of_the_nodes_counts() -> None:
    facts = cluster("IDLE", "IDLE", "IDLE+DRAIN")
    (place,) = discovered(facts).values()
    of_two = {"mine": replace(place, partition=replace(place.partition, nodes=2))}
    assert said(facts, of_two) == []
    assert said(cluster("IDLE", "IDLE+DRAIN", "IDLE+DRAIN"), of_two)[0][0] == 1


def test_the_batch_system_tells_it_and_takes_it_back(tmp_path) -> None:
    fake = FakeSlurm(lambda: 1_800_000_000.0)
    batch = SlurmBatch(tmp_path, CommandTransport(run=FakeCommands(fake)))
    there = batch.partitions()
    assert batch.shortages() == ()
    fake.partition_state = "DRAIN"
    assert batch.partitions() == there
    assert [one.why for one in batch.shortages()] == ["main is DRAIN"]
    fake.partition_state, fake.drained = "UP", {0: "new cooling", 3: "a fan"}
    assert batch.partitions() == there
    (short,) = batch.shortages()
    assert (short.usable_nodes, short.why) == (2, "of its 4 nodes 2 drained: new cooling; a fan")
    fake.drained = {}
    batch.partitions()
    assert batch.shortages() == ()


def test_features_beyond_what_a_hub_takes_are_left_out() -> None:
    facts = cluster("IDLE")
    names = ("x" * 101, *(f"f{n:04}" for n in range(1500)))
    facts = replace(facts, nodes=(replace(facts.nodes[0], features=names),))
    (place,) = discovered(facts).values()
    assert place.partition.features == tuple(f"f{n:04}" for n in range(1000))
