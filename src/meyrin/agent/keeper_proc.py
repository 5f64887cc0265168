"""What the kernel says of processes, and how they are signalled. `/proc` is read, never guessed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import struct
import time
from pathlib import Path

MARK = "MEYRIN_ATTEMPT"  # in the environment of every job: the attempt that it is
_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_PIDFD_INFO_EXIT = 1 << 3
_PIDFD_GET_INFO = (3 << 30) | (64 << 16) | (0xFF << 8) | 11  # linux/pidfd.h, Linux 6.15


def up_ns() -> int:
    """Nanoseconds since boot, suspended time included: no clock change moves it."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()


def signal_number(name: str) -> int:
    """`USR1`, `SIGUSR1` or `10`. Raises ValueError on no signal."""
    if name.isdigit():
        return signal.Signals(int(name))
    word = name.upper()
    try:
        return signal.Signals[word if word.startswith("SIG") else f"SIG{word}"]
    except KeyError:
        raise ValueError(f"{name!r} is no signal") from None


def stat_fields(pid: int) -> list[bytes] | None:
    """Fields of /proc/PID/stat from the third on; None when there is no such process."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        data = os.read(fd, 4096)
    except OSError:
        return None
    finally:
        os.close(fd)
    return data[data.rindex(b")") + 2 :].split()


def name_of(pid: int) -> str:
    """The process's short name, as its program file is called unless it renamed itself."""
    try:
        return Path(f"/proc/{pid}/comm").read_text("utf-8", "replace").rstrip("\n")
    except OSError:
        return ""


def ticks(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot: with the pid, an identity."""
    fields = stat_fields(pid)
    return int(fields[19]) if fields else None


class StartTimes:
    """When processes started, in ticks, mostly without asking /proc, which costs a tenth of a
    start: one that began and had begun within one tick of the boot clock started in that tick.
    Trusted once /proc has said the same of one process."""

    def __init__(self) -> None:
        self._agrees = False

    def of(self, pid: int, before_ns: int, after_ns: int) -> int | None:
        """Of a process that was started between two readings of `up_ns`; None when it is gone."""
        first, last = before_ns // _TICK_NS, after_ns // _TICK_NS
        if self._agrees and first == last:
            return first
        found = ticks(pid)
        if found is not None:
            self._agrees = first <= found <= last
        return found


def kill_group(pid: int, number: int) -> bool:
    """Signal a group; False when it has no process left."""
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # a set-user-id program: it is there, and not ours to signal
    return True


def kill_one(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def group_members(pgid: int) -> list[int]:
    """Living processes of a group, its leader left out."""
    found = []
    for pid in pids():
        fields = stat_fields(pid)
        if fields and pid != pgid and int(fields[2]) == pgid and fields[0] != b"Z":
            found.append(pid)
    return found


def pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208


def attempt_of(pid: int) -> str:
    """The attempt that a process belongs to by its environment; empty when it says none."""
    try:
        data = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return ""
    mark = f"{MARK}=".encode()
    for entry in data.split(b"\0"):
        if entry.startswith(mark):
            return entry[len(mark) :].decode("utf-8", "replace")
    return ""


def kill_marked(attempts: set[str]) -> None:
    """Kill every process whose environment names one of `attempts`."""
    for pid in pids():
        if attempt_of(pid) in attempts:
            kill_one(pid, signal.SIGKILL)


def leaders_of(attempt: str) -> list[tuple[int, int, str]]:
    """Living group leaders of `attempt`: pid, start time in ticks and name, the oldest first."""
    found = []
    for pid in pids():
        fields = stat_fields(pid)
        if fields and int(fields[2]) == pid and attempt_of(pid) == attempt:
            found.append((pid, int(fields[19]), name_of(pid)))
    return sorted(found, key=lambda one: one[1])


def open_children(pid: int) -> int:
    """For `children`; -1 where the kernel has no such file."""
    try:
        return os.open(f"/proc/{pid}/task/{pid}/children", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1


def children(listing: int) -> list[int]:
    """Child processes, by what `open_children` gave."""
    if listing < 0:
        return []
    return [int(word) for word in os.pread(listing, 1 << 20, 0).split()]


def exit_of(pidfd: int) -> int | None:
    """Wait status of a process that somebody else reaped; None where the kernel can't say."""
    info = bytearray(64)
    struct.pack_into("<Q", info, 0, _PIDFD_INFO_EXIT)
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, info)
    except OSError:
        return None
    (mask,) = struct.unpack_from("<Q", info, 0)
    if not mask & _PIDFD_INFO_EXIT:
        return None
    status: int = struct.unpack_from("<i", info, 60)[0]
    return status
