"""Bad rows: the first one stops the reading with its line and field, or each is counted by reason.

Also the rules that every row of every format must keep, and the line of each row that was kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from meyrin.domain.errors import InvalidInput
from meyrin.sim.trace.model import COUNT_MAX, MEMORY_MAX, TIME_MAX, UNKNOWN

OnError: TypeAlias = Literal["stop", "skip"]

FIELDS = "wrong number of fields"
NUMBER = "not a number"
TIME = "not a time"
NEGATIVE = "negative"
LARGE = "number too large"
MISSING = "no submit time"
DUPLICATE = "duplicate job id"
NUL = "NUL byte"
LETTERS = "not UTF-8"
PART = "part of a job that has a line of its own"
STEP = "job step"
UNREAD = (FIELDS, NUL, LETTERS)
"""Reasons for which a line is no row of a table at all."""

ID_MAX = 2**63 - 1
LIMITS: Mapping[str, tuple[int, int]] = {
    "job_id": (0, ID_MAX),
    "submit_s": (0, TIME_MAX),
    "wait_s": (-TIME_MAX, TIME_MAX),
    "run_s": (-TIME_MAX, TIME_MAX),
    "limit_s": (-TIME_MAX, TIME_MAX),
    "think_s": (-TIME_MAX, TIME_MAX),
    "cpu_s": (-TIME_MAX, TIME_MAX),
    "processors": (-COUNT_MAX, COUNT_MAX),
    "used_processors": (-COUNT_MAX, COUNT_MAX),
    "requested_processors": (-COUNT_MAX, COUNT_MAX),
    "nodes": (-COUNT_MAX, COUNT_MAX),
    "accelerators": (-COUNT_MAX, COUNT_MAX),
    "accelerator_milli": (-1000 * COUNT_MAX, 1000 * COUNT_MAX),
    "memory_mb": (-ID_MAX, ID_MAX),
    "used_memory_kb": (-MEMORY_MAX, MEMORY_MAX),
    "requested_memory_kb": (-MEMORY_MAX, MEMORY_MAX),
}
"""Least and largest value of a column for a row to be good; others hold any 64-bit number.

A job without a submit time that can be is no job. Every other negative number means that the log
doesn't know: `mend` makes it -1 and counts what was no -1 in the file.
"""
OTHERS = (-ID_MAX, ID_MAX)


@dataclass
class Faults:
    """What to do with a bad row of one file, and how many there were."""

    path: str
    on_error: OnError = "stop"
    unit: str = "line"
    """What a row's number counts: lines of a text, rows of a table without lines."""
    skipped: Counter[str] = field(default_factory=Counter)
    mended: Counter[str] = field(default_factory=Counter)

    def bad(self, reason: str, line: int, what: str, **facts: Any) -> None:
        """A row that can't be used: counted, or the end of it all."""
        if self.on_error == "skip":
            self.skipped[reason] += 1
            return
        raise InvalidInput(
            f"{self.path}, {self.unit} {line}: {what}",
            hint="Repair the row, or leave bad rows out and count them: --on-error skip",
            file=self.path,
            line=line,
            reason=reason,
            **facts,
        )


def out_of_bounds(
    columns: Mapping[str, NDArray[Any]],
) -> list[tuple[str, str, NDArray[np.bool_]]]:
    """(column, reason, rows) of values that no log can mean, in the order of the columns."""
    found = []
    for name, column in columns.items():
        least, most = LIMITS.get(name, OTHERS)
        if column.dtype.kind == "f":
            low, high = ~(column >= least), column > most  # a NaN is below everything
        else:
            low, high = column < least, column > most
        if low.any():
            found.append((name, NEGATIVE, low))
        if high.any():
            found.append((name, LARGE, high))
    return found


def mend(columns: Mapping[str, NDArray[Any]], faults: Faults) -> None:
    """Make every negative value -1, in place; count those that were another number, by column."""
    for name, column in columns.items():
        low = column < UNKNOWN
        if low.any():
            faults.mended[f"negative {name}"] += int(low.sum())
            column[low] = UNKNOWN


class Lines:
    """The line of the file that each row came from, kept as stretches of neighbouring lines."""

    def __init__(self) -> None:
        self.count = 0
        self._stretches: list[tuple[int, int]] = []  # (first row, its line)

    def add(self, first_line: int, rows: int) -> None:
        """`rows` rows, one a line, from this line on."""
        self._stretches.append((self.count, first_line))
        self.count += rows

    def add_each(self, lines: NDArray[np.int64]) -> None:
        """One row for each of these lines."""
        breaks = np.flatnonzero(np.diff(lines, prepend=-2) != 1)
        self._stretches += [(self.count + int(at), int(lines[at])) for at in breaks]
        self.count += len(lines)

    def of(self, row: int) -> int:
        """The line of a row."""
        firsts = [first for first, _ in self._stretches]
        at = int(np.searchsorted(firsts, row, side="right")) - 1
        first, line = self._stretches[at]
        return line + row - first


def doubles(
    job_id: NDArray[np.int64],
    lines: Lines,
    faults: Faults,
    *,
    leave_out: NDArray[np.bool_] | None = None,
    label: Callable[[int], str] | None = None,
) -> NDArray[np.bool_]:
    """Rows whose job id stood in an earlier row; the first of them is a bad row.

    `leave_out`: rows that don't count, such as parts of a job; `label` names a row's job where
    the ids are no numbers of the log.
    """
    again = np.zeros(len(job_id), dtype=np.bool_)
    if len(job_id) < 2 or (np.diff(job_id) > 0).all():
        return again
    rows = np.arange(len(job_id)) if leave_out is None else np.flatnonzero(~leave_out)
    order = rows[np.argsort(job_id[rows], kind="stable")]
    again[order[1:]] = job_id[order[1:]] == job_id[order[:-1]]
    if again.any():
        row = int(np.flatnonzero(again)[0])
        earlier = lines.of(int(rows[np.flatnonzero(job_id[rows] == job_id[row])[0]]))
        job = label(row) if label else job_id[row]
        what = f"job {job} has a row already: {faults.unit} {earlier}"
        faults.bad(DUPLICATE, lines.of(row), what, earlier=earlier)
        faults.skipped[DUPLICATE] += int(again.sum()) - 1
    return again
