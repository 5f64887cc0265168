"""Which column of a table is which field of a job: a TOML file, checked before a row is read.

The logs of GPU clusters that Meyrin knows are such files too, in `mappings/`: good to copy from.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Literal, TypeAlias, cast

from pydantic import Field, field_validator, model_validator

from meyrin.domain.errors import InvalidInput
from meyrin.sim.toml_file import Table, check, read_toml
from meyrin.sim.trace.convert import MEMORY_UNITS, TIME_UNITS
from meyrin.sim.trace.model import Unit

INSTANTS = ("submit", "start", "end")
DURATIONS = ("wait", "run", "limit", "think")
COUNTS = ("processors", "nodes", "accelerators", "accelerator_milli")
LABELS = ("user", "group", "queue", "partition", "application", "request")
JobField: TypeAlias = Literal[
    "job",
    "submit",
    "start",
    "end",
    "wait",
    "run",
    "limit",
    "think",
    "processors",
    "nodes",
    "accelerators",
    "accelerator_milli",
    "memory",
    "status",
    "user",
    "group",
    "queue",
    "partition",
    "application",
    "request",
    "after",
]


class FromColumn(Table):
    """Where one field comes from, and how its text is read."""

    column: str
    unit: str = ""
    """Times: ns us ms s min h d, or slurm (1-02:03:04). Memory: B KB MB GB KiB MiB GiB TiB, or
    slurm (4Gc, 64Gn). Empty is s, and MiB."""
    format: str = "number"
    """Of a moment: number (with `unit`, from the log's zero), iso, or a strptime format."""
    factor: float = Field(default=1.0, gt=0)
    """Multiplies the number."""
    times: str = ""
    """A second column that multiplies the number (memory per node times nodes)."""
    empty: int | None = Field(default=None, ge=0)
    """What an empty cell means, in the column's own unit; without it: unknown."""
    values: dict[str, int] = Field(default_factory=dict)
    """Of a status: words of the log to 0 failed, 1 completed, 5 cancelled, -1 unknown."""
    optional: bool = False
    """A file without this column is read too."""


class Mapping(Table):
    """The whole file."""

    name: str = "table"
    about: str = ""
    match: list[str] = Field(default_factory=list)
    """Columns by which a file of this kind is known; all of them must be there."""
    delimiter: str = ","
    quoted: bool = True
    """Whether a field may be in double quotes."""
    time_zone: str = "UTC"
    """The zone of moments that name none (an IANA name)."""
    epoch_s: int | None = Field(default=None, ge=0)
    """Unix time of moment 0; moments in iso or a strptime format are Unix times already."""
    pool_unit: Unit = "processors"
    processors_total: int | None = Field(default=None, ge=1)
    accelerators_total: int | None = Field(default=None, ge=1)
    notes: list[str] = Field(default_factory=list)
    """What a reader of this log should know."""
    columns: dict[JobField, str | FromColumn]

    @field_validator("delimiter")
    @classmethod
    def _one_letter(cls, text: str) -> str:
        if len(text) != 1 or text in '"\n\r' or not text.isascii():
            raise ValueError("one ASCII letter, such as , ; | or a tab")
        return text

    @field_validator("time_zone")
    @classmethod
    def _a_zone(cls, name: str) -> str:
        import zoneinfo  # noqa: PLC0415

        try:
            zoneinfo.ZoneInfo(name)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("no time zone of this system; write it like Europe/Zurich") from None
        return name

    @model_validator(mode="after")
    def _enough(self) -> Mapping:
        said = self.columns
        if "submit" not in said:
            raise ValueError("columns must say where `submit` is")
        if "run" not in said and not {"start", "end"} <= set(said):
            raise ValueError("columns must say where `run` is, or `start` and `end`")
        if not {"processors", "accelerators", "accelerator_milli"} & set(said):
            raise ValueError("columns must say where `processors` or `accelerators` is")
        for name in said:
            self._check_unit(name)
        return self

    def _check_unit(self, name: JobField) -> None:
        unit = self.field(name).unit
        if name in (*INSTANTS, *DURATIONS):
            allowed = [*TIME_UNITS, *(["slurm"] if name in DURATIONS else [])]
        elif name == "memory":
            allowed = [*MEMORY_UNITS, "slurm"]
        else:
            allowed = []
        if unit and unit not in allowed:
            raise ValueError(
                f"{name} has unit {unit!r}; allowed: {', '.join(allowed) or 'none for this field'}"
            )

    def field(self, name: str) -> FromColumn:
        found = self.columns[cast(JobField, name)]
        return FromColumn(column=found) if isinstance(found, str) else found

    def needs(self, present: list[str]) -> list[str]:
        """The columns to read of a file with these. Raises KeyError naming a missing one."""
        wanted: dict[str, None] = {}
        for name in self.columns:
            source = self.field(name)
            if source.optional and source.column not in present:
                continue
            for column in (source.column, source.times):
                if column:
                    if column not in present:
                        raise KeyError(column)
                    wanted[column] = None
        return list(wanted)


class NoJobs(Table):
    """A kind of file that is known and holds no jobs."""

    match: list[str]
    what: str


class _KnownSeries(Table):
    series: list[NoJobs]


def load(path: Path) -> Mapping:
    """A user's mapping file. Raises `InvalidInput` naming the key."""
    return read_toml(path, Mapping)[0]


@cache
def shipped() -> dict[str, Mapping]:
    """The mappings of known logs, by name."""
    found = {}
    for file in sorted(resources.files(__package__).joinpath("mappings").iterdir(), key=str):
        if file.name.endswith(".toml") and file.name != "no-jobs.toml":
            written = tomllib.loads(file.read_text(encoding="utf-8"))
            one = check(written, Mapping, file.name)
            found[one.name] = one
    return found


@cache
def _series() -> tuple[NoJobs, ...]:
    file = resources.files(__package__).joinpath("mappings", "no-jobs.toml")
    written = tomllib.loads(file.read_text(encoding="utf-8"))
    return tuple(check(written, _KnownSeries, file.name).series)


def known(columns: list[str]) -> Mapping | None:
    """The shipped mapping that fits a table with these columns best, or None."""
    fits = [one for one in shipped().values() if set(one.match) <= set(columns)]
    return max(fits, key=lambda one: len(one.match), default=None)


def refuse_series(path: str, columns: list[str]) -> None:
    """Raise `InvalidInput` where these columns are those of a known file without jobs."""
    fits = [one for one in _series() if set(one.match) <= set(columns)]
    if fits:
        best = max(fits, key=lambda one: len(one.match))
        raise InvalidInput(
            f"{path} holds no jobs but {best.what}",
            hint="A trace has a submit time, a size and a run time for each job.",
            file=path,
        )
