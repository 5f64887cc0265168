"""Slurm's moments (`--begin`, `--deadline`) as seconds since 1970, in the caller's time zone.

    now[+N[seconds|minutes|hours|days|weeks]]   today   tomorrow   midnight noon fika teatime
    HH:MM[:SS] [AM|PM]   MMDD[YY]   MM/DD[/YY]   MM.DD[.YY]   YYYY-MM-DD[THH:MM[:SS]]

A day and a time may stand together in either order. A time alone that has passed means
tomorrow, a date without a year that has passed means next year. Dates that don't exist are
refused, where Slurm moves them into the next month.
"""

from __future__ import annotations

import calendar
import re
import time

from meyrin.domain.errors import InvalidInput

_HINT = "write 16:00, now+1hour, tomorrow, 2027-01-20 or 2027-01-20T12:34:00"
_NAMED_HOUR = {"midnight": 0, "noon": 12, "fika": 15, "teatime": 16}
_UNIT_S = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}
_FARTHEST_S = 100 * 366 * 86400
_NOW = re.compile(r"now\s*(?:([+-])\s*([0-9]{1,9})\s*([a-z]*))?")
_CLOCK = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?\s*(am|pm)?(?![0-9:a-z])")
_ISO = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})(?![0-9])")
_AMERICAN = re.compile(r"([0-9]{1,2})([/.])([0-9]{1,2})(?:\2([0-9]{2}))?(?![0-9])")
_PACKED = re.compile(r"([0-9]{2})([0-9]{2})([0-9]{2})?(?![0-9:])")
_WORD = re.compile(r"[a-z]+")
_GAP = re.compile(r"\s*[t-](?=[0-9])|\s+")

_Day = tuple[int | None, int, int]  # year if said, month, day
_Clock = tuple[int, int, int]


def parse_moment(text: str, now_s: int) -> int:
    """Seconds since 1970 of `text`; raises InvalidInput with the formats that are read."""
    word = text.strip().lower()
    if word.startswith("now"):
        return max(0, now_s + _offset_s(word))
    day, clock = _pieces(word, text, now_s)
    if day is None:
        assert clock is not None
        return _next_clock(clock, now_s)
    year, month, date = day
    hour = clock or (0, 0, 0)
    if year is not None:
        return _stamp(year, month, date, hour, text)
    this_year = time.localtime(now_s).tm_year
    found = _stamp(this_year, month, date, hour, text)
    return found if found >= now_s else _stamp(this_year + 1, month, date, hour, text)


def _offset_s(word: str) -> int:
    match = _NOW.fullmatch(word)
    unit = (match[3] or "seconds").removesuffix("s") if match else ""
    if not match or (match[1] and unit not in _UNIT_S):
        raise InvalidInput(
            f"{word!r} is no moment",
            hint="write now+COUNT with seconds, minutes, hours, days, weeks",
        )
    if not match[1]:
        return 0
    offset_s = int(match[2]) * _UNIT_S[unit]
    if offset_s > _FARTHEST_S:
        raise InvalidInput(f"{word!r} is over a hundred years away", hint=_HINT)
    return offset_s if match[1] == "+" else -offset_s


def _pieces(word: str, text: str, now_s: int) -> tuple[_Day | None, _Clock | None]:
    """The day and the clock time in `word`, each at most once and nothing else beside them."""
    day: _Day | None = None
    clock: _Clock | None = None
    at = 0
    while at < len(word):
        found_day, found_clock, end = _piece(word, at, now_s)
        gap = _GAP.match(word, end)
        twice = (found_day and day) or (found_clock and clock)
        if end == at or twice or (end < len(word) and not gap):
            raise InvalidInput(f"{text!r} is no moment", hint=_HINT)
        day, clock = found_day or day, found_clock or clock
        at = gap.end() if gap else end
    if day is None and clock is None:
        raise InvalidInput("an empty moment", hint=_HINT)
    return day, clock


def _piece(word: str, at: int, now_s: int) -> tuple[_Day | None, _Clock | None, int]:
    """The day or clock time that starts at `at` and where it ends; nothing ends at `at`."""
    day: _Day | None = None
    clock: _Clock | None = None
    if match := _WORD.match(word, at):
        clock = (_NAMED_HOUR[match[0]], 0, 0) if match[0] in _NAMED_HOUR else None
        day = _relative_day(match[0], now_s)
    elif match := _CLOCK.match(word, at):
        clock = _clock(match)
    elif match := _ISO.match(word, at):
        day = (int(match[1]), int(match[2]), int(match[3]))
    elif match := _AMERICAN.match(word, at):
        day = (2000 + int(match[4]) if match[4] else None, int(match[1]), int(match[3]))
    elif match := _PACKED.match(word, at):
        day = (2000 + int(match[3]) if match[3] else None, int(match[1]), int(match[2]))
    return day, clock, match.end() if match and (day or clock) else at


def _relative_day(name: str, now_s: int) -> _Day | None:
    if name not in {"today", "tomorrow"}:
        return None
    now = time.localtime(now_s)
    date = now.tm_mday + (1 if name == "tomorrow" else 0)
    then = time.localtime(time.mktime((now.tm_year, now.tm_mon, date, 12, 0, 0, 0, 0, -1)))
    return then.tm_year, then.tm_mon, then.tm_mday


def _clock(match: re.Match[str]) -> _Clock:
    hour, minute, second = int(match[1]), int(match[2]), int(match[3] or 0)
    half = match[4]
    if (half and not 1 <= hour <= 12) or hour > 23 or minute > 59 or second > 59:
        raise InvalidInput(f"{match[0]!r} is no time of day", hint="write 00:00 to 23:59")
    if half:
        hour = hour % 12 + (12 if half == "pm" else 0)
    return hour, minute, second


def _next_clock(clock: _Clock, now_s: int) -> int:
    now = time.localtime(now_s)
    today = time.mktime((now.tm_year, now.tm_mon, now.tm_mday, *clock, 0, 0, -1))
    if today > now_s:
        return int(today)
    return int(time.mktime((now.tm_year, now.tm_mon, now.tm_mday + 1, *clock, 0, 0, -1)))


def _stamp(year: int, month: int, day: int, clock: _Clock, text: str) -> int:
    leap_february = month == 2 and day == 29 and not calendar.isleap(year)
    if not (1970 <= year <= 9999 and 1 <= month <= 12):
        raise InvalidInput(f"{text!r} is no date", hint=_HINT)
    if leap_february or not 1 <= day <= calendar.monthrange(year, month)[1]:
        raise InvalidInput(f"{text!r}: there is no such day", hint=_HINT)
    return int(time.mktime((year, month, day, *clock, 0, 0, -1)))
