"""Working days, cut-offs in local time, and stops of the clock."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meyrin.domain.errors import InvalidInput
from meyrin.hub.calls.modes.clock import add_months, due, is_working_day, next_cutoff_s
from meyrin.hub.calls.modes.file import Clock
from meyrin.wire.calls import StopView


def clock(promise: int = 2, counts: str = "working-days", **other: object) -> Clock:
    return Clock.model_validate(
        {
            "promise": promise,
            "counts": counts,
            "country": "LU",
            "time_zone": "Europe/Luxembourg",
            **other,
        }
    )


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


MONDAY = at("2026-07-06T09:00")


def test_a_promise_ends_at_midnight_of_the_place() -> None:
    found = due(clock(), MONDAY)
    assert found is not None
    assert found.due_s == at("2026-07-08T22:00")  # summer time: two hours ahead


def test_a_country_has_its_own_holidays() -> None:
    assert not is_working_day("LU", date(2026, 6, 23))
    assert is_working_day("DE", date(2026, 6, 23))
    assert not is_working_day("IT", date(2026, 6, 2))


def test_an_unknown_country_is_named() -> None:
    with pytest.raises(InvalidInput, match="'QQ'"):
        is_working_day("QQ", date(2026, 6, 23))


def test_a_stop_gives_back_the_days_at_whose_end_the_clock_stood() -> None:
    # from Tuesday noon to Thursday noon: Tuesday's and Wednesday's ends fall into it
    stop = StopView(
        start_s=at("2026-07-07T10:00"), end_s=at("2026-07-09T10:00"), reason="asked the applicant"
    )
    found = due(clock(), MONDAY, [stop])
    assert found is not None
    assert found.due_s == at("2026-07-10T22:00")


def test_a_stop_within_one_day_costs_nothing() -> None:
    stop = StopView(
        start_s=at("2026-07-07T10:00"), end_s=at("2026-07-07T12:00"), reason="a question"
    )
    assert due(clock(), MONDAY, [stop]) == due(clock(), MONDAY)


def test_while_the_clock_stands_nothing_is_due() -> None:
    found = due(
        clock(), MONDAY, [StopView(start_s=MONDAY + 60, end_s=None, reason="waits for a signature")]
    )
    assert found is not None
    assert found.due_s is None


def test_a_stop_moves_a_promise_of_weeks_by_its_length() -> None:
    plain = due(clock(2, "weeks"), MONDAY)
    later = due(
        clock(2, "weeks"),
        MONDAY,
        [StopView(start_s=MONDAY + 10, end_s=MONDAY + 110, reason="a question")],
    )
    assert plain is not None
    assert plain.due_s is not None
    assert later is not None
    assert later.due_s == plain.due_s + 100


def test_a_month_that_lacks_the_day_ends_with_its_last() -> None:
    assert add_months(date(2026, 1, 31), 1) == date(2026, 2, 28)
    assert add_months(date(2027, 11, 30), 3) == date(2028, 2, 29)
    assert add_months(date(2026, 8, 31), 4) == date(2026, 12, 31)


def test_a_cut_off_is_in_local_time_to_the_second() -> None:
    dated = clock(
        cutoffs=[datetime.fromisoformat(f"2026-{day}T10:00") for day in ("03-30", "11-30")]
    )
    spring, winter = at("2026-03-30T08:00"), at("2026-11-30T09:00")
    assert next_cutoff_s(dated, spring) == spring
    assert next_cutoff_s(dated, spring + 1) == winter
    assert next_cutoff_s(dated, winter + 1) is None
    assert due(dated, winter + 1) is None


@given(st.integers(at("2026-01-01T00:00"), at("2026-12-31T00:00")), st.integers(1, 30))
def test_more_days_are_never_sooner_and_later_asks_never_answered_earlier(
    submitted_s: int, days: int
) -> None:
    first, more = due(clock(days), submitted_s), due(clock(days + 1), submitted_s)
    later = due(clock(days), submitted_s + 3600)
    assert first is not None
    assert more is not None
    assert later is not None
    assert first.due_s is not None
    assert more.due_s is not None
    assert later.due_s is not None
    assert submitted_s < first.due_s < more.due_s
    assert later.due_s >= first.due_s
