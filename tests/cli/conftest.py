"""`meyrin` called in this process, against the fake hub, with nothing of this machine around."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.client.fakehub import TOKEN, FakeHub

from meyrin.cli.main import run
from meyrin.cli.session import Session

Meyrin = Callable[..., int]


@pytest.fixture
def hub() -> FakeHub:
    return FakeHub()


@pytest.fixture
def url(hub: FakeHub) -> Iterator[str]:
    with hub.serving() as address:
        yield address


@pytest.fixture
def environ(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.chdir(tmp_path)
    return {"MEYRIN_HUB": url, "MEYRIN_TOKEN": TOKEN, "MEYRIN_DIR": str(tmp_path / "state")}


@pytest.fixture
def meyrin(environ: dict[str, str]) -> Meyrin:
    """`meyrin("jobs", "--json")` returns the exit code."""

    def call(*argv: str) -> int:
        session = Session(environ=environ, clock=lambda: 100_000.0, pause=lambda _: None)
        return run(argv, session)

    return call


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "train.sh"
    path.write_text("#!/bin/sh\n#SBATCH --time=10\necho hello\n")
    return path
