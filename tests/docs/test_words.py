"""The glossary is the source of our words: each once, and none of those that we do not use."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from tests.components import ROOT
from tests.docs.generate import MARK
from tests.docs.pages import name, pages, prose

from meyrin.domain import ids
from meyrin.domain.ledger import AccountKind, EntryKind
from meyrin.domain.states import JobState
from meyrin.domain.units import Unit

GLOSSARY = ROOT / "docs" / "glossary.md"
TEMPLATES = sorted((ROOT / "src" / "meyrin").glob("**/templates/**/*.html"))
TERM = re.compile(r"^- \*\*([^*]+)\*\*: ", re.MULTILINE)
UNUSED = re.compile(r"^\| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
# classes of `domain` and `engine` that a reader meets as a word
NOUNS = ["allocation", "attempt", "cluster", "decision", "dependency", "element", "entry",
         "input", "job", "lease", "node", "partition", "placement", "policy", "reason", "refusal",
         "request", "result", "site", "statement", "usage record"]  # fmt: skip


def terms() -> list[str]:
    text = GLOSSARY.read_text(encoding="utf-8")
    return [one.strip() for found in TERM.findall(text) for one in found.split(",")]


def unused() -> list[str]:
    """Words that we do not use, from the glossary's table."""
    text = GLOSSARY.read_text(encoding="utf-8").partition("## Words that we do not use")[2]
    words = [word for word, _ in UNUSED.findall(text) if not word.startswith(("we do", "---"))]
    assert len(words) > 5
    return words


def test_each_term_is_defined_once() -> None:
    assert [term for term, count in Counter(terms()).items() if count > 1] == []


def test_the_nouns_of_the_code_are_in_it() -> None:
    named = {noun for noun in vars(ids) if noun.endswith("Id")}
    wanted = {noun.removesuffix("Id").lower() for noun in named} | set(ids.PREFIX) | set(NOUNS)
    wanted |= {str(one) for one in [*AccountKind, *EntryKind, *Unit]}
    assert wanted - set(terms()) == set()


def test_the_states_stand_in_their_own_table() -> None:
    text = GLOSSARY.read_text(encoding="utf-8")
    assert "reference/states.md" in text
    assert len(JobState) == 11, "a new state needs a line in the reference"


def text_of(path: Path) -> str:
    """What people read: a page without code and generated parts, a template without markup."""
    written = path.read_text(encoding="utf-8")
    if path.suffix == ".html":
        return re.sub(r"\{[{%#].*?[}%#]\}|<[^>]*>", " ", written)
    if path == GLOSSARY:
        written = written.partition("## Words that we do not use")[0]
    return prose(written.partition(MARK)[0])


@pytest.mark.parametrize("path", [*pages(), *TEMPLATES], ids=name)
def test_words_that_we_do_not_use_do_not_occur(path: Path) -> None:
    text = text_of(path)
    found = [
        word
        for word in unused()
        if re.search(rf"(?<!ordinary )\b{re.escape(word)}s?\b", text, re.IGNORECASE)
    ]
    assert not found, "docs/glossary.md has the word to use instead"
