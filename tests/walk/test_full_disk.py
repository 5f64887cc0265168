"""A full disk under hub, agent and keeper in turn: nothing accepted is lost, all of it ends.

The disk is a small tmpfs; whoever may not mount one leaves these tests out.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.conftest import LEFT_OUT
from tests.walk.books import Books, check_balances, check_charges, check_histories, check_runs
from tests.walk.facility import Facility, facility, request, wait_for

from meyrin.domain.errors import MeyrinError, StorageFull
from meyrin.domain.job import JobRequest

PADDING = "# " + "x" * 200_000 + "\n"  # so that what is kept needs room


@dataclass
class Disk:
    """A small file system that the test fills and empties."""

    path: Path

    def fill(self) -> None:
        """Not one byte is left."""
        ballast = os.open(self.path / "ballast", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        size = 1 << 20
        while size:
            try:
                os.write(ballast, b"\0" * size)
            except OSError:
                size //= 2
        os.close(ballast)

    def empty(self) -> None:
        (self.path / "ballast").unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    path = tmp_path / "small"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m,mode=700", "tmpfs", str(path)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        why = (done.stderr.strip() or "mount failed").splitlines()[-1]
        pytest.skip(f"{LEFT_OUT}a small disk: {why}")
    yield Disk(path)
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def lay_out(root: Path, disk: Disk, which: str) -> None:
    """Put the folder in question on the small disk."""
    (root / "alps").mkdir()
    for name in ("hub", "agent", "keeper"):
        (root / f"big-{name}").mkdir()
    home = {name: disk.path if name == which else root / f"big-{name}" for name in
            ("hub", "agent", "keeper")}  # fmt: skip
    (root / "alps").rmdir()
    for name in ("hub", "agent", "keeper"):
        (home[name] / name).mkdir(mode=0o700)
    (root / "hub").symlink_to(home["hub"] / "hub")
    (root / "alps").symlink_to(home["agent"] / "agent")
    (root / "alps" / "batch").symlink_to(home["keeper"] / "keeper")


def job(place: Facility, marks: Path, then: str) -> JobRequest:
    script = f'echo ran >> "{marks}/$SLURM_JOB_ID"\n{then}\nexit 0\n'
    return request(place.mark, script + PADDING)


def try_to_submit(place: Facility, wanted: JobRequest, key: str) -> MeyrinError | None:
    try:
        with place.hub.client(tries=1) as client:
            client.submit(wanted, key)
    except MeyrinError as error:
        return error
    return None


@pytest.mark.slow
@pytest.mark.parametrize(
    "which",
    [
        "hub",
        "agent",
        "keeper",
    ],
)
def test_nothing_is_lost_when_the_disk_is_full(tmp_path: Path, disk: Disk, which: str) -> None:
    marks, gate = tmp_path / "marks", tmp_path / "gate"
    marks.mkdir()
    lay_out(tmp_path, disk, which)
    with facility(tmp_path) as place:
        place.hub.environ["MEYRIN_HUB_LEASE_S"] = "2"
        place.hub.start()
        place.grant(100_000)
        place.agent("alps").start()
        place.joined("alps")
        gated = f'while [ ! -e "{gate}" ]; do sleep 0.05; done; touch "{marks}/done"'
        with place.hub.client() as client:
            first = client.submit(job(place, marks, gated)).job
            wait_for(lambda: client.job(first).job.state == "running", "the first job to run")
        disk.fill()
        wanted = {f"key-number-{n}": job(place, marks, f"# {n}") for n in range(12)}
        answers = {key: try_to_submit(place, each, key) for key, each in wanted.items()}
        refused = {key: error for key, error in answers.items() if error}
        gate.touch()
        wait_for((marks / "done").exists, "the first job to end on a full disk")
        if which == "hub":
            assert refused, "a hub on a full disk kept everything"
            assert {type(error) for error in refused.values()} == {StorageFull}, refused
            start_on_a_full_disk(place)
        else:
            assert not refused, refused
            for agent in place.agents.values():
                agent.kill()  # what it could not write, it must not need
                agent.start()
        disk.empty()
        if which == "hub":
            place.hub.start()
        with place.hub.client() as client:
            for key, each in wanted.items():
                accepted = client.submit(each, key)
                assert accepted.again is (key not in refused)
        check(place, marks, len(wanted) + 1)


def start_on_a_full_disk(place: Facility) -> None:
    """It may start or not; where it does not, it says why."""
    place.hub.kill()
    place.hub.launch()
    with contextlib.suppress(AssertionError):
        if place.hub.process.ended(20) == 0:
            raise ValueError("a hub ended by itself and says that all is well")
    if place.hub.process.running is not None:
        place.hub.kill()
        return
    said = place.hub.process.said()
    assert "full" in said or "No space left" in said, said
    assert "Traceback" not in said, said


def check(place: Facility, marks: Path, jobs: int) -> None:
    books = Books(f"sqlite:///{place.hub.folder / 'hub.sqlite'}")
    try:
        books.wait_for_all()
        check_histories(books)
        ended = books.rows("SELECT id, state, reason FROM jobs WHERE state <> 'completed'")
        assert [tuple(row) for row in ended] == []
        assert check_charges(books) == jobs
        check_balances(books)
        (marks / "done").unlink()
        lines = {int(p.name): len(p.read_text().splitlines()) for p in marks.iterdir()}
        assert check_runs(books, lines) == jobs
    finally:
        books.close()
    with place.hub.client() as client:
        assert client.verify().findings == []
