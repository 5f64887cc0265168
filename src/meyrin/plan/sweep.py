"""The points of a study, computed wherever there are cores, each once.

A point is a value and the facts that decide its outcome. Its outcome is kept under the SHA-256 of
those facts and of the code, so a study that was stopped goes on where it was, and one that changes
a number computes only what the number touches. Where a point runs changes no byte of its outcome;
which place that is (this machine, a Dask cluster, a facility) is a `Place`, and nobody else asks.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import os
import secrets
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from meyrin.domain.errors import Failed, InvalidInput

Files = Mapping[str, bytes]
Work = Callable[[Any], Files]
"""A function of a module that turns a point's value into its outcome, files by name; same value,
same bytes."""

DECIDING = ("domain", "engine", "sim", "plan")  # floors whose code may change an outcome
READING = (  # what comes before and after the points does not
    "plan/batch.py",
    "plan/differences.py",
    "plan/impact.py",
    "plan/on_facility.py",
    "plan/places.py",
    "plan/report",
    "plan/sweep.py",
)
LARGE = 1 << 16  # bytes of a file from which on it is worth a look whether it is there already


@dataclass(frozen=True, slots=True)
class Point:
    """One run of a study. `name` is for people, `facts` is JSON: all that decides the outcome
    (digests of files, seed, options); `value` is what the work gets, and can be pickled."""

    name: str
    facts: Mapping[str, Any]
    value: Any


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a sweep is. `left_s` is None until something is known about it."""

    done: int
    total: int
    kept: int
    """Of those done, how many were there before."""
    left_s: float | None


class Place(Protocol):
    """Somewhere that points can run. Gives outcomes in any order, by key, as they come."""

    def run(
        self, work: Work, points: Sequence[tuple[str, Point]]
    ) -> Iterator[tuple[str, Files]]: ...


@cache
def code_version() -> str:
    """16 hexadecimal digits that change with any source that may change an outcome."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for floor in DECIDING:
        for path in sorted((root / floor).rglob("*.py")):
            name = path.relative_to(root).as_posix()
            if not name.startswith(READING):
                source = path.read_bytes()
                digest.update(f"{name} {len(source)}\n".encode() + source)
    return digest.hexdigest()[:16]


def key(point: Point, work: Work) -> str:
    """The name under which the outcome of this point by this code is kept."""
    said = {
        "code": code_version(),
        "facts": point.facts,
        "work": f"{work.__module__}:{work.__name__}",
    }
    text = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


class Kept:
    """Outcomes by key, a folder each, below one folder. An outcome is there whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._same: dict[bytes, Path] = {}

    def path(self, name: str) -> Path:
        return self.folder / name[:2] / name

    def has(self, name: str) -> bool:
        return self.path(name).is_dir()

    def put(self, name: str, files: Files) -> None:
        """Keep it, also through a power cut. Failed where the disk says no."""
        path = self.path(name)
        part = path.with_name(f".{name}.{secrets.token_hex(4)}.part")
        try:
            part.mkdir(parents=True)
            for file, content in files.items():
                self._write(part / file, content)
            if not path.exists():
                part.rename(path)
                self._remember(path, files)
        except OSError as error:
            raise Failed(f"{path} can't be written: {error.strerror}") from error
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def _write(self, path: Path, content: bytes) -> None:
        """The file; where another point left the same content, one more name for it."""
        if len(content) >= LARGE:
            same = self._same.get(hashlib.sha256(content).digest())
            if same is not None:
                with contextlib.suppress(OSError):
                    path.hardlink_to(same)
                    return
        _write(path, content)

    def _remember(self, path: Path, files: Files) -> None:
        for file, content in files.items():
            if len(content) >= LARGE:
                self._same[hashlib.sha256(content).digest()] = path / file


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sweep(
    points: Sequence[Point],
    work: Work,
    kept: Kept,
    place: Place,
    clock: Callable[[], float],
    told: Callable[[Standing], None] = lambda _: None,
) -> list[Path]:
    """Where the outcome of each point lies, in the points' order; computes those that miss.

    Points that are the same run once. Whatever stops it, what had come by then is kept.
    """
    names = [key(point, work) for point in points]
    missing = {name: one for name, one in zip(names, points, strict=True) if not kept.has(name)}
    total = len(set(names))
    before = total - len(missing)
    told(Standing(before, total, before, None))
    if missing:
        begun = clock()
        for come, (name, content) in enumerate(place.run(work, list(missing.items())), 1):
            kept.put(name, content)
            left = (clock() - begun) / come * (len(missing) - come)
            told(Standing(before + come, total, before, left))
    return [kept.path(name) for name in names]


# --- this machine


def _deaf() -> None:
    """Ctrl-C is the parent's to hear: it ends its children."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@dataclass(frozen=True, slots=True)
class Here:
    """The cores of this machine, a process each; one core needs no other process."""

    cores: int

    def run(self, work: Work, points: Sequence[tuple[str, Point]]) -> Iterator[tuple[str, Files]]:
        if self.cores == 1 or len(points) == 1:
            for name, point in points:
                yield name, work(point.value)
            return
        spawn = multiprocessing.get_context("spawn")  # a fork would carry the kernels' threads
        pool = ProcessPoolExecutor(min(self.cores, len(points)), spawn, _deaf)
        try:
            yield from _as_they_come(pool, work, points)
        except BrokenProcessPool as error:
            raise Failed(
                "a process of this sweep was ended from outside, perhaps for want of memory",
                hint="run the same command again with fewer --cores: it goes on where it was",
            ) from error
        finally:
            _end(pool)


def _as_they_come(
    pool: ProcessPoolExecutor, work: Work, points: Sequence[tuple[str, Point]]
) -> Iterator[tuple[str, Files]]:
    running = {pool.submit(work, point.value): name for name, point in points}
    while running:
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            yield running.pop(future), future.result()


def _end(pool: ProcessPoolExecutor) -> None:
    """End the pool now: what runs in it is of no use to anybody any more."""
    children = list((pool._processes or {}).values())  # noqa: SLF001 - kill_workers() is 3.14's
    pool.shutdown(wait=False, cancel_futures=True)
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            child.terminate()
    pool.shutdown(wait=True)


def cores_here() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_cores(cores: int) -> int:
    """`cores` if that many processes make sense. InvalidInput for fewer than one."""
    if cores < 1:
        raise InvalidInput(f"--cores is {cores}", hint="one or more", field="--cores", value=cores)
    return cores
