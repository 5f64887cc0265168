"""Makes the journal durable without stopping the keeper: a child process that only syncs.

A sync takes a tenth of a millisecond on a quiet disk and many on a busy one. Meanwhile the keeper
goes on reaping, and starting what is claimed already.
"""

from __future__ import annotations

import os
import signal
import struct

_POSITION = struct.Struct("<Q")


class Syncer:
    """One child that calls fdatasync on `fd` for each position that it is sent."""

    def __init__(self, fd: int) -> None:
        to_child, from_child = os.pipe(), os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            _serve(fd, to_child[0], from_child[1])
        os.close(to_child[0])
        os.close(from_child[1])
        self._asking, self.answers = to_child[1], from_child[0]

    def ask(self, position: int) -> None:
        """Ask that everything up to `position` become durable. Raises OSError when it is dead."""
        os.write(self._asking, _POSITION.pack(position))

    def answer(self) -> int | None:
        """What is durable now, once `answers` is readable; None when the child is dead."""
        data = os.read(self.answers, _POSITION.size)
        if len(data) < _POSITION.size:
            return None
        position: int = _POSITION.unpack(data)[0]
        return position

    def close(self) -> None:
        """The child sees its pipe closed and ends; the keeper reaps it like any other."""
        os.close(self._asking)
        os.close(self.answers)


def _serve(fd: int, asked: int, done: int) -> None:
    """The child's life; never returns, and answers nothing after a failed sync."""
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)
        for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
            if int(name) > 2 and int(name) not in (fd, asked, done):
                try:
                    os.close(int(name))
                except OSError:
                    continue  # the listing's own descriptor
        while data := os.read(asked, _POSITION.size):
            os.fdatasync(fd)
            os.write(done, data)
    finally:
        os._exit(0)
