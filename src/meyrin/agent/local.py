"""The `local` batch system: jobs of this user on this machine, through a keeper of their own.

An embedded default, nothing more. Cores, memory and accelerators are slots that jobs reserve;
accelerators are exclusive. Jobs go on when the agent ends, however it ends: the keeper holds
them (`meyrin.agent.keeper`), and an agent that comes back asks it.

What an operator may rely on:
- Elapsed time is measured by a clock that no change of date moves; `end_ms` is `start_ms` plus
  it. A begun second counts, and a job that ran counts one at least.
- At the wall time the job's processes get TERM, after `grace_s` KILL; cancelling is the same.
  What a script leaves running is killed when it ends.
- `max_rss_kb` is the kernel's figure; it is never below the keeper's own, some 20 MB.
- The working directory must exist unless the request makes it; parent folders of output files
  are not made. What keeps a job from starting is said in `why`, with the path.
- `forget` removes the output file that a job did not name itself.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from meyrin.agent.batch import BatchJob, Changes, Output, Start
from meyrin.agent.keeper_wire import Body, Frames, frame, pack_partition, pack_starts, unpack_job
from meyrin.domain.errors import InvalidInput, MeyrinError, StorageFull, Unreachable
from meyrin.domain.site import Partition
from meyrin.domain.units import show_count

_ANSWER_S = 60.0
_PAUSE_S = 0.02
_KEPT = 3  # exit status of `meyrin.agent.keeper`: another has the folder, or is about to
_ERRORS: dict[str, type[MeyrinError]] = {
    "invalid_input": InvalidInput,
    "storage_full": StorageFull,
}


class LocalBatch:
    """A `BatchSystem` on this machine. Safe to use from several threads at once.

    `directory` is the keeper's folder, made if need be. `devices` names the accelerators of a
    partition (what goes into CUDA_VISIBLE_DEVICES), node after node; without it they are counted
    from 0 through all partitions in order. A keeper that runs with other settings takes over
    these: the last client wins, and running jobs keep what they hold.
    """

    kind = "local"
    gather_s = 0.05

    def __init__(
        self,
        directory: Path,
        partitions: tuple[Partition, ...],
        *,
        grace_s: float = 30.0,
        cluster: str = "local",
        devices: Mapping[str, tuple[str, ...]] | None = None,
        start_timeout_s: float = 20.0,
    ) -> None:
        self._folder = directory.absolute()
        self._partitions = partitions
        self._start_timeout_s = start_timeout_s
        self._config: Body = {
            "partitions": [pack_partition(p) for p in partitions],
            "grace_s": grace_s,
            "cluster": cluster,
            "devices": {name: list(each) for name, each in (devices or {}).items()},
        }
        _check_devices(partitions, devices or {})
        self._free: list[_Line] = []
        self._lock = threading.Lock()

    def partitions(self) -> tuple[Partition, ...]:
        return self._partitions

    def submit(self, starts: tuple[Start, ...]) -> None:
        if starts:
            self._ask({"do": "submit", **pack_starts(starts)})

    def look_up(self, attempts: tuple[str, ...]) -> dict[str, BatchJob]:
        answer = self._ask({"do": "look_up", "attempts": attempts})
        return {job["attempt"]: unpack_job(job) for job in answer["jobs"]}

    def changes(self, cursor: str, wait_s: float) -> Changes:
        answer = self._ask({"do": "changes", "cursor": cursor, "wait_s": wait_s}, wait_s)
        jobs = tuple(unpack_job(job) for job in answer["jobs"])
        return Changes(answer["cursor"], jobs, idle=answer.get("idle", False))

    def cancel(self, attempts: tuple[str, ...]) -> None:
        self._ask({"do": "cancel", "attempts": attempts})

    def output(self, attempt: str) -> Output | None:
        found = self._ask({"do": "output", "attempt": attempt})["output"]
        return Output(*found) if found else None

    def forget(self, attempts: tuple[str, ...]) -> None:
        if attempts:
            self._ask({"do": "forget", "attempts": attempts})

    def start(self) -> int:
        """Make sure that a keeper runs; its process id."""
        line = self._connect()
        self._give_back(line)
        return line.keeper

    def stop(self, *, cancel: bool = False) -> bool:
        """Tell the keeper to end once no job runs or waits; `cancel` ends them first.

        True when it had nothing to do, so it ends now. A later submit keeps it, or starts
        another. No keeper is no error.
        """
        try:
            line = _Line(self._folder, self._config)
        except OSError:
            return True
        try:
            return bool(line.ask({"do": "stop", "cancel": cancel}, 0.0)["idle"])
        except (OSError, EOFError):
            return True
        finally:
            line.close()

    def leave(self) -> None:
        """The agent stops: the keeper ends once its last job has; another finds its journal."""
        self.stop()
        self.close()

    def close(self) -> None:
        """Close the connections; keeper and jobs go on."""
        with self._lock:
            free, self._free = self._free, []
        for line in free:
            line.close()

    def _ask(self, body: Body, wait_s: float = 0.0) -> Body:
        """One question. All are idempotent, so a broken connection is tried once more."""
        for again in (False, True):
            line = self._connect()
            try:
                answer = line.ask(body, wait_s)
            except (OSError, EOFError, ValueError) as error:
                line.close()
                if again:
                    raise Unreachable(f"the keeper of {self._folder} does not answer") from error
                continue
            self._give_back(line)
            return _checked(answer)
        raise AssertionError("the second round returns or raises")

    def _give_back(self, line: _Line) -> None:
        with self._lock:
            self._free.append(line)

    def _connect(self) -> _Line:
        """A free connection, or a new one, starting the keeper if there is none."""
        with self._lock:
            while self._free:
                line = self._free.pop()
                if line.alive():
                    return line
                line.close()
        deadline = time.monotonic() + self._start_timeout_s
        while True:
            try:
                return _Line(self._folder, self._config)
            except MeyrinError:
                raise
            except (OSError, EOFError, ValueError) as error:
                if time.monotonic() > deadline:
                    raise Unreachable(
                        f"the keeper of {self._folder} does not answer",
                        hint=f"see {self._folder / 'keeper.log'}",
                    ) from error
            _start_keeper(self._folder)
            time.sleep(_PAUSE_S)


class _Line:
    """One connection to the keeper."""

    def __init__(self, folder: Path, config: Body) -> None:
        folder_fd = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        self._frames = Frames()
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._sock.settimeout(_ANSWER_S)
            # by way of /proc, because a Unix socket's own path ends at 107 bytes
            self._sock.connect(f"/proc/self/fd/{folder_fd}/socket")
            self.keeper: int = _checked(self.ask({"do": "hello", "config": config}, 0.0))["pid"]
        except BaseException:
            self._sock.close()
            raise
        finally:
            os.close(folder_fd)

    def ask(self, body: Body, wait_s: float) -> Body:
        self._sock.settimeout(_ANSWER_S + wait_s)
        self._sock.sendall(frame(body))
        while True:
            data = self._sock.recv(1 << 20)
            if not data:
                raise EOFError("the keeper closed the connection")
            for payload in self._frames.feed(data):
                answer: Body = json.loads(payload)
                return answer

    def alive(self) -> bool:
        """Whether the other side still holds it; nothing unasked ever comes."""
        try:
            self._sock.setblocking(False)
            self._sock.recv(1)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def close(self) -> None:
        self._sock.close()


def _checked(answer: Body) -> Body:
    if code := answer.get("error"):
        raise _ERRORS.get(code, Unreachable)(answer["message"])
    return answer


def _start_keeper(folder: Path) -> None:
    """Start one in the background, unless there is one. Raises Unreachable when none can run."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        done = subprocess.run(
            [sys.executable, "-m", "meyrin.agent.keeper", "--dir", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            check=False,
        )
    except OSError as error:
        raise Unreachable(f"no keeper can be started in {folder}: {error.strerror}") from error
    if done.returncode not in (0, _KEPT):
        words = done.stderr.decode("utf-8", "replace").strip()
        raise Unreachable(f"no keeper can be started in {folder}", hint=words)


def _check_devices(
    partitions: tuple[Partition, ...], devices: Mapping[str, tuple[str, ...]]
) -> None:
    """Each named device belongs to one node, and there are as many as declared."""
    named = [one for each in devices.values() for one in each]
    if len(named) != len(set(named)):
        raise InvalidInput("an accelerator is named twice", hint="each belongs to one partition")
    for name, each in devices.items():
        has = {p.name: p.nodes * p.accelerators_per_node for p in partitions}.get(name, 0)
        if has != len(each):
            raise InvalidInput(
                f"partition {name} has {show_count(has, 'accelerator')}, and {len(each)} are named",
                field="devices",
            )
