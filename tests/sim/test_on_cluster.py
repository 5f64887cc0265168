"""A trace on nodes: where jobs go, what they ask of each node, who is charged; cluster files."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest
from tests.components import ROOT
from tests.sim.trace.samples import written

from meyrin.domain.errors import InvalidInput
from meyrin.sim import on_cluster
from meyrin.sim.cluster_file import ClusterFile, load_cluster
from meyrin.sim.policy import load
from meyrin.sim.prepare import prepare
from meyrin.sim.run import on_pool, replay
from meyrin.sim.trace.model import Trace
from meyrin.sim.trace.read import read

EXAMPLES = sorted((ROOT / "examples" / "clusters").glob("*.toml"))
NODES = """
[[nodes]]
name = "n"
count = 3
cores = 4
"""
BATCH = '[[partition]]\nname = "batch"\nnodes = ["n"]\n'


def trace(tmp_path: Path, *rows: tuple[int, ...]) -> Trace:
    """Rows of (submit, run, processors, queue, group, user); the limit is the run time."""
    lines = [
        f"{n} {submit} -1 {run} {size} -1 -1 {size} {run} -1 1 {user} {group} -1 {queue} -1 -1 -1\n"
        for n, (submit, run, size, queue, group, user) in enumerate(rows, 1)
    ]
    return read(written(tmp_path / "log.swf", "".join(lines)))


def cluster(text: str) -> ClusterFile:
    return ClusterFile.model_validate(tomllib.loads(text))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_are_right(path: Path) -> None:
    assert load_cluster(path)[0].nodes


def test_a_job_takes_as_few_nodes_as_hold_it(tmp_path: Path) -> None:
    log = trace(tmp_path, (0, 9, 4, 1, 1, 1), (0, 9, 5, 1, 1, 1), (0, 9, 12, 1, 1, 1))
    capacity = np.array([[0, 4, 0]] * 3)
    where = np.zeros(3, np.int64)
    nodes, asked = on_cluster._shapes(log, cluster(NODES + BATCH), capacity, where)
    assert nodes.tolist() == [1, 2, 3]
    assert asked.tolist() == [[0, 4, 0], [0, 3, 0], [0, 4, 0]]


def test_queues_choose_the_partition_and_the_rest_goes_to_the_first_open_one(
    tmp_path: Path,
) -> None:
    log = trace(tmp_path, (0, 9, 1, 5, 1, 1), (0, 9, 1, 6, 1, 1), (0, 9, 1, -1, 1, 1))
    assert on_cluster._places(log, [("5",), (), ("6",)]).tolist() == [0, 2, 1]
    assert on_cluster._places(log, [("5",)]).tolist() == [0, -1, -1]


def test_what_has_no_place_is_skipped_and_counted(tmp_path: Path) -> None:
    file = cluster(NODES + BATCH + 'queues = ["1"]')
    log = trace(tmp_path, (0, 9, 12, 1, 1, 1), (0, 9, 13, 1, 1, 1), (0, 9, 1, 2, 1, 1))
    jobs = on_cluster.on_nodes(log, load("easy"), file).jobs
    assert jobs.row.tolist() == [0]
    assert jobs.skipped == {on_cluster.NOWHERE: 1, "larger than the machine": 1}


def test_accounts_are_root_groups_and_persons(tmp_path: Path) -> None:
    log = trace(tmp_path, (0, 9, 1, 1, 1, 7), (1, 9, 1, 1, 2, 7), (2, 9, 1, 1, 1, 8))
    jobs = prepare(log, 12)
    parents, shares, leaf = on_cluster._accounts(log, jobs, cluster(NODES + BATCH))
    assert parents == [-1, 0, 0, 1, 1, 2]
    assert shares == [1] * 6
    assert leaf.tolist() == [3, 5, 4]
    text = '[[account]]\nname = "a"\nshares = 3\ngroups = ["2"]\n'
    parents, shares, leaf = on_cluster._accounts(log, jobs, cluster(text + NODES + BATCH))
    assert parents == [-1, 0, 0, 0, 1]
    assert shares == [1, 3, 1, 1, 1]
    assert leaf.tolist() == [2, 4, 3]


def test_dependencies_point_back_in_the_log_or_nowhere(tmp_path: Path) -> None:
    text = "".join(
        f"{n} {n} -1 9 1 -1 -1 1 9 -1 1 1 1 -1 1 -1 {before} -1\n"
        for n, before in ((1, -1), (2, 1), (3, 99), (4, 5), (5, 4))
    )
    log = read(written(tmp_path / "log.swf", text))
    assert on_cluster._before(log, prepare(log, 4)).tolist() == [-1, 0, -1, -1, 3]


@pytest.mark.parametrize("name", ["fcfs", "easy", "conservative"])
def test_a_pool_is_a_cluster_of_one_node(name: str, tmp_path: Path) -> None:
    """The two kernels share no code in their passes; start by start they say the same."""
    chance = np.random.default_rng(3)
    rows = [
        (int(at), int(chance.integers(1, 60)), int(chance.integers(1, 9)), 1, 1, 1)
        for at in np.sort(chance.choice(2000, 120, replace=False))
    ]
    log, policy = trace(tmp_path, *rows), load(name)
    ticks = iter(range(10**6))
    outcomes = [
        replay(prepared, "log", policy, lambda: float(next(ticks)))
        for prepared in (on_pool(log, policy, 8), on_cluster.on_one_node(log, policy, 8))
    ]
    assert outcomes[0].start.tolist() == outcomes[1].start.tolist()
    assert outcomes[0].end.tolist() == outcomes[1].end.tolist()


def test_fair_share_lets_who_holds_least_go_first(tmp_path: Path) -> None:
    """Person 1 holds one of two processors and has more waiting; person 2 came last."""
    log = trace(
        tmp_path,
        (0, 50, 1, 1, 1, 1), (1, 10, 1, 1, 1, 3), (2, 10, 1, 1, 1, 1), (3, 10, 1, 1, 1, 2),
    )  # fmt: skip
    prepared = on_cluster.on_one_node(log, load("fair-share"), 2)
    ticks = iter(range(10**6))
    outcome = replay(prepared, "log", load("fair-share"), lambda: float(next(ticks)))
    assert outcome.start.tolist() == [0, 1, 21, 11]


@pytest.mark.parametrize("flag", ["FAIR_TREE", "NO_FAIR_TREE"])
def test_the_order_of_the_rows_changes_no_start(flag: str, tmp_path: Path) -> None:
    chance = np.random.default_rng(7)
    text = f'kind = "slurm"\n[slurm]\nPriorityWeightFairshare = 1000\nPriorityFlags = "{flag}"\n'
    policy = load(str(written(tmp_path / "policy.toml", text)))
    lines = []
    for n in range(1, 301):
        person, size = int(chance.integers(1, 12)), int(chance.integers(1, 9))
        at, run = int(chance.integers(0, 40)) * 100, int(chance.integers(1, 8)) * 50
        asked = f"{n} {at} -1 {run} {size} -1 -1 {size} {run} -1 1"
        lines.append(f"{asked} {person} {person % 4} -1 1 -1 -1 -1\n")
    found = []
    for order in (np.arange(300), chance.permutation(300), chance.permutation(300)):
        log = read(written(tmp_path / "log.swf", "".join(lines[one] for one in order)))
        prepared, ticks = on_cluster.on_one_node(log, policy, 8), iter(range(10**6))
        outcome = replay(prepared, "log", policy, lambda ticks=ticks: float(next(ticks)))
        numbers = prepared.jobs.job_id.tolist()
        found.append(dict(zip(numbers, outcome.start.tolist(), strict=True)))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("flag", ["FAIR_TREE", "NO_FAIR_TREE"])
def test_an_account_without_shares_comes_last(flag: str, tmp_path: Path) -> None:
    """Group 1 has no shares and has used nothing, group 2 has used much."""
    text = '[[account]]\nname = "a"\nshares = 0\ngroups = ["1"]\n'
    text += '[[account]]\nname = "b"\ngroups = ["2"]\n'
    log = trace(
        tmp_path,
        (0, 900, 12, 1, 2, 5), (1, 600, 12, 1, 3, 7), (2, 9, 12, 1, 1, 6), (3, 9, 12, 1, 2, 5),
    )  # fmt: skip
    text += '[[account]]\nname = "c"\nshares = 9\ngroups = ["3"]\n'
    rules = f'kind = "slurm"\n[slurm]\nPriorityWeightFairshare = 1000\nPriorityFlags = "{flag}"'
    policy = load(str(written(tmp_path / "policy.toml", rules)))
    prepared = on_cluster.on_nodes(log, policy, cluster(text + NODES + BATCH))
    ticks = iter(range(10**6))
    outcome = replay(prepared, "log", policy, lambda: float(next(ticks)))
    assert outcome.start.tolist() == [0, 900, 1509, 1500]


def test_a_job_that_loses_its_node_for_good_is_told(tmp_path: Path) -> None:
    file = cluster(NODES.replace("3", "1") + BATCH + '[[outage]]\nnode = "n[0]"\nbegin_s = 5\n')
    log, ticks = trace(tmp_path, (0, 9, 1, 1, 1, 1)), iter(range(10**6))
    policy = load("easy")
    prepared = on_cluster.on_nodes(log, policy, file)
    outcome = replay(prepared, "log", policy, lambda: float(next(ticks)))
    assert not outcome.begun.any()
    assert outcome.not_ended == {"never started": 1}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BATCH, "nodes is missing"),
        (NODES, "partition is missing"),
        (NODES + BATCH.replace('"n"', '"m"'), "'m' names no nodes; groups: n"),
        (NODES + BATCH.replace('"n"', '"n[3]"'), "n has nodes 0 to 2"),
        (NODES + NODES + BATCH, "'n' is there twice"),
        (NODES.replace("cores = 4", "cores = -4") + BATCH, "nodes[1].cores is -4; allowed"),
        (NODES.replace("cores", "core") + BATCH, "did you mean cores?"),
        (NODES.replace("cores = 4", "") + BATCH, "neither cores nor accelerators"),
        (NODES + BATCH + '[[outage]]\nnode = "n"\nbegin_s = 5', "is no single node"),
        (NODES + BATCH + '[[reservation]]\nnodes = ["n"]\nbegin_s = 5\nend_s = 5', "end_s is 5"),
        (NODES + BATCH + '[[account]]\nname = "a"\nparent = "b"', "its parent 'b' is none"),
    ],
)
def test_what_is_wrong_with_a_file(text: str, words: str, tmp_path: Path) -> None:
    path = written(tmp_path / "wrong.toml", text)
    with pytest.raises(InvalidInput) as caught:
        load_cluster(path)
    assert str(path) in caught.value.message
    assert words in caught.value.message
