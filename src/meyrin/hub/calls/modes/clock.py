"""Promises by the calendar: cut-offs in local time, working days by country, stops of the clock.

A promise of N working days ends with the N-th working day after the day of the submission (or of
its cut-off), at midnight of the mode's time zone. Weekends and the country's public holidays are
no working days, and neither is a day at whose end the clock stands. Weeks and months go by the
calendar; a month that lacks the day ends with its last one. A stop moves those by its length.
"""

from __future__ import annotations

import calendar
import functools
import zoneinfo
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from meyrin.domain.errors import InvalidInput
from meyrin.hub.calls.modes.file import Clock
from meyrin.wire.calls import StopView

_LATEST_YEARS = 5  # a promise that isn't kept in that time, with all stops, is no promise


@dataclass(frozen=True, slots=True)
class Due:
    """`from_s` is where the promise counts from; None `due_s`: the clock stands now."""

    from_s: int
    due_s: int | None
    cutoff_s: int | None = None


def due(clock: Clock, submitted_s: int, stops: Sequence[StopView] = ()) -> Due | None:
    """By when an answer to a submission is promised; None when its last cut-off has passed."""
    cutoff_s = None
    if clock.cutoffs:
        cutoff_s = next_cutoff_s(clock, submitted_s)
        if cutoff_s is None:
            return None
    from_s = submitted_s if cutoff_s is None else cutoff_s
    if any(stop.end_s is None for stop in stops):
        return Due(from_s, None, cutoff_s)
    return Due(from_s, _promise_s(clock, from_s, stops), cutoff_s)


def next_cutoff_s(clock: Clock, submitted_s: int) -> int | None:
    """The first cut-off that a submission is in time for: at it is in time, a second later not."""
    zone = zoneinfo.ZoneInfo(clock.time_zone)
    for moment in clock.cutoffs:
        cutoff_s = int(moment.replace(tzinfo=zone).timestamp())
        if submitted_s <= cutoff_s:
            return cutoff_s
    return None


def _promise_s(clock: Clock, from_s: int, stops: Sequence[StopView]) -> int:
    zone = zoneinfo.ZoneInfo(clock.time_zone)
    begun = datetime.fromtimestamp(from_s, zone)
    if clock.counts == "working-days":
        return _after_working_days(clock, begun, stops)
    stood_s = sum(
        max(0, (stop.end_s or stop.start_s) - max(stop.start_s, from_s)) for stop in stops
    )
    if clock.counts == "seconds":
        return from_s + clock.promise + stood_s
    if clock.counts == "weeks":
        last = begun.date() + timedelta(weeks=clock.promise)
    else:
        last = add_months(begun.date(), clock.promise)
    return _midnight_after_s(last, zone) + stood_s


def _after_working_days(clock: Clock, begun: datetime, stops: Sequence[StopView]) -> int:
    zone = zoneinfo.ZoneInfo(clock.time_zone)
    day, left = begun.date(), clock.promise
    for _ in range(366 * _LATEST_YEARS):
        day += timedelta(days=1)
        ends_s = _midnight_after_s(day, zone)
        stands = any(
            stop.start_s < ends_s and (stop.end_s is None or stop.end_s >= ends_s) for stop in stops
        )
        if is_working_day(clock.country, day) and not stands:
            left -= 1
            if not left:
                return ends_s
    raise InvalidInput(
        f"{clock.promise} working days do not fit into {_LATEST_YEARS} years",
        hint="end a stop of the clock, or promise fewer days",
        field="promise",
    )


def is_working_day(country: str, day: date) -> bool:
    """Monday to Friday, but for the country's public holidays (PyPI's `holidays` knows them)."""
    return day.weekday() < 5 and day not in _holidays(country, day.year)


@functools.lru_cache(maxsize=64)
def _holidays(country: str, year: int) -> frozenset[date]:
    import holidays  # noqa: PLC0415 - half a second, for those who ask

    try:
        return frozenset(holidays.country_holidays(country, years=year))
    except NotImplementedError as error:  # the library's word for a country that it does not know
        raise InvalidInput(
            f"the public holidays of {country!r} are not known",
            hint="write a country's two letters as ISO 3166 has them, such as LU",
            field="country",
            value=country,
        ) from error


def add_months(day: date, months: int) -> date:
    """The same day so many months later, or the month's last day where it has no such day."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def _midnight_after_s(day: date, zone: zoneinfo.ZoneInfo) -> int:
    return int(datetime.combine(day + timedelta(days=1), time(), tzinfo=zone).timestamp())


def shown(moment_s: int, time_zone: str) -> str:
    """A moment in the words of a place: `2026-03-30 10:00 Europe/Luxembourg`."""
    local = datetime.fromtimestamp(moment_s, UTC).astimezone(zoneinfo.ZoneInfo(time_zone))
    return f"{local:%Y-%m-%d %H:%M} {time_zone}"
