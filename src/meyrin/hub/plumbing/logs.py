"""Where log lines go: one JSON object a line, to a file or to stderr.

A line that can't be written (a full disk, a reader that left) is dropped: what is logged must
never stop the work that it tells of.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from io import RawIOBase
from pathlib import Path
from typing import TextIO, cast

import structlog


class _Lines:
    """A file of log lines, each written whole and at once, or not at all."""

    def __init__(self, file: RawIOBase) -> None:
        self._file = file

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._file.write(text.encode("utf-8", "backslashreplace"))
        return len(text)

    def flush(self) -> None:
        """Nothing is kept back."""


def configure(path: Path | None = None) -> None:
    """Send structlog's lines to `path` (appended), or to stderr."""
    if path is None:
        file = open(sys.stderr.fileno(), "ab", buffering=0, closefd=False)  # noqa: SIM115
    else:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = path.open("ab", buffering=0)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, _Lines(file))),
        cache_logger_on_first_use=True,
    )
