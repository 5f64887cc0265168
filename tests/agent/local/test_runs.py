"""What the `local` batch system does beyond the contract."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.agent.contract import run, start, until
from tests.agent.local.conftest import Make

from meyrin.agent.batch import Phase
from meyrin.agent.keeper_proc import signal_number
from meyrin.agent.keeper_scripts import Scripts
from meyrin.agent.local import LocalBatch
from meyrin.domain.errors import Unreachable
from meyrin.domain.job import WarnSignal


@pytest.mark.parametrize(
    "script",
    [
        "#!/bin/bash\nx=(1 2); exit 3\n",
        f"#!{sys.executable}\nexit(3)\n",
        "#!/usr/bin/env sh\nexit 3",
    ],
)
def test_the_first_line_names_the_interpreter(
    batch: LocalBatch, tmp_path: Path, script: str
) -> None:
    assert run(batch, start(batch, tmp_path, script)).exit_code == 3


def test_a_script_without_interpreter_is_not_guessed(batch: LocalBatch, tmp_path: Path) -> None:
    job = run(batch, start(batch, tmp_path, "#! \ntrue\n"))
    assert job.end == "not_started"
    job = run(batch, start(batch, tmp_path, "#!/bin/sh\n", arguments=("a\0b",)))
    assert job.end == "not_started"
    assert "null" in job.why


def test_warn_signal_reaches_all_but_the_shell(batch: LocalBatch, tmp_path: Path) -> None:
    script = (
        "trap 'echo shell >> seen' USR1\n"
        "sh -c \"trap 'echo child >> seen; exit 0' USR1; sleep 1000 & wait\"\n"
        "wait; exit 3"
    )
    warned = WarnSignal("USR1", before_s=3599)
    job = run(batch, start(batch, tmp_path, script, warn_signal=warned))
    assert job.exit_code == 3
    assert (tmp_path / "seen").read_text() == "child\n"


def test_warn_signal_to_the_shell_only(batch: LocalBatch, tmp_path: Path) -> None:
    script = "trap 'echo shell >> seen; exit 3' USR1; sleep 1000 & wait"
    warned = WarnSignal("SIGUSR1", before_s=3599, shell_only=True)
    job = run(batch, start(batch, tmp_path, script, warn_signal=warned))
    assert (job.end, job.exit_code) == ("exit", 3)


def test_signals_are_as_a_new_process_expects(batch: LocalBatch, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(batch, start(batch, tmp_path, "grep -E 'Sig(Ign|Blk)' /proc/self/status", stdout=str(out)))
    glibc = 0b11 << 31  # two signals of its own, which posix_spawn leaves ignored
    assert not any(int(line.split()[1], 16) & ~glibc for line in out.read_text().splitlines())


def test_a_job_sees_nothing_of_its_keeper(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_AGENT", "1")
    batch = make()
    out = tmp_path / "out"
    run(batch, start(batch, tmp_path, "env; ls /proc/$$/fd", stdout=str(out)))
    text = out.read_text()
    assert "SECRET" not in text
    assert {"0", "1", "2"} <= set(text.split())
    assert not {"3", "4", "5", "6", "7"} & set(text.split())


def test_usage_is_measured(batch: LocalBatch, tmp_path: Path) -> None:
    script = f"#!{sys.executable}\nx = bytearray(80_000_000)\nfor i in range(3_000_000): pass\n"
    job = run(batch, start(batch, tmp_path, script))
    assert job.usage is not None
    assert job.usage.cpu_ms
    assert job.usage.max_rss_kb is not None
    assert job.usage.max_rss_kb > 78_000


def test_output_to_a_pipe_that_nobody_reads_holds_up_nobody(
    batch: LocalBatch, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    job = run(batch, start(batch, tmp_path, "true", stdout=str(pipe)))
    assert job.end == "not_started"
    assert "ENXIO" in job.why


def test_a_full_disk_is_named(batch: LocalBatch, tmp_path: Path) -> None:
    job = run(batch, start(batch, tmp_path, "echo x || exit 9", stdout="/dev/full"))
    assert job.exit_code == 9  # the job's own affair
    job = run(batch, start(batch, tmp_path / "no", "true"))
    assert "ENOENT" in job.why


def test_a_script_may_remove_or_change_its_own_file(tmp_path: Path) -> None:
    scripts = Scripts(tmp_path)
    first = scripts.file_for("#!/bin/sh\n")
    assert scripts.file_for("#!/bin/sh\n") == first
    scripts.use(first)
    Path(scripts.path(first)).unlink()
    second = scripts.file_for("#!/bin/sh\n")
    assert second != first
    Path(scripts.path(second)).chmod(0o600)
    Path(scripts.path(second)).write_text("changed")
    third = scripts.file_for("#!/bin/sh\n")
    assert Path(scripts.path(third)).read_text() == "#!/bin/sh\n"
    for name in (first, third):
        scripts.use(name)
        scripts.done(name)
    for i in range(200):
        name = scripts.file_for(f"#!/bin/sh\n{i}")
        scripts.use(name)
        scripts.done(name)
    assert len(list(tmp_path.iterdir())) < 50


def test_a_script_that_removes_itself_runs_again(batch: LocalBatch, tmp_path: Path) -> None:
    starts = tuple(start(batch, tmp_path, 'rm -f "$0"; exit 3') for _ in range(5))
    batch.submit(starts)
    ended = until(batch, [one.attempt for one in starts])
    assert {job.exit_code for job in ended.values()} == {3}


def test_a_long_wait_hears_at_once(batch: LocalBatch, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    one = start(batch, tmp_path, f"read x < {pipe}; exit 3")
    batch.submit((one,))
    until(batch, [one.attempt], lambda job: job.phase == "running")
    pipe.write_text("x\n")
    assert until(batch, [one.attempt])[one.attempt].exit_code == 3


def test_no_keeper_where_none_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unreachable):
        LocalBatch(tmp_path / "file", (), start_timeout_s=0.1).start()
    (tmp_path / "keeper").mkdir()
    (tmp_path / "keeper" / "journal").write_bytes(b"something else")
    with pytest.raises(Unreachable) as caught:
        LocalBatch(tmp_path / "keeper", (), start_timeout_s=0.1).start()
    assert "keeper.log" in caught.value.hint


def test_the_keeper_is_small() -> None:
    code = "import sys, meyrin.agent.keeper; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True
    )
    ours = {name for name in loaded.stdout.split() if name.startswith("meyrin.")}
    rooms = ("meyrin.agent", "meyrin.domain", "meyrin.client.durable")
    assert all(name.startswith(rooms) for name in ours - {"meyrin.client"})
    assert not {"pydantic", "click", "httpx2", "structlog"} & set(loaded.stdout.split())


@pytest.mark.parametrize(
    ("name", "number"), [("USR1", 10), ("SIGUSR1", 10), ("10", 10), ("int", 2)]
)
def test_signal_names(name: str, number: int) -> None:
    assert signal_number(name) == signal.Signals(number)
    for wrong in ("NOSUCH", "99", ""):
        with pytest.raises(ValueError, match=r"is no signal|not a valid"):
            signal_number(wrong)


def test_cancel_while_queued(batch: LocalBatch, tmp_path: Path) -> None:
    block = [start(batch, tmp_path, "exec sleep 1000") for _ in range(2)]
    waits = start(batch, tmp_path, "touch ran")
    batch.submit((*block, waits))
    until(batch, [one.attempt for one in block], lambda job: job.phase is Phase.RUNNING)
    batch.cancel((waits.attempt,))
    job = until(batch, [waits.attempt])[waits.attempt]
    assert (job.end, job.start_ms, job.usage) == ("cancelled", None, None)
    batch.cancel(tuple(one.attempt for one in block))
    until(batch, [one.attempt for one in block])
    assert not (tmp_path / "ran").exists()


def test_it_says_when_no_job_is_left_that_could_change(batch: LocalBatch, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")
    batch.submit((start(batch, tmp_path, "read line < go"),))
    told = batch.changes("", 30)
    while Phase.RUNNING not in [job.phase for job in told.jobs]:
        told = batch.changes(told.cursor, 30)
    assert not told.idle
    (tmp_path / "go").write_text("\n")
    told = batch.changes(told.cursor, 30)
    assert told.jobs[-1].phase is Phase.ENDED
    assert told.idle
