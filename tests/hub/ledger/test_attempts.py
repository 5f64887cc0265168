"""One attempt's money: held, settled, voided, corrected; each once, whatever is repeated."""

from __future__ import annotations

import pytest
from tests.hub.ledger.fixtures import new_attempt, settlement

from meyrin.domain.errors import Conflict, InvalidInput, NotFound
from meyrin.domain.ledger import split
from meyrin.domain.site import OwnerShare
from meyrin.hub.ledger.service import Balance, Cost, Hold, Source

ONE = (OwnerShare("cern", 1),)


def test_a_grant_comes_out_of_a_share(books):
    name = books.allocation()
    books.grant(name, 500, "for the asking", Source("cern", "off_1"))
    books.grant(name, 200, "for the asking")
    assert books.balance(name) == Balance(700, 700, 0, 0, 0)


def test_what_was_not_used_goes_back(books):
    name, attempt = books.allocation(1000), new_attempt()
    assert books.hold([Hold(attempt, name, 600)]) == frozenset()
    assert books.balance(name) == Balance(1000, 400, 600, 0, 0)
    settled = books.settled(attempt, 250)
    assert settled.new == {attempt}
    assert settled.overdrawn == {}
    assert books.balance(name) == Balance(1000, 750, 0, 250, 0)
    assert books.attempt_cost([attempt, new_attempt()]) == {attempt: Cost(name, "h100", 0, 250)}


def test_as_many_are_held_as_fit_in_the_order_given(books):
    name, other = books.allocation(100), books.allocation(10)
    a, b, c, d = (new_attempt() for _ in range(4))
    short = books.hold(
        [Hold(a, name, 60), Hold(b, name, 60), Hold(c, name, 40), Hold(d, other, 11)]
    )
    assert short == {b, d}
    assert books.balance(name) == Balance(100, 0, 100, 0, 0)


def test_a_hold_again_changes_nothing_and_another_one_conflicts(books):
    name, attempt = books.allocation(100), new_attempt()
    for _ in range(2):
        assert books.hold([Hold(attempt, name, 60)]) == frozenset()
    assert books.balance(name).held_s == 60
    with pytest.raises(Conflict):
        books.hold([Hold(attempt, name, 50)])
    books.void([attempt], "cancelled")
    with pytest.raises(Conflict):
        books.hold([Hold(attempt, name, 60)])


def test_a_hold_needs_an_allocation_and_an_amount(books):
    with pytest.raises(NotFound):
        books.hold([Hold(new_attempt(), "all_none", 60)])
    with pytest.raises(InvalidInput):
        books.hold([Hold(new_attempt(), books.allocation(5), 0)])


def test_a_settlement_counts_once(books):
    name, attempt = books.allocation(100), new_attempt()
    books.hold([Hold(attempt, name, 60)])
    books.settled(attempt, 30)
    assert books.settled(attempt, 30).repeated == {attempt}
    assert books.settled(attempt, 31).different == {attempt}
    assert books.balance(name) == Balance(100, 70, 0, 30, 0)
    assert books.settled(new_attempt(), 30).unknown


def test_use_beyond_the_hold_is_taken_from_the_allocation_and_says_so(books):
    name, a, b = books.allocation(100), new_attempt(), new_attempt()
    books.hold([Hold(a, name, 50)])
    assert books.settled(a, 80, shares=ONE).overdrawn == {}
    books.hold([Hold(b, name, 10)])
    assert books.settled(b, 65, shares=ONE).overdrawn == {b: 45}
    assert books.balance(name) == Balance(100, -45, 0, 145, 0)
    rows, _ = books.entries("prj_a", "", 50)
    reasons = {row.reason for row in rows if row.attempt and row.kind == "settle"}
    assert "measured use (beyond the hold)" in reasons
    assert "measured use (45 s beyond the allocation)" in reasons
    books.grant(name, 5, "not enough to be above zero")
    assert books.balance(name).free_s == -40


def test_nothing_used_gives_all_back(books):
    name, attempt = books.allocation(100), new_attempt()
    books.hold([Hold(attempt, name, 60)])
    assert books.settled(attempt, 0).new == {attempt}
    assert books.settled(attempt, 0).repeated == {attempt}
    assert books.balance(name) == Balance(100, 100, 0, 0, 0)


def test_a_void_again_or_after_the_settlement_changes_nothing(books):
    name, a, b = books.allocation(100), new_attempt(), new_attempt()
    books.hold([Hold(a, name, 60), Hold(b, name, 40)])
    books.settled(b, 15)
    assert books.void([a, b, a, new_attempt()], "cancelled") == {a}
    assert books.void([a, b], "cancelled") == frozenset()
    assert books.balance(name) == Balance(100, 85, 0, 15, 0)


