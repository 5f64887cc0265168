"""A table of jobs, whatever its columns are called, made a trace by a mapping."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from collections.abc import Mapping as Named
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from meyrin.domain.errors import InvalidInput
from meyrin.sim.trace import convert
from meyrin.sim.trace import faults as rules
from meyrin.sim.trace.faults import Faults, Lines
from meyrin.sim.trace.frames import Frame
from meyrin.sim.trace.mapping import COUNTS, DURATIONS, INSTANTS, LABELS, Mapping
from meyrin.sim.trace.model import UNKNOWN, Trace, from_columns

if TYPE_CHECKING:
    import pandas as pd

Prepare: TypeAlias = Callable[["pd.DataFrame"], "tuple[pd.DataFrame, NDArray[np.bool_]]"]
"""Makes columns of one log ready for the mapping, and says which rows are steps of a job."""

STATES = {
    "COMPLETED": 1,
    "SUCCEEDED": 1,
    "FAILED": 0,
    "TIMEOUT": 0,
    "NODE_FAIL": 0,
    "BOOT_FAIL": 0,
    "OUT_OF_MEMORY": 0,
    "DEADLINE": 0,
    "CANCELLED": 5,
}
"""Words for final states where the mapping has none of its own: Slurm's, and Kubernetes'."""

NAMED = {"group": "group", "user": "user", "queue": "queue", "partition": "partition"}


class JobNames(Named[int, str]):
    """Labels of jobs by job id, for logs whose ids are words."""

    def __init__(self, ids: NDArray[np.int64], labels: NDArray[Any]) -> None:
        self._ids, self._labels = ids, labels

    def __getitem__(self, job_id: int) -> str:
        at = int(np.searchsorted(self._ids, job_id))
        if at == len(self._ids) or self._ids[at] != job_id:
            raise KeyError(job_id)
        return str(self._labels[at])

    def __iter__(self) -> Iterator[int]:
        return iter(self._ids.tolist())

    def __len__(self) -> int:
        return len(self._ids)


@dataclass
class _Reading:
    """What was read so far."""

    mapping: Mapping
    faults: Faults
    lines: Lines = field(default_factory=Lines)
    rows: int = 0
    parts: dict[str, list[NDArray[Any]]] = field(default_factory=dict)
    ordinals: list[NDArray[np.int64]] = field(default_factory=list)
    jobs: list[NDArray[Any]] = field(default_factory=list)
    afters: list[NDArray[Any]] = field(default_factory=list)
    known: dict[str, dict[str, int]] = field(default_factory=dict)


def read_table(
    frames: Iterable[Frame], mapping: Mapping, faults: Faults, prepare: Prepare | None = None
) -> Trace:
    """The trace of all frames. Raises `InvalidInput` for a bad row unless bad ones are skipped."""
    reading = _Reading(mapping, faults)
    for frame in frames:
        reading.rows += len(frame.lines)
        if prepare is not None:
            cells, steps = prepare(frame.cells)
            faults.skipped[rules.STEP] += int(steps.sum())
            frame = Frame(cells[~steps].reset_index(drop=True), frame.lines[~steps])  # noqa: PLW2901
        if len(frame.lines):
            _take(frame, reading)
    bad = sum(count for reason, count in faults.skipped.items() if reason in rules.UNREAD)
    if not reading.rows + bad:
        raise InvalidInput(
            f"{faults.path} has a header and no jobs",
            hint="Was the file cut short, or is it the wrong one?",
            file=faults.path,
        )
    return _finish(reading, bad)


def _take(frame: Frame, reading: _Reading) -> None:
    """One frame's rows, converted and checked."""
    mapping, cells = reading.mapping, frame.cells
    wrong = _Wrong(len(cells))
    found: dict[str, NDArray[np.float64]] = {}
    columns: dict[str, NDArray[Any]] = {}
    field_names: list[str] = list(mapping.columns)
    for name in field_names:
        if mapping.field(name).column not in cells:
            continue  # optional
        if name in LABELS:
            series = cells[mapping.field(name).column]
            columns[name] = convert.codes(series, reading.known.setdefault(name, {}))
        elif name == "status":
            columns[name] = _states(cells, mapping)
        elif name not in {"job", "after"}:
            found[name] = _numbers(name, cells, mapping, wrong)
    columns |= _derived(found)
    wrong.add("submit", rules.MISSING, np.isnan(found["submit"]))
    for name, reason, rows in rules.out_of_bounds(columns):
        wrong.add(name, reason, rows)
    good = wrong.report(frame, mapping, reading.faults)
    first = reading.rows - len(cells) + 1
    reading.lines.add_each(frame.lines[good])
    reading.ordinals.append(np.flatnonzero(good) + max(first, 1))
    for name, column in columns.items():
        reading.parts.setdefault(name, []).append(column[good])
    for name, kept in (("job", reading.jobs), ("after", reading.afters)):
        if name in mapping.columns:
            text = cells[mapping.field(name).column]
            kept.append(convert.as_text(text[good]).to_numpy())


