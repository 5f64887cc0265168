"""What a person asks for: the request, before anybody decided anything.

These values are also the bodies on the wire (pydantic reads plain dataclasses), so a new field
is added here once. Amounts are as the person wrote them; `engine.admission.shape` turns them
into nodes and shares of a node for one partition.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, Literal

from meyrin.domain.errors import InvalidInput

Per = Literal["job", "node", "task"]
MemoryPer = Literal["node", "core", "accelerator"]

MAX_NAME = 200
MIN_KEY, MAX_KEY = 8, 200  # characters of an idempotency key
MAX_SCRIPT_BYTES = 4 * 2**20  # Slurm's own default is 4 MiB (slurm.conf(5), max_script_size)
MAX_ARRAY = 100_000
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FORBID = {"extra": "forbid"}


def _need(ok: bool, name: str, value: object, hint: str) -> None:
    if not ok:
        raise InvalidInput(f"{name} can't be {value!r}", hint=hint, field=name, value=str(value))


def checked_key(key: str) -> str:
    """An idempotency key that a hub takes; else InvalidInput. An empty one protects from
    nothing."""
    if not MIN_KEY <= len(key) <= MAX_KEY:
        raise InvalidInput(
            f"an idempotency key has {MIN_KEY} to {MAX_KEY} characters",
            hint="write one such as train-2026-12-01, or leave it out",
            field="idempotency_key",
            value=key,
        )
    return key


@dataclass(frozen=True, slots=True)
class Resources:
    """What one job wants at once, in Slurm's terms; None means "not said"."""

    __pydantic_config__: ClassVar = _FORBID

    nodes_min: int | None = None
    nodes_max: int | None = None
    tasks: int | None = None
    tasks_per_node: int | None = None
    cores_per_task: int = 1
    memory_mb: int | None = None
    memory_per: MemoryPer = "node"
    accelerators: int = 0
    accelerators_per: Per = "job"
    accelerator_type: str | None = None
    exclusive: bool = False

    def __post_init__(self) -> None:
        for name in ("nodes_min", "nodes_max", "tasks", "tasks_per_node", "cores_per_task"):
            value = getattr(self, name)
            _need(value is None or 1 <= value <= 10_000_000, name, value, "write 1 or more")
        _need(
            self.memory_mb is None or 0 <= self.memory_mb <= 2**40,
            "memory_mb",
            self.memory_mb,
            "write MiB; 0 means all of a node",
        )
        _need(0 <= self.accelerators <= 10_000_000, "accelerators", self.accelerators, "0 or more")
        if self.nodes_min and self.nodes_max:
            _need(
                self.nodes_min <= self.nodes_max,
                "nodes_max",
                self.nodes_max,
                f"at least nodes_min, which is {self.nodes_min}",
            )


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """Indices of an array in rising order, and how many elements may run at once (0: any)."""

    __pydantic_config__: ClassVar = _FORBID

    indices: tuple[int, ...]
    max_running: int = 0

    def __post_init__(self) -> None:
        _need(
            1 <= len(self.indices) <= MAX_ARRAY,
            "array",
            f"{len(self.indices)} elements",
            f"an array has 1 to {MAX_ARRAY} elements",
        )
        rising = all(a < b for a, b in zip(self.indices, self.indices[1:], strict=False))
        _need(rising and self.indices[0] >= 0, "array", self.indices[:5], "rising, from 0 on")
        _need(self.max_running >= 0, "array limit", self.max_running, "0 or more")


class DependencyKind(StrEnum):
    AFTER_OK = "afterok"
    AFTER_ANY = "afterany"
    AFTER_NOT_OK = "afternotok"
    SINGLETON = "singleton"


