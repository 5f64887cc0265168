"""How a start of ours is asked of Slurm, and which partitions of ours a cluster has.

Amounts arrive as shares of a node (`Start.asked`); every spelling of `--gpus` was turned into
them before. A partition of Slurm whose nodes differ becomes several of ours, one for each kind
of node, so that each has equal nodes.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from types import MappingProxyType

from meyrin.agent.batch import Start, unfit
from meyrin.agent.config import AgentConfig, SlurmPartition
from meyrin.agent.slurm.transport import (
    AccountingRow,
    ClusterFacts,
    Gres,
    NodeFacts,
    PartitionFacts,
    Submission,
)
from meyrin.domain.job import WarnSignal
from meyrin.domain.site import LONGEST_FEATURE, MOST_FEATURES, Partition

PREFIX = "meyrin-"
_MOST_NAMED = 3  # nodes in one line
_MOST_BEFORE_S = 65_535  # Slurm keeps it in 16 bits
_KEEP = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG")


@dataclass(frozen=True, slots=True)
class Place:
    """A partition of ours and how it is asked of Slurm."""

    partition: Partition
    slurm: str
    gres: str | None = None
    features: str | None = None
    qos: str | None = None
    reservation: str | None = None


@dataclass(frozen=True, slots=True)
class Accounts:
    """Slurm's account of each project; `default` for the others, None for Slurm's own choice."""

    of_project: Mapping[str, str] = field(default_factory=dict)
    default: str | None = None

    def account(self, project: str) -> str | None:
        return self.of_project.get(project, self.default)


def name_of(attempt: str) -> str:
    """The batch job's name, by which it is found again."""
    return PREFIX + attempt


def attempt_of(name: str) -> str | None:
    return name.removeprefix(PREFIX) if name.startswith(PREFIX) else None


def attempt_in(row: AccountingRow, ended: Mapping[tuple[str, int], str]) -> str | None:
    """The attempt that a row of accounting is of, by its name. A controller that was killed may
    never tell accounting that: the row is then of the attempt in `ended`, which is by batch job
    and the second of the end, that had its id and ended as it did."""
    if row.unnamed:
        return None if row.end_s is None else ended.get((row.batch_job, row.end_s))
    return attempt_of(row.name)


