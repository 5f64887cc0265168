"""Several connections at once: nothing is held, charged or given back twice, nobody is stuck."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from tests.hub.ledger.fixtures import new_attempt, settlement

from meyrin.hub.ledger.service import Balance, Hold

WORKERS = 6


def at_once(*works):
    """Run all at the same moment, each in a thread; returns what they returned."""
    start = threading.Barrier(len(works))

    def go(work):
        start.wait()
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return [future.result(60) for future in [pool.submit(go, work) for work in works]]


def test_an_allocation_is_never_oversold(books):
    name = books.allocation(1000)
    batches = [[Hold(new_attempt(), name, 30) for _ in range(10)] for _ in range(WORKERS)]
    short = at_once(*(lambda batch=batch: books.hold(batch) for batch in batches))
    assert sum(map(len, short)) == 10 * WORKERS - 33
    assert books.balance(name) == Balance(1000, 10, 990, 0, 0)


def test_one_hold_by_many_is_one_hold(books):
    name, attempt = books.allocation(1000), new_attempt()
    short = at_once(*(lambda: books.hold([Hold(attempt, name, 30)]) for _ in range(WORKERS)))
    assert short == [frozenset()] * WORKERS
    assert books.balance(name).held_s == 30


def test_one_settlement_by_many_is_charged_once(books):
    name, attempt = books.allocation(1000), new_attempt()
    books.hold([Hold(attempt, name, 300)])
    done = at_once(*(lambda: books.settled(attempt, 100) for _ in range(WORKERS)))
    assert sum(len(each.new) for each in done) == 1
    assert sum(len(each.repeated) for each in done) == WORKERS - 1
    assert books.balance(name) == Balance(1000, 900, 0, 100, 0)


def test_settlement_void_and_correction_at_once_leave_one_charge(books):
    name = books.allocation(10_000)
    for _ in range(10):
        attempt = new_attempt()
        books.hold([Hold(attempt, name, 300)])
        at_once(
            lambda a=attempt: books.settled(a, 100),
            lambda a=attempt: books.void([a], "cancelled"),
            lambda a=attempt: books.correct(a, 100, settlement(a, 0).shares, "off_1", "again"),
        )
        assert books.attempt_cost([attempt])[attempt].used_s == 100
    assert books.balance(name) == Balance(10_000, 9000, 0, 1000, 0)


def test_allocations_in_any_order_do_not_wait_for_each_other(books):
    names = [books.allocation(10**6) for _ in range(8)]

    def work(turn):
        for _ in range(10):
            mine = [new_attempt() for _ in names]
            order = names[turn:] + names[:turn]
            books.hold([Hold(a, name, 9) for a, name in zip(mine, order, strict=True)])
            books.settle([settlement(each, 4, offer_id=f"off_{turn % 2}") for each in mine])

    at_once(*(lambda turn=turn: work(turn) for turn in range(WORKERS)))
    for name in names:
        assert books.balance(name).used_s == 4 * 10 * WORKERS
