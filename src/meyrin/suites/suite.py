"""A suite as code: its manifest, where suites are found, and the items they draw.

A suite is a Python package with a `suite.toml`, announced under the entry point group
`meyrin.suites`. Listing reads manifests and runs no code of a suite; items are drawn in the jail.
"""

from __future__ import annotations

import importlib
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Any

from meyrin.domain.errors import InvalidInput, NotFound
from meyrin.suites.item import KEEPS_CANARY, Item, check_scorer, plain

GROUP = "meyrin.suites"
INSPECT_EVALS = "inspect_evals/"
MANIFEST = "suite.toml"
_PLAIN = re.compile(r"[a-z0-9][a-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one run may use; the jail and the job are made from it."""

    walltime_s: int = 1800
    memory_mb: int = 2048
    processes: int = 256
    file_mb: int = 256
    output_chars: int = 16_384
    output_tokens: int = 64


@dataclass(frozen=True, slots=True)
class TaskEntry:
    """A part of a suite: `items` names a function of the package that draws items, or `inspect`
    an Inspect task as `module:function` or as its registered name.

    A score is written `name=scorer`, or as the scorer alone: so parts that are judged by unlike
    scorers can share one score, as a gate needs it.
    """

    name: str
    items: str = ""
    inspect: str = ""
    scores: tuple[str, ...] = ()
    weight: int = 1

    @property
    def judged(self) -> dict[str, str]:
        """The scorer of each score."""
        pairs = (told.partition("=") for told in self.scores)
        return {name: scorer or name for name, _, scorer in pairs}


@dataclass(frozen=True, slots=True)
class Suite:
    """What a manifest says."""

    name: str
    version: str
    title: str
    package: str
    folder: str
    tasks: tuple[TaskEntry, ...]
    cluster_key: str
    seed_rule: str
    samples: int
    canary: str
    limits: Limits
    data: tuple[tuple[str, str], ...]  # licence, source, fetched

    def draw(self, task: TaskEntry, seed: int, count: int) -> list[Item]:
        """The items of one task: the same for the same seed and count, everywhere."""
        module, _, function = task.items.partition(":")
        made = getattr(importlib.import_module(f"{self.package}.{module}"), function)
        items = list(made(seed, count))
        if len({item.id for item in items}) != len(items):
            raise InvalidInput(f"task {task.name} of suite {self.name} draws an id twice")
        return items

    def counts(self, samples: int) -> dict[str, int]:
        """How many samples each task draws, in proportion to its weight, together `samples`."""
        total = sum(task.weight for task in self.tasks)
        ends = [0]
        for task in self.tasks:
            ends.append(ends[-1] + task.weight)
        marks = [samples * end // total for end in ends]
        return {t.name: b - a for t, a, b in zip(self.tasks, marks, marks[1:], strict=False)}


def names() -> list[str]:
    """Every installed suite."""
    return sorted(each.name for each in metadata.entry_points(group=GROUP))


def each_suite() -> Iterator[Suite]:
    for name in names():
        yield find(name)


def find(name: str) -> Suite:
    """The suite of that name: installed, a folder with a `suite.toml`, or `inspect_evals/TASK`."""
    if "/" in name and (Path(name) / MANIFEST).is_file():
        folder = Path(name).resolve()
        return read(folder, folder.name)
    if name.startswith(INSPECT_EVALS):
        return _of_inspect_evals(name)
    for entry in metadata.entry_points(group=GROUP):
        if entry.name == name:
            return read(_folder_of(entry.value), entry.value)
    raise NotFound(
        f"there is no suite {name!r} here",
        hint=f"there are {', '.join(names()) or 'none'}; a suite is installed with pip",
        suite=name,
    )


def _folder_of(package: str) -> Path:
    try:
        spec = util.find_spec(package)
    except ImportError:
        spec = None
    places = list(spec.submodule_search_locations or ()) if spec else []
    if not places:
        raise NotFound(f"the suite's package {package} can't be found", suite=package)
    return Path(places[0])


def _of_inspect_evals(name: str) -> Suite:
    try:
        version = metadata.version("inspect_evals")
    except metadata.PackageNotFoundError:
        raise NotFound(
            f"{name} is a task of inspect_evals, which is not installed here",
            hint="install inspect-evals at the site, and bring its data there beforehand",
            suite=name,
        ) from None
    task = TaskEntry(name=name.removeprefix(INSPECT_EVALS), inspect=name)
    data = (("licence", "as inspect_evals says"), ("source", name))
    return Suite(
        name, version, f"The task {name}", "inspect_evals", "", (task,), "id", "none", 0, "",
        Limits(), data,
    )  # fmt: skip


def read(folder: Path, package: str) -> Suite:
    """The manifest in a suite's folder; InvalidInput names what can't be read."""
    path = folder / MANIFEST
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"{path} can't be read: {error}", hint="see docs/how-to/test-a-model.md"
        ) from error
    try:
        return _suite(dict(told), folder, package)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise InvalidInput(
            f"{path} is no manifest of a suite: {error}", hint="see docs/how-to/test-a-model.md"
        ) from error


def _suite(told: dict[str, Any], folder: Path, package: str) -> Suite:
    canary = str(told.pop("canary", ""))
    path = str(folder / MANIFEST)
    tasks = tuple(_task(dict(each), path, plain(canary)) for each in told.pop("task"))
    if not tasks or len({task.name for task in tasks}) != len(tasks):
        raise InvalidInput(f"{folder / MANIFEST}: a suite has tasks, each of its own name")
    data = tuple(sorted((str(k), str(v)) for k, v in told.pop("data").items()))
    if not dict(data).get("licence"):
        raise InvalidInput(f"{folder / MANIFEST} does not say its data's licence", field="data")
    limits = _limits(told.pop("limits", {}), str(folder / MANIFEST))
    suite = Suite(
        package=package, folder=str(folder), tasks=tasks, limits=limits, data=data,
        canary=canary, **told,
    )  # fmt: skip
    if not (_PLAIN.fullmatch(suite.name) and _PLAIN.fullmatch(suite.version)):
        raise InvalidInput(f"{folder / MANIFEST}: name and version are small letters and digits")
    if suite.seed_rule not in {"items", "none"} or suite.samples < 0:
        raise InvalidInput(f"{folder / MANIFEST}: seed_rule is items or none, samples 0 or more")
    return suite


def _task(told: dict[str, Any], path: str, canary: str) -> TaskEntry:
    scores = tuple(told.pop("scores", ()))
    task = TaskEntry(scores=scores, **told)
    for name in task.judged.values():
        check_scorer(name, path)
    if KEEPS_CANARY in task.judged.values() and not canary:
        raise InvalidInput(
            f"{path}: task {task.name} asks that a canary is kept, and there is none",
            hint="write canary = '…', with letters or digits, or leave the score out",
            field="canary",
        )
    if bool(task.items) == bool(task.inspect):
        raise InvalidInput(f"{path}: task {task.name} has either items or inspect", field="task")
    return task


def _limits(told: Mapping[str, Any], path: str) -> Limits:
    wrong = [name for name, value in told.items() if type(value) is not int or value < 1]
    if wrong:
        raise InvalidInput(f"{path}: limits are numbers of 1 or more", field=wrong[0])
    return Limits(**told)
