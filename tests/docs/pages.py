"""The pages of the documentation as the tests read them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from tests.components import ROOT

FENCE = re.compile(r"^```(.*)\n((?s:.*?))^```$", re.MULTILINE)
INLINE = re.compile(r"`[^`\n]+`")


class Block(NamedTuple):
    """A fenced block: what stands behind the fence, the text, and its line in the page."""

    info: str
    text: str
    line: int


def pages() -> list[Path]:
    """Every page that people read, in order."""
    found = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")]
    return sorted(found)


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(match[1].strip(), match[2], text.count("\n", 0, match.start()) + 1)
        for match in FENCE.finditer(text)
    ]


def prose(text: str) -> str:
    """The page without its code, lines kept where they are."""

    def blank(match: re.Match[str]) -> str:
        return "\n" * match[0].count("\n")

    return INLINE.sub("", FENCE.sub(blank, text))
