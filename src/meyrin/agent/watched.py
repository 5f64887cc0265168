"""The settings file while the agent runs: read again when it changes, or when SIGHUP says so.

Only what may change while jobs run is taken: the site's rules and its offers. Other keys wait for
the next start, and that is said. A file that can't be read leaves everything as it was.
"""

from __future__ import annotations

import threading
from pathlib import Path

import structlog

from meyrin.agent import config as settings
from meyrin.agent.config import AgentConfig
from meyrin.domain.errors import MeyrinError

log = structlog.get_logger("meyrin.agent")


class Watched:
    """`trouble` is what is wrong with the file now; empty when it is in force."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trouble = ""
        self._seen = self._mark()
        self._asked = threading.Event()

    def wake(self) -> None:
        """Look at the file now, changed or not. Safe in a signal handler."""
        self._asked.set()

    def wait(self, seconds: float) -> None:
        self._asked.wait(seconds)

    def look(self, present: AgentConfig) -> AgentConfig | None:
        """The settings to go on with, if they are new."""
        asked, mark = self._asked.is_set(), self._mark()
        self._asked.clear()
        if mark == self._seen and not asked:
            return None
        self._seen = mark
        try:
            found = settings.load(self.path)
        except (MeyrinError, OSError) as error:
            self.trouble = "its settings can't be read any more; those before hold (see its log)"
            log.error("agent.settings_refused", error=str(error))
            return None
        new = present.model_copy(update={"rules": found.rules, "offer": found.offer})
        later = sorted(
            name for name in AgentConfig.model_fields if getattr(new, name) != getattr(found, name)
        )
        self.trouble = f"changed, but waits for a new start: {', '.join(later)}" if later else ""
        if later:
            log.warning("agent.settings_wait", keys=later)
        if new == present:
            return None
        log.info("agent.settings_read", path=str(self.path))
        return new

    def _mark(self) -> tuple[int, ...]:
        try:
            found = self.path.stat()
        except OSError:
            return ()
        return (found.st_ino, found.st_mtime_ns, found.st_size)
