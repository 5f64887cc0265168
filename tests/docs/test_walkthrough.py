"""The commands of the tutorial and of the how-to pages, run as they stand on a real hub.

A block fenced as `bash` is run, one page in one shell, in an empty folder. A block fenced as
`text` right behind it is what it prints, lines in this order; `…` is anything. The block fenced
as `bash hub` is what serves. Blocks fenced as `sh` are only shown.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.components import ROOT
from tests.docs.pages import Block, blocks, name, pages

SERVE = "bash hub"
TUTORIAL = ROOT / "docs" / "tutorial.md"
RUN = [page for page in pages() if any(block.info == "bash" for block in blocks(page))]
RUN.sort(key=lambda page: page != TUTORIAL)  # it knows the numbers of its jobs, so it comes first
PATIENCE_S = 200


@dataclass
class Place:
    """A running `meyrin up`, and the environment in which a person would type."""

    environ: dict[str, str]


def environment(folder: Path) -> dict[str, str]:
    """What a fresh shell with the project's environment knows."""
    foreign = ("MEYRIN_", "SBATCH_", "SLURM_")
    mine = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
    programs = f"{Path(sys.executable).parent}{os.pathsep}{mine.get('PATH', '')}"
    return mine | {"PATH": programs, "MEYRIN_DIR": str(folder), "MEYRIN_HUB_PORT": "0"}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The hub of the tutorial, started by the tutorial's own command."""
    folder = tmp_path_factory.mktemp("hub")
    (serve,) = [block for block in blocks(TUTORIAL) if block.info == SERVE]
    environ = environment(folder / "state")
    with (folder / "up.log").open("w+b") as log:
        process = subprocess.Popen(
            ["bash", "-c", f"exec {serve.text.strip()}"],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
        try:
            assert process.stdout is not None
            address = process.stdout.readline()  # said when the hub and its site are ready
            log.seek(0)
            assert address.startswith(b"http"), log.read().decode()
            yield Place(environ)
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
    assert process.returncode == 0


def steps(page: Path) -> list[tuple[Block, str]]:
    """Each block to run, with what it should print."""
    listed = blocks(page)
    found = []
    for block, after in zip(listed, [*listed[1:], None], strict=True):
        if block.info == "bash":
            said = after.text if after is not None and after.info == "text" else ""
            found.append((block, said))
    return found


def perform(page: Path, place: Place, folder: Path) -> list[str]:
    """Run the page's blocks in one shell; what each printed."""
    mark = "=== block of the page ==="
    script = "set -eu -o pipefail\n" + "".join(
        f"{block.text}\necho '{mark}'\n" for block, _ in steps(page)
    )
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=place.environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout.split(mark + "\n")[:-1]


def missing(expected: str, printed: str) -> str:
    """The first expected line that does not come after those before it; empty if all do."""
    lines = iter(printed.splitlines())
    for wanted in expected.splitlines():
        pattern = ".*".join(re.escape(part) for part in wanted.strip().split("…"))
        if wanted.strip() and not any(re.fullmatch(pattern, line.strip()) for line in lines):
            return wanted
    return ""


@pytest.mark.parametrize("page", RUN, ids=name)
def test_the_page_does_what_it_says(page: Path, hub: Place, tmp_path: Path) -> None:
    folder = tmp_path / "home"
    folder.mkdir()
    for (block, expected), printed in zip(steps(page), perform(page, hub, folder), strict=True):
        lacks = missing(expected, printed)
        assert not lacks, f"{name(page)} line {block.line}: no {lacks!r} in:\n{printed}"


def test_expected_lines_stand_in_their_order() -> None:
    assert missing("one\n…\nthree…\n", "one\ntwo\nthree 3\n") == ""
    assert missing("three\none\n", "one\nthree\n") == "one"
    assert missing("a…c\n", "abd\n") == "a…c"
