"""The guard: the keeper's parent, which does nothing but wait.

When the keeper is killed, the kernel hands its jobs to the guard (it is a child subreaper). The
guard starts the keeper anew and writes down how each orphan ended, so the exit code is found.
It costs a running job nothing. If guard and keeper are killed together, a new keeper asks the
kernel for the exit of what still ran when it came (pidfd, Linux 6.15); the rest is `lost`.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from meyrin.agent.keeper_proc import (
    kill_one,
    name_of,
    stat_fields,
    up_ns,
)

_PR_SET_CHILD_SUBREAPER = 36
_LONGEST_PAUSE_S = 30.0  # before a keeper that fails again and again is started again
_KILLED_PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class Orphan:
    """How a process that lost its keeper ended. `leader`: it led a process group, as jobs do."""

    pid: int
    ticks: int
    status: int
    up_ns: int
    cpu_ms: int
    max_rss_kb: int
    leader: bool
    name: str


def adopt_orphans() -> None:
    """Become the parent of what descendants leave behind."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


@contextmanager
def locked(folder: Path) -> Iterator[int]:
    """The file of orphans, held alone: reaping an orphan and writing it down are one step."""
    fd = os.open(folder / "orphans", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield fd
    finally:
        os.close(fd)


def orphans(fd: int) -> list[Orphan]:
    """All that are on record; a torn last line is left out."""
    text = os.pread(fd, os.fstat(fd).st_size, 0).decode("utf-8", "replace")
    found = []
    for line in text.split("\n")[:-1]:
        words = line.split(" ", 7)
        if len(words) == 8:
            one, ticks, status, at, cpu, rss = map(int, words[:6])
            found.append(Orphan(one, ticks, status, at, cpu, rss, words[6] == "1", words[7]))
    return found


def guard(folder: Path, run_keeper: Callable[[bool], int], ready_fd: int) -> int:
    """Start the keeper, and again whenever it dies; returns when it ended by itself.

    `run_keeper(first)` runs in the child; its result is the exit status, 0 for "told to stop".
    The guard's copy of `ready_fd` is closed once the first keeper has its own. A first keeper
    that fails is not tried again: whoever started it sees `ready_fd` closed without a word.
    """
    adopt_orphans()
    # the keeper inherits this, so no signal finds it before its own handlers are there
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    first, pause = True, 0.05
    while True:
        began = time.monotonic()
        keeper = _fork(run_keeper, first)
        if first:
            os.close(ready_fd)
        status = _watch(keeper, folder)
        if status == 0 or (first and os.WIFEXITED(status)):
            return os.waitstatus_to_exitcode(status)
        first = False
        lived_well = time.monotonic() - began > 10
        longest = _LONGEST_PAUSE_S if os.WIFEXITED(status) else _KILLED_PAUSE_S
        pause = 0.05 if lived_well else min(2 * pause, longest)
        print(f"guard: the keeper ended with status {status}", file=sys.stderr, flush=True)  # noqa: T201
        time.sleep(pause)


def _fork(run_keeper: Callable[[bool], int], first: bool) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 70
    try:
        status = run_keeper(first)
    finally:
        if error := sys.exc_info()[1]:
            sys.excepthook(type(error), error, error.__traceback__)
            sys.stderr.flush()
        os._exit(status)


def _watch(keeper: int, folder: Path) -> int:
    """Wait for the keeper's end, writing down orphans meanwhile."""
    while True:
        info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        if info is None:
            continue
        if info.si_pid == keeper:
            return os.waitpid(keeper, 0)[1]
        _write_down(info.si_pid, folder)
        kill_one(keeper, signal.SIGUSR1)


def _write_down(pid: int, folder: Path) -> None:
    fields, name = stat_fields(pid), name_of(pid)
    with suppress(OSError), locked(folder) as fd:
        _, status, used = os.wait4(pid, 0)
        ticks = int(fields[19]) if fields else 0
        leader = int(fields is not None and int(fields[2]) == pid)
        cpu_ms = round((used.ru_utime + used.ru_stime) * 1000)
        words = (pid, ticks, status, up_ns(), cpu_ms, used.ru_maxrss, leader, name)
        os.write(fd, (" ".join(map(str, words)) + "\n").encode())
        return
    # no place to write: the orphan must go all the same, or this would spin
    with suppress(ChildProcessError):
        os.waitpid(pid, 0)