class _Wrong:
    """For each row, the first thing that is wrong with it."""

    def __init__(self, rows: int) -> None:
        self._what = np.zeros(rows, dtype=np.int16)
        self._kinds: list[tuple[str, str]] = [("", "")]

    def add(self, name: str, reason: str, rows: NDArray[np.bool_]) -> None:
        if rows.any():
            self._kinds.append((name, reason))
            self._what[rows & (self._what == 0)] = len(self._kinds) - 1

    def report(self, frame: Frame, mapping: Mapping, faults: Faults) -> NDArray[np.bool_]:
        """Which rows are good; each of the others is a fault."""
        for row in np.flatnonzero(self._what).tolist():
            name, reason = self._kinds[self._what[row]]
            asked = name.removesuffix("_s").removesuffix("_mb")
            said = f"{asked} is"
            if asked in mapping.columns:
                column = mapping.field(asked).column
                if column in frame.cells:
                    shown = str(frame.cells[column].iloc[row])[:40]
                    said = f"column {column!r} ({asked}) is {shown!r}:"
            faults.bad(reason, int(frame.lines[row]), f"{said} {reason}", field=asked)
        return np.asarray(self._what == 0, dtype=np.bool_)


def _numbers(
    name: str, cells: pd.DataFrame, mapping: Mapping, wrong: _Wrong
) -> NDArray[np.float64]:
    """One field in seconds, MiB or pieces, NaN where unknown."""
    source = mapping.field(name)
    series = cells[source.column]
    if name in INSTANTS:
        values, bad = convert.instants(series, source.format, mapping.time_zone, source.unit or "s")
    elif name in DURATIONS:
        values, bad = convert.durations(series, source.unit or "s")
    elif name == "memory" and source.unit == "slurm":
        values, bad = convert.slurm_memory(
            series, *(_count(name, cells, mapping) for name in ("processors", "nodes"))
        )
    else:
        unit = convert.MEMORY_UNITS[source.unit or "MiB"] if name == "memory" else 1.0
        values, bad = convert.numbers(series, unit)
    if source.empty is not None:
        scale = convert.TIME_UNITS.get(source.unit or "s", 1.0) if name in INSTANTS else 1.0
        values = np.where(convert.is_empty(series), source.empty * scale, values)
    if source.times:
        second, worse = convert.numbers(cells[source.times])
        values, bad = values * second, bad | worse
    timed = name in {*INSTANTS, *DURATIONS}
    wrong.add(name, rules.TIME if timed else rules.NUMBER, bad)
    return values * source.factor


def _count(name: str, cells: pd.DataFrame, mapping: Mapping) -> NDArray[np.float64]:
    if name not in mapping.columns:
        return np.ones(len(cells))
    values, _ = convert.numbers(cells[mapping.field(name).column])
    return np.where(values > 0, values, 1.0)


