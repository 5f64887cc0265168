"""A trace: what a log says of each job, as columns of integers.

Never changed after it was read; holds no file and no DataFrame, so that a replay sees arrays only.
Times are whole seconds from the log's own zero (`epoch_s` says which moment that is, where known),
memory is in MiB for the whole job, -1 is "the log doesn't say" in every column.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Column: TypeAlias = NDArray[np.int64]
Rows: TypeAlias = NDArray[np.bool_] | NDArray[np.intp]
Unit: TypeAlias = Literal["processors", "accelerators"]

UNKNOWN = -1
TIME_MAX = 2**42
"""Largest time in a trace: 139,000 years in seconds, or the year 2109 in Unix milliseconds. Larger
numbers are refused by the readers, so that sums over a trace stay within 64 bits."""
COUNT_MAX = 2**32
"""Largest number of processors, nodes or accelerators of one job that the readers take."""
MEMORY_MAX = 2**40
"""Largest amount of memory, in the unit of its column."""

STATUS = {
    0: "failed",
    1: "completed",
    2: "partial",
    3: "last part",
    4: "part failed",
    5: "cancelled",
}
"""Field 11 of the Standard Workload Format; readers of other logs use 0, 1, 5 and -1."""
FAILED, COMPLETED, CANCELLED = 0, 1, 5


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """Columns of equal length n, int64, in the file's order of rows. -1 is unknown.

    `processors` is what the job had (field 5 of SWF), or what it asked for where that is unknown;
    `limit_s` the user's limit; `after` the `job_id` that had to end first, `think_s` the pause
    between that end and this submission. `user`, `group`, `queue`, `partition` are numbers that
    `names[kind][number]` may have a label for; `names["job"]` has labels where the log's own job
    ids are no integers (then `job_id` is 1 for the first row of the file, and so on).
    `more` holds columns that only some logs have, by name: see `MORE`.
    """

    job_id: Column
    submit_s: Column
    wait_s: Column
    run_s: Column
    processors: Column
    nodes: Column
    accelerators: Column
    memory_mb: Column
    limit_s: Column
    status: Column
    user: Column
    group: Column
    queue: Column
    partition: Column
    after: Column
    think_s: Column

    more: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    names: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    header: Mapping[str, str] = field(default_factory=dict)
    """The log's own header, label to text; a label that came several times has several lines."""
    processors_total: int | None = None
    """Processors of the machine (`MaxProcs`, else `MaxNodes`, of the header)."""
    accelerators_total: int | None = None
    epoch_s: int | None = None
    """Unix time of `submit_s` 0, where the log says it (0: submit times are Unix times)."""
    pool_unit: Unit = "processors"
    """What a plain pool counts when this log is replayed: most GPU logs give accelerators."""
    format: str = "swf"
    source: str = ""
    rows: int = 0
    """Rows that the file has, the skipped ones too."""
    skipped: Mapping[str, int] = field(default_factory=dict)
    """Rows that were left out while reading, by reason: bad ones (`--on-error skip`), and rows
    that are no jobs of their own (steps, parts of a job)."""
    mended: Mapping[str, int] = field(default_factory=dict)
    """Values that can't be true and were read as unknown, by what they were."""
    notes: tuple[str, ...] = ()
    """What a reader of the log should know: how something was read that the log leaves open."""

    def __len__(self) -> int:
        return len(self.job_id)

    def __post_init__(self) -> None:
        columns = [*(getattr(self, name) for name in COLUMNS), *self.more.values()]
        assert len({len(column) for column in columns}) == 1, "columns differ in length"

    def label(self, kind: str, number: int) -> str:
        """The name of a user, group, queue, partition or job; its number where it has none."""
        return self.names.get(kind, {}).get(number, str(number))

    def sizes(self, unit: Unit | None = None) -> Column:
        """How much of a plain pool each job takes, -1 unknown; `unit` None is `pool_unit`."""
        return self.accelerators if (unit or self.pool_unit) == "accelerators" else self.processors

    def pool_total(self, unit: Unit | None = None) -> int | None:
        """How large the machine of the log was, in that unit, where the log says it."""
        if (unit or self.pool_unit) == "accelerators":
            return self.accelerators_total
        return self.processors_total

    def select(self, which: Rows) -> Trace:
        """The same log with these rows only (a mask, or row numbers in the order wanted)."""
        columns: dict[str, Any] = {name: getattr(self, name)[which] for name in COLUMNS}
        columns["more"] = {name: column[which] for name, column in self.more.items()}
        return replace(self, **columns)

    def log_order(self) -> NDArray[np.intp]:
        """Row numbers by (submit, job id, row): the order in which arrivals are taken."""
        return np.lexsort((self.job_id, self.submit_s))


COLUMNS = tuple(f.name for f in fields(Trace) if f.type == "Column")
MORE = {
    "used_processors": "SWF field 5 as it is in the log",
    "cpu_s": "CPU time used, the mean over processors, s (float64)",
    "used_memory_kb": "memory used, the mean over processors, KB",
    "requested_processors": "SWF field 8",
    "requested_memory_kb": "memory asked for, per processor, KB",
    "application": "number of the program",
    "accelerator_milli": "accelerators in thousandths, where jobs ask for parts of one",
    "request": "number in names['request']: what the user asked for, in the site's words",
    "allocation": "number in names['allocation']: the nodes that the job had",
}


def from_columns(columns: Mapping[str, NDArray[Any]], **about: Any) -> Trace:
    """A trace from columns by name: missing ones are unknown, the rest goes to `more`."""
    length = len(next(iter(columns.values())))
    own: dict[str, Any] = {
        name: columns[name] if name in columns else np.full(length, UNKNOWN) for name in COLUMNS
    }
    more = {name: column for name, column in columns.items() if name not in own}
    return Trace(**own, more=more, **about)


NO_SIZE, NO_RUN, TOO_LARGE = "no size", "no run time", "larger than the machine"


def unusable(
    trace: Trace, machine: int | None = None, unit: Unit | None = None
) -> dict[str, NDArray[np.bool_]]:
    """Which rows a replay can't use, by reason; each row under its first reason only.

    `machine`: processors (or accelerators) of the pool; None lets every size through.
    """
    size = trace.sizes(unit)
    left = np.ones(len(trace), dtype=np.bool_)
    found: dict[str, NDArray[np.bool_]] = {}
    tests = [(NO_SIZE, size <= 0), (NO_RUN, trace.run_s <= 0)]
    if machine is not None:
        tests.append((TOO_LARGE, size > machine))
    for reason, hit in tests:
        found[reason] = hit & left
        left &= ~hit
    return found
