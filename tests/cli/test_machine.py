"""One hub works on a file of SQLite."""

from __future__ import annotations

from pathlib import Path

import pytest

from meyrin.cli.machine import _hold_file
from meyrin.domain.errors import Conflict
from meyrin.hub.plumbing.bell import Bell
from meyrin.hub.plumbing.database import Database


def opened(file: Path) -> Database:
    return Database(f"sqlite:///{file}", clock_ms=lambda: 0, entropy=bytes, bell=Bell())


def test_a_second_hub_on_the_same_file_under_another_name(tmp_path: Path) -> None:
    file, link = tmp_path / "hub.sqlite", tmp_path / "elsewhere" / "link.sqlite"
    file.touch()
    link.parent.mkdir()
    link.symlink_to(file)
    (first,) = _hold_file(opened(file))
    with pytest.raises(Conflict, match=r"hub\.sqlite already"):
        _hold_file(opened(link))
    first.close()
