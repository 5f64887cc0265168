"""`meyrin plan impact --on facility` on a real hub and site: stopped, orphaned, killed, gone on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.plan import studies
from tests.walk.books import Books, check_balances, check_charges, check_histories
from tests.walk.facility import MARK, PATIENCE_S, Facility, wait_for

from meyrin.plan.batch import WHOLE
from meyrin.plan.impact import Asked, planned, runs
from meyrin.plan.impact import run_carried as work
from meyrin.plan.scenario import load_scenario
from meyrin.plan.sweep import Here, Kept, sweep

POINTS = 8


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, but the note of jobs."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "jobs.json"
    }


def start(place: Facility, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "meyrin", *words],
        env=place.environ(MEYRIN_DIR=str(place.hub.folder)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def marking(place: Facility) -> str:
    """This interpreter for jobs, which inherit nothing: with the mark by which they are found."""
    path = place.root / "python"
    path.write_text(f'#!/bin/sh\n{MARK}={place.mark} exec {sys.executable} "$@"\n')
    path.chmod(0o755)
    return str(path)


def stopped_in_the_middle(place: Facility) -> int:
    """The process of the one job that computes points, stopped when some of them are done."""
    found: list[int] = []

    def look() -> bool:
        for pid in place.marked():
            try:
                line = Path(f"/proc/{pid}/cmdline").read_bytes()
                left = Path(f"/proc/{pid}/cwd/outcomes.tar")
                if b"meyrin.plan.batch" in line and WHOLE.encode() in left.read_bytes():
                    os.kill(pid, signal.SIGSTOP)
                    found.append(pid)
            except OSError:
                continue
        return bool(found)

    wait_for(look, "a job with a point that is done")
    (only,) = found
    return only


@pytest.mark.slow
def test_a_sweep_on_a_facility_outlives_command_hub_and_job(
    place: Facility, tmp_path: Path
) -> None:
    scenario = studies.cut(tmp_path / "in", options=("packing",))
    place.grant(1_000_000)
    place.agent("alps", cores_per_node=1).start()
    place.joined("alps")
    out = tmp_path / "out"
    asked = ("plan", "impact", str(scenario), "--out", str(out), "--no-ranges",
             "--on", "facility", "--per-job", "8", "--python", marking(place))  # fmt: skip

    command = start(place, *asked)
    job = stopped_in_the_middle(place)
    command.send_signal(signal.SIGINT)
    _, said = command.communicate(timeout=PATIENCE_S)
    assert command.returncode == 130, said
    assert "job 1 goes on; the same command comes back to it" in said

    place.hub.kill()
    os.kill(job, signal.SIGKILL)
    place.hub.start()
    done = place.meyrin(*asked)
    assert done.returncode == 0, done.stderr
    assert "job 1 of an earlier run: taken up again" in done.stderr
    assert "job 1 failed at alps" in done.stderr
    assert "again as job 2" in done.stderr
    assert (out / "report.html").is_file()
    assert not (out / "points" / "jobs.json").exists()

    with place.hub.client() as client:
        computed = [client.output(str(job)).count(b"\n") for job in (1, 2)]
        used = [client.job(job).used_s for job in (1, 2)]
    assert sum(computed) == POINTS  # none that was finished was computed again
    assert all(each > 0 for each in computed)
    assert all(each > 0 for each in used)
    check_books(place)

    here = Kept(tmp_path / "here")
    sweep(runs(planned(Asked(load_scenario(scenario), vary=False))[0], carry=True), work, here,
          Here(1), lambda: 0.0)  # fmt: skip
    assert tree(out / "points") == tree(here.folder)


def check_books(place: Facility) -> None:
    """Two jobs, each ended and charged once."""

    def settled() -> bool | str:
        books = Books(f"sqlite:///{place.hub.folder / 'hub.sqlite'}")
        try:
            check_histories(books)
            check_charges(books)
            check_balances(books)
        except AssertionError as error:
            return str(error)
        finally:
            books.close()
        return True

    wait_for(settled, "the books", 20)
