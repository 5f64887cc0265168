"""Errands of one kind, a few at a time: what takes long holds up no other."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable

WIDTH = 4


class Errands:
    """`run` does one, by its name. Threads begin when there is something to do, and do not keep
    the agent from ending; `begin` starts one."""

    def __init__(self, run: Callable[[str], None], kind: str) -> None:
        self._run, self._kind = run, kind
        self._lock = threading.Lock()
        self._waiting: deque[str] = deque()
        self._known: set[str] = set()  # that wait or are under way
        self._busy = 0
        self._error: Exception | None = None

    def begin(self, work: Callable[[], None]) -> None:
        threading.Thread(target=work, name=self._kind, daemon=True).start()

    def go(self, due: Callable[[], Iterable[str]]) -> None:
        """Begin those of `due` that are not under way. Raises what one of them met since the last
        time: those that had not begun by then wait for this call."""
        with self._lock:
            error, self._error = self._error, None
            # asked within the lock: what ends meanwhile is either not due or still known
            new = [name for name in due() if name not in self._known]
            self._known.update(new)
            self._waiting.extend(new)
            hands = min(len(self._waiting), WIDTH - self._busy)
            self._busy += hands
        for _ in range(hands):
            self.begin(self._work)
        if error is not None:
            raise error

    def _work(self) -> None:
        while (name := self._next()) is not None:
            try:
                if self._error is None:
                    self._run(name)
            except Exception as error:  # noqa: BLE001 - told by `go`, in the thread that repeats it
                with self._lock:
                    self._error = self._error or error
            finally:
                with self._lock:
                    self._known.discard(name)

    def _next(self) -> str | None:
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._busy -= 1
            return None
