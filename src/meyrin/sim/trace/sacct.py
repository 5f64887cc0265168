"""Dumps of Slurm's accounting: `sacct --parsable2` with its header line.

Field names and forms: the manual page of sacct, "Job Accounting Fields". Steps (`123.batch`) are
no jobs and are counted apart; a job that still runs or waits has no run time.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from meyrin.domain.errors import InvalidInput
from meyrin.sim.trace import convert
from meyrin.sim.trace.faults import Faults
from meyrin.sim.trace.frames import text_frames
from meyrin.sim.trace.mapping import FromColumn, Mapping
from meyrin.sim.trace.model import Trace
from meyrin.sim.trace.stream import Source
from meyrin.sim.trace.table import read_table

if TYPE_CHECKING:
    import pandas as pd

COMMAND = (
    "sacct --allusers --parsable2 --allocations --noconvert --format=JobIDRaw,User,Account,"
    "Partition,QOS,State,Submit,Start,End,ElapsedRaw,TimelimitRaw,AllocCPUS,ReqCPUS,AllocNodes,"
    "ReqMem,AllocTRES --starttime=2026-01-01"
)

CHOICES: dict[str, tuple[tuple[str, FromColumn], ...]] = {
    "job": (
        ("JobIDRaw", FromColumn(column="JobIDRaw")),
        ("JobID", FromColumn(column="JobID")),
    ),
    "submit": (("Submit", FromColumn(column="Submit", format="iso")),),
    "start": (("Start", FromColumn(column="Start", format="iso")),),
    "end": (("End", FromColumn(column="End", format="iso")),),
    "run": (
        ("ElapsedRaw", FromColumn(column="ElapsedRaw")),
        ("Elapsed", FromColumn(column="Elapsed", unit="slurm")),
    ),
    "limit": (
        ("TimelimitRaw", FromColumn(column="TimelimitRaw", unit="min")),
        ("Timelimit", FromColumn(column="Timelimit", unit="slurm")),
    ),
    "user": (("User", FromColumn(column="User")), ("UID", FromColumn(column="UID"))),
    "group": (("Account", FromColumn(column="Account")), ("Group", FromColumn(column="Group"))),
    "queue": (("QOS", FromColumn(column="QOS")),),
    "partition": (("Partition", FromColumn(column="Partition")),),
    "status": (("State", FromColumn(column="State")),),
}
"""For each field the columns that can give it, the best first."""

CPUS = ("AllocCPUS", "NCPUS", "AllocTRES", "ReqCPUS", "ReqTRES")
NODES = ("AllocNodes", "NNodes", "AllocTRES", "ReqNodes", "ReqTRES")
GPUS = ("AllocTRES", "ReqTRES")
GOING = ("RUNNING", "SUSPENDED", "PENDING", "REQUEUED", "RESIZING", "CONFIGURING", "COMPLETING")


def is_sacct(columns: Sequence[str]) -> bool:
    return bool({"JobID", "JobIDRaw"} & set(columns)) and "Submit" in columns


def read_sacct(source: Source, faults: Faults) -> Trace:
    """The trace in a dump. Raises `InvalidInput` naming a column that is missing."""
    mapping: list[Mapping] = []

    def choose(columns: list[str]) -> list[str]:
        mapping.append(_mapping(columns, faults.path))
        return [name for name in columns if name in _USED]

    frames = iter(text_frames(source, "|", choose, faults, quoted=False))
    first = [*islice(frames, 1)]  # so that the header is read
    return read_table(chain(first, frames), mapping[0], faults, _ready)


_USED = {name for choice in CHOICES.values() for name, _ in choice}
_USED |= {*CPUS, *NODES, *GPUS, "ReqMem"}


def _mapping(columns: Sequence[str], path: str) -> Mapping:
    chosen: dict[Any, str | FromColumn] = {}
    for name, choice in CHOICES.items():
        found = next((source for column, source in choice if column in columns), None)
        if found is not None:
            chosen[name] = found
    chosen["processors"] = "_cpus"
    chosen["nodes"] = "_nodes"
    chosen["accelerators"] = "_gpus"
    if {"ReqMem", "AllocTRES", "ReqTRES"} & set(columns):
        chosen["memory"] = FromColumn(column="_memory", unit="slurm")
    lacking = []
    if "submit" not in chosen:
        lacking.append("Submit")
    if "run" not in chosen and not {"start", "end"} <= set(chosen):
        lacking.append("ElapsedRaw")
    if not {*CPUS} & set(columns):
        lacking.append("AllocCPUS")
    if lacking:
        raise InvalidInput(
            f"{path} is a dump of sacct without {', '.join(lacking)}",
            hint=f"Make it with: {COMMAND}",
            file=path,
        )
    return Mapping(
        name="sacct",
        delimiter="|",
        quoted=False,
        notes=["sacct's moments name no zone; they are read as UTC."],
        columns=chosen,
    )


def _ready(cells: pd.DataFrame) -> tuple[pd.DataFrame, NDArray[np.bool_]]:
    """Sizes from the columns that have them, no run time where a job goes on; and the steps."""
    ids = cells["JobID"] if "JobID" in cells else cells["JobIDRaw"]
    steps = np.asarray(ids.str.contains(".", regex=False), dtype=np.bool_)
    made = {
        "_cpus": _first(cells, CPUS, "cpu"),
        "_nodes": _first(cells, NODES, "node"),
        "_gpus": _first(cells, GPUS, "gres/gpu"),
        "_memory": _first(cells, ("AllocTRES", "ReqMem", "ReqTRES"), "mem"),
    }
    if set(GPUS) & set(cells.columns):  # it lists accelerators, so none listed are none
        made["_gpus"] = made["_gpus"].mask(made["_gpus"] == "", "0")
    cells = cells.assign(**made)
    if "State" in cells:
        going = cells["State"].str.split(n=1).str[0].str.rstrip("+").isin(GOING)
        for name in {"Elapsed", "ElapsedRaw", "End"} & set(cells.columns):
            cells[name] = cells[name].mask(going, "")
    return cells, steps


def _first(cells: pd.DataFrame, columns: Sequence[str], what: str) -> pd.Series:
    """The first of these columns that says something above zero, as text."""
    import pandas as pd  # noqa: PLC0415

    found = pd.Series("", index=cells.index, dtype=str)
    for name in columns:
        if name in cells:
            said = convert.tres(cells[name], what) if name.endswith("TRES") else cells[name]
            found = found.mask(found.isin(["", "0"]), said.str.strip())
    return found
