"""Where log lines go: one JSON object a line, to a file or to stderr."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TextIO

import structlog


def configure(path: Path | None = None) -> None:
    """Send structlog's lines to `path` (appended), or to stderr."""
    out: TextIO = sys.stderr
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        out = path.open("a", encoding="utf-8", buffering=1)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=True,
    )
