"""What one point of a study leaves on disk: jobs, site-hours, and a note of what made them.

A point's folder holds four files, the same bytes for the same point wherever it was run:

- `jobs.parquet` (`JOBS`), a row per job in order of submission;
- `site_hours.parquet` (`SITE_HOURS`), a row per site and hour, by site, then hour;
- `measures.json`, what `plan.measures` works out of both;
- `point.json` (`about`), what was run and the SHA-256 of every input.

Everything is an integer or a word, so that a second program can work out each number of a report
from these files alone. Times are seconds from the scenario's `begin`; the run ends at
`hours * 3600`. Jobs with the same `job` number in two options of one seed and size rule are the
same job: differences are taken job by job.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

JOBS_FILE, HOURS_FILE, ABOUT_FILE = "jobs.parquet", "site_hours.parquet", "point.json"
MEASURES_FILE = "measures.json"
VERSION = 2
"""Goes up when a column changes its meaning."""

JOBS: dict[str, tuple[str, str]] = {
    "job": ("int64", "number in the workload: the same job in every option of this seed and rule"),
    "home": ("word", "site that the job's user would use today"),
    "site": ("word", "site where it ran last; empty: it never started"),
    "country": ("word", "the user's country, ISO 3166-1 alpha-2"),
    "group": ("word", "the user's group, as the scenario names it"),
    "user": ("int32", "number of the user"),
    "kind": ("word", "part of the workload: its name in the scenario"),
    "accelerators": ("int32", "accelerators that it needs at once"),
    "submit_s": ("int64", "when it was submitted"),
    "start_s": ("int64", "first start; -1: not by the end of the run"),
    "end_s": ("int64", "end of its last attempt, may lie after the run; -1: none is known by then"),
    "requested_s": ("int64", "limit that its user set, at home"),
    "run_s": ("int64", "run time at home without failures; unlike end-start it has no restarts"),
    "restarts": ("int32", "attempts that a failure or a preemption ended"),
    "lost_s": ("int64", "accelerator-seconds that those attempts lost"),
    "moved_mb": ("int64", "data moved because it ran away from home, 10^6 bytes"),
    "deferred_s": ("int64", "seconds that it was held back on a power signal"),
    "counted": ("bool", "submitted after the warm-up: only these go into figures on waits"),
    "unserved": ("word", "empty, or why it had no result by the end: see UNSERVED"),
}
TOO_LARGE = "too large"
NOT_STARTED = "not started"
NOT_ENDED = "not ended"
UNSERVED = {
    TOO_LARGE: "larger than each machine that it may use",
    NOT_STARTED: "still waiting at the end of the run",
    NOT_ENDED: "running, or waiting to be restarted, at the end of the run",
}

SITE_HOURS: dict[str, tuple[str, str]] = {
    "site": ("word", "name of the site"),
    "hour": ("int32", "hours since the scenario's begin"),
    "used_s": ("int64", "accelerator-seconds given to jobs, lost ones too"),
    "lost_s": ("int64", "of these, in the hour in which they were lost: work done for nothing"),
    "available_s": ("int64", "accelerator-seconds in service: installed less maintenance, repair"),
    "installed_s": ("int64", "accelerator-seconds installed and opened by then"),
    "energy_j": ("int64", "energy at the meter, cooling included"),
    "pue_milli": ("int32", "power usage effectiveness in thousandths"),
    "price_millicents_per_kwh": ("int64", "price of electricity"),
    "energy_millicents": ("int64", "cost of that energy"),
    "capital_millicents": ("int64", "hardware, building and upkeep written off in this hour"),
    "carbon_mg_per_kwh": ("int64", "carbon intensity of the grid"),
    "carbon_mg": ("int64", "emissions of that energy"),
    "signal": ("bool", "the grid asks for less power in this hour"),
    "moved_out_j": ("int64", "energy of deferrable jobs held back in this hour"),
    "moved_in_j": ("int64", "the same energy, where and when it was used after all"),
}

_TYPES = {"int64": np.int64, "int32": np.int32, "bool": np.bool_}


@dataclass(frozen=True, slots=True)
class Words:
    """A column of words: `number[row]` is a place in `names`."""

    names: tuple[str, ...]
    number: np.ndarray[Any, Any]


Column = np.ndarray[Any, Any] | Words


def table_bytes(columns: Mapping[str, Column], form: Mapping[str, tuple[str, str]]) -> bytes:
    """A Parquet file of exactly the columns of `form`, in its order."""
    import pyarrow.parquet as pq  # noqa: PLC0415 - heavy

    assert set(columns) == set(form), set(columns) ^ set(form)
    arrays = {name: _array(columns[name], kind) for name, (kind, _) in form.items()}
    return _written(arrays, form, pq)


def _array(column: Column, kind: str) -> pa.Array:
    import pyarrow as pa  # noqa: PLC0415

    if isinstance(column, Words):
        assert kind == "word"
        numbers = pa.array(np.ascontiguousarray(column.number, np.int32))
        return pa.DictionaryArray.from_arrays(numbers, pa.array(column.names, pa.string()))
    return pa.array(np.ascontiguousarray(column, _TYPES[kind]))


def _written(arrays: Mapping[str, Any], form: Mapping[str, tuple[str, str]], pq: Any) -> bytes:
    import pyarrow as pa  # noqa: PLC0415

    fields = [
        pa.field(name, array.type, metadata={"meaning": form[name][1]})
        for name, array in arrays.items()
    ]
    schema = pa.schema(fields, metadata={"meyrin.outcome": str(VERSION)})
    sink = io.BytesIO()
    table = pa.Table.from_arrays(list(arrays.values()), schema=schema)
    words = [name for name, (kind, _) in form.items() if kind == "word"]
    pq.write_table(
        table, sink, compression="zstd", compression_level=1, store_schema=True,
        use_dictionary=words, write_statistics=False,
    )  # fmt: skip
    return sink.getvalue()


def about_bytes(about: Mapping[str, Any]) -> bytes:
    """`point.json`: keys in order, no clock, no machine, no path."""
    return (json.dumps(about, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    """The files of a point into `folder`, the note last: a folder with a note is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in sorted(files, key=lambda name: name == ABOUT_FILE):
        part = folder / f".{name}.part"
        part.write_bytes(files[name])
        part.replace(folder / name)


def is_whole(folder: Path, key: str) -> bool:
    """Whether `folder` holds the whole outcome of the point of this key."""
    try:
        about = json.loads((folder / ABOUT_FILE).read_bytes())
    except (OSError, ValueError):
        return False
    return bool(about.get("key") == key and about.get("version") == VERSION)