def _derived(found: dict[str, NDArray[np.float64]]) -> dict[str, NDArray[Any]]:
    """The columns of a trace from what the table has; waits and run times from moments too."""
    made = {"submit_s": convert.whole(found["submit"], "down")}
    start, end = found.get("start"), found.get("end")
    if "wait" not in found and start is not None:
        found["wait"] = start - found["submit"]
    if "run" not in found and start is not None and end is not None:
        found["run"] = end - start
    for name in DURATIONS:
        if name in found:
            made[f"{name}_s"] = convert.whole(found[name])
    for name in COUNTS:
        if name in found:
            made[name] = convert.whole(found[name], "up")
    if "memory" in found:
        made["memory_mb"] = convert.whole(found["memory"], "up")
    milli = made.get("accelerator_milli")
    if milli is not None and "accelerators" not in made:
        made["accelerators"] = np.where(milli < 0, milli, -(-milli // 1000))
    return made


def _states(cells: pd.DataFrame, mapping: Mapping) -> NDArray[np.int64]:
    source = mapping.field("status")
    words = convert.as_text(cells[source.column])
    if source.values:
        found = words.map(source.values)
    else:
        found = words.str.upper().str.split(n=1).str[0].map(STATES)
    return np.asarray(found.fillna(UNKNOWN), dtype=np.int64)


def _finish(reading: _Reading, bad: int) -> Trace:
    mapping, faults = reading.mapping, reading.faults
    columns = {name: _joined(parts) for name, parts in reading.parts.items()}
    if not columns:
        columns = {"submit_s": np.zeros(0, dtype=np.int64)}
    rules.mend(columns, faults)
    ids = _joined(reading.ordinals).astype(np.int64)
    names: dict[str, Named[int, str]] = {
        name: {number: label for label, number in known.items()}
        for name, known in reading.known.items()
    }
    text = _joined(reading.jobs)
    if len(text):
        numbers = _as_numbers(text)
        if numbers is None:
            names["job"] = JobNames(ids, text)
        else:
            ids = numbers
    columns["job_id"] = ids
    again = _again(ids, text, reading)
    if "after" in mapping.columns:
        columns["after"] = _preceding(_joined(reading.afters), text, ids)
    if again.any():
        columns = {name: column[~again] for name, column in columns.items()}
    moments = mapping.field("submit").format != "number"
    zone = mapping.time_zone
    return from_columns(
        columns,
        names=names,
        header={"TimeZoneString": zone} if moments and zone != "UTC" else {},
        processors_total=mapping.processors_total,
        accelerators_total=mapping.accelerators_total,
        epoch_s=0 if moments else mapping.epoch_s,
        pool_unit=mapping.pool_unit,
        format=mapping.name,
        source=faults.path,
        rows=reading.rows + bad,
        skipped={reason: count for reason, count in faults.skipped.items() if count},
        mended=dict(faults.mended),
        notes=tuple(mapping.notes),
    )


def _joined(parts: list[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def _as_numbers(text: NDArray[Any]) -> NDArray[np.int64] | None:
    """Job ids as integers, where every one of them is one."""
    import pandas as pd  # noqa: PLC0415

    series = pd.Series(text, dtype=str)
    if not series.str.fullmatch(r"\d{1,18}").all():
        return None
    return np.asarray(series.astype("int64"), dtype=np.int64)


def _again(ids: NDArray[np.int64], text: NDArray[Any], reading: _Reading) -> NDArray[np.bool_]:
    """Rows whose job was in the table before."""
    import pandas as pd  # noqa: PLC0415

    if not len(text):
        return np.zeros(len(ids), dtype=np.bool_)
    places, _ = pd.factorize(pd.Series(text, dtype=str))
    return rules.doubles(
        places.astype(np.int64), reading.lines, reading.faults, label=lambda row: str(text[row])
    )


def _preceding(
    after: NDArray[Any], text: NDArray[Any], ids: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The job id of each preceding job; -1 where there is none in the table."""
    import pandas as pd  # noqa: PLC0415

    known = pd.Series(ids, index=pd.Index(text)).loc[lambda one: ~one.index.duplicated()]
    return np.asarray(pd.Series(after).map(known).fillna(UNKNOWN), dtype=np.int64)
