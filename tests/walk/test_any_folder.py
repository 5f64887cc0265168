"""A hub in a folder of any name, said from where one stands: all that it keeps lies in there."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.walk.facility import Facility, Hub, facility, wait_for

ODD = "a b#c?d%41é[x]::y"


def test_a_hub_may_lie_in_a_folder_of_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    (here / ODD).mkdir(parents=True)  # as others may look into
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
    kept = {path.name: path.stat().st_mode & 0o777 for path in Path(ODD).iterdir()}
    assert {kept[name] for name in ("blobs", "sites")} == {0o700}
    assert {mode for name, mode in kept.items() if name.startswith("hub.")} <= {0o600}


def test_who_stops_a_hub_while_it_starts_leaves_no_agent(tmp_path: Path) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        with facility(tmp_path / number.name) as place:
            place.hub = Hub(tmp_path / f"hub-{number.name}", place.environ())
            place.hub.launch()
            log = place.hub.folder / "sites" / "local" / "agent.log"
            wait_for(lambda log=log: log.exists(), "the agent of its own site")
            place.hub.process.signal(number)
            place.hub.process.ended()
            wait_for(lambda place=place: not agents(place), "its agent to end", 60)


def agents(place: Facility) -> list[int]:
    """Agents that are left; a keeper stays for jobs, and ends by itself."""
    return [
        pid for pid in place.marked() if b"\0agent\0" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
