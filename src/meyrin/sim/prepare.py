"""From a trace to the jobs that are replayed: in log order, with what counts for the engine.

Never decides who runs. What can't be replayed is left out by a reason and counted, never mended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from meyrin.domain.errors import InvalidInput
from meyrin.sim.trace.model import Trace, Unit, unusable

Ints = NDArray[np.int64]

FARTHEST_S = 2**60  # no sum of times may pass it, so that the kernels can't overflow


@dataclass(frozen=True, slots=True)
class Arrivals:
    """The jobs of a replay in log order. All arrays are int64 of one length; times in seconds.

    `row` is each job's place in the trace, `limit` what backfill believes, `duration` how long
    the job really runs, `skipped` how many were left out for which reason. `processors` counts
    what `unit` says.
    """

    row: Ints
    job_id: Ints
    submit: Ints
    processors: Ints
    duration: Ints
    limit: Ints
    skipped: Mapping[str, int]
    unit: Unit = "processors"

    def __len__(self) -> int:
        return len(self.row)


def prepare(trace: Trace, machine: int, *, kill: bool = True) -> Arrivals:
    """The jobs of `trace` that a pool of `machine` processors can run, in log order.

    What counts as a processor is the trace's own unit: accelerators in most logs of GPU clusters.
    A missing limit is the run time. With `kill` a job ends at the earlier of run time and limit,
    else a limit below the run time counts as the run time.
    InvalidInput where times are so long that sums of them can't be counted.
    """
    reasons = unusable(trace, machine)
    return chosen(trace, trace.sizes(), reasons, kill=kill, unit=trace.pool_unit)


def chosen(
    trace: Trace,
    size: Ints,
    reasons: Mapping[str, NDArray[np.bool_]],
    *,
    kill: bool,
    unit: Unit = "processors",
) -> Arrivals:
    """The rows that no reason speaks against, in log order; each left out by its first reason."""
    skipped = {reason: count for reason, count in trace.skipped.items() if count}
    kept = np.ones(len(size), dtype=np.bool_)
    for reason, unfit in reasons.items():
        count = int(np.count_nonzero(kept & unfit))
        if count:
            skipped[reason] = skipped.get(reason, 0) + count
        kept &= ~unfit
    order = trace.log_order()
    row = order[kept[order]].astype(np.int64)
    run, limit = trace.run_s[row], trace.limit_s[row]
    limit = np.where(limit > 0, limit, run)
    if kill:
        run = np.minimum(run, limit)
    else:
        limit = np.maximum(limit, run)
    submit = trace.submit_s[row]
    _check_sums(submit, limit)
    return Arrivals(row, trace.job_id[row], submit, size[row], run, limit, skipped, unit)


def _check_sums(submit: Ints, limit: Ints) -> None:
    if not len(submit):
        return
    farthest = float(submit.max()) + float(limit.astype(np.float64).sum())
    if farthest > FARTHEST_S:
        longest = int(limit.max())
        raise InvalidInput(
            f"the times of this trace add up to {farthest:.3g} s, more than can be counted"
            f" (longest job: {longest} s, last submit time: {int(submit.max())} s)",
            hint="is the unit right? Times are taken as seconds",
            field="run_s",
            value=longest,
        )
