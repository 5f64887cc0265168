"""A trace on a cluster of nodes: which partition each job goes to, and what it asks of each node.

What the log says is used; what it doesn't is spread as evenly as the nodes allow. A plain pool
under a policy that needs accounts or passes of Slurm is the same with one large node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from meyrin.sim.cluster_file import ClusterFile, Nodes, Partition
from meyrin.sim.policy import Policy
from meyrin.sim.prepare import Arrivals, Ints, chosen, prepare
from meyrin.sim.run import Kernel, Prepared
from meyrin.sim.trace.model import NO_RUN, NO_SIZE, TOO_LARGE, UNKNOWN, Trace

if TYPE_CHECKING:
    from meyrin.engine.cluster import Facility

NOWHERE = "no partition takes its queue"
ACCELERATORS, CORES, MEMORY = range(3)


def on_nodes(trace: Trace, policy: Policy, file: ClusterFile, *, kill: bool = True) -> Prepared:
    """`trace` on the cluster of `file` under any policy."""
    capacity = np.array(
        [
            (group.accelerators, group.cores, group.memory_mb)
            for group in file.nodes
            for _ in range(group.count)
        ],
        np.int64,
    )
    where = _places(trace, [part.queues for part in file.partition])
    nodes, asked = _shapes(trace, file, capacity, where)
    size = np.maximum(trace.sizes(), 0)
    reasons = {
        NO_SIZE: asked[:, :MEMORY].sum(axis=1) <= 0,
        NO_RUN: trace.run_s <= 0,
        NOWHERE: where < 0,
        TOO_LARGE: ~_fits(file, capacity, where, nodes, asked),
    }
    jobs = chosen(trace, size, reasons, kill=kill, unit=trace.pool_unit)
    unit = ACCELERATORS if trace.pool_unit == "accelerators" else CORES
    row = jobs.row
    classes = np.maximum(_places(trace, [one.queues for one in file.job_class]), 0)
    columns: dict[str, Any] = {
        "asked": asked[row],
        "nodes": nodes[row],
        "partition": where[row],
        "job_class": classes[row],
        "after": _before(trace, jobs) if file.dependencies else UNKNOWN,
    }
    return _prepared(trace, policy, file, capacity, jobs, int(capacity[:, unit].sum()), columns)


def on_one_node(trace: Trace, policy: Policy, processors: int, *, kill: bool = True) -> Prepared:
    """`trace` on a pool of `processors` equal processors, under a policy with accounts."""
    jobs = prepare(trace, processors, kill=kill)
    pool = Nodes(name="pool", cores=processors)
    file = ClusterFile(nodes=(pool,), partition=(Partition(name="pool", nodes=("pool",)),))
    asked = np.zeros((len(jobs), 3), np.int64)
    asked[:, CORES] = jobs.processors
    capacity = np.array([[0, processors, 0]], np.int64)
    return _prepared(trace, policy, file, capacity, jobs, processors, {"asked": asked})


def _prepared(
    trace: Trace,
    policy: Policy,
    file: ClusterFile,
    capacity: Ints,
    jobs: Arrivals,
    processors: int,
    columns: dict[str, Any],
) -> Prepared:
    from meyrin.engine import cluster  # noqa: PLC0415 - the compiler takes a while to load

    parents, shares, account = _accounts(trace, jobs, file)
    place = _facility(file, capacity, parents, shares)
    work = cluster.jobs(
        place, jobs.submit, duration=jobs.duration, limit=jobs.limit, account=account, **columns
    )

    def load() -> None:
        one = cluster.pool(1)
        cluster.Cluster(policy.rules, one, cluster.jobs(one, [0], [[0, 1, 0]], 1, 1)).advance(4)

    def kernel() -> Kernel:
        return cluster.Cluster(policy.rules, place, work)

    def ends(kernel: cluster.Cluster) -> tuple[Ints, dict[str, int]]:
        status = kernel.status
        words = {
            cluster.WAITING: "never started",
            cluster.PUT_OFF: "put off",
            cluster.LOST: "lost with a node",
            cluster.STRANDED: "came after a job that did not succeed",
        }
        counts = {words[code]: int((status == code).sum()) for code in words}
        ended = np.where(status == cluster.ENDED, kernel.end, -1)
        return ended, {word: count for word, count in counts.items() if count}

    return Prepared(jobs, processors, load, kernel, ends)


def _facility(file: ClusterFile, capacity: Ints, parents: list[int], shares: list[int]) -> Facility:
    from meyrin.engine import cluster  # noqa: PLC0415

    outages = [
        (
            file.places((one.node,))[0],
            one.begin_s,
            cluster.NEVER if one.end_s is None else one.end_s,
        )
        for one in file.outage
    ]
    return cluster.facility(
        capacity,
        [file.places(part.nodes) for part in file.partition],
        whole=[int(part.whole) for part in file.partition],
        partition_priority=[part.priority for part in file.partition],
        class_priority=[one.priority for one in file.job_class] or [0],
        account_parent=parents,
        account_shares=shares,
        reservations=[(file.places(one.nodes), one.begin_s, one.end_s) for one in file.reservation],
        outages=outages,
    )


def _labels(trace: Trace, kind: str) -> tuple[list[str], Ints]:
    """The words of a column, and the word's number for each row; `""` is unknown."""
    found, of = np.unique(getattr(trace, kind), return_inverse=True)
    words = ["" if number < 0 else trace.label(kind, number) for number in found.tolist()]
    return words, of.reshape(-1).astype(np.int64)


