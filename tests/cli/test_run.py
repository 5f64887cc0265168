"""`meyrin run`: the job's output is ours, its exit code too, and Ctrl-C loses nothing."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from tests.cli.conftest import Meyrin
from tests.client.fakehub import FakeHub, FakeJob

from meyrin.client.connection import AGAIN
from meyrin.domain.refusal import Reason
from meyrin.wire.jobs import RefusalView

Capture = pytest.CaptureFixture[bytes]
# the first terminal that the leader of a session opens is the one whose Ctrl-C it gets
TAKE_TERMINAL = (
    "import os, sys; os.open(os.ttyname(0), os.O_RDWR); os.execv(sys.argv[1], sys.argv[1:])"
)
COMMAND = [sys.executable, "-W", "error", "-m", "meyrin.cli.main", "run", "--", "true"]


def test_both_streams_and_the_exit_code(meyrin: Meyrin, hub: FakeHub, capfdbinary: Capture) -> None:
    out, err = bytes(range(256)), b"warning: \xff\n"

    def work(job: FakeJob) -> None:
        hub.print(job, out)
        hub.print(job, err, "stderr")
        hub.end(job, "failed", exit_code=5)

    hub.on_submit = work
    hub.fail("follow", "cut", times=2, after=70)
    assert meyrin("run", "--time=5", "--", "python", "-c", "print(1)") == 5
    said = capfdbinary.readouterr()
    assert said.out == out
    assert err in said.err
    assert b"job 1 failed" in said.err
    request = hub.jobs[1].request
    assert request.arguments == ("python", "-c", "print(1)")
    assert request.stdout is None
    assert request.stderr is None


def test_output_that_was_cut_is_no_failure_and_is_said(
    meyrin: Meyrin, hub: FakeHub, capfdbinary: Capture
) -> None:
    def work(job: FakeJob) -> None:
        hub.print(job, b"begin")
        hub.end(job, "failed", exit_code=5, cut={"stdout": 5, "stderr": 1024})

    hub.on_submit = work
    assert meyrin("run", "-Q", "--", "yes") == 5
    out, err = capfdbinary.readouterr()
    assert out == b"begin"
    notes = [line for line in err.splitlines() if line.startswith(b"note")]
    assert [b"of it (5 bytes)" in notes[0], b"standard error (1 KiB)" in notes[1]] == [True, True]
    assert err.count(b"hint: submit with") == 2


@pytest.mark.parametrize("argv", [("hostname", "-f"), ("--", "hostname", "-f")])
def test_dashes_may_be_left_out(meyrin: Meyrin, hub: FakeHub, argv: tuple[str, ...]) -> None:
    hub.on_submit = hub.end
    assert meyrin("run", "-Q", "--gpus=1", *argv) == 0
    assert hub.jobs[1].request.arguments == ("hostname", "-f")


def test_a_signal_ends_with_128_and_more(meyrin: Meyrin, hub: FakeHub) -> None:
    hub.on_submit = lambda job: hub.end(job, "failed", signal=9)
    assert meyrin("run", "--", "x") == 137


@pytest.mark.parametrize(
    "argv", [(), ("--",), ("--array=1-3", "--", "x"), ("--parsable", "--", "x"), ("--wat", "x")]
)
def test_what_run_can_not_do(meyrin: Meyrin, hub: FakeHub, argv: tuple[str, ...]) -> None:
    assert meyrin("run", *argv) == 2
    assert not hub.jobs


def test_a_lost_hub_leaves_the_job_and_says_so(
    meyrin: Meyrin, hub: FakeHub, capfdbinary: Capture
) -> None:
    hub.fail("follow", "drop", times=999)
    assert meyrin("run", "--", "x") == 6
    said = capfdbinary.readouterr().err
    assert b"hint: job 1 was submitted, don't submit it again: `meyrin logs -f 1`" in said
    assert AGAIN.encode() not in said, "the command again would be a second job"


@pytest.mark.parametrize("quiet", [(), ("-Q",)])
def test_output_that_nobody_takes_leaves_the_job_and_says_so(
    meyrin: Meyrin,
    hub: FakeHub,
    capfdbinary: Capture,
    monkeypatch: pytest.MonkeyPatch,
    quiet: tuple[str, ...],
) -> None:
    hub.on_submit = lambda job: hub.print(job, b"first\n")
    with open("/dev/full", "w") as full:  # noqa: PTH123
        monkeypatch.setattr("sys.stdout", full)
        assert meyrin("run", *quiet, "--", "yes") == 1
        monkeypatch.undo()
        with contextlib.suppress(OSError):
            full.close()
    assert b"`meyrin cancel 1` ends it" in capfdbinary.readouterr().err
    assert hub.jobs[1].state == "running"


@pytest.mark.parametrize("verb", ["run", "submit"])
def test_ctrl_c_between_the_hubs_yes_and_the_first_look_says_the_number(
    meyrin: Meyrin, hub: FakeHub, capfdbinary: Capture, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """The job is there and goes on: whoever left must be able to find it."""

    def interrupted(*_: object, **__: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("meyrin.cli.streaming.Streaming.run", interrupted)
    monkeypatch.setattr("meyrin.cli.submit._tell", interrupted)
    asked = ["--", "true"] if verb == "run" else ["--wrap=true"]
    assert meyrin(verb, *asked) == 130
    said = capfdbinary.readouterr().err
    assert b"interrupted; job 1 was submitted: `meyrin logs -f 1` comes back to it" in said
    assert list(hub.jobs) == [1]


def test_dry_run_and_forecast(meyrin: Meyrin, hub: FakeHub, capfdbinary: Capture) -> None:
    assert meyrin("run", "--dry-run", "--", "x") == 0
    assert b'"arguments"' in capfdbinary.readouterr().out
    assert meyrin("run", "--test-only", "--", "x") == 0
    assert not hub.jobs


@pytest.mark.parametrize(
    ("reason", "asked", "words"),
    [
        (Reason.HELD, None, "would not start yet: goes to alps/gpu, which is free now"),
        (Reason.DEPENDENCY, "afterok:3", "would not start yet: goes to alps/gpu"),
        (Reason.BEGIN, 4_000_000_000, "at alps/gpu, at the earliest (--begin)"),
    ],
)
def test_a_forecast_says_what_holds_the_job_back(
    meyrin: Meyrin, hub: FakeHub, capfdbinary: Capture, reason: Reason, asked: Any, words: str
) -> None:
    hub.held_back = [
        RefusalView(reason=reason, site="", partition="", asked=asked, limit=None, words="so")
    ]
    assert meyrin("run", "--test-only", "--", "x") == 0
    said = capfdbinary.readouterr().out.decode()
    assert words in said
    assert "would start now" not in said


# --- signals, with a real process


@dataclass
class Child:
    """A `meyrin run` in a process of its own; `heard` grows as it writes."""

    process: subprocess.Popen[bytes]
    terminal: int
    heard: bytearray
    changed: threading.Condition

    def wait_for(self, words: bytes) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: words in self.heard, 60), bytes(self.heard)

    def type(self, keys: bytes) -> None:
        os.write(self.terminal, keys)


@contextmanager
def on_terminal(environ: dict[str, str]) -> Iterator[Child]:
    """The child has a terminal of its own, so that Ctrl-C is a key."""
    ours, theirs = pty.openpty()
    around = {**os.environ, **environ, "TERM": "dumb", "COLUMNS": "80"}
    process = subprocess.Popen(
        [sys.executable, "-c", TAKE_TERMINAL, *COMMAND],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=around,
        start_new_session=True,
    )
    os.close(theirs)
    child = Child(process, ours, bytearray(), threading.Condition())
    reader = threading.Thread(target=_read, args=(child, lambda: os.read(ours, 4096)))
    reader.start()
    try:
        yield child
    finally:
        process.kill()
        process.wait()
        reader.join()
        os.close(ours)


def _read(child: Child, read: Callable[[], bytes]) -> None:
    while True:
        try:
            piece = read()
        except OSError:  # the last holder of the terminal is gone
            return
        if not piece:
            return
        with child.changed:
            child.heard += piece
            child.changed.notify_all()


@contextmanager
def in_a_pipe(environ: dict[str, str]) -> Iterator[Child]:
    process = subprocess.Popen(
        COMMAND,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **environ},
        start_new_session=True,
    )
    assert process.stdout is not None
    source = process.stdout
    child = Child(process, -1, bytearray(), threading.Condition())
    reader = threading.Thread(target=_read, args=(child, lambda: os.read(source.fileno(), 4096)))
    reader.start()
    try:
        yield child
    finally:
        process.kill()
        process.wait()
        reader.join()
        source.close()


@pytest.fixture
def talking(hub: FakeHub) -> FakeHub:
    """A hub whose jobs print something and go on."""
    hub.on_submit = lambda job: hub.print(job, b"first\n")
    return hub


def test_ctrl_c_then_c_cancels(talking: FakeHub, environ: dict[str, str]) -> None:
    with on_terminal(environ) as child:
        child.wait_for(b"first")
        child.type(b"\x03")
        child.wait_for(b"cancel or detach? [c/d]")
        talking.print(talking.jobs[1], b"meanwhile\n")
        child.type(b"maybe\n")
        child.type(b"c\n")
        assert child.process.wait(60) == 130
    assert talking.jobs[1].state == "cancelled"
    assert b"cancelling job 1" in child.heard
    assert b"meanwhile" in child.heard, "what came while it asked is not lost"


@pytest.mark.parametrize("answer", [b"d\n", b"\x03", b"\x04"])
def test_ctrl_c_then_d_or_ctrl_c_detaches(
    talking: FakeHub, environ: dict[str, str], answer: bytes
) -> None:
    with on_terminal(environ) as child:
        child.wait_for(b"first")
        child.type(b"\x03")
        child.wait_for(b"[c/d]")
        child.type(answer)
        assert child.process.wait(60) == 130
    assert talking.jobs[1].state == "running"
    assert b"`meyrin logs -f 1` comes back to it" in child.heard


def test_the_status_line_says_what_it_waits_for_at_its_site(
    hub: FakeHub, environ: dict[str, str]
) -> None:
    hub.waits = "Slurm: QOSGrpGRES"
    hub.on_submit = lambda job: hub.end(job, "queued")
    with on_terminal(environ) as child:
        child.wait_for(b"job 1: queued at alps/gpu: Slurm: QOSGrpGRES")
        hub.end(hub.jobs[1])
        assert child.process.wait(60) == 0


def test_the_status_line_says_where_and_when(hub: FakeHub, environ: dict[str, str]) -> None:
    hub.on_submit = lambda job: hub.end(job, "queued")
    with on_terminal(environ) as child:
        child.wait_for(b"job 1: queued at alps/gpu, expected start now")
        hub.print(hub.jobs[1], b"hello\n")
        child.wait_for(b"hello")
        hub.end(hub.jobs[1])
        assert child.process.wait(60) == 0


def test_sigint_cancels_where_nobody_can_be_asked(
    talking: FakeHub, environ: dict[str, str]
) -> None:
    talking.on_cancel = lambda job: talking.print(job, b"cleaning up\n")
    with in_a_pipe(environ) as child:
        child.wait_for(b"first")
        child.process.send_signal(signal.SIGINT)
        child.wait_for(b"cleaning up")
        talking.end(talking.jobs[1], "cancelled")
        assert child.process.wait(60) == 130


def test_a_second_sigint_detaches(talking: FakeHub, environ: dict[str, str]) -> None:
    talking.on_cancel = lambda job: talking.print(job, b"cleaning up\n")
    with in_a_pipe(environ) as child:
        child.wait_for(b"first")
        child.process.send_signal(signal.SIGINT)
        child.wait_for(b"cleaning up")
        child.process.send_signal(signal.SIGINT)
        assert child.process.wait(60) == 130
    assert b"job 1 goes on" in child.heard


def test_a_hub_that_is_silent_keeps_nobody(talking: FakeHub, environ: dict[str, str]) -> None:
    asked, answer = threading.Event(), threading.Event()

    def silent(_: FakeJob) -> None:
        asked.set()
        answer.wait(60)

    talking.on_cancel = silent
    with in_a_pipe(environ) as child:
        child.wait_for(b"first")
        child.process.send_signal(signal.SIGINT)
        assert asked.wait(60)
        child.process.send_signal(signal.SIGINT)
        try:
            assert child.process.wait(30) == 130
        finally:
            answer.set()
    assert b"the hub has not confirmed that" in child.heard
    assert b"job 1 goes on" in child.heard


def test_a_cancel_that_did_not_get_through_is_not_taken_for_one(
    talking: FakeHub, environ: dict[str, str]
) -> None:
    talking.fail("/cancel", "drop", times=999)
    with in_a_pipe(environ) as child:
        child.wait_for(b"first")
        child.process.send_signal(signal.SIGINT)
        assert child.process.wait(60) == 6
    assert b"the hub has not confirmed that" in child.heard
    assert b"`meyrin cancel 1` ends it" in child.heard
    assert AGAIN.encode() not in child.heard


def test_sigterm_cancels_and_ends(talking: FakeHub, environ: dict[str, str]) -> None:
    with in_a_pipe(environ) as child:
        child.wait_for(b"first")
        child.process.send_signal(signal.SIGTERM)
        assert child.process.wait(60) == 143
    assert talking.jobs[1].state == "cancelled"
