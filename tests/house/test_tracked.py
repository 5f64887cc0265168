"""What is committed holds no address of a package index, no path of a machine, no leftovers."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from tests.components import ROOT

# Put together here, so that this file does not hold what it forbids.
INDEX_HOSTS = [
    "pypi" + ".org",
    "files.python" + "hosted.org",
    "registry.npm" + "js.org",
    "deb.deb" + "ian.org",
    "archive.ubu" + "ntu.com",
    "proxy.go" + "lang.org",
    "conda.ana" + "conda.org",
]
MARKERS = re.compile(
    r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "X" + "XX", "HA" + "CK"]) + r")\b"
)


def _tracked() -> list[Path]:
    if not (ROOT / ".git").exists():
        return [path for path in ROOT.rglob("*") if path.is_file() and ".venv" not in path.parts]
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    return [path for path in paths if path.is_file()]


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    """Every tracked text file."""
    found = {}
    for path in _tracked():
        raw = path.read_bytes()
        if b"\0" not in raw[:8192]:
            found[path.relative_to(ROOT).as_posix()] = raw.decode("utf-8", errors="replace")
    return found


def _holding(texts: dict[str, str], words: list[str]) -> list[tuple[str, str]]:
    return [(name, word) for name, text in texts.items() for word in words if word in text]


def test_no_package_index_is_named(texts: dict[str, str]) -> None:
    assert not _holding(texts, INDEX_HOSTS)


def test_no_path_of_this_machine_is_written_down(texts: dict[str, str]) -> None:
    folders = {ROOT.parent, Path.home()}
    # a clone straight under /tmp or / says nothing about a machine
    machine = [f"{folder}/" for folder in folders if folder not in {Path("/"), Path("/tmp")}]
    assert not _holding(texts, machine)


def test_nothing_is_left_for_later(texts: dict[str, str]) -> None:
    left = {
        f"{name}: {marker.group()}"
        for name, text in texts.items()
        if Path(name).suffix in {".py", ".sh", ".toml", ".js", ".css", ".html"}
        for marker in MARKERS.finditer(text)
    }
    assert not left


def test_the_lock_names_versions_and_hashes_only(texts: dict[str, str]) -> None:
    locks = {name: text for name, text in texts.items() if re.match(r"requirements/.*\.txt$", name)}
    assert locks
    line = re.compile(r"[a-z0-9][a-z0-9.\-]*==\S+( ; .*)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?")
    odd = [
        (name, row) for name in locks for row in locks[name].splitlines() if not line.fullmatch(row)
    ]
    assert not odd
