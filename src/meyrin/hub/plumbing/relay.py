"""Carries rings between equal hubs over PostgreSQL's LISTEN and NOTIFY (psycopg 3)."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator

import structlog

from meyrin.hub.plumbing.bell import Bell

CHANNEL = "meyrin_bell"
_PAYLOAD_BYTES = 7000  # PostgreSQL takes less than 8000
log = structlog.get_logger("meyrin.hub")


def payloads(topics: Iterable[str]) -> Iterator[str]:
    """Topics, one a line, in as few payloads as PostgreSQL allows."""
    lines: list[str] = []
    size = 0
    for topic in sorted(topics):
        if lines and size + len(topic.encode()) + 1 > _PAYLOAD_BYTES:
            yield "\n".join(lines)
            lines, size = [], 0
        lines.append(topic)
        size += len(topic.encode()) + 1
    if lines:
        yield "\n".join(lines)


class Relay:
    """A thread that rings here what was rung at other hubs."""

    def __init__(self, url: str, bell: Bell) -> None:
        self.url = url.replace("postgresql+psycopg://", "postgresql://")
        self.bell = bell
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(5)

    def _run(self) -> None:
        import psycopg  # noqa: PLC0415 - 7 MB that a hub on SQLite does without

        while not self._stop.is_set():
            try:
                with psycopg.connect(self.url, autocommit=True) as connection:
                    connection.execute(f"LISTEN {CHANNEL}")
                    while not self._stop.is_set():
                        for notice in connection.notifies(timeout=1.0):
                            self.bell.ring(notice.payload.split("\n"))
            except psycopg.Error as error:
                log.warning("relay.lost", error=str(error).strip())
                self._stop.wait(2)
