"""What others have of our partitions, and what of theirs comes before us: the hub counts with it.

Where the nodes of a running job are known, it counts where they lie, in whatever partition of
Slurm it was submitted; else, as what waits does, in the partition that it names. Only what waits
for room or its turn counts: what is held, or has reached a limit of its own, is in nobody's way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from meyrin.agent.slurm import ask, words
from meyrin.agent.slurm.ask import Place
from meyrin.agent.slurm.snapshot import RUNS, WAITS, elements
from meyrin.agent.slurm.transport import ClusterFacts, QueueRow
from meyrin.agent.slurm.usable import taking
from meyrin.domain.units import NodeShape
from meyrin.wire.queue import MOST_OTHERS, Others, OthersJob

_NO_LIMIT_S = 30 * 24 * 3600  # what has no wall time is not known to end
_AGAIN_S = 60  # what is over its wall time is taken to run until the next look
_MOST_WAITING = 100
_FOR_ROOM = {"", "None", "Priority", "Resources"}


@dataclass(frozen=True, slots=True)
class Lies:
    """Where a partition of ours lies: its nodes, and how many of them take work."""

    place: Place
    nodes: frozenset[str]
    taking: int


def lies(place: Place, facts: ClusterFacts) -> Lies:
    """As the cluster was described last."""
    nodes = ask.nodes_of(place, facts)
    return Lies(place, frozenset(node.name for node in nodes), taking(nodes))


def others(rows: Iterable[QueueRow], lying: Mapping[str, Lies], now_s: int) -> tuple[Others, ...]:
    """Of the queue without ours, what counts on each partition: the largest that run, then those
    that wait, in their order."""
    running: defaultdict[str, list[OthersJob]] = defaultdict(list)
    waiting: defaultdict[str, list[OthersJob]] = defaultdict(list)
    for row in sorted(rows, key=lambda each: (-(each.priority or 0), each.submit_s or 0)):
        if row.state in RUNS and row.state != "COMPLETING":
            for name, nodes in _where(row, lying):
                running[name].append(_job(row, lying[name].place, nodes, _end_s(row, now_s)))
        elif row.state in WAITS and row.reason in _FOR_ROOM:
            name = _waits_at(row, lying)
            if name and len(waiting[name]) < _MOST_WAITING:
                one = _job(row, lying[name].place, row.nodes or 1, None)
                waiting[name] += [one] * min(elements(row.batch_job), _MOST_WAITING)
    found = []
    for name, where in lying.items():
        last = waiting[name][:_MOST_WAITING]
        first = sorted(running[name], key=lambda job: -job.nodes * (job.cores + job.accelerators))
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


def _job(row: QueueRow, place: Place, nodes: int, end_s: int | None) -> OthersJob:
    part, asked = place.partition, _of_a_node(row)
    if part.whole_node:
        asked = part.node
    return OthersJob(
        nodes=nodes,
        cores=min(asked.cores, part.node.cores),
        memory_mb=min(asked.memory_mb, part.node.memory_mb),
        accelerators=min(asked.accelerators, part.node.accelerators),
        walltime_s=_walltime_s(row),
        end_s=end_s,
    )


def _of_a_node(row: QueueRow) -> NodeShape:
    """Amounts that Slurm tells of the whole job, on each of its nodes."""
    nodes = max(row.nodes or 1, 1)
    cores, memory_mb, accelerators = (
        -(-(amount or 0) // nodes) for amount in (row.cores, row.memory_mb, row.accelerators)
    )
    return NodeShape(max(cores, 1), memory_mb, accelerators)


def _walltime_s(row: QueueRow) -> int:
    return min(row.walltime_s or _NO_LIMIT_S, _NO_LIMIT_S)


def _end_s(row: QueueRow, now_s: int) -> int:
    start_s = now_s if row.start_s is None else row.start_s
    end_s = start_s + row.walltime_s if row.walltime_s else now_s + _NO_LIMIT_S
    return max(end_s, now_s + _AGAIN_S)
