"""Script files in the spool: one for each text, however many jobs share it.

A fresh file for each job would cost more than its process: creating it, reading it for the first
time and removing it are three changes of the file system's journal. So elements of an array run
one file. It is not writable, and it is looked at before each start. A script that speaks of its
own file might remove it under the feet of its siblings, so each of its jobs has its own.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ITSELF = ("$0", "${0", "BASH_SOURCE", "__file__", "argv[0]", "PROGRAM_NAME", "/proc/", "$_")
KEPT = 32  # files that no running job uses, kept for the next
KEPT_CHARACTERS = 1 << 16

Signature = tuple[int, int, int, int]


@dataclass(slots=True)
class _File:
    name: str
    signature: Signature
    users: int = 0


class Scripts:
    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._by_text: dict[str, _File] = {}
        self._by_name: dict[str, str] = {}
        self._next = 1

    def path(self, name: str) -> str:
        return f"{self._folder}/{name}"

    def file_for(self, text: str) -> str:
        """The name of an executable file with this text. Raises OSError or UnicodeError."""
        found = self._by_text.get(text)
        if found:
            if _signature(self.path(found.name)) == found.signature:
                return found.name
            self._drop(text, found)
        name = self._write(text.encode("utf-8", "surrogateescape"))
        if any(word in text for word in ITSELF):
            return name
        signature = _signature(self.path(name))
        assert signature is not None, "the file was just written"
        self._by_text[text] = _File(name, signature)
        self._by_name[name] = text
        return name

    def _write(self, data: bytes) -> str:
        while True:
            name = f"s{self._next}"
            self._next += 1
            with suppress(FileExistsError):
                fd = os.open(
                    self.path(name), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o500
                )
                break
        try:
            while data:
                data = data[os.write(fd, data) :]
        except OSError:
            os.unlink(self.path(name))  # noqa: PTH108
            raise
        finally:
            os.close(fd)
        return name

    def use(self, name: str) -> None:
        """A running job uses it."""
        if (text := self._by_name.get(name)) is not None:
            self._by_text[text].users += 1

    def unused(self, name: str) -> None:
        """The job for which it was made did not start."""
        if name not in self._by_name:
            self.done(name)

    def done(self, name: str) -> None:
        """A job that used it has ended; files that nobody uses are kept while they are few."""
        text = self._by_name.get(name)
        if text is None:
            with suppress(OSError):
                os.unlink(self.path(name))  # noqa: PTH108 - its own, or replaced meanwhile
            return
        found = self._by_text[text]
        found.users -= 1
        if found.users == 0 and len(text) > KEPT_CHARACTERS:
            self._drop(text, found)
        elif len(self._by_text) > KEPT:
            idle = [(t, f) for t, f in self._by_text.items() if f.users == 0]
            for one, file in idle[: len(idle) - KEPT // 2]:
                self._drop(one, file)

    def _drop(self, text: str, found: _File) -> None:
        del self._by_text[text], self._by_name[found.name]
        if found.users == 0:
            with suppress(OSError):
                os.unlink(self.path(found.name))  # noqa: PTH108

    def clean(self, used: set[str]) -> None:
        """Remove what an earlier keeper left, but for the files that running jobs use."""
        for name in os.listdir(self._folder):  # noqa: PTH208
            if name not in used:
                with suppress(OSError):
                    os.unlink(self.path(name))  # noqa: PTH108


def _signature(path: str) -> Signature | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - a hot path
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_mode
