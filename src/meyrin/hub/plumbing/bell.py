"""Wake-ups: whoever waits for a topic hears of it when something was committed.

A ring is a hint, never the data: waiters look at the database again, and also look when nothing
rang for a while, so that a lost ring costs time and nothing else. Between replicas rings travel
by PostgreSQL's NOTIFY (`relay`).
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping

_REMEMBERED = 20_000  # topics; a forgotten one is as if it never rang


class Bell:
    """Numbers rings in one row; threads and coroutines wait for a topic's number to pass."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._last: OrderedDict[str, int] = OrderedDict()
        self._rings = 0
        self.closed = False
        self._waiters: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    def count(self, topic: str) -> int:
        """The number of the topic's last ring; take it before looking, then wait past it."""
        with self._changed:
            return self._last.get(topic, 0)

    def ring(self, topics: Iterable[str]) -> None:
        with self._changed:
            for topic in topics:
                self._rings += 1
                self._last[topic] = self._rings
                self._last.move_to_end(topic)
            while len(self._last) > _REMEMBERED:
                self._last.popitem(last=False)
            self._changed.notify_all()
            waiters = list(self._waiters)
        for loop, event in waiters:
            with contextlib.suppress(RuntimeError):  # that loop is closed: nobody waits there
                loop.call_soon_threadsafe(event.set)

    def close(self) -> None:
        """The hub stops: whoever waits comes back at once, and nobody waits any more."""
        self.closed = True
        self.ring([])

    def wait(self, topic: str, after: int, timeout_s: float) -> bool:
        """Block until the topic rang after number `after`; False when the time is over."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self.closed or self._last.get(topic, 0) > after, timeout_s
            )

    async def wait_any(self, after: Mapping[str, int], timeout_s: float) -> bool:
        """Wait until one of the topics rang after its number, without holding a thread."""
        event = asyncio.Event()
        entry = (asyncio.get_running_loop(), event)
        with self._changed:
            self._waiters.add(entry)
        try:
            async with asyncio.timeout(timeout_s):
                while not self.closed and all(
                    self.count(topic) <= seen for topic, seen in after.items()
                ):
                    await event.wait()
                    event.clear()
                return True
        except TimeoutError:
            return False
        finally:
            with self._changed:
                self._waiters.discard(entry)
