"""One process of a job: its environment and its start.

Starting is `posix_spawn` in a process group of its own, but in no session of its own: the kernel
would schedule each as a user's desktop (autogroup), which on a busy machine costs a third of the
starts per second, and nothing here has a terminal that a session would keep away.
Everything that can fail is done here first, in the keeper, so that a job that can't start says
which path and why.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import signal
import socket
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from meyrin.agent.batch import Start
from meyrin.agent.keeper_proc import MARK, StartTimes, up_ns
from meyrin.agent.keeper_scripts import Scripts
from meyrin.agent.keeper_slots import Part, Place, compress
from meyrin.domain.units import NodeShape

INHERITED = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TMPDIR")
_FULL = (errno.ENOSPC, errno.EDQUOT)  # somebody makes room; no accepted job is given up for it
_TEMPORARY = (
    errno.EAGAIN,
    errno.ENOMEM,
    errno.EMFILE,
    errno.ENFILE,
    *_FULL,
)
_START_TIMES = StartTimes()
_RESET = [s for s in signal.valid_signals() if s not in (signal.SIGKILL, signal.SIGSTOP)]


@dataclass(frozen=True, slots=True)
class Started:
    pid: int
    ticks: int


@dataclass(frozen=True, slots=True)
class NotStarted:
    """No process ran. `again`: the machine had no room for one just then; `full`: a place that
    its own request names had none, which says nothing of other jobs."""

    why: str
    again: bool = False
    full: bool = False


class _CannotStart(Exception):
    pass


class _Full(_CannotStart):
    pass


def base_environment() -> dict[str, str]:
    """What a job gets from the keeper's own environment where its request says nothing."""
    base = {name: os.environ[name] for name in INHERITED if name in os.environ}
    base.setdefault("PATH", "/usr/local/bin:/usr/bin:/bin")
    with contextlib.suppress(KeyError):
        person = pwd.getpwuid(os.getuid())
        base.setdefault("HOME", person.pw_dir)
        base.setdefault("USER", person.pw_name)
        base.setdefault("LOGNAME", person.pw_name)
        base.setdefault("SHELL", person.pw_shell or "/bin/sh")
    base.setdefault("HOSTNAME", socket.gethostname())
    base.setdefault("TMPDIR", "/tmp")  # noqa: S108 - as slurmd does; scripts rely on it
    return base


