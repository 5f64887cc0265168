"""Allocations: granted by rule, awarded, extended, closed, swept; and which one pays."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.hub.ledger.fixtures import NOW_MS, new_attempt

from meyrin.domain.errors import Conflict, InvalidInput, NotFound, Refused
from meyrin.domain.refusal import Reason, Refusal
from meyrin.engine.admission import pay
from meyrin.engine.model import Funds
from meyrin.hub.calls import paying
from meyrin.hub.calls import service as calls
from meyrin.hub.ledger.service import Balance, Hold
from meyrin.hub.plumbing.world import BROKER

NOW_S = NOW_MS // 1000
RULE = calls.StarterRule(amount_s=3600, length_s=86_400)


@pytest.fixture
def do(books):
    """Call a verb of the room in a step of its own."""

    def call(verb, *arguments, **more):
        with books.database.write() as step:
            return getattr(paying if verb in {"allocate", "funds"} else calls, verb)(
                step, *arguments, **more
            )

    return call


def awarded(do, amount_s=100, start_s=NOW_S, end_s=NOW_S + 1000, kind="h100"):
    return do("award", "prj_a", kind, amount_s, start_s=start_s, end_s=end_s, reason="a test").id


def test_a_starter_is_given_once_per_type(do, books):
    first = do("grant_starter", "prj_a", "h100", RULE)
    assert do("grant_starter", "prj_a", "h100", RULE) == first
    assert do("grant_starter", "prj_a", "core", RULE).id != first.id
    assert do("grant_starter", "prj_b", "h100", RULE).id != first.id
    assert books.balance(first.id).free_s == 3600
    assert first.end_s - first.start_s == 86_400


def test_a_starter_asked_for_by_many_at_once_is_one(do):
    gate = threading.Barrier(6)

    def ask():
        gate.wait()
        return do("grant_starter", "prj_a", "h100", RULE).id

    with ThreadPoolExecutor(6) as pool:
        assert len({done.result(60) for done in [pool.submit(ask) for _ in range(6)]}) == 1


def test_a_used_up_or_ended_starter_is_refused_with_the_reason(do, books):
    one = do("grant_starter", "prj_a", "h100", RULE)
    attempt = new_attempt()
    books.hold([Hold(attempt, one.id, 3600)])
    assert do("grant_starter", "prj_a", "h100", RULE) == one  # on hold is not used up
    books.settled(attempt, 3600)
    with pytest.raises(Refused) as used_up:
        do("grant_starter", "prj_a", "h100", RULE)
    assert used_up.value.refusals[0].reason is Reason.BALANCE
    again = calls.StarterRule(3600, 86_400, per_project=2)
    second = do("grant_starter", "prj_a", "h100", again)
    assert second.id != one.id
    books.clock.now_ms += 86_400_000
    with pytest.raises(Refused) as ended:
        do("grant_starter", "prj_a", "h100", again)
    assert ended.value.refusals[0].reason is Reason.ALLOCATION_ENDED


def test_an_award_wakes_the_broker(books):
    heard = books.database.bell.count(BROKER)
    with books.database.write() as step:
        calls.award(step, "prj_a", "h100", 5, start_s=NOW_S, end_s=NOW_S + 1, reason="a test")
    assert books.database.bell.count(BROKER) == heard + 1


@pytest.mark.parametrize(
    "wrong",
    [{"amount_s": 0}, {"amount_s": 2**62}, {"end_s": NOW_S}, {"start_s": -1}, {"kind": " "}],
)
def test_an_award_that_makes_no_sense_is_refused(do, wrong):
    with pytest.raises(InvalidInput):
        awarded(do, **wrong)


def test_the_one_that_ends_first_pays(do, books):
    late, soon = awarded(do, end_s=NOW_S + 900), awarded(do, end_s=NOW_S + 100)
    awarded(do, start_s=NOW_S + 10, end_s=NOW_S + 50)
    wants = [(str(n), "prj_a", "h100", 60) for n in range(3)]
    result = do("allocate", wants)
    assert result == {"0": soon, "1": late, "2": Refusal(Reason.BALANCE_HELD, asked=60, limit=40)}
    with books.database.read() as step:
        assert paying.allocate(step, [("try", "prj_a", "h100", 100)]) == {"try": soon}
        funds = list(paying.funds(step, ["prj_a"]))
    after = pay(funds, 60, NOW_S)
    assert [f.end_s for f in after if f.held_s] == [NOW_S + 100]


def test_why_nothing_pays(do, books):
    awarded(do, amount_s=50)
    to_come = awarded(do, kind="a100", start_s=NOW_S + 7)
    over = awarded(do, kind="core", end_s=NOW_S + 1)
    books.clock.now_ms += 1000
    kinds = {"h100": 60, "a100": 1, "core": 1, "mi300": 1}
    result = do("allocate", [(kind, "prj_a", kind, amount) for kind, amount in kinds.items()])
    assert result == {
        "h100": Refusal(Reason.BALANCE, asked=60, limit=50),
        "a100": Refusal(Reason.NO_ALLOCATION, asked="a100", limit=NOW_S + 7),
        "core": Refusal(Reason.ALLOCATION_ENDED, asked="core", limit=NOW_S + 1),
        "mi300": Refusal(Reason.NO_ALLOCATION, asked="mi300"),
    }
    assert to_come
    assert over


def test_funds_are_one_row_an_allocation_and_the_last_that_ended(do, books):
    awarded(do, end_s=NOW_S + 10)
    awarded(do, end_s=NOW_S + 20)
    other = awarded(do, kind="core", end_s=NOW_S + 50)
    books.hold([Hold(new_attempt(), other, 30)])
    books.clock.now_ms += 30_000
    with books.counted() as seen:
        funds = do("funds", ["prj_a", "prj_none"])
    assert len(seen) == 2
    assert sorted(funds, key=lambda row: row.end_s) == [
        Funds("prj_a", "h100", 100, 0, NOW_S, NOW_S + 20),
        Funds("prj_a", "core", 70, 30, NOW_S, NOW_S + 50),
    ]


def test_many_wants_take_two_queries(do, books):
    awarded(do, amount_s=10**6)
    with books.counted() as seen:
        do("allocate", [(str(n), "prj_a", "h100", 60) for n in range(500)])
    assert len(seen) == 2


def test_what_is_over_is_swept_and_what_comes_back_later_too(do, books):
    name, attempt = awarded(do, end_s=NOW_S + 10), new_attempt()
    awarded(do, end_s=NOW_S + 9999)
    books.hold([Hold(attempt, name, 60)])
    assert do("sweep") == {}
    books.clock.now_ms += 10_000
    assert do("sweep") == {name: 40}
    books.settled(attempt, 50)
    assert do("sweep") == {name: 10}
    assert books.balance(name) == Balance(100, 0, 0, 50, 50)


def test_a_closed_allocation_ends_at_once(do, books):
    name, attempt = awarded(do), new_attempt()
    books.hold([Hold(attempt, name, 60)])
    books.clock.now_ms += 5000
    closed = do("close", name, "the project ended")
    assert closed.over_s == NOW_S + 5
    assert do("close", name, "the project ended") == closed
    assert books.balance(name) == Balance(100, 0, 60, 0, 40)
    assert do("allocate", [("a", "prj_a", "h100", 1)])["a"].reason is Reason.ALLOCATION_ENDED
    books.void([attempt], "cancelled")
    assert do("sweep") == {name: 60}
    with pytest.raises(Refused):
        do("extend", name, "more", amount_s=5)


def test_of_two_extensions_at_once_none_takes_time_from_the_other(do, monkeypatch):
    name = awarded(do, end_s=NOW_S + 10)
    before = do("allocation", name)
    do("extend", name, "first", end_s=NOW_S + 100)
    monkeypatch.setattr(calls, "allocation", lambda _step, _name: before)  # read before that
    do("extend", name, "second", amount_s=20)
    with pytest.raises(Conflict):
        do("extend", name, "third", end_s=NOW_S + 50)
    monkeypatch.undo()
    found = do("allocation", name)
    assert (found.amount_s, found.end_s) == (120, NOW_S + 100)


def test_an_extension_adds_time_or_amount(do, books):
    name = awarded(do, end_s=NOW_S + 10)
    do("extend", name, "it went well", end_s=NOW_S + 50, amount_s=20)
    found = do("allocation", name)
    assert (found.amount_s, found.end_s) == (120, NOW_S + 50)
    assert books.balance(name).free_s == 120
    with pytest.raises(InvalidInput):
        do("extend", name, "shorter", end_s=NOW_S + 20)
    with pytest.raises(NotFound):
        do("extend", "all_none", "more", amount_s=1)