def _places(trace: Trace, takers: list[tuple[str, ...]]) -> Ints:
    """Which taker each row goes to by its partition, else its queue; else the first that names
    none; -1 where there is none."""
    rest = next((n for n, queues in enumerate(takers) if not queues), -1)
    place = np.full(len(trace), -1, np.int64)
    for kind in ("partition", "queue"):
        words, of = _labels(trace, kind)
        named = [
            next((n for n, queues in enumerate(takers) if word and word in queues), -1)
            for word in words
        ]
        place = np.where(place < 0, np.array(named, np.int64)[of], place)
    return np.where(place < 0, rest, place)


def _shapes(trace: Trace, file: ClusterFile, capacity: Ints, where: Ints) -> tuple[Ints, Ints]:
    """Nodes of each row, and what it asks of each of them, int64[rows, 3].

    Where the log knows no nodes, as few as hold the job when they are the largest of the partition.
    """
    whole = np.maximum(
        np.column_stack([trace.accelerators, trace.processors, trace.memory_mb]), 0
    ).astype(np.int64)
    largest = np.array([capacity[file.places(p.nodes)].max(axis=0) for p in file.partition])
    each = largest[np.maximum(where, 0)]
    whole[each[:, MEMORY] == 0, MEMORY] = 0  # memory is not counted there
    least = np.maximum(1, (-(-whole // np.maximum(each, 1))).max(axis=1))
    nodes = np.where(trace.nodes > 0, trace.nodes, least)
    return nodes, -(-whole // nodes[:, None])


def _fits(
    file: ClusterFile, capacity: Ints, where: Ints, nodes: Ints, asked: Ints
) -> NDArray[np.bool_]:
    shapes, of = np.unique(np.column_stack([where, asked]), axis=0, return_inverse=True)
    room = np.zeros(len(shapes), np.int64)
    members = [np.unique(file.places(part.nodes)) for part in file.partition]
    for one, (part, *shape) in enumerate(shapes.tolist()):
        if part >= 0:
            room[one] = (capacity[members[part]] >= shape).all(axis=1).sum()
    return nodes <= room[of.reshape(-1)]


def _before(trace: Trace, jobs: Arrivals) -> Ints:
    """The job that each comes after, by its place in log order; -1 none, or one not replayed."""
    wanted = trace.after[jobs.row]
    place = {number: n for n, number in enumerate(jobs.job_id.tolist())}
    found = np.array([place.get(number, -1) for number in wanted.tolist()], np.int64)
    return np.where((wanted < 0) | (found >= np.arange(len(found))), UNKNOWN, found)


def _accounts(trace: Trace, jobs: Arrivals, file: ClusterFile) -> tuple[list[int], list[int], Ints]:
    """Parents and shares of the tree, and each job's leaf: root, accounts or groups, persons."""
    parents, shares, number = [-1], [1], {"": 0}
    of_group: dict[str, int] = {}
    for account in file.account:
        number[account.name] = len(parents)
        of_group |= dict.fromkeys(account.groups, len(parents))
        parents.append(number[account.parent])
        shares.append(account.shares)
    words, groups = _labels(trace, "group")
    for word in words:
        if word and word not in of_group:
            of_group[word] = 0 if file.account else len(parents)
            if not file.account:
                parents.append(0)
                shares.append(1)
    above = np.array([of_group.get(word, 0) for word in words], np.int64)[groups][jobs.row]
    person = trace.user[jobs.row]
    pairs, leaf = np.unique(np.column_stack([above, person]), axis=0, return_inverse=True)
    first = len(parents)
    parents += pairs[:, 0].tolist()
    shares += [1] * len(pairs)
    return parents, shares, leaf.reshape(-1).astype(np.int64) + first
