"""Whether a job may go to a partition at all, and in which shape. It never looks at other jobs.

`shape` turns what was asked into nodes and shares of a node by Slurm's rules (sbatch(1)); `admit`
adds the site's rules and the project's hours. Both find every reason that applies, in the order
of `Reason`. Where sbatch(1) leaves a choice:

- Unless it was said, the number of nodes is the smallest that fits; also within a range
  (`--nodes=2-4`), where Slurm may take more: fewer nodes hold fewer hours, known beforehand.
- All nodes of a job have one shape, so tasks and accelerators per job are divided evenly and
  rounded up: `--ntasks=5` on two nodes is room for three tasks on each.
- A job never has more nodes than tasks (sbatch lowers the nodes and warns).
- Memory that was not said is the partition's default per core, at most the node; without a
  default it is the node's memory in proportion to the cores, rounded down.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from meyrin.domain.refusal import Reason, Refusal
from meyrin.domain.units import NodeShape, charge_s

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from meyrin.domain.job import Resources
    from meyrin.domain.site import Partition
    from meyrin.engine.model import Funds, PartitionState, WaitingJob

_RANK = {reason: rank for rank, reason in enumerate(Reason)}


@dataclass(frozen=True, slots=True)
class Shaped:
    """A job as one partition would run it: `nodes` nodes of shape `asked` for `walltime_s`.

    `hold_s` is what it holds of the project's allocation of `charged_type`, in seconds of that
    type: the partition's rate for the whole wall time.
    """

    nodes: int
    asked: NodeShape
    tasks: int
    walltime_s: int
    charged_type: str
    hold_s: int


def shape(
    resources: Resources,
    walltime_s: int | None,
    partition: Partition,
    features: tuple[str, ...] = (),
) -> Shaped | tuple[Refusal, ...]:
    """The job's shape on this partition, or every reason why it can't have one there."""
    refusals: list[Refusal] = []

    def refuse(reason: Reason, asked: int | str | None, limit: int | str | None) -> None:
        refusals.append(Refusal(reason, "", partition.name, asked, limit))

    nodes = _count_nodes(resources, partition, refuse)
    wanted_type, its_type = resources.accelerator_type, partition.accelerator_type or "none"
    # Slurm's own types may have capitals, and a script says them as its site does
    if resources.accelerators and wanted_type and wanted_type.lower() != its_type.lower():
        refuse(Reason.ACCELERATOR_TYPE, wanted_type, its_type)
    for feature in features:
        if feature not in partition.features:
            refuse(Reason.FEATURE, feature, ",".join(partition.features))
    wall_s = _walltime_s(walltime_s, partition)
    if wall_s is None:
        refuse(Reason.NO_WALLTIME, None, None)
    elif partition.max_walltime_s is not None and wall_s > partition.max_walltime_s:
        refuse(Reason.WALLTIME, wall_s, partition.max_walltime_s)
    asked = _per_node(resources, partition, nodes) if nodes else partition.node
    if resources.exclusive or partition.whole_node:
        asked = partition.node
    most = partition.max_accelerators_per_job
    if most is not None and nodes * asked.accelerators > most:
        refuse(Reason.ACCELERATOR_COUNT, nodes * asked.accelerators, most)
    if refusals or wall_s is None:
        return _in_order(refusals)
    return Shaped(
        nodes=nodes,
        asked=asked,
        tasks=resources.tasks or nodes * _tasks_per_node(resources, nodes),
        walltime_s=wall_s,
        charged_type=partition.charged_type,
        hold_s=charge_s(partition.charge_rate(asked, nodes), wall_s),
    )


def admit(
    job: WaitingJob, place: PartitionState, funds: Iterable[Funds], now_s: int
) -> Shaped | tuple[Refusal, ...]:
    """Whether `job` may go to `place` as things are, other jobs apart; else every reason.

    `funds` may hold allocations of other projects and types; `now_s` is seconds since the epoch.
    """
    shaped, refusals = assess(job, place)
    charged_type = place.partition.charged_type
    mine = [f for f in funds if (f.project, f.charged_type) == (job.project, charged_type)]
    money = check_funds(mine, place, shaped.hold_s if shaped else None, now_s)
    if money:
        return _in_order([*refusals, money])
    if shaped is None or refusals:
        return refusals
    return shaped


def assess(job: WaitingJob, place: PartitionState) -> tuple[Shaped | None, tuple[Refusal, ...]]:
    """The part of `admit` that depends on neither hours nor clock: shape and the site's rules."""
    site, name = place.site, place.partition.name
    found: list[Refusal] = []

    def refuse(
        reason: Reason, asked: int | str | None = None, limit: int | str | None = None
    ) -> None:
        found.append(Refusal(reason, site, name, asked, limit))

    if job.sites and site not in job.sites:
        refuse(Reason.SITE_NOT_ASKED, ",".join(job.sites), site)
    if job.partitions and name not in job.partitions:
        refuse(Reason.PARTITION_NOT_ASKED, ",".join(job.partitions), name)
    if site in job.refused_by:
        refuse(Reason.SITE_SAID_NO)
    if place.allowed_projects is not None and job.project not in place.allowed_projects:
        refuse(Reason.PROJECT_NOT_ALLOWED, job.project, ",".join(place.allowed_projects))
    shaped = shape(job.resources, job.walltime_s, place.partition, job.features)
    if isinstance(shaped, tuple):
        found += [replace(refusal, site=site) for refusal in shaped]
    if not place.offered:
        refuse(Reason.NO_OFFER)
    if place.silent_since_s is not None:
        refuse(Reason.SITE_SILENT, None, place.silent_since_s)
    if place.drained:
        refuse(Reason.SITE_DRAINED)
    else:
        found += _nodes_out(shaped, place)
    return (None if isinstance(shaped, tuple) else shaped), _in_order(found)


