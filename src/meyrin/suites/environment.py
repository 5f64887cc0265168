"""Fingerprints of what a run depends on: the model's files, the items, the packages."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from meyrin.domain.errors import InvalidInput
from meyrin.suites.facts import canonical
from meyrin.suites.item import Item

_PIECE = 1 << 20


def file_digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def model_files(folder: Path) -> list[tuple[str, str, int]]:
    """Each file of a model as (name, SHA-256, size), by name. Links would lead elsewhere."""
    if not folder.is_dir():
        raise InvalidInput(
            f"{folder} is no folder with a model", hint="give the folder", field="model"
        )
    found = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise InvalidInput(f"{path} is a link; a model is plain files", field="model")
        if path.is_file():
            found.append((name, file_digest(path), path.stat().st_size))
    if not found:
        raise InvalidInput(f"{folder} is empty: there is no model in it", field="model")
    return found


def weights_digest(files: Iterable[tuple[str, str, int]]) -> str:
    """One digest of a model's files, from their names, contents and sizes."""
    return hashlib.sha256(canonical([list(each) for each in sorted(files)])).hexdigest()


def data_digest(items: Iterable[tuple[str, Item]]) -> str:
    """One digest of all items of a run, each with the name of its task."""
    rows = sorted([task, i.id, i.cluster, i.input, i.target] for task, i in items)
    return hashlib.sha256(canonical(rows)).hexdigest()


def environment_digest(suite: Path | None = None) -> str:
    """One digest of interpreter, every installed package with its version, and a suite's code."""
    packages = sorted(
        {f"{d.name.lower()}=={d.version}" for d in metadata.distributions() if d.name}
    )
    told = [platform.python_implementation(), platform.python_version(), platform.machine()]
    code = []
    if suite is not None:
        code = sorted(
            [path.relative_to(suite).as_posix(), file_digest(path)]
            for path in suite.rglob("*")
            if path.is_file() and path.suffix != ".pyc"
        )
    return hashlib.sha256(canonical([told, packages, code])).hexdigest()
