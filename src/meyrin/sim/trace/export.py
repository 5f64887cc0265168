"""Meyrin's own form of a trace: one Parquet file, columns as in `Trace`, the rest as metadata.

Unknown is null, so that other programs need no rule for -1. The schema's metadata has the key
`meyrin.trace`: a JSON object with the `version` of the form and what else a trace has.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from meyrin.domain.errors import InvalidInput
from meyrin.sim.trace import faults as rules
from meyrin.sim.trace.faults import Faults, Lines
from meyrin.sim.trace.frames import parquet_frames
from meyrin.sim.trace.model import COLUMNS, MORE, UNKNOWN, Trace, from_columns
from meyrin.sim.trace.stream import Progress
from meyrin.sim.trace.table import JobNames

VERSION = 1
KEY = b"meyrin.trace"
JOB_NAME = "job_name"
ROWS = 100_000
ABOUT = (
    "header",
    "processors_total",
    "accelerators_total",
    "epoch_s",
    "pool_unit",
    "format",
    "rows",
    "skipped",
    "mended",
    "notes",
)


def write_export(trace: Trace, path: Path) -> None:
    """Write the trace, zstd-compressed. Raises OSError where the file can't be written."""
    import pyarrow as pa  # noqa: PLC0415 - takes its time to load
    import pyarrow.parquet as pq  # noqa: PLC0415

    columns = {name: getattr(trace, name) for name in COLUMNS} | dict(trace.more)
    jobs = trace.names.get("job")
    fields = [pa.field(name, pa.from_numpy_dtype(one.dtype)) for name, one in columns.items()]
    if jobs is not None:
        fields.append(pa.field(JOB_NAME, pa.string()))
    about = {name: getattr(trace, name) for name in ABOUT} | {
        "version": VERSION,
        "names": {kind: _texts(known) for kind, known in trace.names.items() if kind != "job"},
    }
    schema = pa.schema(fields, metadata={KEY: json.dumps(about, ensure_ascii=False).encode()})
    with pq.ParquetWriter(path, schema, compression="zstd") as file:
        for first in range(0, len(trace), ROWS):
            rows = {name: one[first : first + ROWS] for name, one in columns.items()}
            arrays = [pa.array(one, mask=one == UNKNOWN) for one in rows.values()]
            if jobs is not None:
                arrays.append(pa.array([jobs.get(one) for one in rows["job_id"].tolist()]))
            file.write_batch(pa.record_batch(arrays, schema=schema))


def _texts(known: Mapping[int, str]) -> dict[str, str]:
    return {str(number): label for number, label in known.items()}


def read_export(
    path: Path, metadata: bytes, faults: Faults, progress: Progress | None = None
) -> Trace:
    """The trace in an export. Raises `InvalidInput` for another version, or a bad row."""
    about = _about(path, metadata)
    parts: dict[str, list[Any]] = {}
    lines, labels = Lines(), []
    for frame in parquet_frames(path, _present(path), progress):
        columns = {}
        for name in frame.cells.columns:
            if name == JOB_NAME:
                labels += frame.cells[name].fillna("").tolist()
                continue
            column = frame.cells[name].fillna(UNKNOWN).to_numpy()
            columns[name] = column.astype("float64" if name == "cpu_s" else "int64")
        for name, reason, rows in rules.out_of_bounds(columns):
            row = int(frame.lines[np.flatnonzero(rows)[0]])
            raise InvalidInput(
                f"{path}, row {row}: {name} is {reason}",
                hint="An export is never edited by hand; make it again.",
                file=str(path),
                row=row,
            )
        lines.add_each(frame.lines)
        for name, column in columns.items():
            parts.setdefault(name, []).append(column)
    columns = {name: np.concatenate(some) for name, some in parts.items()}
    if not columns:
        columns = {name: np.zeros(0, dtype=np.int64) for name in COLUMNS}
    rules.mend(columns, faults)
    rules.doubles(columns["job_id"], lines, faults)
    names: dict[str, Mapping[int, str]] = {
        kind: {int(number): label for number, label in known.items()}
        for kind, known in about.pop("names").items()
    }
    if labels:
        order = np.argsort(columns["job_id"], kind="stable")
        names["job"] = JobNames(columns["job_id"][order], np.array(labels, dtype=object)[order])
    about["notes"] = tuple(about["notes"])
    return from_columns(columns, names=names, source=str(path), **about)


def _about(path: Path, metadata: bytes) -> dict[str, Any]:
    try:
        about: dict[str, Any] = json.loads(metadata)
        version = about.pop("version")
        missing = {*ABOUT, "names"} - set(about)
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise _strange(path, "its metadata can't be read") from error
    if version != VERSION:
        raise _strange(path, f"it has version {version!r}, and this Meyrin reads {VERSION}")
    if missing:
        raise _strange(path, f"its metadata lacks {', '.join(sorted(missing))}")
    return {name: about[name] for name in (*ABOUT, "names")}


def _strange(path: Path, why: str) -> InvalidInput:
    return InvalidInput(
        f"{path} is no export of a trace that can be read: {why}",
        hint="Read the original log again, or use the Meyrin that wrote this file.",
        file=str(path),
    )


def _present(path: Path) -> list[str]:
    from meyrin.sim.trace.frames import parquet_names  # noqa: PLC0415

    names, _ = parquet_names(path)
    lacking = [name for name in COLUMNS if name not in names]
    if lacking:
        raise _strange(path, f"it has no column {', '.join(lacking)}")
    return [name for name in names if name in {*COLUMNS, *MORE, JOB_NAME}]
