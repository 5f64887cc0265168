"""Jobs sorted into classes that people compare: by size, by run time, by queue, by group.

A class is a number for each job and a label for each number; labels come in their natural order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from meyrin.sim.prepare import Arrivals, Ints

if TYPE_CHECKING:
    from meyrin.sim.trace.model import Trace

MINUTE, HOUR, DAY = 60, 3600, 86400
RUN_TIMES = (
    (MINUTE, "under 1 min"),
    (10 * MINUTE, "1 to 10 min"),
    (HOUR, "10 min to 1 h"),
    (6 * HOUR, "1 to 6 h"),
    (DAY, "6 h to 1 day"),
)
LONGEST = "1 day and more"
SHOWN = 10  # queues or groups with a row of their own
OTHERS = "others"


@dataclass(frozen=True, slots=True)
class Classes:
    """`of` is the class of each job in log order, int64[n]; `labels[of[i]]` its words."""

    kind: str
    of: Ints
    labels: tuple[str, ...]


def by_size(jobs: Arrivals) -> Classes:
    """Powers of two: 1, 2, 3-4, 5-8 and so on; only classes that have jobs."""
    exact = np.array(
        [(size - 1).bit_length() if size > 0 else -1 for size in jobs.processors.tolist()],
        np.int64,
    )
    found, of = np.unique(exact, return_inverse=True)
    return Classes("size", of.astype(np.int64), tuple(_size_label(e) for e in found.tolist()))


def _size_label(exponent: int) -> str:
    if exponent < 0:  # on nodes, a job may have cores and no accelerators
        return "0"
    low, high = 2**exponent // 2 + 1, 2**exponent
    return str(high) if exponent < 2 else f"{low}-{high}"


def by_run_time(jobs: Arrivals) -> Classes:
    """Steps from under a minute to a day and more; only classes that have jobs."""
    edges = np.array([edge for edge, _ in RUN_TIMES], np.int64)
    found, of = np.unique(np.searchsorted(edges, jobs.duration, "right"), return_inverse=True)
    labels = [*(label for _, label in RUN_TIMES), LONGEST]
    return Classes("run_time", of.astype(np.int64), tuple(labels[e] for e in found.tolist()))


def by_name(trace: Trace, jobs: Arrivals, kind: str) -> Classes | None:
    """By `queue` or `group` of the trace: the largest by work, the rest as `others`.

    None where the trace knows none, or only one.
    """
    column: Ints = getattr(trace, kind)[jobs.row]
    found, of = np.unique(column, return_inverse=True)
    if len(found) < 2:
        return None
    work = np.bincount(of, (jobs.processors * jobs.duration).astype(np.float64), len(found))
    first = np.argsort(-work, kind="stable")
    place = np.empty(len(found), np.int64)
    place[first] = np.minimum(np.arange(len(found)), SHOWN)
    labels = [_label(trace, kind, int(found[i])) for i in first[:SHOWN].tolist()]
    if len(found) > SHOWN:
        labels.append(OTHERS)
    return Classes(kind, place[of].astype(np.int64), tuple(labels))


def _label(trace: Trace, kind: str, number: int) -> str:
    if number < 0:
        return "unknown"
    label = trace.label(kind, number)
    return f"{kind} {label}" if label == str(number) else label


def all_classes(trace: Trace, jobs: Arrivals) -> list[Classes]:
    """Every kind that this trace knows."""
    named = (by_name(trace, jobs, kind) for kind in ("queue", "group"))
    return [by_size(jobs), by_run_time(jobs), *(one for one in named if one is not None)]
