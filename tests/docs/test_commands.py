"""Every `meyrin` command that a page shows exists, with the options that it is given."""

from __future__ import annotations

import re
import shlex
from functools import lru_cache
from pathlib import Path

import click
import pytest
from tests.docs.generate import MARK, in_context
from tests.docs.pages import FENCE, name, pages

from meyrin.cli.main import cli
from meyrin.cli.session import HUB_OPTION_NAMES

INLINE = re.compile(r"`(meyrin [^`\n]+)`")
CALL = re.compile(r"(?:^|[$(;|&] ?|\s)(meyrin [^)|;&]+)")
SHELL = {"", "sh", "bash", "console"}
GROUPS = {("ledger",), ("person",), ("project",), ("project", "member"), ("site",), ("token",)}


def shown(page: Path) -> list[str]:
    """The calls of `meyrin` on a page, in blocks and in the text."""
    text = page.read_text(encoding="utf-8").partition(MARK)[0]
    found = INLINE.findall(FENCE.sub("", text))
    for info, block in FENCE.findall(text):
        if (info.split() or [""])[0] in SHELL:
            for line in block.replace("\\\n", " ").splitlines():
                found += re.findall(r"(?:^|[$(;|&] ?|\s)(meyrin [^)|;&]+)", line.split("  #")[0])[
                    :1
                ]
    return [call for call in found if "…" not in call and "..." not in call]


@lru_cache
def known(path: tuple[str, ...]) -> frozenset[str] | None:
    """The words that may follow a command: its own commands, or its long options. None: no such."""
    command: click.Command = cli
    context = in_context(cli, "meyrin", None)
    for word in path:
        found = command.get_command(context, word) if isinstance(command, click.Group) else None
        if found is None:
            return None
        command, context = found, in_context(found, word, context)
    options = set(re.findall(r"--[a-z][a-z-]*", command.get_help(context)))
    within = command.list_commands(context) if isinstance(command, click.Group) else []
    return frozenset([*options, *HUB_OPTION_NAMES, *within])


def wrong(call: str) -> str:
    """What is wrong with a call; empty when it is right."""
    words = split(call)[1:]
    path: tuple[str, ...] = ()
    while words and known((*path, words[0])) is not None:
        path = (*path, words.pop(0))
    may_follow = known(path) or frozenset()
    if not path and words and words[0] not in may_follow:
        return f"there is no command {words[0]}"
    for word in words:
        if word == "--" or (path == ("submit",) and word.endswith(".sh")):
            break
        option = word.partition("=")[0]
        if word.startswith("--") and option not in may_follow:
            return f"{' '.join(path)} has no {option}"
    if words and not words[0].startswith("-") and path in GROUPS:
        return f"{' '.join(path)} has no command {words[0]}"
    return ""


def split(call: str) -> list[str]:
    try:
        return shlex.split(call, comments=True)
    except ValueError:  # the rest of a quoted word stands on another line
        return call.split()


@pytest.mark.parametrize("page", pages(), ids=name)
def test_commands_exist(page: Path) -> None:
    found = {call: said for call in shown(page) if (said := wrong(call))}
    assert not found


def test_the_check_sees_what_is_wrong() -> None:
    assert wrong("meyrin frobnicate")
    assert wrong("meyrin ledger frobnicate")
    assert wrong("meyrin jobs --frobnicate")
    assert wrong("meyrin submit --frobnicate train.sh")
    assert not wrong("meyrin submit --time=5 train.sh --epochs 5")
    assert not wrong("meyrin run --time=5 -- python3 --version")
