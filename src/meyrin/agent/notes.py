"""Whether the agent's own disk takes notes. Without a note nothing may be handed over, so while it
takes none, the site takes nothing new, and what the hub gave says what it waits for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import structlog

from meyrin.agent.hub import Hub
from meyrin.agent.journal import Journal
from meyrin.domain.errors import MeyrinError, StorageFull
from meyrin.wire.agents import Report, Work

log = structlog.get_logger("meyrin.agent")
WORDS = "its agent's disk takes no notes: it is full, or broken"


class Notes:
    """`journal` is where they are written; `hub` is told."""

    def __init__(self, journal: Journal, hub: Hub, clock_ms: Callable[[], int]) -> None:
        self._journal, self._hub, self._clock_ms = journal, hub, clock_ms
        self._refused = False

    def not_now(self) -> str:
        """Why the site takes nothing new; empty where the disk takes notes, or does again."""
        if self._refused and self._journal.takes_notes():
            self._refused = False
            log.info("agent.disk_takes_notes")
        return WORDS if self._refused else ""

    @contextmanager
    def of(self, work: Sequence[Work]) -> Iterator[None]:
        """Within it this work is noted. Where that fails the hub hears what it waits for: it is
        given again later."""
        try:
            yield
        except StorageFull as full:
            if not self._refused:
                log.error("agent.disk_takes_no_notes", error=full.message)
            self._refused = True
            self._tell(work)
            raise

    def _tell(self, work: Sequence[Work]) -> None:
        now_ms = self._clock_ms()
        held = [
            Report(attempt=w.attempt, epoch=w.epoch, phase="held", at_ms=now_ms, why=WORDS)
            for w in work
        ]
        try:
            self._hub.report(held)
        except MeyrinError as error:
            log.warning("agent.held_not_told", error=error.message)
