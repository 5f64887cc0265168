"""What partitions of ours are called: each kind of node has a name, and keeps it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.agent.slurm.test_status import Site

from meyrin.agent import check, join
from meyrin.agent.announce import Announcer
from meyrin.agent.check import site_findings
from meyrin.agent.config import AgentConfig
from meyrin.agent.slurm import kinds
from meyrin.agent.slurm.ask import Mark, Place, all_of, discovered, left_out, mark_of
from meyrin.agent.slurm.batch import SlurmBatch
from meyrin.agent.slurm.transport import ClusterFacts, Gres, NodeFacts, PartitionFacts
from meyrin.domain.errors import Unreachable
from meyrin.domain.site import Partition

H100 = (Gres("gpu", "h100", 4),)


def cluster(*cores: int, names: tuple[str, ...] = ("gpu",), gres: tuple[Gres, ...] = H100):
    nodes = tuple(
        NodeFacts(f"{name}{n}", "IDLE", each, 256_000, gres, (), (name,))
        for name in names
        for n, each in enumerate(cores)
    )
    return ClusterFacts("24.05", "c", "u", tuple(PartitionFacts(n, "UP") for n in names), nodes)


def known(*looks: dict[str, Place]) -> dict[Mark, str]:
    """What these looks, one after the other, called the kinds that they found."""
    return {mark_of(place): name for look in looks for name, place in look.items()}


def told(places: dict[str, Place]) -> dict[str, tuple[int, int]]:
    parts = [(name, place.partition) for name, place in places.items()]
    assert all(name == part.name for name, part in parts)
    return {name: (part.nodes, part.cores_per_node) for name, part in parts}


def test_a_node_that_is_changed_takes_no_name_from_the_others() -> None:
    before = discovered(cluster(32, 32, 32, 32))
    assert told(before) == {"gpu": (4, 32)}
    one = discovered(cluster(16, 32, 32, 32), known(before))
    assert told(one) == {"gpu": (3, 32), "gpu-h100x4": (1, 16)}
    # nor when most of them are changed
    three = discovered(cluster(16, 16, 16, 32), known(before, one))
    assert told(three) == {"gpu-h100x4": (3, 16), "gpu": (1, 32)}
    # the kind of before is gone: the name goes on with most of the nodes
    changed = discovered(cluster(64, 64, 64, 8), known(before, one, three))
    assert told(changed) == {"gpu": (3, 64), "gpu-h100x4": (1, 8)}


def test_kinds_that_have_labels_keep_them() -> None:
    before = discovered(cluster(16, 32, 32, 32))
    assert told(before) == {"gpu-h100x4": (3, 32), "gpu-h100x4-16c": (1, 16)}
    alike = discovered(cluster(32, 32, 32, 32), known(before))
    assert told(alike) == {"gpu-h100x4": (4, 32)}


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
    turned = discovered(cluster(32, names=("Gpu", "GPU", "gpu")), known(twice))
    assert {name: place.slurm for name, place in turned.items()} == {
        name: place.slurm for name, place in twice.items()
    }


def test_a_plain_name_that_the_settings_have_goes_on_where_nodes_are_exchanged_one_by_one() -> None:
    one = discovered(cluster(64, 64, 64), said={"gpu"})
    two = discovered(cluster(64, 64, 128), known(one), {"gpu"})
    assert told(two) == {"gpu": (2, 64), "gpu-h100x4": (1, 128)}
    exchanged = cluster(128, 128, 128)
    three = discovered(exchanged, known(one, two), {"gpu"})
    assert told(three) == {"gpu": (3, 128)}
    # one node of the kind of before is there again: most of the nodes go on
    four = discovered(cluster(64, 128, 128), known(one, two, three), {"gpu"})
    assert told(four) == {"gpu": (2, 128), "gpu-h100x4": (1, 64)}
    # a name that the settings or jobs have is not given up for another
    both = discovered(exchanged, known(one, two), {"gpu", "gpu-h100x4"})
    assert told(both) == told(discovered(exchanged, known(one, two))) == {"gpu-h100x4": (3, 128)}


def test_a_kind_that_is_away_for_one_look_is_back_under_its_name(
    tmp_path: Path, monkeypatch
) -> None:
    site, now = Site(tmp_path / "site"), [64]
    monkeypatch.setattr(site.batch.transport, "describe", lambda: cluster(*now))
    names = []
    for cores in ([64, 64, 64], [64, 64, 128], [128], [64, 64, 128]):
        now[:] = cores
        site.batch.partitions()
        names.append(told(site.batch.places()))
    assert names[1] == names[3] == {"gpu": (2, 64), "gpu-h100x4": (1, 128)}
    assert names[2] == {"gpu-h100x4": (1, 128)}
    monkeypatch.setattr(kinds, "_MOST_NAMES", 1)
    for cores in ([128], [64, 64, 128]):
        now[:] = cores
        site.batch.partitions()
    assert "gpu" not in site.batch.places()


def test_a_label_takes_no_plain_name_of_another_partition() -> None:
    mixed, other = cluster(64, 64, 128, gres=()), cluster(32, names=("gpu-64c",), gres=())
    both = replace(
        mixed, partitions=mixed.partitions + other.partitions, nodes=mixed.nodes + other.nodes
    )
    assert {name: place.slurm for name, place in discovered(both).items()} == {
        "gpu-64c": "gpu-64c",
        "gpu-64c-64c": "gpu",
        "gpu-128c": "gpu",
    }


def test_nodes_that_nothing_can_run_on_keep_the_plain_name_from_nobody() -> None:
    facts = cluster(64, 64, 64, 128, 128, 32)
    nodes = tuple(replace(one, memory_mb=0) if one.cores == 64 else one for one in facts.nodes)
    found = discovered(replace(facts, nodes=nodes), said={"gpu"})
    assert told(found) == {"gpu": (2, 128), "gpu-h100x4": (1, 32)}


def test_check_calls_the_kinds_as_the_agent_does(tmp_path: Path, monkeypatch) -> None:
    site = Site(tmp_path / "dir" / "slurm")
    (tmp_path / "c").write_text("secret")
    (tmp_path / "c").chmod(0o600)
    settings = {
        "hub": "http://hub", "credential_file": tmp_path / "c", "dir": tmp_path / "dir",
        "batch": "slurm",
        "offer": [{"partition": name, "owners": {"u": 1}} for name in ("gpu", "gpu-128c")],
    }  # fmt: skip
    config = AgentConfig.model_validate(settings)
    for cores in ((64, 64, 64), (64, 64, 128), (64, 128, 128)):
        facts = cluster(*cores, gres=())
        monkeypatch.setattr(site.batch.transport, "describe", lambda facts=facts: facts)
        site.batch.partitions()
    assert told(site.batch.places()) == {"gpu": (1, 64), "gpu-128c": (2, 128)}
    monkeypatch.setattr(join, "transport", lambda _: site.batch.transport)
    monkeypatch.setattr(check, "hub_findings", lambda *_, **__: ())
    assert [each for each in join.findings(config, 0) if each.bad] == []


def test_where_nobody_could_say_which_partitions_there_are_none_is_gone(tmp_path: Path) -> None:
    """The settings listed them before, so that the cluster was asked for the rest alone."""
    site = Site(tmp_path / "site")
    main = Partition("main", 1, 1, 1)
    listed = {"main": Place(main, "main")}
    SlurmBatch(site.folder, site.batch.transport, places=listed).partitions()
    again = site.open()
    site.cluster.up = False
    announcer = Announcer(again, lambda: 0)
    with pytest.raises(Unreachable):
        announcer.look()
    assert announcer.gone("main") == ""
    site.cluster.up = True
    announcer.look()
    site.cluster.up = False
    announcer.look()
    assert (announcer.gone("main"), announcer.gone("other")) == (
        "",
        "there is no partition other at the site now",
    )


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
    none_of_one = replace(mixed.nodes[0], gres=(Gres("gpu", "a100", 0), Gres("gpu", "h100", 3)))
    not_there = replace(mixed.nodes[0], state="FUTURE")
    assert not list(left_out(replace(mixed, nodes=(none_of_one, not_there))))


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
