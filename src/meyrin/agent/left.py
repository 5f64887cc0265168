"""What a job left below its folder under the patterns that it asked for.

Jobs ask for and leave whatever they like, so nothing here raises for it, or takes longer than
there are entries and parts of a pattern: links in a circle, folders that nobody may enter, or
more of them in each other than Python goes down. That is why it is no `Path.glob`.
"""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass, field
from fnmatch import translate
from pathlib import Path, PurePosixPath

from meyrin.agent.within import leads_out

_Part = re.Pattern[str] | None


@dataclass(frozen=True, slots=True)
class Left:
    """Files, and what there is that can't be looked at, each with the system's word for it."""

    files: list[Path]
    closed: list[tuple[Path, str]]


def matches(folder: Path, patterns: tuple[str, ...]) -> Left:
    """What is below `folder`, which is named without links, that a pattern matches (`**` crosses
    folders); never a link that leads out of it, and nothing where one was put in its place. A
    folder stands for all in it, links to files of the job included."""
    files: set[Path] = set()
    closed: dict[Path, str] = {}
    if leads_out(folder, folder):
        return Left([], [(folder, "a link is in the place of the job's folder")])
    if folder.is_dir():
        for pattern in patterns:
            walk = _Walk(folder, _parts(pattern))
            walk.all_from(folder)
            files |= walk.files
            closed |= walk.closed
    return Left(sorted(files), sorted(closed.items()))


def _parts(pattern: str) -> list[_Part]:
    """A pattern by folders; None is `**`. One with `**` inside of a name matches nothing."""
    parts = PurePosixPath(pattern).parts
    if any("**" in part and part != "**" for part in parts):
        return [re.compile(r"(?!)")]
    return [None if part == "**" else re.compile(translate(part)) for part in parts]


@dataclass(slots=True)
class _Walk:
    """All entries that one pattern can lead to, each with the places in it that they are at."""

    root: Path
    parts: list[_Part]
    files: set[Path] = field(default_factory=set)
    closed: dict[Path, str] = field(default_factory=dict)
    _todo: list[tuple[Path, set[int]]] = field(default_factory=list)
    _through: set[tuple[Path, frozenset[int]]] = field(default_factory=set)

    def all_from(self, folder: Path) -> None:
        self._todo.append((folder, self._and_on({0})))
        while self._todo:
            place, at = self._todo.pop()
            try:
                with os.scandir(place) as found:
                    entries = list(found)
            except OSError as error:
                if self._end in at:
                    self._shut(place, error)
                continue
            for entry in entries:
                self._look(place / entry.name, entry, at)

    @property
    def _end(self) -> int:
        return len(self.parts)

    def _look(self, path: Path, entry: os.DirEntry[str], at: set[int]) -> None:
        link = entry.is_symlink()
        here, as_file = ({self._end}, True) if self._end in at else self._step(at, path.name, link)
        if not here:
            return
        try:
            real = path.resolve() if link else path
            if link and not real.is_relative_to(self.root):
                return
            if not entry.is_dir():
                if as_file and entry.is_file():
                    self.files.add(path)
            elif not link:
                self._todo.append((path, here))
            elif (real, frozenset(here)) not in self._through:  # each way through links once
                self._through.add((real, frozenset(here)))
                self._todo.append((path, here - {self._end}))
        except RuntimeError:  # a link in a circle, as Python 3.11 has it
            return
        except OSError as error:
            self._shut(path, error)

    def _shut(self, path: Path, error: OSError) -> None:
        if error.errno != errno.ELOOP:
            self.closed[path] = error.strerror or str(error)

    def _step(self, at: set[int], name: str, link: bool) -> tuple[set[int], bool]:
        """Where in the pattern an entry is whose folder is at `at`, and whether that is its end
        for a file. `**` goes through no link, and stands for folders: `a/**` is not the file `a`.
        """
        named, inside = set(), set()
        for place in at:
            part = self.parts[place]
            if part is None and not link:
                inside.add(place)
            elif part is not None and part.match(name):
                named.add(place + 1)
        inside = self._and_on(inside)
        return inside | self._and_on(named), self._end in named | inside

    def _and_on(self, at: set[int]) -> set[int]:
        """These places and those behind each `**`, which may stand for nothing."""
        found = set(at)
        for place in at:
            behind = place
            while behind < self._end and self.parts[behind] is None:
                behind += 1
                found.add(behind)
        return found
