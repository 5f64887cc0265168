"""A hub in a folder of any name, said from where one stands: all that it keeps lies in there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.walk.facility import Hub, facility

ODD = "a b#c?d%41é[x]::y"


def test_a_hub_may_lie_in_a_folder_of_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    Path("in.txt").write_text("brought\n")
    with facility(tmp_path / "town") as place:
        environ = place.environ()
        place.hub = Hub(Path(ODD), environ)
        place.hub.start()

        def meyrin(*words: str) -> str:
            done = subprocess.run(
                [sys.executable, "-m", "meyrin", "--dir", ODD, *words],
                env=environ, capture_output=True, text=True, check=True, timeout=200,
            )  # fmt: skip
            return done.stdout

        command = ("run", "--time=5", "--input=in.txt", "--output-files=out.txt", "--")
        assert "ran" in meyrin(*command, "sh", "-c", "cp in.txt out.txt; echo ran")
        meyrin("fetch", "1")
    assert Path("job-1/out.txt").read_text() == "brought\n"
    log = Path(ODD).with_suffix(".err").name
    assert {path.name for path in here.iterdir()} == {ODD, log, "in.txt", "job-1"}
    assert list(Path(ODD, "blobs").iterdir())
