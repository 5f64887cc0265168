"""The keeper: the small process that parents the jobs of the `local` batch system.

    agent ── LocalBatch ── socket ── keeper ── jobs       (the guard is the keeper's parent)

It outlives the agent and the hub: it is started on demand in a session of its own, one per
folder. It ends when it is told to and idle, or idle and its folder is gone. It never decides who
may run, and it never guesses how a job ended. What a kill leads to is in `keeper_recover`.

    python -m meyrin.agent.keeper --dir DIR     starts one in the background, unless there is one

The folder holds `journal` (the truth), `socket`, `lock`, `orphans` (the guard's notes),
`keeper.log`, `spool/` (scripts of running jobs) and `out/` (output of jobs that named no file).
"""

from __future__ import annotations

import argparse
import fcntl
import os
import socket
import sys
from pathlib import Path

from meyrin.agent.keeper_guard import adopt_orphans, guard
from meyrin.agent.keeper_jobs import Jobs
from meyrin.agent.keeper_journal import Journal
from meyrin.agent.keeper_loop import Loop
from meyrin.agent.keeper_proc import (
    boot_id,
)
from meyrin.agent.keeper_process import base_environment
from meyrin.agent.keeper_recover import Recovery
from meyrin.agent.keeper_state import State

KEPT = 3  # exit status: another keeper has this folder
_LOG_BYTES = 1 << 20


def socket_address(folder_fd: int) -> str:
    """The socket's address by way of /proc: a Unix socket's own path ends at 107 bytes."""
    return f"/proc/self/fd/{folder_fd}/socket"


def keep(folder: Path, ready_fd: int) -> None:
    """Be the keeper of `folder`, whose lock is held; returns when told to stop and idle."""
    adopt_orphans()
    folder_fd = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    boot = boot_id()
    state = State(str(folder), Journal(folder / "journal"))
    recovery = Recovery(state, folder)
    jobs = Jobs(state, folder, base_environment(), lambda run: recovery.resolve(jobs, run))
    state.open(boot)
    jobs.take_settings()
    adopted = recovery.recover(jobs, boot)
    if state.config:
        jobs.configure(state.config)
    state.journal.sync()
    (folder / "socket").unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(socket_address(folder_fd))
        listener.listen(128)

        def ready() -> None:
            if ready_fd >= 0:
                os.write(ready_fd, b"ready")
                os.close(ready_fd)

        Loop(state, jobs, recovery, listener, os.urandom(6).hex()).run(adopted, ready)
        (folder / "socket").unlink(missing_ok=True)
    state.journal.close()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="meyrin.agent.keeper", description="Parents local jobs.")
    parser.add_argument("--dir", required=True, type=Path, help="the keeper's folder")
    folder = parser.parse_args(arguments).dir.absolute()
    for part in (folder, folder / "spool", folder / "out"):
        part.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return KEPT
    reading, writing = os.pipe()
    if os.fork() == 0:
        os._exit(_in_background(folder, reading, writing))
    os.close(writing)
    if os.read(reading, 16) == b"ready":
        return 0
    print(f"the keeper did not start; see {folder / 'keeper.log'}", file=sys.stderr)  # noqa: T201
    return 1


def _in_background(folder: Path, reading: int, writing: int) -> int:
    """The guard's life, in a session of its own, with nothing of whoever started it held open."""
    os.close(reading)
    os.setsid()
    os.chdir("/")
    _redirect(folder / "keeper.log")

    def run_keeper(first: bool) -> int:
        keep(folder, writing if first else -1)
        return 0

    return guard(folder, run_keeper, writing)


def _redirect(log: Path) -> None:
    if log.exists() and log.stat().st_size > _LOG_BYTES:
        log.replace(log.with_name("keeper.log.1"))
    null = os.open(os.devnull, os.O_RDONLY)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(null, 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.close(null)
    os.close(out)


if __name__ == "__main__":
    sys.exit(main())
