"""Wake-ups: whoever waits for a topic hears of it when something was committed.

A ring is a hint, never the data: waiters look at the database again, and also look when nothing
rang for a while, so that a lost ring costs time and nothing else. Between replicas rings travel by
PostgreSQL's NOTIFY.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import defaultdict
from collections.abc import Mapping


class Bell:
    """Counts rings per topic; threads and coroutines wait for a count to pass."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._counts: defaultdict[str, int] = defaultdict(int)
        self._async_waiters: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    def count(self, topic: str) -> int:
        """How often the topic rang; take it before looking, then wait for it to pass."""
        with self._changed:
            return self._counts[topic]

    def ring(self, topic: str) -> None:
        with self._changed:
            self._counts[topic] += 1
            self._changed.notify_all()
            waiters = list(self._async_waiters)
        for loop, event in waiters:
            with contextlib.suppress(RuntimeError):  # that loop is closed: nobody waits there
                loop.call_soon_threadsafe(event.set)

    def wait(self, topic: str, after: int, timeout_s: float) -> bool:
        """Block until the topic rang after count `after`; False when the time is over."""
        with self._changed:
            return self._changed.wait_for(lambda: self._counts[topic] > after, timeout_s)

    async def wait_any(self, after: Mapping[str, int], timeout_s: float) -> bool:
        """Wait until one of the topics rang after its count, without holding a thread."""
        event = asyncio.Event()
        entry = (asyncio.get_running_loop(), event)
        with self._changed:
            self._async_waiters.add(entry)
        try:
            async with asyncio.timeout(timeout_s):
                while all(self.count(topic) <= seen for topic, seen in after.items()):
                    await event.wait()
                    event.clear()
                return True
        except TimeoutError:
            return False
        finally:
            with self._changed:
                self._async_waiters.discard(entry)
