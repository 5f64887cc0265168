"""What partitions of ours are called: each kind of node has a name, and keeps it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from structlog.testing import capture_logs
from tests.agent.slurm.test_status import Site

from meyrin.agent.check import site_findings
from meyrin.agent.config import AgentConfig
from meyrin.agent.slurm.ask import Place, all_of, discovered, left_out
from meyrin.agent.slurm.transport import ClusterFacts, Gres, NodeFacts, PartitionFacts

H100 = (Gres("gpu", "h100", 4),)


def cluster(*cores: int, names: tuple[str, ...] = ("gpu",), gres: tuple[Gres, ...] = H100):
    nodes = tuple(
        NodeFacts(f"{name}{n}", "IDLE", each, 256_000, gres, (), (name,))
        for name in names
        for n, each in enumerate(cores)
    )
    return ClusterFacts("24.05", "c", "u", tuple(PartitionFacts(n, "UP") for n in names), nodes)


def told(places: dict[str, Place]) -> dict[str, tuple[int, int]]:
    parts = [(name, place.partition) for name, place in places.items()]
    assert all(name == part.name for name, part in parts)
    return {name: (part.nodes, part.cores_per_node) for name, part in parts}


def test_a_node_that_is_changed_takes_no_name_from_the_others() -> None:
    before = discovered(cluster(32, 32, 32, 32))
    assert told(before) == {"gpu": (4, 32)}
    one = discovered(cluster(16, 32, 32, 32), before)
    assert told(one) == {"gpu": (3, 32), "gpu-h100x4": (1, 16)}
    # nor when most of them are changed
    three = discovered(cluster(16, 16, 16, 32), one)
    assert told(three) == {"gpu-h100x4": (3, 16), "gpu": (1, 32)}
    # the kind of before is gone: the name goes on with most of the nodes
    assert told(discovered(cluster(64, 64, 64, 8), three)) == {"gpu": (3, 64), "gpu-h100x4": (1, 8)}


def test_kinds_that_have_labels_keep_them() -> None:
    before = discovered(cluster(16, 32, 32, 32))
    assert told(before) == {"gpu-h100x4": (3, 32), "gpu-h100x4-16c": (1, 16)}
    assert told(discovered(cluster(32, 32, 32, 32), before)) == {"gpu-h100x4": (4, 32)}


def test_where_nothing_is_known_the_settings_say_whether_the_name_is_plain(tmp_path: Path) -> None:
    """As for `--check`, and for an agent whose folder was lost."""
    rules = {"partitions_shown": ["gpu"]}
    config = AgentConfig.model_validate(
        {"hub": "http://hub", "credential_file": tmp_path / "c", "dir": tmp_path, "rules": rules}
    )
    assert told(all_of(config, cluster(16, 32, 32))) == {"gpu": (2, 32), "gpu-h100x4": (1, 16)}


def test_every_kind_has_a_name_of_its_own() -> None:
    kinds = discovered(cluster(32, 64, 128))
    names = {"gpu-h100x4": (1, 128), "gpu-h100x4-64c": (1, 64), "gpu-h100x4-32c": (1, 32)}
    assert told(kinds) == names
    twice = discovered(cluster(32, names=("gpu", "GPU", "Gpu")))
    assert {name: place.slurm for name, place in twice.items()} == {
        "gpu": "gpu",
        "gpu-h100x4": "GPU",
        "gpu-h100x4-32c": "Gpu",
    }
    assert discovered(cluster(32, names=("Gpu", "GPU", "gpu")), twice).keys() == twice.keys()


def test_a_node_of_two_types_is_told(tmp_path: Path) -> None:
    mixed = cluster(32, gres=(Gres("gpu", "a100", 2), Gres("gpu", "h100", 3)))
    config = AgentConfig(hub="http://hub", credential_file=tmp_path / "c", dir=tmp_path)
    parts = [place.partition for place in discovered(mixed).values()]
    assert [(one.accelerators_per_node, one.accelerator_type) for one in parts] == [(3, "h100")]
    found = [each.words for each in site_findings(config, parts, mixed) if not each.bad]
    shown = "nodes with accelerators of several types (a100, h100) count with those that each has"
    assert f"{shown} most of: gpu0" in found
    names = [f"n{number}" for number in range(50)]
    nodes = tuple(replace(mixed.nodes[0], name=name) for name in names)
    (many,) = left_out(replace(mixed, nodes=nodes))
    assert many == f"{shown} most of: n0, n1, n2 and 47 more"


def test_it_is_in_the_log_once(tmp_path: Path, monkeypatch) -> None:
    site = Site(tmp_path / "site")
    facts = site.batch.transport.describe()
    node = replace(facts.nodes[0], gres=(*facts.nodes[0].gres, Gres("gpu", "a100", 1)))
    monkeypatch.setattr(site.batch.transport, "describe", lambda: replace(facts, nodes=(node,)))
    with capture_logs() as logged:
        for _ in range(2):
            site.batch.partitions()
    (told,) = logged
    assert told["words"].startswith("nodes with accelerators of several types (a100, ")
    assert told["words"].endswith(f": {node.name}")


def test_a_new_start_of_the_agent_knows_the_names(tmp_path: Path, monkeypatch) -> None:
    site = Site(tmp_path / "site")
    (main,) = site.batch.partitions()
    facts = site.batch.transport.describe()
    other = replace(facts.nodes[0], name="new", cores=2 * main.cores_per_node)
    changed = replace(facts, nodes=(*facts.nodes, other))
    again = site.open()
    monkeypatch.setattr(again.transport, "describe", lambda: changed)
    assert {one.name: one.cores_per_node for one in again.partitions()} == {
        "main": main.cores_per_node,
        "main-h100x8": other.cores,
    }
