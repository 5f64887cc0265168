"""Opens files where jobs may put links: the agent reads what they can't (credential, site's key).

A path says nothing there, for a job may put a link into it at any moment. What counts is where
the file lies that was opened.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from functools import cache
from pathlib import Path

Opener = Callable[[str, int], int]  # as `open` takes one


def at_once(path: str, flags: int) -> int:
    """Open without waiting, should it have become a pipe meanwhile."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


def place_of(file: int) -> str:
    """Where an open file really lies."""
    return os.readlink(f"/proc/self/fd/{file}")  # noqa: PTH115 - a hot path


@cache
def really(folder: Path) -> Path:
    """Where a folder of the agent lay when it was first asked for: a link that was there by then is
    the operator's (to a larger disk), one that comes later is a job's."""
    return folder.resolve()


def leads_out(path: Path, root: Path) -> bool:
    """Whether links lead a path out of `root`, which is named without any."""
    return not Path(os.path.realpath(path)).is_relative_to(root)


def only_in(root: Path) -> Opener:
    """Opens plain files that lie below `root`, which is named without links. Else OSError."""

    def opener(path: str, flags: int) -> int:
        file = at_once(path, flags)
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise OSError(errno.EPERM, "it is no plain file", path)
            if not Path(place_of(file)).is_relative_to(root):
                raise OSError(errno.EPERM, f"a link leads it out of {root.name}", path)
        except BaseException:
            os.close(file)
            raise
        return file

    return opener