def submission(
    start: Start,
    place: Place,
    account: str | None,
    *,
    script: str,
    workdir: str,
    stdout: str,
    base: Mapping[str, str],
) -> Submission:
    """`workdir` and `stdout` are the wrapper's; those of the job are the wrapper's business."""
    asked, count = start.asked, start.nodes
    tasks = max(start.tasks, count)
    a_node = -(-tasks // count)
    # not all of a node that a job has to itself: its tasks are as wide as it said
    cores_per_task = start.cores_per_task or max(1, asked.cores // a_node)
    fills = cores_per_task * a_node == asked.cores and a_node * count == tasks
    return Submission(
        name=name_of(start.attempt),
        script=script,
        partition=place.slurm,
        workdir=workdir,
        stdout=stdout,
        nodes=count,
        tasks=tasks,
        tasks_per_node=a_node if a_node * count == tasks else None,
        cores_per_task=cores_per_task,
        cores_per_node=None if fills else asked.cores,
        memory_mb=asked.memory_mb,
        gres=_gres(place, asked.accelerators),
        exclusive=place.partition.whole_node or start.exclusive,
        walltime_s=start.walltime_s,
        account=account,
        qos=place.qos,
        reservation=place.reservation,
        features=place.features,
        requeue=start.requeue,
        signal=_warning(start),
        comment=f"Meyrin job {start.job} {start.name}"[:200],
        environment=tuple((name, base[name]) for name in _KEEP if name in base),
    )


def _warning(start: Start) -> WarnSignal | None:
    """Slurm counts it back from the end of a whole minute, where the wrapper ends what ends within
    one."""
    warn = start.warn_signal
    if warn is None:
        return None
    return replace(warn, before_s=min(warn.before_s + -start.walltime_s % 60, _MOST_BEFORE_S))


def renewed(asked: Submission, place: Place | None, account: str | None) -> Submission:
    """The same job, asked as the settings say now. Its name and what it asks for stay."""
    if place is None:  # the partition is gone for now
        return replace(asked, account=account)
    return replace(
        asked,
        partition=place.slurm,
        gres=_gres(place, sum(each.count for each in asked.gres)),
        account=account,
        qos=place.qos,
        reservation=place.reservation,
        features=place.features,
    )


def _gres(place: Place, count: int) -> tuple[Gres, ...]:
    kind, _, its_type = (place.gres or "gpu").partition(":")
    return (Gres(kind, its_type or None, count),) if count else ()


def objection(start: Start, places: Mapping[str, Place]) -> str:
    """Why no node of the partition can ever run it; Slurm would let it wait for ever."""
    place = places.get(start.partition)
    if place is None:
        return f"there is no partition {start.partition}"
    return unfit(start, place.partition)


def named(
    partitions: tuple[Partition, ...], chosen: Mapping[str, SlurmPartition]
) -> dict[str, Place]:
    """The operator's own partitions, as the settings say that they are asked."""
    places = {}
    for part in partitions:
        gres = f"gpu:{part.accelerator_type}" if part.accelerator_type else None
        places[part.name] = Place(part, part.name, gres)
    return as_said(places, chosen)


def as_said(places: Mapping[str, Place], chosen: Mapping[str, SlurmPartition]) -> dict[str, Place]:
    """These, asked as the settings say of those that they name."""
    return {
        name: place if (how := chosen.get(name)) is None else asked_as(place, how)
        for name, place in places.items()
    }


def asked_as(place: Place, how: SlurmPartition) -> Place:
    """The same partition, asked so."""
    return replace(
        place,
        slurm=how.partition,
        gres=how.gres or place.gres,
        features=how.features,
        qos=how.qos,
        reservation=how.reservation,
    )


def own(config: AgentConfig) -> dict[str, Place] | None:
    """The partitions that the settings list themselves; None: they are as the cluster says."""
    return named(config.partition, config.slurm.partitions) if config.partition else None


def all_of(
    config: AgentConfig, facts: ClusterFacts, before: Mapping[Mark, str] = MappingProxyType({})
) -> dict[str, Place]:
    """The partitions of ours on this cluster, by these settings."""
    listed = own(config)
    if listed is not None:
        return listed
    return as_said(discovered(facts, before, names_in(config)), config.slurm.partitions)


def names_in(config: AgentConfig) -> frozenset[str]:
    """The partitions of ours that the settings name."""
    offered = (each.partition for each in config.offer)
    shown = config.rules.partitions_shown or ()
    return frozenset((*offered, *shown, *config.slurm.partitions))


def discovered(
    facts: ClusterFacts,
    before: Mapping[Mark, str] = MappingProxyType({}),
    said: Collection[str] = (),
) -> dict[str, Place]:
    """Partitions as the cluster describes them, one for each kind of node in each; with nodes that
    are out at present, which may be back at any time.

    A kind goes on under its name in `before`, which has all that were ever found: what else there
    is does not change it. Where two had the same name one after the other, the one with most nodes
    has it.
    Where no kind has a plain name that the settings have (`said`), the one with most nodes takes
    it of those whose own name they don't have. A plain name that only `before` has goes to the one
    with most nodes if that is new: a name that jobs know is not given up for another.
    """
    kinds = [each for part in facts.partitions for each in _kinds(part, facts)]
    names: dict[Mark, str] = {}
    for each in sorted(kinds, key=lambda kind: -len(kind.nodes)):
        if (kept := before.get(each.mark)) and kept not in names.values():
            names[each.mark] = kept
    for each in kinds:
        plain, own = _plain(each.part.name), names.get(each.mark)
        asked_for = plain in said and own not in said
        new = each.alone or (each.first and plain in before.values())
        if plain not in names.values() and (asked_for or (own is None and new)):
            names[each.mark] = plain
    for each in kinds:  # last, as a label may be the plain name of another partition
        if each.mark not in names:
            taken = names.values()
            names[each.mark] = next(name for name in _labels(each) if name not in taken)
    return {names[each.mark]: _place(names[each.mark], each) for each in kinds}


Mark = tuple[str, int, int, str | None]


@dataclass(frozen=True, slots=True)
class _Kind:
    """Equal nodes of a partition of Slurm's: `first` has most nodes there, `alone` all."""

    part: PartitionFacts
    cores: int
    gpu: Gres | None
    nodes: list[NodeFacts]
    first: bool
    alone: bool

    @property
    def mark(self) -> Mark:
        return self.part.name, self.cores, *_accelerators(self.nodes[0])


def mark_of(place: Place) -> Mark:
    """By what its kind is known, as long as it is asked as the cluster describes it."""
    ours = place.partition
    its_type = ours.accelerator_type
    return place.slurm, ours.cores_per_node, ours.accelerators_per_node, its_type


def _kinds(part: PartitionFacts, facts: ClusterFacts) -> Iterator[_Kind]:
    found: defaultdict[Mark, list[NodeFacts]] = defaultdict(list)
    for node in facts.nodes:
        if part.name in node.partitions and exists(node):
            found[part.name, node.cores, *_accelerators(node)].append(node)
    whole = [
        nodes
        for nodes in found.values()
        if nodes[0].cores > 0 and min(node.memory_mb for node in nodes) > 0
    ]
    by_size = sorted(whole, key=lambda nodes: (-len(nodes), -nodes[0].cores))
    for at, nodes in enumerate(by_size):
        gpu, alone = _gpu(nodes[0]), len(by_size) == 1
        yield _Kind(part, nodes[0].cores, gpu, nodes, first=at == 0, alone=alone)


def _labels(kind: _Kind) -> Iterator[str]:
    """What it may be called besides the plain name, the best first."""
    name, gpu, cores = kind.part.name, kind.gpu, f"{kind.cores}c"
    label = f"{name}-{gpu.type or 'gpu'}x{gpu.count}" if gpu else f"{name}-{cores}"
    yield _plain(label)
    yield _plain(f"{label}-{cores}")
    for number in count(2):
        yield f"{_plain(label)[:58]}-{number}"


def flags_of(node: NodeFacts) -> frozenset[str]:
    """The words of its state: `DOWN*+DRAIN` is DOWN and DRAIN."""
    return frozenset(re.findall(r"[A-Z_]+", node.state.upper()))


def exists(node: NodeFacts) -> bool:
    """Whether there is such a node, in whatever state; slurm.conf may name some for the future."""
    return "FUTURE" not in flags_of(node)


def nodes_of(place: Place, facts: ClusterFacts) -> list[NodeFacts]:
    """The nodes of a partition of ours: those of its kind, or all of Slurm's partition where none
    is just as the settings say."""
    part = place.partition
    here = [node for node in facts.nodes if place.slurm in node.partitions and exists(node)]
    kind = (part.cores_per_node, part.accelerators_per_node, part.accelerator_type)
    return [node for node in here if (node.cores, *_accelerators(node)) == kind] or here


def _accelerators(node: NodeFacts) -> tuple[int, str | None]:
    """How many of which type a partition of ours has a node for them."""
    gpu = _gpu(node)
    return (gpu.count, (gpu.type or "gpu").lower()) if gpu else (0, None)


def _gpu(node: NodeFacts) -> Gres | None:
    """The accelerators of a node, as one kind: several types count as the most frequent."""
    return max(_gpus(node), key=lambda each: each.count, default=None)


def _gpus(node: NodeFacts) -> list[Gres]:
    return [each for each in node.gres if each.name == "gpu" and each.count > 0]


def left_out(facts: ClusterFacts) -> Iterator[str]:
    """Which of its nodes have accelerators that no partition of ours has, as those of another type
    count there."""
    nodes: defaultdict[str, list[str]] = defaultdict(list)
    for node in filter(exists, facts.nodes):
        types = sorted({each.type or "gpu" for each in _gpus(node)})
        if len(types) > 1:
            nodes[", ".join(types)].append(node.name)
    for kinds, names in nodes.items():
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        shown = f"nodes with accelerators of several types ({kinds}) count with those that each"
        yield f"{shown} has most of: {', '.join(names[:_MOST_NAMED])}{more}"


def _plain(name: str) -> str:
    """As a partition of ours may be called."""
    return re.sub(r"[^a-z0-9_.-]", "-", name.lower()).lstrip("_.-")[:63] or "partition"


def _place(label: str, kind: _Kind) -> Place:
    part, gpu, nodes = kind.part, kind.gpu, kind.nodes
    common = set.intersection(*(set(node.features) for node in nodes))
    features = sorted(each for each in common if len(each) <= LONGEST_FEATURE)
    default_s = part.default_walltime_s
    accelerators, its_type = _accelerators(nodes[0])
    ours = Partition(
        name=label,
        nodes=len(nodes),
        cores_per_node=kind.cores,
        memory_mb_per_node=min(node.memory_mb for node in nodes),
        accelerators_per_node=accelerators,
        accelerator_type=its_type,
        max_walltime_s=part.max_walltime_s or None,
        default_walltime_s=default_s or None,
        max_nodes_per_job=part.max_nodes_per_job or None,
        default_memory_mb_per_core=part.default_memory_mb_per_core or None,
        whole_node=part.whole_node,
        features=tuple(features[:MOST_FEATURES]),
    )
    return Place(ours, part.name, ":".join(filter(None, ("gpu", gpu.type))) if gpu else None)