def environment(
    start: Start, part: Part, place: Place, start_ms: int, base: Mapping[str, str]
) -> dict[str, str]:
    """The complete environment: the request's own, then what depends on this run (sbatch(1)).

    `base` is for names that the request does not set.
    """
    job = str(start.job)
    env = {
        **base,
        "SLURM_JOB_ID": job,
        "SLURM_JOBID": job,
        "SLURM_JOB_NAME": start.name,
        "SLURM_SUBMIT_DIR": start.workdir,
        "SLURM_JOB_UID": str(os.getuid()),
        "SLURM_JOB_GID": str(os.getgid()),
    }
    asked, given = _by_shape(part, place, start.asked, start.tasks)
    env.update(asked)
    env.update(start.environment)
    env.update(given)
    env[MARK] = start.attempt
    env["SLURM_JOB_START_TIME"] = str(start_ms // 1000)
    env["SLURM_JOB_END_TIME"] = str(start_ms // 1000 + start.walltime_s)
    for name in _NO_DEVICES if not place.devices[0] else _ROCR:
        env.pop(name, None)
    return env


_NO_DEVICES = ("SLURM_JOB_GPUS", "SLURM_GPUS_ON_NODE", "SLURM_GPUS", "SLURM_GPUS_PER_NODE")
_ROCR = ("ROCR_VISIBLE_DEVICES",)


@lru_cache(maxsize=256)
def _by_shape(
    part: Part, place: Place, asked: NodeShape, tasks: int
) -> tuple[dict[str, str], dict[str, str]]:
    """Variables that the request may set otherwise, and those that only this place decides."""
    count = len(place.nodes)
    nodes = [part.names[i] for i in place.nodes]
    cores = part.occupied(asked).cores
    per_node = [tasks // count + (i < tasks % count) for i in range(count)]
    asked_for = {
        "SLURM_SUBMIT_HOST": socket.gethostname(),
        "SLURM_TASKS_PER_NODE": compress(per_node),
        "SLURM_PRIO_PROCESS": "0",
        "ENVIRONMENT": "BATCH",
    }
    given = {
        "SLURM_JOB_NODELIST": ",".join(nodes),
        "SLURM_NODELIST": ",".join(nodes),
        "SLURM_JOB_NUM_NODES": str(count),
        "SLURM_NNODES": str(count),
        "SLURM_JOB_CPUS_PER_NODE": compress([cores] * count),
        "SLURM_CPUS_ON_NODE": str(cores),
        "SLURM_JOB_PARTITION": part.name,
        "SLURMD_NODENAME": nodes[0],
        "SLURM_TOPOLOGY_ADDR": nodes[0],
        "SLURM_TOPOLOGY_ADDR_PATTERN": "node",
        **dict.fromkeys(("SLURM_NODEID", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_GTIDS"), "0"),
        **_devices(place.devices[0]),
    }
    return asked_for, given


def _devices(mine: Sequence[str]) -> dict[str, str]:
    """Show the job its accelerators and no others, on either vendor's software.

    HIP reads HIP_VISIBLE_DEVICES and CUDA_VISIBLE_DEVICES as the same list, but both index into
    what ROCR_VISIBLE_DEVICES leaves over; so a granted list stands in the first two only, and
    nothing granted is the empty list in all three.
    """
    listed = ",".join(mine)
    visible = {"CUDA_VISIBLE_DEVICES": listed, "HIP_VISIBLE_DEVICES": listed}
    if not mine:
        return {**visible, "ROCR_VISIBLE_DEVICES": ""}
    return {**visible, "SLURM_JOB_GPUS": listed, "SLURM_GPUS_ON_NODE": str(len(mine))}


def spawn(
    start: Start,
    scripts: Scripts,
    env: Mapping[str, str],
    streams: tuple[str, str],
    last_moment: Callable[[str], None],
) -> Started | NotStarted:
    """Start the script as its `#!` line says, with `streams` as its standard output and error.

    `last_moment` is called with the script file's name, right before a process may exist.
    """
    fds: list[int] = []
    name, pid = "", 0
    try:
        name = _script(start, scripts)
        script = scripts.path(name)
        _enter(start)
        _open_streams(start, *streams, fds)
        last_moment(name)
        before_ns = up_ns()
        pid = os.posix_spawn(
            script,
            [script, *start.arguments],
            env,
            file_actions=[(os.POSIX_SPAWN_DUP2, fd, i) for i, fd in enumerate(fds)],
            setpgroup=0,
            setsigmask=(),
            setsigdef=_RESET,
        )
        after_ns = up_ns()
    except _CannotStart as error:
        return NotStarted(str(error), full=isinstance(error, _Full))
    except OSError as error:
        if error.errno in _TEMPORARY:
            return NotStarted(f"no process can be started just now: {error.strerror}", again=True)
        return NotStarted(_explain(start, error))
    except (ValueError, UnicodeError) as error:
        return NotStarted(f"an argument or variable can't be passed to a process: {error}")
    finally:
        for fd in set(fds):
            os.close(fd)
        if name and not pid:
            scripts.unused(name)
    found = _START_TIMES.of(pid, before_ns, after_ns)
    return Started(pid, 0 if found is None else found)


def _script(start: Start, scripts: Scripts) -> str:
    try:
        return scripts.file_for(start.script)
    except OSError as error:
        if error.errno in _TEMPORARY:
            raise
        where = scripts.path("")
        raise _CannotStart(f"the script can't be kept in {where}: {_word(error)}") from error


def _enter(start: Start) -> None:
    if not start.workdir.startswith("/"):
        raise _CannotStart(f"the working directory {start.workdir!r} is no absolute path")
    try:
        if start.create_workdir:
            os.makedirs(start.workdir, 0o700, exist_ok=True)  # noqa: PTH103 - any bytes, fast
        os.chdir(start.workdir)
    except OSError as error:
        raise _of_path(f"working directory {start.workdir}", error) from error


def _open_streams(start: Start, stdout: str, stderr: str, fds: list[int]) -> None:
    write = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if start.append_output else os.O_TRUNC)
    if start.stdin and start.stdin != os.devnull:
        fds.append(_open("stdin", start.stdin, os.O_RDONLY))
    else:
        fds.append(os.dup(_null()))
    fds.append(_open("stdout", stdout, write))
    if stderr == stdout:
        fds.append(fds[1])
    else:
        fds.append(_open("stderr", stderr, write))


@lru_cache(maxsize=1)
def _null() -> int:
    return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)


def _open(noun: str, path: str, flags: int) -> int:
    """Open without waiting for the other side of a pipe, which would stop every job."""
    if not path.startswith("/"):
        raise _CannotStart(f"{noun} {path!r} is no absolute path")
    try:
        fd = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno in _TEMPORARY and error.errno not in _FULL:
            raise
        raise _of_path(f"{noun} {path}", error) from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.set_blocking(fd, True)
    return fd


def _of_path(what: str, error: OSError) -> _CannotStart:
    kind = _Full if error.errno in _FULL else _CannotStart
    return kind(f"{what}: {_word(error)}")


def _word(error: OSError) -> str:
    name = errno.errorcode.get(error.errno or 0, str(error.errno))
    return f"{error.strerror or error} ({name})"


def _explain(start: Start, error: OSError) -> str:
    """Why an exec failed, in words about the script."""
    first = start.script.split("\n", 1)[0]
    if start.script.startswith("\ufeff"):
        return "the script begins with a byte order mark, so its #! line is not seen"
    if not first.startswith("#!"):
        return f"the script does not begin with #! and an interpreter: {_word(error)}"
    if first.endswith("\r"):
        return f"the script has Windows line ends: its first line is {first!r}"
    if error.errno == errno.E2BIG:
        return f"environment and arguments are too large for this system: {_word(error)}"
    if error.errno in (errno.ENOENT, errno.EACCES, errno.ENOTDIR, errno.ENOEXEC):
        return f"the interpreter of {first!r} can't be run: {_word(error)}"
    return f"the script can't be run: {_word(error)}"
