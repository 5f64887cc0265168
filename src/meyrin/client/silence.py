"""Words for whoever waits while a hub gives no answer: nothing is wrong yet, nothing is stuck.

A thread of its own looks, since the one that called waits. It is begun with the first call.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

LONG_S = 5.0
LEAST_S = 60.0  # between two words
LOOK_S = 1.0


class Silence:
    """`waits` is told when somebody begins to wait for the hub, `heard` when it answered."""

    def __init__(
        self, tell: Callable[[], None] | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._tell = tell
        self._clock = clock
        self._since: float | None = None
        self._told: float | None = None
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def waits(self) -> None:
        if self._since is None:
            self._since = self._clock()
        if self._thread is None and self._tell is not None:
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()

    def heard(self) -> None:
        self._since = None

    def close(self) -> None:
        self._over.set()

    def look(self) -> None:
        """Say it when it is time to."""
        now, since = self._clock(), self._since
        if self._tell is None or since is None or now - since < LONG_S:
            return
        if self._told is None or now - self._told >= LEAST_S:
            self._told = now
            self._tell()

    def _watch(self) -> None:
        while not self._over.wait(LOOK_S):
            self.look()
