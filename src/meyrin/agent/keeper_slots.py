"""Slots of the local batch system: nodes with cores, memory and accelerators, and who is next.

Jobs start in submission order per partition, on the first nodes that fit; a later job may start
when it fits beside, but a job that was passed `PASSES` times is not passed again. Waiting jobs
of one shape stand in one line, so an event costs as much as there are shapes, not jobs.

Memory is reserved, not enforced. Nodes of this batch system are shares of one machine: a job of
several nodes holds a share of each, and its script runs once, as the first of them, as under
sbatch. Accelerators are counted through the machine, unless the site names its devices.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from meyrin.domain.units import NodeShape, show_count

PASSES = 100


@dataclass(frozen=True, slots=True)
class Place:
    """Where a job is: indices of nodes in its partition, and its devices on each."""

    nodes: tuple[int, ...]
    devices: tuple[tuple[str, ...], ...]


@dataclass(slots=True)
class Node:
    cores: int
    memory_mb: int
    devices: list[str]


@dataclass(slots=True, eq=False)
class Waiting:
    """One queued job, as the queue sees it."""

    serial: int
    nodes: int
    asked: NodeShape
    claimed: int = -1  # position in the journal after which its claim is durable
    gone: bool = False
    passed: int = 0


@dataclass(slots=True, eq=False)
class Part:
    """One partition: its nodes with what is free on them, and its lines of waiting jobs."""

    name: str
    shape: NodeShape
    whole_node: bool
    names: list[str]
    devices: list[tuple[str, ...]]
    nodes: list[Node]
    lines: dict[tuple[int, NodeShape], deque[Waiting]] = field(default_factory=dict)

    def impossible(self, nodes: int, asked: NodeShape) -> str:
        """Why a job can never run here; empty when it can."""
        if nodes < 1 or min(asked.cores, asked.memory_mb, asked.accelerators) < 0:
            return f"it asks {show_count(nodes, 'node')} of {asked}"
        if nodes > len(self.nodes):
            return (
                f"it asks {show_count(nodes, 'node')}; partition {self.name} has {len(self.nodes)}"
            )
        shape = self.shape
        for words, wants, has in (
            (show_count(asked.cores, "core"), asked.cores, shape.cores),
            (f"{asked.memory_mb:,} MiB of memory", asked.memory_mb, shape.memory_mb),
            (show_count(asked.accelerators, "accelerator"), asked.accelerators, shape.accelerators),
        ):
            if wants > has:
                return f"it asks {words} a node; nodes of {self.name} have {has:,}"
        return ""

    def occupied(self, asked: NodeShape) -> NodeShape:
        """What a job takes of each of its nodes."""
        return self.shape if self.whole_node else asked

    def find(self, nodes: int, asked: NodeShape) -> list[int] | None:
        """The first nodes that have room for it now."""
        need = self.occupied(asked)
        fits = []
        for i, node in enumerate(self.nodes):
            if (
                node.cores >= need.cores
                and node.memory_mb >= need.memory_mb
                and len(node.devices) >= need.accelerators
            ):
                fits.append(i)
                if len(fits) == nodes:
                    return fits
        return None

    def take(self, nodes: Sequence[int], asked: NodeShape) -> Place:
        """Occupy; the place names the accelerators that the job may see."""
        need = self.occupied(asked)
        granted = []
        for i in nodes:
            node = self.nodes[i]
            node.cores -= need.cores
            node.memory_mb -= need.memory_mb
            granted.append(tuple(node.devices[: asked.accelerators]))
            del node.devices[: need.accelerators]
        return Place(tuple(nodes), tuple(granted))

    def retake(self, place: Place, asked: NodeShape) -> None:
        """Occupy what a running job holds, also where the partition has shrunk meanwhile."""
        need = self.occupied(asked)
        for i, held in zip(place.nodes, place.devices, strict=True):
            if i < len(self.nodes):
                node = self.nodes[i]
                node.cores -= need.cores
                node.memory_mb -= need.memory_mb
                keep = [] if self.whole_node else [d for d in node.devices if d not in held]
                node.devices[:] = keep

    def release(self, place: Place, asked: NodeShape) -> None:
        need = self.occupied(asked)
        for i, held in zip(place.nodes, place.devices, strict=True):
            if i < len(self.nodes):
                node = self.nodes[i]
                node.cores += need.cores
                node.memory_mb += need.memory_mb
                back = set(self.devices[i] if self.whole_node else held) | set(node.devices)
                node.devices[:] = [d for d in self.devices[i] if d in back]

    def push(self, job: Waiting) -> None:
        self.lines.setdefault((job.nodes, job.asked), deque()).append(job)

    def push_again(self, job: Waiting) -> None:
        """One that was picked before those which stand in its line now."""
        self.lines.setdefault((job.nodes, job.asked), deque()).appendleft(job)

    def _heads(self) -> list[tuple[int, int, deque[Waiting]]]:
        heads = []
        for key, line in list(self.lines.items()):
            while line and line[0].gone:
                line.popleft()
            if line:
                heads.append((line[0].serial, id(line), line))
            else:
                del self.lines[key]
        heapq.heapify(heads)
        return heads

    def picks(self) -> Iterator[tuple[Waiting, Place]]:
        """The jobs that may start now, each taken off its line and its place occupied."""
        if not self.lines or all(node.cores <= 0 for node in self.nodes):
            return
        heads = self._heads()
        oldest: Waiting | None = None
        while heads:
            _, key, line = heapq.heappop(heads)
            job = line[0]
            nodes = self.find(job.nodes, job.asked)
            if nodes is None:
                oldest = oldest or job
                if oldest.passed >= PASSES:
                    return
                continue
            if oldest:
                oldest.passed += 1
            line.popleft()
            yield job, self.take(nodes, job.asked)
            while line and line[0].gone:
                line.popleft()
            if line:
                heapq.heappush(heads, (line[0].serial, key, line))
            if oldest and oldest.passed >= PASSES:
                return

    def next_in_line(self, job: Waiting, count: int) -> list[Waiting]:
        """Up to `count` unclaimed jobs that will start after `job`, of the same shape."""
        found: list[Waiting] = []
        for other in self.lines.get((job.nodes, job.asked), ()):
            if len(found) >= count:
                break
            if other.claimed < 0 and not other.gone:
                found.append(other)
        return found


def parts(config: Mapping[str, Any]) -> dict[str, Part]:
    """All partitions of a configuration, empty. See `LocalBatch` for what is configured."""
    made: dict[str, Part] = {}
    counted = 0
    for one in config["partitions"]:
        name, nodes, per_node = one["name"], one["nodes"], one["accelerators"]
        width = len(str(nodes))
        declared = config.get("devices", {}).get(name)
        if declared is None:
            declared = [str(counted + i) for i in range(nodes * per_node)]
        counted += nodes * per_node
        devices = [tuple(declared[i * per_node : (i + 1) * per_node]) for i in range(nodes)]
        shape = NodeShape(one["cores"], one["memory_mb"], per_node)
        made[name] = Part(
            name=name,
            shape=shape,
            whole_node=one["whole_node"],
            names=[f"{name}-{i + 1:0{width}d}" for i in range(nodes)],
            devices=devices,
            nodes=[Node(shape.cores, shape.memory_mb, list(each)) for each in devices],
        )
    return made


def compress(counts: Sequence[int]) -> str:
    """`[8, 8, 4]` as `8(x2),4`, the way that Slurm writes counts per node."""
    words: list[str] = []
    i = 0
    while i < len(counts):
        same = 1
        while i + same < len(counts) and counts[i + same] == counts[i]:
            same += 1
        words.append(f"{counts[i]}(x{same})" if same > 1 else str(counts[i]))
        i += same
    return ",".join(words)
