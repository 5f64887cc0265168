"""What people see: data on standard output, words on standard error, colour only where it helps.

Text that others wrote (names, reasons, a site's words) loses its control characters before it
reaches a terminal.
"""

from __future__ import annotations

import io
import json
import os
import sys
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import IO, Any

ERASE = "\r\033[K"
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


def ready_streams() -> None:
    """Make the standard streams fit for use, once, before anything else.

    One that was closed reads or writes nothing: else the next file or socket that is opened would
    take its number. A letter that the reader's locale hasn't is written as an escape.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def say(words: str) -> None:
    """Words for people; where they can't be said, what was done and its exit code stand."""
    try:
        print(words, file=sys.stderr, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def data(text: str) -> None:
    """Data for people and programs."""
    print(text, flush=True)


def data_json(value: Any) -> None:
    """Data for programs: one object."""
    plain = "utf" not in (sys.stdout.encoding or "").lower()  # JSON has an escape of its own
    print(json.dumps(value, indent=2, ensure_ascii=plain), flush=True)


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
