"""Days and months as people type them."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time

from meyrin.domain.errors import InvalidInput


def parse_day(text: str, option: str) -> int:
    """The first second of a day `YYYY-MM-DD` in UTC; else InvalidInput that names the option."""
    try:
        day = date.fromisoformat(text) if re.fullmatch(r"\d{4}-\d\d-\d\d", text) else None
    except ValueError:
        day = None
    if day is None:
        raise InvalidInput(
            f"{option} is {text!r}, which is no day", hint="write YYYY-MM-DD", field=option
        )
    return int(datetime.combine(day, time(), UTC).timestamp())


def check_month(text: str) -> str:
    """`YYYY-MM`; else InvalidInput."""
    if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", text):
        raise InvalidInput(f"{text!r} is no month", hint="write YYYY-MM", field="month")
    return text


def month_of(now_s: int) -> str:
    """The month of a moment, `YYYY-MM` in UTC."""
    return datetime.fromtimestamp(now_s, tz=UTC).strftime("%Y-%m")
