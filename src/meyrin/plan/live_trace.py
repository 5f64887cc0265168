"""A hub's jobs as a trace. Never asks a hub; the caller brings what it said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from meyrin.sim.trace.model import CANCELLED, COMPLETED, FAILED, UNKNOWN, Trace, from_columns

if TYPE_CHECKING:
    from meyrin.domain.site import Partition
    from meyrin.wire.plans import TraceJob

STATUS = {"completed": COMPLETED, "failed": FAILED, "cancelled": CANCELLED, "expired": CANCELLED}
NEVER = "placed and never ran"
STILL = "still there"


def trace_of(
    jobs: Sequence[TraceJob], source: str, partitions: Mapping[str, Partition] | None = None
) -> Trace:
    """The jobs that ran and ended; how many others there were is in `skipped`.

    `partitions`, by SITE/PARTITION, say how large the machine is: those where these jobs ran.
    """
    ended = [one for one in jobs if one.start_ms is not None and one.end_ms is not None]
    skipped = {
        NEVER: sum(one.start_ms is None and one.end_ms is not None for one in jobs),
        STILL: sum(one.end_ms is None for one in jobs),
    }
    epoch_s = min((one.submit_ms for one in ended), default=0) // 1000
    submit = [one.submit_ms // 1000 - epoch_s for one in ended]
    start = [int(one.start_ms or 0) // 1000 - epoch_s for one in ended]
    end = [int(one.end_ms or 0) // 1000 - epoch_s for one in ended]
    kinds = {
        "user": [one.person for one in ended],
        "group": [one.project for one in ended],
        "partition": [f"{one.site}/{one.partition}" for one in ended],
    }
    numbers, names = {}, {}
    for kind, words in kinds.items():
        known = sorted(set(words))
        place = {word: number for number, word in enumerate(known, 1)}
        numbers[kind] = _column([place[word] for word in words])
        names[kind] = {number: word for word, number in place.items()}
    accelerators = _column([one.accelerators for one in ended])
    sizes = partitions or {}
    where = [sizes[word] for word in sorted(set(kinds["partition"])) if word in sizes]
    whole = len(where) == len(set(kinds["partition"])) > 0
    return from_columns(
        {
            "job_id": _column([one.job for one in ended]),
            "submit_s": _column(submit),
            "wait_s": _column([max(0, b - a) for a, b in zip(submit, start, strict=True)]),
            "run_s": _column([max(0, b - a) for a, b in zip(start, end, strict=True)]),
            "processors": _column([one.cores for one in ended]),
            "nodes": _column([one.nodes for one in ended]),
            "accelerators": accelerators,
            "memory_mb": _column([one.memory_mb for one in ended]),
            "limit_s": _column([one.walltime_s for one in ended]),
            "status": _column([STATUS.get(one.state, UNKNOWN) for one in ended]),
            **numbers,
        },
        names=names,
        epoch_s=epoch_s,
        processors_total=sum(one.cores_per_node * one.nodes for one in where) if whole else None,
        accelerators_total=sum(one.accelerators_per_node * one.nodes for one in where)
        if whole
        else None,
        pool_unit="accelerators" if (accelerators > 0).all() and ended else "processors",
        format="meyrin",
        source=source,
        rows=len(jobs),
        skipped={reason: count for reason, count in skipped.items() if count},
    )


def _column(values: Sequence[int]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(values, np.int64).reshape(-1)
