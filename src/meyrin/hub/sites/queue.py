"""The latest snapshot that a site gave of its own queue.

One row per site: the next one replaces it. Nothing in it names a person.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from meyrin.hub.plumbing.authz import Actor
from meyrin.hub.plumbing.database import Step
from meyrin.hub.plumbing.paging import number
from meyrin.hub.sites import others, service, store
from meyrin.wire.queue import Others, PartitionQueue, QueuedJob


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`jobs` are one page, in the order told; `following` is the `after` of the next."""

    at_ms: int | None = None
    left_out: int = 0
    partitions: tuple[PartitionQueue, ...] = ()
    jobs: tuple[QueuedJob, ...] = ()
    following: str = ""


def keep(
    step: Step,
    site_id: str,
    at_ms: int,
    jobs: Sequence[QueuedJob],
    left_out: int = 0,
    by_others: Sequence[Others] = (),
) -> None:
    """Replace the site's snapshot; an earlier one that comes late is dropped."""
    # an agent's clock that runs ahead must not keep later ones out
    at_ms = min(at_ms, step.now_ms)
    told = json.dumps([each.model_dump(mode="json") for each in jobs], separators=(",", ":"))
    row = {
        "site_id": site_id,
        "at_ms": at_ms,
        "left_out": left_out,
        "summary": [each.model_dump(mode="json") for each in summary(jobs)],
        "jobs": zlib.compress(told.encode(), 6),
    }
    if store.put_latest(step, store.site_queues, row):
        others.keep(step, site_id, by_others, at_ms // 1000)


def forget(step: Step, site_id: str) -> None:
    """The site shares its queue no longer."""
    store.drop_latest(step, store.site_queues, site_id)
    others.keep(step, site_id, (), step.now_s)


def summary(jobs: Sequence[QueuedJob]) -> list[PartitionQueue]:
    """What waits and runs, partition by partition."""
    found: dict[str, list[QueuedJob]] = {}
    for each in jobs:
        found.setdefault(each.partition, []).append(each)
    return [_of_partition(name, found[name]) for name in sorted(found)]


def _of_partition(name: str, jobs: Sequence[QueuedJob]) -> PartitionQueue:
    waiting = [each for each in jobs if each.waits]
    since = [each.submit_s for each in waiting if each.submit_s is not None]
    return PartitionQueue(
        partition=name,
        waiting=sum(each.count for each in waiting),
        running=sum(each.count for each in jobs if not each.waits),
        waiting_nodes=sum(each.count * (each.nodes or 0) for each in waiting),
        waiting_accelerators=sum(each.count * (each.accelerators or 0) for each in waiting),
        oldest_s=min(since, default=None),
    )


def latest(step: Step, actor: Actor, name: str, after: str, limit: int) -> Snapshot:
    """The whole snapshot, a page at a time. For the site's operators. Two queries."""
    site = service.operated(step, actor, name)
    row = store.latest(step, store.site_queues, site)
    if row is None:
        return Snapshot()
    start = number(after) or 0
    jobs = json.loads(zlib.decompress(row.jobs))
    page = jobs[start : start + limit]
    return Snapshot(
        at_ms=row.at_ms,
        left_out=row.left_out,
        partitions=_partitions(row.summary),
        jobs=tuple(QueuedJob.model_validate(each) for each in page),
        following=str(start + limit) if start + limit < len(jobs) else "",
    )


def outline(step: Step, site_id: str) -> Snapshot:
    """The snapshot without its jobs, for everybody. One query."""
    row = store.latest(step, store.site_queues, site_id, without="jobs")
    if row is None:
        return Snapshot()
    return Snapshot(row.at_ms, row.left_out, _partitions(row.summary))


def _partitions(summary_kept: list[dict[str, object]]) -> tuple[PartitionQueue, ...]:
    return tuple(PartitionQueue.model_validate(each) for each in summary_kept)