@dataclass(frozen=True, slots=True)
class Dependency:
    """One condition; `job` is None for singleton. `element` is an array index, None for all."""

    __pydantic_config__: ClassVar = _FORBID

    kind: DependencyKind
    job: int | None = None
    element: int | None = None

    def __post_init__(self) -> None:
        _need(
            (self.job is None) == (self.kind is DependencyKind.SINGLETON),
            "dependency",
            f"{self.kind}:{self.job}",
            "all but singleton name a job",
        )


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file that the job finds in its working directory under `name` (a relative path)."""

    __pydantic_config__: ClassVar = _FORBID

    name: str
    sha256: str
    size: int
    executable: bool = False

    def __post_init__(self) -> None:
        _need(bool(_SHA256.fullmatch(self.sha256)), "sha256", self.sha256, "64 hexadecimal digits")
        parts = self.name.split("/")
        inside = bool(self.name) and not self.name.startswith("/") and ".." not in parts
        _need(inside and "\0" not in self.name, "input", self.name, "a path below the job's folder")


def check_input_names(names: Iterable[str]) -> None:
    """Raise InvalidInput unless a job's folder can hold files of all these names at once: each a
    plain path below it, none of them a folder of another."""
    there = set(names)
    for name in sorted(there):
        parts = name.split("/")
        plain = not {"", ".", ".."} & set(parts)
        _need(plain, "input", name, "a path below the job's folder, such as data/a.csv")
        above = ("/".join(parts[:depth]) for depth in range(1, len(parts)))
        if clash := next((folder for folder in above if folder in there), None):
            raise InvalidInput(
                f"an input can't be called {name!r}: another is called {clash!r}",
                hint="name one of them anew: --input PATH=NAME",
                field="input",
            )


@dataclass(frozen=True, slots=True)
class WarnSignal:
    """`--signal=[B:]NAME[@seconds]`: sent `before_s` before the wall time ends."""

    __pydantic_config__: ClassVar = _FORBID

    name: str
    before_s: int = 60
    shell_only: bool = False


@dataclass(frozen=True, slots=True)
class JobRequest:
    """An sbatch script with its options, or a command, as one value.

    `environment` holds what travels to the job; output names may hold Slurm's patterns
    (`%j`, `%A`, `%a`, `%x`, `%N`, `%u`). `any_dependency` is the `?` separator: one is enough.
    """

    __pydantic_config__: ClassVar = _FORBID

    script: str
    name: str = "job"
    arguments: tuple[str, ...] = ()
    project: str | None = None
    sites: tuple[str, ...] = ()
    partitions: tuple[str, ...] = ()
    resources: Resources = field(default_factory=Resources)
    walltime_s: int | None = None
    array: ArraySpec | None = None
    dependencies: tuple[Dependency, ...] = ()
    any_dependency: bool = False
    kill_on_invalid_dependency: bool = True
    begin_s: int | None = None
    deadline_s: int | None = None
    held: bool = False
    nice: int = 0
    features: tuple[str, ...] = ()
    requeue: bool = False
    environment: tuple[tuple[str, str], ...] = ()
    submit_dir: str | None = None
    submit_host: str | None = None
    chdir: str | None = None
    stdin: str | None = None
    stdout: str | None = None
    stderr: str | None = None
    append_output: bool = False
    warn_signal: WarnSignal | None = None
    inputs: tuple[InputFile, ...] = ()
    output_files: tuple[str, ...] = ()
    comment: str = ""

    def __post_init__(self) -> None:
        size = len(self.script.encode("utf-8", "surrogatepass"))
        _need(0 < size <= MAX_SCRIPT_BYTES, "script", f"{size} bytes", "1 byte to 4 MiB")
        _need("\0" not in self.script, "script", "with a NUL byte", "is this a text file?")
        _need(0 < len(self.name) <= MAX_NAME, "name", self.name, f"1 to {MAX_NAME} characters")
        _need(
            self.walltime_s is None or 1 <= self.walltime_s <= 10**9,
            "walltime_s",
            self.walltime_s,
            "seconds, 1 or more",
        )
        for pattern in self.output_files:
            outside = pattern.startswith("/") or ".." in pattern.split("/") or not pattern
            _need(not outside, "output_files", pattern, "a pattern below the job's folder")
        for key, _ in self.environment:
            _need(bool(key) and "=" not in key and "\0" not in key, "environment", key, "a name")
