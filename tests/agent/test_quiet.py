"""Quiet hours: what is read, when they hold, and summer time."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from meyrin.agent import quiet
from meyrin.agent.config import Rules
from meyrin.agent.rules import closed
from meyrin.domain.errors import InvalidInput

HOUR = 3600


def at(text, zone="UTC"):
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp())


def shown(end, zone="UTC"):
    there = None if end is None else datetime.fromtimestamp(end, UTC).astimezone(ZoneInfo(zone))
    return None if there is None else there.strftime("%a %H:%M")


# 2027-01-04 is a Monday
@pytest.mark.parametrize(
    ("words", "now", "over"),
    [
        (["Mon-Fri 08:00-18:00"], "2027-01-04T08:00", "Mon 18:00"),
        (["Mon-Fri 08:00-18:00"], "2027-01-04T17:59:59", "Mon 18:00"),
        (["Mon-Fri 08:00-18:00"], "2027-01-04T18:00", None),
        (["Mon-Fri 08:00-18:00"], "2027-01-04T07:59:59", None),
        (["Mon-Fri 08:00-18:00"], "2027-01-09T12:00", None),
        (["22:00-06:00"], "2027-01-04T23:00", "Tue 06:00"),
        (["22:00-06:00"], "2027-01-05T05:59", "Tue 06:00"),
        (["22:00-06:00"], "2027-01-05T06:00", None),
        (["fri 22:00-06:00"], "2027-01-09T05:00", "Sat 06:00"),
        (["fri 22:00-06:00"], "2027-01-08T05:00", None),
        (["Sat,Sun 00:00-24:00"], "2027-01-09T12:00", "Mon 00:00"),
        (["Sat - Mon 10:00-11:00"], "2027-01-04T10:30", "Mon 11:00"),
        (["08:00-10:00", "10:00-12:00"], "2027-01-04T09:00", "Mon 12:00"),
        (["00:00-24:00"], "2027-01-04T09:00", "Mon 09:00"),  # a week later: never open
        ([], "2027-01-04T09:00", None),
    ],
)
def test_when_they_are_over(words, now, over):
    assert shown(quiet.over_at_s(words, "UTC", at(now))) == over


def test_they_follow_the_clock_of_the_site():
    words = ["Mon-Fri 08:00-18:00"]
    for day in ("2027-01-04", "2027-07-05"):  # winter and summer
        zurich = at(f"{day}T08:00", "Europe/Zurich")
        assert quiet.over_at_s(words, "Europe/Zurich", zurich - 1) is None
        assert quiet.over_at_s(words, "Europe/Zurich", zurich) == zurich + 10 * HOUR


def test_the_hour_that_is_there_twice_is_quiet_twice():
    words, zone = ["Sun 02:00-03:00"], "Europe/Zurich"
    first = int(datetime(2027, 10, 31, 0, 0, tzinfo=UTC).timestamp())  # 02:00 in summer time
    assert quiet.over_at_s(words, zone, first) == first + 2 * HOUR
    lost = int(datetime(2027, 3, 28, 1, 0, tzinfo=UTC).timestamp())  # 02:00 never is
    assert quiet.over_at_s(words, zone, lost) is None


@pytest.mark.parametrize(
    "word",
    ["", "08:00", "8-18", "Mon", "Mon- 08:00-18:00", "Funday 08:00-18:00", "08:00-08:00",
     "24:00-25:00", "08:60-09:00", "08:00-18:00 Mon", "mon-fri-sun 08:00-09:00"],
)  # fmt: skip
def test_what_can_not_be_read_is_named(word):
    with pytest.raises(InvalidInput, match="no quiet hours") as no:
        quiet.check([word], "UTC")
    assert no.value.facts["field"] == "rules.quiet_hours"


@pytest.mark.parametrize("zone", ["", "Zurich", "../etc/passwd", "Europe/"])
def test_a_time_zone_that_is_none(zone):
    with pytest.raises(InvalidInput, match="no time zone"):
        quiet.check([], zone)


def test_quiet_hours_that_never_end_name_no_hour():
    now_s = int(datetime(2027, 1, 4, 9, 0, tzinfo=UTC).timestamp())
    said = closed(Rules(quiet_hours=("00:00-24:00",)), now_s)
    assert said == "quiet hours that never end, by the site's settings"
    said = closed(Rules(quiet_hours=("Mon 08:00-18:00",)), now_s)
    assert said == "quiet hours until Mon 18:00 (UTC)"