def _nodes_out(shaped: Shaped | tuple[Refusal, ...], place: PartitionState) -> list[Refusal]:
    """The no of a partition that has enough nodes for the job, but not just now."""
    usable = place.usable.nodes
    if isinstance(shaped, tuple) or shaped.nodes <= usable:
        return []
    name = place.partition.name
    return [Refusal(Reason.SITE_DRAINED, place.site, name, shaped.nodes, usable)]


def check_funds(
    mine: Sequence[Funds], place: PartitionState, hold_s: int | None, now_s: int
) -> Refusal | None:
    """The reason why these allocations can't carry a hold of `hold_s` seconds, if there is one.

    `mine` are one project's allocations of the type charged at `place`. A hold comes whole from
    one allocation (see `pay`). `hold_s` is None while the job's shape is unknown.
    """

    def no(reason: Reason, asked: int | str | None, limit: int | str | None) -> Refusal:
        return Refusal(reason, place.site, place.partition.name, asked, limit)

    charged_type = place.partition.charged_type
    lasting = [f for f in mine if f.start_s <= now_s < f.end_s]
    current = [f for f in lasting if not f.paused]
    if not lasting:
        to_come = [f.start_s for f in mine if now_s < f.start_s]
        if to_come or not mine:
            return no(Reason.NO_ALLOCATION, charged_type, min(to_come, default=None))
        return no(Reason.ALLOCATION_ENDED, charged_type, max(f.end_s for f in mine))
    if not current:
        return no(Reason.ALLOCATION_PAUSED, charged_type, min(f.paused for f in lasting))
    if hold_s is None or any(f.free_s >= hold_s for f in current):
        return None
    waits_for, paused = next_tranche(current, hold_s), paused_that_could(lasting, hold_s)
    ever_s = max(f.free_s + f.held_s for f in current)
    said: tuple[Reason, int | str, int | str]
    if ever_s >= hold_s:
        said = (Reason.BALANCE_HELD, hold_s, max(f.free_s for f in current))
    elif waits_for:
        said = (Reason.TRANCHE_WAITS, hold_s, waits_for)
    elif paused:
        said = (Reason.ALLOCATION_PAUSED, charged_type, paused)
    else:
        said = (Reason.BALANCE, hold_s, ever_s)
    return no(*said)


def next_tranche(current: Sequence[Funds], hold_s: int) -> str:
    """What the next tranche waits for, of an allocation that could carry the hold with it."""
    enough = [f for f in current if f.waits_for and f.free_s + f.held_s + f.next_s >= hold_s]
    return min((f.waits_for for f in enough), default="")


def paused_that_could(lasting: Sequence[Funds], hold_s: int) -> str:
    """Why an allocation is paused that could carry the hold; empty where there is none."""
    enough = [f.paused for f in lasting if f.paused and f.free_s + f.held_s >= hold_s]
    return min(enough, default="")


def payer_of(mine: Sequence[Funds], hold_s: int, now_s: int) -> Funds:
    """Of the allocations with enough: entitled before paid, then the one that ends first.

    The caller has asked `check_funds`; that none has enough is a bug.
    """
    enough = [
        f for f in mine if f.start_s <= now_s < f.end_s and f.free_s >= hold_s and not f.paused
    ]
    return min(enough, key=lambda f: (f.paid, f.end_s, f.start_s, f.free_s, f.held_s))


