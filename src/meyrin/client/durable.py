"""What outlives a power cut: a file is synced before it gets its name, then the name's folder."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def sync_folder(path: Path | str) -> None:
    """Make the names in a folder durable, where its file system knows how."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(fd)


def write(path: str, data: bytes, mode: int) -> None:
    """A whole new file, its data on disk; its name is too once the caller syncs the folder. Who has
    the one before open keeps that. Only one may write to a path at a time. What lies in the
    place of its draft, of an earlier try or a link of a job's, is never written to."""
    part = f"{path}.new"
    how = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        fd = os.open(part, how, mode)
    except FileExistsError:
        os.unlink(part)  # noqa: PTH108
        fd = os.open(part, how, mode)
    try:
        while data:
            data = data[os.write(fd, data) :]
        os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(part, path)  # noqa: PTH104
