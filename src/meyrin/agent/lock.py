"""One process at a time in a folder: a lock that ends with its process."""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from meyrin.domain.errors import Conflict


@dataclass(frozen=True, slots=True)
class Lock:
    """A held lock; `close` or the end of the process gives it back."""

    file: int

    def close(self) -> None:
        os.close(self.file)


def hold_lock(path: Path, what: str, folder: Path) -> Lock:
    """Take the lock at `path`; Conflict names the process that has it."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.read(file, 32).decode(errors="replace").strip()
        os.close(file)
        raise Conflict(
            f"{what} (process {holder or 'unknown'}) works in {folder} already",
            hint="use that one, end it, or choose another folder",
        ) from error
    os.ftruncate(file, 0)
    os.write(file, f"{os.getpid()}\n".encode())
    return Lock(file)
