"""Where a study's files are, and that they are still what they were.

A path in a scenario is relative to the scenario; one that begins with `shared:` is looked for in
the folder that the setting MEYRIN_SHARED names (default: `../shared` from where one stands).
"""

from __future__ import annotations

import functools
import os
from hashlib import sha256
from pathlib import Path

from meyrin.domain.errors import Failed, NotFound

SHARED = "shared:"


def shared_folder() -> Path:
    """The folder of real data that is too large, or not ours, to ship."""
    return Path(os.environ.get("MEYRIN_SHARED") or Path.cwd().parent / "shared")


def place_of(written: str, beside: Path, said_in: str = "") -> Path:
    """The file that a scenario means. NotFound, with the way out, where there is none; `said_in`
    is file, line and key that name it."""
    if written.startswith(SHARED):
        path = shared_folder() / written.removeprefix(SHARED)
        hint = (
            f"{SHARED} is the folder of the setting MEYRIN_SHARED, here {shared_folder()};"
            " set it, or name another file in the scenario"
        )
    else:
        path = beside / written
        hint = f"paths are relative to the scenario, which is in {beside}"
    if not path.is_file():
        raise NotFound(f"{said_in or written}: there is no file {path}", hint=hint, field=written)
    return path


@functools.lru_cache(maxsize=64)
def _digest(path: Path, changed_ns: int, size: int) -> str:  # noqa: ARG001 - the cache's key
    digest = sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def digest(path: Path) -> str:
    """SHA-256 of a file, worked out once for each state of it."""
    stat = path.stat()
    return _digest(path, stat.st_mtime_ns, stat.st_size)


def check_same(path: Path, known: str) -> None:
    """Failed where a file is no longer what it was when the study was planned."""
    if digest(path) != known:
        raise Failed(
            f"{path} has changed since this study was planned",
            hint="plan the study anew: its points stand for the files as they were",
            field=str(path),
        )
