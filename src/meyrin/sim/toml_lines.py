"""On which line of a TOML file a key stands: the parser doesn't say, and people need to know.

Knows the forms that people write by hand: tables, arrays of tables, keys and dotted keys, each on
a line of its own. What stands inside a value has the line of its key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_HEAD = re.compile(r"\s*(\[\[?)\s*([^\]#]+?)\s*\]\]?")
_KEY = re.compile(r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*[A-Za-z0-9_-]+)*)\s*=""")
_LONG = ('"""', "'''")

Place = tuple[int | str, ...]


class Places:
    """Where the keys of a text are."""

    def __init__(self, text: str) -> None:
        self._lines: dict[Place, int] = {(): 1}
        self._counts: dict[Place, int] = {}
        self._read(text)

    def line(self, loc: Iterable[int | str]) -> int:
        """The line, from 1, of the key at `loc`, or of the nearest table that holds it."""
        place = tuple(loc)
        while place not in self._lines:
            place = place[:-1]
        return self._lines[place]

    def _read(self, text: str) -> None:
        table: Place = ()
        within = ""
        for number, line in enumerate(text.splitlines(), 1):
            if within:
                within = "" if line.count(within) % 2 else within
                continue
            if head := _HEAD.match(line):
                table = self._table(head[2], many=head[1] == "[[")
                self._lines.setdefault(table, number)
            elif key := _KEY.match(line):
                place = table + _parts(key[1])
                for end in range(len(table) + 1, len(place) + 1):
                    self._lines.setdefault(place[:end], number)
            within = next((mark for mark in _LONG if line.count(mark) % 2), "")

    def _table(self, words: str, *, many: bool) -> Place:
        """The place of a table; parts that are arrays get the number of their last element."""
        place: Place = ()
        parts = _parts(words)
        for at, part in enumerate(parts):
            place += (part,)
            if many and at == len(parts) - 1:
                self._counts[place] = self._counts.get(place, -1) + 1
            if place in self._counts:
                place += (self._counts[place],)
        return place


def _parts(words: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in words.split("."))
