"""What every batch system owes an agent. Inherit, and give a `batch` fixture.

The batch system must run scripts on a file system that the test sees, with room for two jobs of
one core at once in its first partition, and a grace of about a second.
"""

from __future__ import annotations

import os
import select
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from meyrin.agent.batch import BatchJob, BatchSystem, Phase, Start
from meyrin.domain.job import WarnSignal
from meyrin.domain.units import NodeShape

LONG_S = 60.0


def start(batch: BatchSystem, folder: Path, script: str, **other: Any) -> Start:
    """A start of one core in the first partition; `script` may leave out its first line."""
    fields: dict[str, Any] = {
        "attempt": str(uuid.uuid4()),
        "job": 7,
        "name": "a job",
        "partition": batch.partitions()[0].name,
        "nodes": 1,
        "asked": NodeShape(1, 10, 0),
        "tasks": 1,
        "walltime_s": 3600,
        "workdir": str(folder),
    }
    text = script if script.startswith("#!") else f"#!/bin/sh\n{script}\n"
    return Start(script=text, **{**fields, **other})


def until(
    batch: BatchSystem,
    attempts: Iterable[str],
    wanted: Callable[[BatchJob], bool] = lambda job: job.phase is Phase.ENDED,
) -> dict[str, BatchJob]:
    """Follow changes until all of `attempts` are as wanted; waits for events only."""
    left, found, cursor = set(attempts), {}, ""
    while left:
        told = batch.changes(cursor, LONG_S)
        cursor = told.cursor
        for job in told.jobs:
            if job.attempt in left and wanted(job):
                found[job.attempt] = job
                left.discard(job.attempt)
            assert wanted(job) or job.phase is not Phase.ENDED or job.attempt not in left, job
    return found


def run(batch: BatchSystem, one: Start) -> BatchJob:
    batch.submit((one,))
    return until(batch, [one.attempt])[one.attempt]


def read_line(fifo: Path) -> str:
    """Wait for a job to write a line into a named pipe."""
    with fifo.open() as pipe:
        return pipe.readline().strip()


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


