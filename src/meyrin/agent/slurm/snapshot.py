"""Slurm's whole queue as entries that know nothing of Slurm."""

from __future__ import annotations

import re
from collections.abc import Iterable

from meyrin.agent.batch import QueueEntry
from meyrin.agent.slurm.transport import QueueRow

WAITS = {"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD"}
RUNS = {
    "RUNNING", "CONFIGURING", "SUSPENDED", "STOPPED", "RESIZING", "SIGNALING", "STAGE_OUT",
    "COMPLETING",
}  # fmt: skip
_ARRAY = re.compile(r"\d+_\[([0-9,\-:]+)(?:%\d+)?(\.\.\.)?\]")


def entries(rows: Iterable[QueueRow]) -> tuple[QueueEntry, ...]:
    """What waits and runs; ended jobs that the controller still knows are no queue."""
    return tuple(_entry(row, waits=row.state in WAITS) for row in rows if row.state in WAITS | RUNS)


def _entry(row: QueueRow, *, waits: bool) -> QueueEntry:
    return QueueEntry(
        batch_job=row.batch_job,
        user=row.user,
        account=row.account,
        partition=row.partition,
        waits=waits,
        state=row.state,
        reason=row.reason,
        count=elements(row.batch_job),
        nodes=row.nodes,
        cores=row.cores,
        memory_mb=row.memory_mb,
        accelerators=row.accelerators,
        walltime_s=row.walltime_s,
        submit_s=row.submit_s,
        start_s=None if waits else row.start_s,
        priority=row.priority,
    )


def elements(batch_job: str) -> int:
    """How many jobs `17_[3-9:2,12%4]` stands for; 1 for anything else."""
    match = _ARRAY.fullmatch(batch_job)
    if not match:
        return 1
    count = 0
    for part in match[1].split(","):
        span, _, stride = part.partition(":")
        first, dash, last = span.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            continue
        count += (int(last) - int(first)) // max(int(stride or 1), 1) + 1 if dash else 1
    return max(count, 1)
