"""The pace watch: who is visited when, what is told once, what an officer lists."""

from __future__ import annotations

import pytest
from tests.hub.calls.test_changing import Room
from tests.hub.ledger.fixtures import NOW_MS, new_attempt

from meyrin.domain.errors import NotFound
from meyrin.domain.pace import WEEK_S, Verdict
from meyrin.hub.calls import notices, pace, tranches
from meyrin.hub.calls.tranches import Part
from meyrin.hub.ledger.service import Hold

NOW_S = NOW_MS // 1000
END_S = NOW_S + 10 * WEEK_S


class Watched(Room):
    def use(self, name, amount_s):
        attempt = new_attempt()
        assert not self.books.hold([Hold(attempt, name, amount_s)])
        self.books.settled(attempt, amount_s)

    def pass_days(self, days):
        self.books.clock.now_ms += days * 86_400_000

    def watch(self):
        with self.books.database.write() as step:
            return [each.id for each in pace.watch(step, ())]

    def look(self, actor=None, project="lab"):
        with self.books.database.read() as step:
            return pace.look(step, actor or self.ada, project, (), "", 50)[0]

    def off(self):
        with self.books.database.read() as step:
            return [line.allocation.id for line in pace.off_pace(step, (), "", 50)[0]]

    def told(self, actor=None):
        with self.books.database.read() as step:
            return notices.listed(step, actor or self.ada, "", 50)[0]


@pytest.fixture
def room(books):
    return Watched(books)


def test_pace_balance_and_forecast_of_an_allocation(room, books):
    one = room.award(1000, end_s=END_S)
    for used in (100, 90, 110, 100):
        room.use(one, used)
        room.pass_days(7)
    attempt = new_attempt()
    books.hold([Hold(attempt, one, 20)])
    (line,) = room.look()
    assert line.pace.weeks == (100, 90, 110, 100)
    assert (line.pace.verdict, line.pace.used_s, line.pace.expected_s) == (Verdict.ON, 420, 400)
    assert (line.pace.left_s, line.balance.free_s, line.project) == (600, 580, "lab")
    forecast = line.pace.forecast
    assert forecast is not None
    assert forecast.earliest_s < END_S == forecast.ends_s < forecast.latest_s


def test_a_tranche_is_expected_from_its_release_on(room):
    parts = [Part(1000, NOW_S), Part(500, NOW_S + 5 * WEEK_S)]
    with room.books.database.write() as step:
        tranches.award(step, room.lab, "h100", parts, start_s=NOW_S, end_s=END_S, reason="r")
    room.pass_days(35)
    with room.books.database.write() as step:
        tranches.sweep(step)
    room.pass_days(7)
    (line,) = room.look()
    assert line.pace.expected_s == 700
    assert line.following is None


def test_the_watch_visits_once_a_day_and_after_a_change(room):
    one, two = room.award(1000, end_s=END_S), room.award(1000, room.spare, end_s=END_S)
    assert sorted(room.watch()) == sorted([one, two])
    assert room.watch() == []
    room.ask(room.root, "transfer", one, to_id=two, amount_s=5)
    assert sorted(room.watch()) == sorted([one, two])
    room.pass_days(1)
    assert len(room.watch()) == 2
    room.pass_days(70)
    assert room.watch() == []  # over


def test_what_is_off_pace_is_listed_and_told_once(room):
    slow, fast = room.award(1000, end_s=END_S), room.award(1000, room.spare, end_s=END_S)
    room.award(1000, room.other, end_s=END_S)
    room.use(fast, 900)
    room.watch()
    assert room.off() == []  # too early to say
    room.pass_days(8)
    room.watch()
    assert fast in room.off()
    assert slow in room.off()
    told = room.told()
    assert {each.allocation_id for each in told} == {slow, fast}
    assert {each.words.split(": ")[1] for each in told} == {
        "too little is used", "too much is used"
    }  # fmt: skip
    room.pass_days(1)
    room.watch()
    assert room.told() == told
    with room.books.database.write() as step:
        notices.put_away(step, room.ada, told[0].id)
        notices.put_away(step, room.ada, told[0].id)
        with pytest.raises(NotFound):
            notices.put_away(step, room.bob, 10**6)
    assert room.told() == told[1:]
    assert sorted(each.project for each in room.told(room.bob)) == ["lab", "other"]
    room.use(slow, 100)
    room.pass_days(1)
    room.watch()
    assert slow not in room.off()


def test_looking_takes_a_fixed_number_of_statements(room, books):
    def count():
        with books.counted() as seen, books.database.read() as step:
            pace.look(step, room.root, None, (), "", 50)
        return len(seen)

    room.use(room.award(1000, end_s=END_S), 5)
    few = count()
    for _ in range(20):
        room.use(room.award(1000, room.spare, end_s=END_S), 5)
    assert count() == few == 5
