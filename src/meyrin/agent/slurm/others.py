"""What others have of our partitions, and what of theirs comes before us: the hub counts with it.

Where the nodes of a running job are known, it counts where they lie, in whatever partition of
Slurm it was submitted; else, as what waits does, in the partition that it names. Only what waits
for room or its turn counts: what is held, or has reached a limit of its own, is in nobody's way.

Running jobs of one shape that end at about the same time are told as one, packed on as few nodes
as hold them: the hub looks at each at every decision. Their end is rounded up, by an eighth of
what is left at most; wall times are further off than that.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from meyrin.agent.slurm import ask, words
from meyrin.agent.slurm.ask import Place
from meyrin.agent.slurm.snapshot import RUNS, WAITS, elements
from meyrin.agent.slurm.transport import ClusterFacts, QueueRow
from meyrin.agent.slurm.usable import taking
from meyrin.domain.site import Partition
from meyrin.domain.units import NodeShape
from meyrin.wire.queue import MOST_OTHERS, Others, OthersJob

_LONGEST_S = 30 * 24 * 3600  # what has no wall time is not known to end
_AGAIN_S = 60  # what is over its wall time is taken to run until the next look
_MOST_WAITING = 64
_PARTS = 8
_FOR_ROOM = {"", "None", "Priority", "Resources"}


@dataclass(frozen=True, slots=True)
class Lies:
    """Where a partition of ours lies: its nodes, and how many of them take work."""

    place: Place
    nodes: frozenset[str]
    taking: int


class _Kind(NamedTuple):
    """What running jobs have in common that are told as one."""

    shape: NodeShape
    nodes: int
    end_s: int


def lies(place: Place, facts: ClusterFacts) -> Lies:
    """As the cluster was described last."""
    nodes = ask.nodes_of(place, facts)
    return Lies(place, frozenset(node.name for node in nodes), taking(nodes))


def others(rows: Iterable[QueueRow], lying: Mapping[str, Lies], now_s: int) -> tuple[Others, ...]:
    """Of the queue without ours, what counts on each partition: what runs, the most of it if it
    is too much, then the first that wait, in their order."""
    running: defaultdict[str, Counter[_Kind]] = defaultdict(Counter)
    waiting: defaultdict[str, list[OthersJob]] = defaultdict(list)
    for row in sorted(rows, key=lambda each: (-(each.priority or 0), each.submit_s or 0)):
        if row.state in RUNS and row.state != "COMPLETING":
            for name, nodes in _where(row, lying):
                shape = _shape(row, lying[name].place.partition)
                running[name][_Kind(shape, nodes, _end_s(row, now_s))] += 1
        elif row.state in WAITS and row.reason in _FOR_ROOM:
            name = _waits_at(row, lying)
            if name and len(waiting[name]) < _MOST_WAITING:
                shape = _shape(row, lying[name].place.partition)
                one = _job(shape, row.nodes or 1, _walltime_s(row), None)
                waiting[name] += [one] * min(elements(row.batch_job), _MOST_WAITING)
    found = []
    for name, where in lying.items():
        last = waiting[name][:_MOST_WAITING]
        first = [
            job
            for kind, count in running[name].items()
            for job in _packed(kind, count, where.place.partition.node)
        ]
        first.sort(key=lambda job: -job.nodes * (job.cores + job.accelerators))
        jobs = [*first[: MOST_OTHERS - len(last)], *last]
        if jobs:
            found.append(Others(partition=name, nodes=where.taking, jobs=jobs))
    return tuple(found)


def _where(row: QueueRow, lying: Mapping[str, Lies]) -> Iterator[tuple[str, int]]:
    """On how many nodes of which partitions a running job lies."""
    try:
        nodes = set(words.expand(row.node_list))
    except ValueError:  # a list in a form of its own
        nodes = set()
    if not nodes:
        name = next((n for n, where in lying.items() if where.place.slurm == row.partition), "")
        if name:
            yield name, row.nodes or 1
        return
    for name, where in lying.items():
        count = len(nodes & where.nodes)
        if count:
            yield name, count


def _waits_at(row: QueueRow, lying: Mapping[str, Lies]) -> str:
    """The first of our partitions that it may come to; empty: none."""
    named = set(row.partition.split(","))
    for name, where in lying.items():
        place = where.place
        if place.slurm in named and not place.reservation:
            asked = _of_a_node(row)
            if asked.fits_in(place.partition.node) and (row.nodes or 1) <= where.taking:
                return name
    return ""


def _packed(kind: _Kind, count: int, node: NodeShape) -> Iterator[OthersJob]:
    """So many such jobs on as few nodes as hold them."""
    shape = kind.shape
    most = [
        has // wants
        for has, wants in (
            (node.cores, shape.cores),
            (node.memory_mb, shape.memory_mb),
            (node.accelerators, shape.accelerators),
        )
        if wants
    ]
    full, rest = divmod(count, min(most))
    for times, each in ((full, min(most)), (1, rest)):
        if times and each:
            taken = (shape.cores * each, shape.memory_mb * each, shape.accelerators * each)
            yield _job(NodeShape(*taken), times * kind.nodes, 0, kind.end_s)


def _job(shape: NodeShape, nodes: int, walltime_s: int, end_s: int | None) -> OthersJob:
    return OthersJob(
        nodes=nodes,
        cores=shape.cores,
        memory_mb=shape.memory_mb,
        accelerators=shape.accelerators,
        walltime_s=walltime_s,
        end_s=end_s,
    )


def _shape(row: QueueRow, part: Partition) -> NodeShape:
    """What it takes of each of its nodes, of which it can't take more than there is."""
    asked, node = _of_a_node(row), part.node
    if part.whole_node:
        return node
    return NodeShape(
        min(asked.cores, node.cores),
        min(asked.memory_mb, node.memory_mb),
        min(asked.accelerators, node.accelerators),
    )


def _of_a_node(row: QueueRow) -> NodeShape:
    """Amounts that Slurm tells of the whole job, on each of its nodes."""
    nodes = max(row.nodes or 1, 1)
    cores, memory_mb, accelerators = (
        -(-(amount or 0) // nodes) for amount in (row.cores, row.memory_mb, row.accelerators)
    )
    return NodeShape(max(cores, 1), memory_mb, accelerators)


def _walltime_s(row: QueueRow) -> int:
    return min(row.walltime_s or _LONGEST_S, _LONGEST_S)


def _end_s(row: QueueRow, now_s: int) -> int:
    start_s = now_s if row.start_s is None else row.start_s
    end_s = start_s + (row.walltime_s or _LONGEST_S)
    left_s = min(max(end_s - now_s, _AGAIN_S), _LONGEST_S)
    step_s = _AGAIN_S
    while step_s * 2 * _PARTS <= left_s:
        step_s *= 2
    return -(-(now_s + left_s) // step_s) * step_s