def pay(mine: Sequence[Funds], hold_s: int, now_s: int) -> list[Funds]:
    """The allocations after a hold of `hold_s` on the one that pays."""
    payer = payer_of(mine, hold_s, now_s)
    left = list(mine)
    left.remove(payer)
    left.append(replace(payer, free_s=payer.free_s - hold_s, held_s=payer.held_s + hold_s))
    return left


def _count_nodes(
    resources: Resources,
    partition: Partition,
    refuse: Callable[[Reason, int, int], None],
) -> int:
    """The smallest number of nodes that fits; 0 after refusing, and then with every reason."""
    low, high = _node_range(resources)
    if resources.tasks and resources.tasks_per_node:
        spread = -(-resources.tasks // resources.tasks_per_node)
        if spread > high:  # --nodes and --ntasks-per-node contradict --ntasks
            refuse(Reason.NODE_COUNT, spread, high)
            return 0
        low = max(low, spread)
    node = partition.node
    needed, refused = low, False
    for reason, limit, need in (
        (Reason.ACCELERATORS_PER_NODE, node.accelerators, _accelerators),
        (Reason.CORES_PER_NODE, node.cores, _cores),
        (Reason.MEMORY_PER_NODE, node.memory_mb, lambda r, n: _memory_mb(r, partition, n)),
    ):
        fewest = _fewest(low, high, lambda n, need=need: need(resources, n), limit)  # type: ignore[misc]
        if fewest is None:
            none = reason is Reason.ACCELERATORS_PER_NODE and not limit  # on however many nodes
            refuse(reason, resources.accelerators if none else need(resources, high), limit)
            refused = True
        else:
            needed = max(needed, fewest)
    most = min(partition.nodes, partition.max_nodes_per_job or partition.nodes)
    if needed > most:
        refuse(Reason.NODE_COUNT, needed, most)
        refused = True
    return 0 if refused else needed


def _node_range(resources: Resources) -> tuple[int, int]:
    """The fewest and most nodes that the request allows; one number said is both (sbatch -N)."""
    by_job = resources.accelerators if resources.accelerators_per == "job" else 0
    low = resources.nodes_min or 1
    high = resources.nodes_max or resources.nodes_min or resources.tasks or by_job or 1
    if resources.tasks:
        high = min(high, resources.tasks)
    return min(low, high), high


def _fewest(low: int, high: int, need: Callable[[int], int], limit: int) -> int | None:
    """The fewest nodes at which `need`, which never rises with the nodes, is within `limit`."""
    found = low + bisect_left(range(low, high + 1), True, key=lambda n: need(n) <= limit)
    return found if found <= high else None


def _tasks_per_node(resources: Resources, nodes: int) -> int:
    if resources.tasks:
        return -(-resources.tasks // nodes)
    return resources.tasks_per_node or 1


def _cores(resources: Resources, nodes: int) -> int:
    return _tasks_per_node(resources, nodes) * resources.cores_per_task


def _accelerators(resources: Resources, nodes: int) -> int:
    if resources.accelerators_per == "node":
        return resources.accelerators
    if resources.accelerators_per == "task":
        return resources.accelerators * _tasks_per_node(resources, nodes)
    return -(-resources.accelerators // nodes)


def _memory_mb(resources: Resources, partition: Partition, nodes: int) -> int:
    """MiB on each node; 0 asks for all of a node (sbatch(1), --mem)."""
    all_mb = partition.memory_mb_per_node
    asked_mb, cores = resources.memory_mb, _cores(resources, nodes)
    if asked_mb == 0:
        return all_mb
    per_accelerator = resources.memory_per == "accelerator"
    if asked_mb is None or (per_accelerator and not resources.accelerators):
        if partition.default_memory_mb_per_core is not None:
            return min(partition.default_memory_mb_per_core * cores, all_mb)
        return min(max(all_mb * cores // partition.cores_per_node, 1), all_mb)
    if per_accelerator:
        return asked_mb * _accelerators(resources, nodes)
    return asked_mb * cores if resources.memory_per == "core" else asked_mb


def _per_node(resources: Resources, partition: Partition, nodes: int) -> NodeShape:
    return NodeShape(
        _cores(resources, nodes),
        _memory_mb(resources, partition, nodes),
        _accelerators(resources, nodes),
    )


def _walltime_s(asked_s: int | None, partition: Partition) -> int | None:
    """As asked, else the partition's default, else its maximum (slurm.conf(5), DefaultTime)."""
    if asked_s is not None:
        return asked_s
    return partition.default_walltime_s or partition.max_walltime_s


def _in_order(refusals: list[Refusal]) -> tuple[Refusal, ...]:
    return tuple(sorted(refusals, key=lambda refusal: _RANK[refusal.reason]))