class BatchSystemContract:
    """Tests against the protocol only. `least_s` is charged for what ran less than a second."""

    least_s = 1

    @pytest.mark.parametrize("code", [0, 1, 3, 255])
    def test_exit_code(self, batch: BatchSystem, tmp_path: Path, code: int) -> None:
        job = run(batch, start(batch, tmp_path, f"exit {code}"))
        assert (job.end, job.exit_code, job.phase) == ("exit", code, Phase.ENDED)
        assert job.usage is not None
        assert job.usage.elapsed_s >= self.least_s
        assert job.start_ms is not None
        assert job.end_ms is not None
        assert job.end_ms >= job.start_ms

    def test_signal(self, batch: BatchSystem, tmp_path: Path) -> None:
        job = run(batch, start(batch, tmp_path, "kill -9 $$"))
        assert (job.end, job.signal, job.exit_code) == ("signal", 9, None)

    def test_output_arguments_environment_and_directory(
        self, batch: BatchSystem, tmp_path: Path
    ) -> None:
        one = start(
            batch,
            tmp_path,
            'printf "%s|" "$@"; printf "%s" "$GREETING"; pwd; echo error >&2',
            arguments=("a b", "ñ 漢字", ""),
            environment=(("GREETING", "grüezi\nübrigens "),),
            stdout=str(tmp_path / "out ü"),
            stderr=str(tmp_path / "err"),
        )
        assert run(batch, one).exit_code == 0
        expected = f"a b|ñ 漢字||grüezi\nübrigens {tmp_path}\n"
        assert (tmp_path / "out ü").read_text() == expected
        assert (tmp_path / "err").read_text() == "error\n"
        output = batch.output(one.attempt)
        assert output is not None
        assert (output.stdout, output.stderr) == (one.stdout, one.stderr)

    def test_shared_stream_keeps_its_order(self, batch: BatchSystem, tmp_path: Path) -> None:
        both = str(tmp_path / "both")
        one = start(batch, tmp_path, "echo 1; echo 2 >&2; echo 3", stdout=both, stderr=both)
        run(batch, one)
        assert Path(both).read_text() == "1\n2\n3\n"

    @pytest.mark.parametrize(("append", "expected"), [(True, "old\nnew\n"), (False, "new\n")])
    def test_append_or_truncate(
        self, batch: BatchSystem, tmp_path: Path, append: bool, expected: str
    ) -> None:
        out = tmp_path / "out"
        out.write_text("old\n")
        run(batch, start(batch, tmp_path, "echo new", stdout=str(out), append_output=append))
        assert out.read_text() == expected

    def test_own_output_file(self, batch: BatchSystem, tmp_path: Path) -> None:
        one = start(batch, tmp_path, "echo here")
        run(batch, one)
        output = batch.output(one.attempt)
        assert output is not None
        assert Path(output.stdout).read_text() == "here\n"

    def test_stdin(self, batch: BatchSystem, tmp_path: Path) -> None:
        (tmp_path / "in").write_text("typed\n")
        one = start(batch, tmp_path, "cat", stdin=str(tmp_path / "in"), stdout=str(tmp_path / "o"))
        run(batch, one)
        assert (tmp_path / "o").read_text() == "typed\n"
        assert run(batch, start(batch, tmp_path, "! read x")).exit_code == 0

    def test_makes_its_directory_when_asked(self, batch: BatchSystem, tmp_path: Path) -> None:
        workdir = tmp_path / "new" / "dir"
        job = run(batch, start(batch, workdir, "touch was-here", create_workdir=True))
        assert (job.end, job.exit_code) == ("exit", 0)
        assert (workdir / "was-here").exists()
        assert workdir.stat().st_mode & 0o777 == 0o700

    def test_what_a_script_expects_of_slurm(self, batch: BatchSystem, tmp_path: Path) -> None:
        out = tmp_path / "out"
        run(batch, start(batch, tmp_path, "env", stdout=str(out), job=4711))
        env = dict(line.split("=", 1) for line in out.read_text().splitlines() if "=" in line)
        assert env["SLURM_JOB_ID"] == env["SLURM_JOBID"] == "4711"
        assert env["SLURM_JOB_PARTITION"] == batch.partitions()[0].name
        assert env["SLURM_JOB_NUM_NODES"] == env["SLURM_NNODES"] == "1"
        assert env["SLURM_CPUS_ON_NODE"] == env["SLURM_JOB_CPUS_PER_NODE"] == "1"
        assert env["SLURMD_NODENAME"] == env["SLURM_JOB_NODELIST"] == env["SLURM_NODELIST"]
        assert env["SLURM_SUBMIT_DIR"] == str(tmp_path)
        assert env["SLURM_PROCID"] == env["SLURM_LOCALID"] == env["SLURM_NODEID"] == "0"
        assert int(env["SLURM_JOB_END_TIME"]) - int(env["SLURM_JOB_START_TIME"]) == 3600
        assert env["CUDA_VISIBLE_DEVICES"] == env["ROCR_VISIBLE_DEVICES"] == ""
        assert {"HOME", "PATH", "USER"} <= set(env)

    def test_a_second_copy_never_starts(self, batch: BatchSystem, tmp_path: Path) -> None:
        one = start(batch, tmp_path, "echo ran >> runs")
        batch.submit((one, one))
        batch.submit((one,))
        until(batch, [one.attempt])
        batch.submit((one,))
        last = start(batch, tmp_path, "true")
        run(batch, last)
        assert (tmp_path / "runs").read_text() == "ran\n"

    def test_a_forgotten_attempt_does_not_start_again(
        self, batch: BatchSystem, tmp_path: Path
    ) -> None:
        one = start(batch, tmp_path, "echo ran >> runs")
        run(batch, one)
        batch.forget((one.attempt,))
        batch.submit((one,))
        run(batch, start(batch, tmp_path, "true"))
        assert (tmp_path / "runs").read_text() == "ran\n"

    def test_look_up_knows_what_was_submitted_and_nothing_else(
        self, batch: BatchSystem, tmp_path: Path
    ) -> None:
        one, never = start(batch, tmp_path, "true"), str(uuid.uuid4())
        run(batch, one)
        found = batch.look_up((one.attempt, never))
        assert set(found) == {one.attempt}
        assert found[one.attempt].exit_code == 0
        assert batch.output(never) is None

    def test_changes_are_told_again_until_forgotten(
        self, batch: BatchSystem, tmp_path: Path
    ) -> None:
        one = start(batch, tmp_path, "true")
        run(batch, one)
        told = batch.changes("", 0)
        assert [job.attempt for job in told.jobs] == [one.attempt]
        assert batch.changes("", 0).jobs == told.jobs
        assert batch.changes(told.cursor, 0).jobs == ()
        batch.forget((one.attempt, "unknown"))
        assert batch.changes("", 0).jobs == ()
        assert batch.look_up((one.attempt,)) == {}
        assert batch.output(one.attempt) is None

    def test_what_lives_is_not_forgotten(
        self, batch: BatchSystem, tmp_path: Path, fifo: Path
    ) -> None:
        one = start(batch, tmp_path, f"echo go > {fifo}; exec sleep 1000")
        batch.submit((one,))
        read_line(fifo)
        batch.forget((one.attempt,))
        batch.cancel((one.attempt,))
        assert until(batch, [one.attempt])[one.attempt].end == "cancelled"

    def test_cancel_of_what_runs(self, batch: BatchSystem, tmp_path: Path, fifo: Path) -> None:
        script = f"trap 'echo asked > asked; exit 5' TERM; echo go > {fifo}; sleep 1000 & wait"
        one = start(batch, tmp_path, script)
        batch.submit((one,))
        read_line(fifo)
        batch.cancel((one.attempt, "unknown"))
        batch.cancel((one.attempt,))
        job = until(batch, [one.attempt])[one.attempt]
        assert (job.end, job.exit_code) == ("cancelled", 5)
        assert (tmp_path / "asked").exists()
        batch.cancel((one.attempt,))
        assert batch.look_up((one.attempt,))[one.attempt] == job

    def test_cancel_of_what_ignores_it(
        self, batch: BatchSystem, tmp_path: Path, fifo: Path
    ) -> None:
        script = f"trap '' TERM; echo go > {fifo}; while :; do sleep 1000; done"
        one = start(batch, tmp_path, script)
        batch.submit((one,))
        read_line(fifo)
        batch.cancel((one.attempt,))
        job = until(batch, [one.attempt])[one.attempt]
        assert (job.end, job.signal) == ("cancelled", 9)

    def test_wall_time(self, batch: BatchSystem, tmp_path: Path) -> None:
        script = "trap 'echo asked > asked; exit 5' TERM; sleep 1000 & wait"
        job = run(batch, start(batch, tmp_path, script, walltime_s=1))
        assert job.end == "timeout"
        assert (tmp_path / "asked").exists()
        assert job.usage is not None
        assert job.usage.elapsed_s >= 1 + self.least_s  # a begun second counts

    def test_wall_time_of_what_ignores_it(self, batch: BatchSystem, tmp_path: Path) -> None:
        job = run(batch, start(batch, tmp_path, "trap '' TERM; sleep 1000", walltime_s=1))
        assert (job.end, job.signal) == ("timeout", 9)

    @pytest.mark.parametrize(
        ("script", "other", "words"),
        [
            ("#!/no/such/interpreter\n", {}, "/no/such/interpreter"),
            ("#!/bin/sh\r\ntrue\r\n", {}, "Windows line ends"),
            ("true", {"workdir": "/no/such/dir"}, "/no/such/dir"),
            ("true", {"stdout": "/no/such/dir/out"}, "/no/such/dir/out"),
            ("true", {"stdin": "/no/such/input"}, "/no/such/input"),
            ("true", {"partition": "elsewhere"}, "elsewhere"),
            ("true", {"asked": NodeShape(10_000, 10, 0)}, "10,000 cores"),
            ("true", {"nodes": 10_000}, "10,000 nodes"),
            ("true", {"environment": (("BIG", "x" * 5_000_000),)}, "too large"),
            ("true", {"warn_signal": WarnSignal("NOSUCH")}, "NOSUCH"),
        ],
    )
    def test_what_can_never_run_says_why(
        self, batch: BatchSystem, tmp_path: Path, script: str, other: dict[str, Any], words: str
    ) -> None:
        job = run(batch, start(batch, tmp_path, script, **other))
        assert (job.end, job.usage, job.start_ms) == ("not_started", None, None)
        assert words in job.why

    def test_a_large_environment(self, batch: BatchSystem, tmp_path: Path) -> None:
        many = tuple((f"VARIABLE_{i}", "value " * 20) for i in range(2000))
        one = start(batch, tmp_path, 'test "$VARIABLE_1999"', environment=many)
        assert run(batch, one).exit_code == 0

    def test_nothing_outlives_its_script(self, batch: BatchSystem, tmp_path: Path) -> None:
        script = "sleep 1000 & echo $! > pid; (setsid sleep 1000 & echo $! > pid2); exit 0"
        assert run(batch, start(batch, tmp_path, script)).exit_code == 0
        for name in ("pid", "pid2"):
            wait_gone(int((tmp_path / name).read_text()))


def wait_gone(pid: int) -> None:
    """Return when a process is no more."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        select.select([fd], [], [], LONG_S)
        assert select.select([fd], [], [], 0)[0], f"process {pid} lives on"
    finally:
        os.close(fd)
