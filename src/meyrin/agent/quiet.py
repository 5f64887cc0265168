"""Quiet hours: weekly spans of a site's own clock in which no new job starts.

    Mon-Fri 08:00-18:00      Sat,Sun 00:00-24:00      22:00-06:00 (every day, over midnight)

A span belongs to the day on which it begins. Summer time follows the time zone: the hour that is
there twice is quiet twice, the hour that is not there never is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from meyrin.domain.errors import InvalidInput

_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_SPAN = re.compile(r"(?:([A-Za-z,\- ]+?)\s+)?(\d{1,2}):(\d\d)\s*-\s*(\d{1,2}):(\d\d)")
_MINUTES = 24 * 60
_HINT = "write such as 'Mon-Fri 08:00-18:00', 'Sat,Sun 00:00-24:00' or '22:00-06:00'"

Span = tuple[frozenset[int], int, int]  # weekdays of its beginning, first and last minute


def check(words: Sequence[str], time_zone: str) -> None:
    """Raises InvalidInput naming what can't be read."""
    _zone(time_zone)
    for word in words:
        _span(word)


def over_at_s(words: Sequence[str], time_zone: str, now_s: int) -> int | None:
    """When the quiet hours that hold at `now_s` are over; None when there are none now.

    Spans that follow one another are one; a week that is quiet throughout ends in a week.
    """
    return _over_at_s(tuple(words), time_zone, now_s - now_s % 60) if words else None


@lru_cache(maxsize=8)
def never_over(words: tuple[str, ...]) -> bool:
    """Whether they leave no minute of the week."""
    quiet = {
        (day * _MINUTES + minute) % (7 * _MINUTES)
        for days, first, last in map(_span, words)
        for day in days
        for minute in range(first, last)
    }
    return len(quiet) == 7 * _MINUTES


@lru_cache(maxsize=8)
def _over_at_s(words: tuple[str, ...], time_zone: str, minute_s: int) -> int | None:
    if not _quiet(words, time_zone, minute_s):
        return None
    end = minute_s
    for _ in range(7 * _MINUTES):
        end += 60
        if not _quiet(words, time_zone, end):
            break
    return end


def _quiet(words: Sequence[str], time_zone: str, at_s: int) -> bool:
    now = datetime.fromtimestamp(at_s, UTC).astimezone(_zone(time_zone))
    minute = now.hour * 60 + now.minute
    before = (now.date() - timedelta(days=1)).weekday()
    for days, first, last in map(_span, words):
        if now.weekday() in days and first <= minute < last:
            return True
        if before in days and minute < last - _MINUTES:
            return True
    return False


@lru_cache(maxsize=16)
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidInput(
            f"there is no time zone {name!r}",
            hint="write such as 'Europe/Zurich' or 'UTC'",
            field="rules.time_zone",
            value=name,
        ) from error


@lru_cache(maxsize=256)
def _span(word: str) -> Span:
    """`last` is beyond a day's minutes where the span goes over midnight."""
    match = _SPAN.fullmatch(word.strip())
    if match is None:
        raise _no(word)
    hours, minutes = (int(match[2]), int(match[4])), (int(match[3]), int(match[5]))
    first, last = (h * 60 + m for h, m in zip(hours, minutes, strict=True))
    if max(minutes) > 59 or first >= _MINUTES or last > _MINUTES or first == last:
        raise _no(word)
    return _days(match[1], word), first, last if last > first else last + _MINUTES


def _days(text: str | None, word: str) -> frozenset[int]:
    if text is None:
        return frozenset(range(7))
    found: set[int] = set()
    for part in text.lower().replace(" ", "").split(","):
        first, dash, last = part.partition("-")
        begin, end = _day(first, word), _day(last if dash else first, word)
        found |= {(begin + more) % 7 for more in range((end - begin) % 7 + 1)}
    return frozenset(found)


def _day(text: str, word: str) -> int:
    """`mon` or `Monday`."""
    for number, name in enumerate(_DAYS):
        if len(text) >= 3 and name.startswith(text):
            return number
    raise _no(word)


def _no(word: str) -> InvalidInput:
    return InvalidInput(
        f"{word!r} are no quiet hours", hint=_HINT, field="rules.quiet_hours", value=word
    )
