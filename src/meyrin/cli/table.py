"""Tables that fit the terminal. Where nobody looks (a pipe, a file) nothing is cut."""

from __future__ import annotations

import shutil
import sys
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from meyrin.cli.terminal import clean, is_terminal

GAP = "  "
NARROWEST = 6


@dataclass(frozen=True, slots=True)
class Column:
    """`flexible` columns give way, widest first, when the terminal is narrow."""

    title: str
    right: bool = False
    flexible: bool = False


def columns(titles: str) -> list[Column]:
    """Columns from words: `ID> NAME~ STATE` is right-aligned, flexible, plain."""
    return [
        Column(word.rstrip("~>").replace("_", " "), word.endswith(">"), word.endswith("~"))
        for word in titles.split()
    ]


def table(
    heads: Sequence[Column],
    rows: Sequence[Sequence[object]],
    *,
    width: int | None = None,
    colour: Callable[[int, int, str], str] = lambda _row, _column, text: text,
) -> str:
    """The rows as text. `width` None asks the terminal; `colour(row, column, cell)` may paint."""
    cells = [[clean("-" if cell is None else str(cell)) for cell in row] for row in rows]
    widths = [
        max([shown_width(head.title), *(shown_width(row[i]) for row in cells)])
        for i, head in enumerate(heads)
    ]
    _shrink(widths, heads, terminal_width() if width is None else width)
    lines = [_line([head.title for head in heads], heads, widths)]
    for number, row in enumerate(cells):
        lines.append(_line(row, heads, widths, partial(colour, number)))
    return "\n".join(lines)


def terminal_width() -> int:
    """Columns of the terminal; 0 (no limit) where standard output is none."""
    return shutil.get_terminal_size().columns if is_terminal(sys.stdout) else 0


def shown_width(text: str) -> int:
    """Columns that text takes: wide letters take two, marks on letters none."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def cut(text: str, width: int) -> str:
    """`text` in at most `width` columns, with an ellipsis where something was left out."""
    if shown_width(text) <= width:
        return text
    kept, used = "", 0
    for letter in text:
        used += shown_width(letter)
        if used > width - 1:
            break
        kept += letter
    return kept + "…"


def _shrink(widths: list[int], heads: Sequence[Column], limit: int) -> None:
    room = limit - len(GAP) * (len(heads) - 1)
    flexible = [i for i, head in enumerate(heads) if head.flexible]
    while limit and sum(widths) > room and flexible:
        widest = max(flexible, key=lambda i: widths[i])
        if widths[widest] <= NARROWEST:
            return
        widths[widest] -= 1


def _line(
    cells: Sequence[str],
    heads: Sequence[Column],
    widths: Sequence[int],
    colour: Callable[[int, str], str] = lambda _column, text: text,
) -> str:
    shown = []
    for i, (cell, head, width) in enumerate(zip(cells, heads, widths, strict=True)):
        text = cut(cell, width) if head.flexible else cell
        space = " " * (width - shown_width(text))
        painted = colour(i, text)
        last = i == len(heads) - 1 and not head.right
        shown.append(space + painted if head.right else painted + ("" if last else space))
    return GAP.join(shown).rstrip()
