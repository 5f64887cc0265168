"""What people see: data on standard output, words on standard error, colour only where it helps.

Text that others wrote (names, reasons, a site's words) loses its control characters before it
reaches a terminal.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import IO, Any

GREEN, YELLOW, RED, FAINT, BOLD = "32", "33", "31", "2", "1"
STATE_COLOUR = {
    "running": GREEN,
    "completed": GREEN,
    "failed": RED,
    "expired": RED,
    "cancelled": FAINT,
    "submitted": YELLOW,
    "admitted": YELLOW,
    "placed": YELLOW,
    "leased": YELLOW,
    "queued": YELLOW,
    "preempted": YELLOW,
}


def say(words: str) -> None:
    """Words for people."""
    print(words, file=sys.stderr, flush=True)


def data(text: str) -> None:
    """Data for people and programs."""
    print(text, flush=True)


def data_json(value: Any) -> None:
    """Data for programs: one object."""
    print(json.dumps(value, indent=2, ensure_ascii=False), flush=True)


def is_terminal(stream: IO[Any]) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


def colourful(environ: Mapping[str, str], stream: IO[Any]) -> bool:
    """Whether colour is wanted there (no-color.org)."""
    return is_terminal(stream) and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def paint(text: str, colour: str, wanted: bool) -> str:
    return f"\033[{colour}m{text}\033[0m" if wanted and text else text


def clean(text: str) -> str:
    """One line that can't steer a terminal."""
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(letter) in _STEERING else letter
        for letter in text
    )


_STEERING = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def moment(at_ms: int | None) -> str:
    """A moment in the reader's own time zone; `-` for none."""
    if at_ms is None:
        return "-"
    when = datetime.fromtimestamp(at_ms // 1000, tz=UTC).astimezone()
    return when.strftime("%Y-%m-%d %H:%M:%S")


def clock_time(at_s: int, now_s: int) -> str:
    """A moment near now as people say it: `now`, `14:05`, or with its date."""
    if at_s <= now_s:
        return "now"
    when = datetime.fromtimestamp(at_s, tz=UTC).astimezone()
    today = datetime.fromtimestamp(now_s, tz=UTC).astimezone()
    return when.strftime("%H:%M:%S" if when.date() == today.date() else "%Y-%m-%d %H:%M")


def amount(size: int) -> str:
    """Bytes as people read them."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"