def test_an_attempt_that_ran_although_it_was_voided_is_charged(books):
    name, attempt = books.allocation(100), new_attempt()
    books.hold([Hold(attempt, name, 60)])
    books.void([attempt], "the agent did not answer")
    assert books.settled(attempt, 20).new == {attempt}
    assert books.balance(name) == Balance(100, 80, 0, 20, 0)


def test_corrections_go_up_and_down_and_to_other_owners(books):
    name, attempt = books.allocation(100), new_attempt()
    books.hold([Hold(attempt, name, 60)])
    books.settled(attempt, 30, shares=ONE)
    assert books.correct(attempt, 45, ONE, "off_1", "the site recounted")
    assert books.balance(name) == Balance(100, 55, 0, 45, 0)
    assert not books.correct(attempt, 45, ONE, "off_1", "the site recounted")
    both = (OwnerShare("cern", 1), OwnerShare("lip", 1))
    assert books.correct(attempt, 10, both, "off_2", "another offer")
    assert books.balance(name) == Balance(100, 90, 0, 10, 0)
    rows = {row.owner: row.delivered_s for row in books.owners("2027-01") if row.offer_id}
    assert rows == {"cern": 5, "lip": 5}
    assert books.correct(attempt, 0, both, "off_2", "it never ran")
    assert books.balance(name) == Balance(100, 100, 0, 0, 0)


def test_a_correction_settles_what_is_still_on_hold(books):
    name, attempt = books.allocation(100), new_attempt()
    books.hold([Hold(attempt, name, 60)])
    assert books.correct(attempt, 130, ONE, "off_1", "late record")
    assert books.balance(name) == Balance(100, -30, 0, 130, 0)
    with pytest.raises(NotFound):
        books.correct(new_attempt(), 1, ONE, "off_1", "never held")


def test_what_is_free_expires_and_holds_stay(books):
    name, empty, attempt = books.allocation(100), books.allocation(), new_attempt()
    books.hold([Hold(attempt, name, 60)])
    assert books.expire([name, empty], "it ended") == {name: 40}
    assert books.expire([name, empty], "it ended") == {}
    assert books.balance(name) == Balance(100, 0, 60, 0, 40)
    books.settled(attempt, 50)
    assert books.with_free() == [name]
    assert books.expire([name], "it ended") == {name: 10}


def test_owners_get_whole_seconds_by_their_weights(books):
    shares = (OwnerShare("a", 3), OwnerShare("b", 2), OwnerShare("c", 2))
    name = books.allocation(10_000)
    attempts = [new_attempt() for _ in range(20)]
    books.hold([Hold(each, name, 100) for each in attempts])
    books.settle([settlement(each, 100, shares) for each in attempts])
    expected = dict.fromkeys("abc", 0)
    for each in attempts:
        for owner, part in split(each, 100, shares).items():
            expected[owner] += part
    delivered = {r.owner: r.delivered_s for r in books.owners("2027-01") if r.offer_id}
    assert delivered == expected
    assert sum(delivered.values()) == 2000


def test_the_number_of_statements_does_not_follow_the_number_of_attempts(books):
    names = [books.allocation(10**6) for _ in range(4)]
    for number in (1, 300):
        attempts = [new_attempt() for _ in range(number)]
        with books.counted() as seen:
            books.hold([Hold(a, names[i % 4], 60) for i, a in enumerate(attempts)])
        assert len(seen) <= 4  # COPY is not counted
        books.settle([settlement(new_attempt(), 1)])
        with books.counted() as seen:
            books.settle([settlement(each, 61) for each in attempts[: number // 2]])
        assert len(seen) <= 5  # one more opens the owners' accounts
        with books.counted() as seen:
            books.void(attempts, "cancelled")
        assert len(seen) <= 4  # COPY is not counted
        with books.counted() as seen:
            books.attempt_cost(attempts)
            books.balances(names)
        assert len(seen) == 2


def test_a_program_s_reason_is_kept_on_one_line(books):
    name, attempt = books.allocation(100), new_attempt()
    books.hold([Hold(attempt, name, 60)])
    books.void([attempt], "the site said:\n\0no " + "x" * 600)
    rows, _ = books.entries("prj_a", "", 1)
    assert rows[0].reason.startswith("the site said:  no x")
    assert len(rows[0].reason) == 500
    with pytest.raises(InvalidInput):
        books.grant(name, 5, " ")
