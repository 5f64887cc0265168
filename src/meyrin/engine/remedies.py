"""What would help: a changed request or more hours with which a partition would take the job.

Nothing is proposed on faith: each remedy is put through `admit` before it is offered. What only
waiting or the site itself can change (busy, silent, drained, not offered, not allowed) has none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from meyrin.domain.refusal import Reason, Refusal
from meyrin.domain.units import CORE, show_duration, show_hours
from meyrin.engine.admission import Shaped, admit, shape
from meyrin.engine.model import Funds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from meyrin.domain.job import Resources
    from meyrin.engine.model import PartitionState, WaitingJob

SHORTEST_S = 60  # a wall time below a minute is no way out
_ROUNDS = 4  # one change may bring another limit into sight
_TOO_FEW = frozenset({Reason.TRANCHE_WAITS, Reason.BALANCE})
_NONE_NOW = {Reason.NO_ALLOCATION, Reason.ALLOCATION_ENDED, Reason.ALLOCATION_PAUSED}
_MONEY = frozenset(_NONE_NOW) | _TOO_FEW


@dataclass(frozen=True, slots=True)
class Remedy:
    """A change after which waiting is all that may be left to do at this partition.

    `options` are the sbatch options to give instead, `without` those to leave out. `job` is the
    job so changed; `funds` is the allocation that it needs besides, if any. `start_s` is its
    expected start then, None where the site or the balance still has to come back.
    """

    site: str
    partition: str
    words: str
    options: tuple[str, ...]
    without: tuple[str, ...]
    job: WaitingJob
    funds: Funds | None = None
    start_s: int | None = None


def remedies(
    job: WaitingJob, place: PartitionState, funds: Sequence[Funds], now_s: int
) -> tuple[Remedy, ...]:
    """What would let `place` take the job; empty where it would already, or where nothing does."""
    changed, lasting = _changed(job, place, funds, now_s)
    if not lasting:
        return () if changed == job else (remedy(job, changed, place),)
    if not {refusal.reason for refusal in lasting} <= _MONEY:
        return ()
    found = [_ask_for_hours(job, changed, place, now_s)]
    if lasting[0].reason in _TOO_FEW:
        found.append(_shorter(job, changed, place, funds, now_s))
    return tuple(one for one in found if one is not None)


def remedy(
    job: WaitingJob, changed: WaitingJob, place: PartitionState, funds: Funds | None = None
) -> Remedy:
    """The change from `job` to `changed`, and `funds` besides, with its options and its words."""
    options, without = _options(job, changed)
    asks = " ".join(options)
    if without:
        asks += (", and leave out " if asks else "leave out ") + ", ".join(without)
    parts = [f"ask {asks}" if options else asks] if asks else []
    if funds is not None:
        kind = "core" if funds.charged_type == CORE else funds.charged_type
        hours = show_hours(funds.free_s)
        parts.append(f"get an allocation with {hours} {kind}-hours free")
    where = f"{place.site}/{place.partition.name}"
    words = f"for {where}: {', and '.join(parts)}"
    return Remedy(place.site, place.partition.name, words, options, without, changed, funds)


def _lasting(answer: Shaped | tuple[Refusal, ...]) -> list[Refusal]:
    return [] if isinstance(answer, Shaped) else [r for r in answer if not r.passing]


def _changed(
    job: WaitingJob, place: PartitionState, funds: Sequence[Funds], now_s: int
) -> tuple[WaitingJob, list[Refusal]]:
    """The job with everything mended that its request can mend, and what then still lasts."""
    for _ in range(_ROUNDS):
        lasting = _lasting(admit(job, place, funds, now_s))
        before = job
        for refusal in lasting:
            mend = _MEND.get(refusal.reason)
            if mend is None:
                if refusal.reason not in _MONEY:
                    return job, lasting
                continue
            job = mend(job, place, refusal)
        if job == before:
            return job, lasting
    return job, _lasting(admit(job, place, funds, now_s))


def _shaped(job: WaitingJob, place: PartitionState) -> Shaped:
    shaped = shape(job.resources, job.walltime_s, place.partition, job.features)
    assert isinstance(shaped, Shaped), "only hours are missing"
    return shaped


def _ask_for_hours(
    job: WaitingJob, changed: WaitingJob, place: PartitionState, now_s: int
) -> Remedy | None:
    shaped = _shaped(changed, place)
    needed = Funds(
        job.project, shaped.charged_type, shaped.hold_s, 0, now_s, now_s + shaped.walltime_s
    )
    if _lasting(admit(changed, place, (needed,), now_s)):
        return None
    return remedy(job, changed, place, needed)


def _shorter(
    job: WaitingJob,
    changed: WaitingJob,
    place: PartitionState,
    funds: Sequence[Funds],
    now_s: int,
) -> Remedy | None:
    """The longest wall time that the balance carries: what is free, else what is held too."""
    shaped = _shaped(changed, place)
    key = (job.project, shaped.charged_type)
    mine = [
        f
        for f in funds
        if (f.project, f.charged_type) == key and f.start_s <= now_s < f.end_s and not f.paused
    ]
    rate = place.partition.charge_rate(shaped.asked, shaped.nodes)
    for balance_s in (max(f.free_s for f in mine), max(f.free_s + f.held_s for f in mine)):
        walltime_s = balance_s * rate.denominator // rate.numerator
        if walltime_s >= SHORTEST_S:
            short = replace(changed, walltime_s=walltime_s)
            if not _lasting(admit(short, place, funds, now_s)):
                return remedy(job, short, place)
    return None


def _with(job: WaitingJob, **changes: object) -> WaitingJob:
    resources: Resources = replace(job.resources, **changes)  # type: ignore[arg-type]
    return replace(job, resources=resources)


def _limit(refusal: Refusal) -> int:
    assert isinstance(refusal.limit, int), refusal
    return refusal.limit


def _asked(refusal: Refusal) -> int:
    assert isinstance(refusal.asked, int), refusal
    return refusal.asked


def _mend_site(job: WaitingJob, place: PartitionState, _: Refusal) -> WaitingJob:
    return replace(job, sites=(*job.sites, place.site))


def _mend_partition(job: WaitingJob, place: PartitionState, _: Refusal) -> WaitingJob:
    return replace(job, partitions=(*job.partitions, place.partition.name))


def _mend_type(job: WaitingJob, place: PartitionState, _: Refusal) -> WaitingJob:
    if not place.partition.accelerators_per_node:
        return job  # the count is refused as well, and has no remedy
    return _with(job, accelerator_type=place.partition.accelerator_type)


def _mend_accelerators(job: WaitingJob, _: PartitionState, refusal: Refusal) -> WaitingJob:
    """The same number of accelerators on more nodes; a task that wants too many, fewer."""
    asked, most = job.resources, _limit(refusal)
    if not most:
        return job
    if asked.accelerators_per == "task":
        if asked.accelerators > most:
            return _with(job, accelerators=most)
        return _spread_tasks(job, most // asked.accelerators)
    by_job = asked.accelerators_per == "job"
    total = asked.accelerators if by_job else asked.accelerators * _nodes_said(asked)
    nodes = -(-total // most)
    each = -(-total // nodes)
    tasks = asked.tasks if asked.tasks and asked.tasks >= nodes else None
    return _with(
        job, nodes_min=nodes, nodes_max=nodes, tasks=tasks, accelerators=each,
        accelerators_per="node",
    )  # fmt: skip


def _mend_cores(job: WaitingJob, _: PartitionState, refusal: Refusal) -> WaitingJob:
    if job.resources.cores_per_task > _limit(refusal):
        return _with(job, cores_per_task=_limit(refusal))
    return _spread_tasks(job, _limit(refusal) // job.resources.cores_per_task)


def _spread_tasks(job: WaitingJob, most: int) -> WaitingJob:
    """The same tasks, at most `most` on a node."""
    asked = job.resources
    tasks = asked.tasks or (asked.tasks_per_node or 1) * _nodes_said(asked)
    nodes = -(-tasks // most)
    return _with(job, nodes_min=nodes, nodes_max=nodes, tasks=tasks, tasks_per_node=None)


def _mend_memory(job: WaitingJob, _: PartitionState, refusal: Refusal) -> WaitingJob:
    """As much as a node has; per core or accelerator, its part of that."""
    if not job.resources.memory_mb:
        return job
    parts = -(-_asked(refusal) // job.resources.memory_mb)
    memory_mb = _limit(refusal) // parts
    return _with(job, memory_mb=memory_mb) if memory_mb else job


def _mend_nodes(job: WaitingJob, _: PartitionState, refusal: Refusal) -> WaitingJob:
    """Fewer nodes; where tasks or accelerators made them so many, fewer of those."""
    asked, most, wanted = job.resources, _limit(refusal), _asked(refusal)
    if asked.tasks and asked.tasks_per_node and most == _nodes_said(asked):
        return _with(job, tasks_per_node=None)  # it contradicts --nodes and --ntasks
    changes: dict[str, object] = {}
    if asked.nodes_min is not None and asked.nodes_min > most:
        changes.update(nodes_min=most, nodes_max=most)
    elif asked.nodes_max is not None and asked.nodes_max > most:
        changes.update(nodes_max=most)
    if asked.tasks:
        changes["tasks"] = max(asked.tasks * most // wanted, 1)
    if asked.accelerators_per == "job" and asked.accelerators:
        changes["accelerators"] = max(asked.accelerators * most // wanted, 1)
    return _with(job, **changes)


def _mend_features(job: WaitingJob, place: PartitionState, _: Refusal) -> WaitingJob:
    return replace(job, features=tuple(f for f in job.features if f in place.partition.features))


def _mend_walltime(job: WaitingJob, _: PartitionState, refusal: Refusal) -> WaitingJob:
    return replace(job, walltime_s=_limit(refusal))


def _mend_no_walltime(job: WaitingJob, _place: PartitionState, _: Refusal) -> WaitingJob:
    return replace(job, walltime_s=3600)


_MEND: dict[Reason, Callable[[WaitingJob, PartitionState, Refusal], WaitingJob]] = {
    Reason.SITE_NOT_ASKED: _mend_site,
    Reason.PARTITION_NOT_ASKED: _mend_partition,
    Reason.ACCELERATOR_TYPE: _mend_type,
    Reason.ACCELERATORS_PER_NODE: _mend_accelerators,
    Reason.CORES_PER_NODE: _mend_cores,
    Reason.MEMORY_PER_NODE: _mend_memory,
    Reason.NODE_COUNT: _mend_nodes,
    Reason.FEATURE: _mend_features,
    Reason.WALLTIME: _mend_walltime,
    Reason.NO_WALLTIME: _mend_no_walltime,
}


def _nodes_said(asked: Resources) -> int:
    nodes = asked.nodes_max or asked.nodes_min or 1
    return min(nodes, asked.tasks or nodes)


def _options(job: WaitingJob, changed: WaitingJob) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The sbatch options that make `job` into `changed`: those to give, those to leave out."""
    was, now = job.resources, changed.resources
    gpus = {"job": "--gpus", "node": "--gpus-per-node", "task": "--gpus-per-task"}
    memory = {"node": "--mem", "core": "--mem-per-cpu", "accelerator": "--mem-per-gpu"}
    kind = f"{now.accelerator_type}:" if now.accelerator_type else ""
    wall = "" if changed.walltime_s is None else show_duration(changed.walltime_s)
    given = (
        ("--clusters", job.sites, changed.sites, ",".join(changed.sites)),
        ("--partition", job.partitions, changed.partitions, ",".join(changed.partitions)),
        ("--nodes", (was.nodes_min, was.nodes_max), (now.nodes_min, now.nodes_max), _nodes(now)),
        ("--ntasks", was.tasks, now.tasks, now.tasks or ""),
        ("--ntasks-per-node", was.tasks_per_node, now.tasks_per_node, now.tasks_per_node or ""),
        ("--cpus-per-task", was.cores_per_task, now.cores_per_task, now.cores_per_task),
        (
            gpus[now.accelerators_per],
            (was.accelerators, was.accelerators_per, was.accelerator_type),
            (now.accelerators, now.accelerators_per, now.accelerator_type),
            f"{kind}{now.accelerators}",
        ),
        (memory[now.memory_per], was.memory_mb, now.memory_mb, f"{now.memory_mb}M"),
        ("--constraint", job.features, changed.features, "&".join(changed.features)),
        ("--time", job.walltime_s, changed.walltime_s, wall),
    )
    differing = [(option, value) for option, old, new, value in given if old != new]
    without = [option for option, value in differing if value == ""]
    if was.accelerators and was.accelerators_per != now.accelerators_per:
        without.append(gpus[was.accelerators_per])
    options = tuple(f"{option}={value}" for option, value in differing if value != "")
    return options, tuple(without)


def _nodes(asked: Resources) -> str:
    low, high = asked.nodes_min or 1, asked.nodes_max or asked.nodes_min or 1
    return str(high) if low == high else f"{low}-{high}"
