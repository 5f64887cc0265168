"""What the entries say of projects, owners and months, and that a false ledger is found out."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from tests.hub.ledger.fixtures import new_attempt, open_books

from meyrin.domain.errors import InvalidInput, Refused
from meyrin.domain.ledger import month_bounds_ms
from meyrin.domain.site import OwnerShare
from meyrin.hub.ledger import store
from meyrin.hub.ledger.check import CLOSE_AFTER_MS
from meyrin.hub.ledger.service import Balance, Finding, Hold, Source
from meyrin.hub.ledger.statement import Delivered, KindSum

ONE = (OwnerShare("cern", 1),)
FEBRUARY_MS = month_bounds_ms("2027-02")[0]


@given(st.integers(0, 253_000_000_000_000))
def test_every_moment_is_in_its_month(at_ms):
    moment = datetime.fromtimestamp(at_ms // 1000, UTC)
    start_ms, end_ms = month_bounds_ms(f"{moment.year}-{moment.month:02d}")
    assert start_ms <= at_ms < end_ms


@pytest.mark.parametrize(
    "word", ["", "2027", "2027-13", "2027-1", "0000-01", "9999-12", "\uff12\uff10\uff12\uff17-01"]
)
def test_a_month_is_written_in_one_way(word):
    with pytest.raises(InvalidInput):
        month_bounds_ms(word)


@pytest.fixture
def two_months(books):
    """January: 1000 granted, 300 used. February: 70 used more by a correction, 100 on hold."""
    name, first, second = books.allocation(), new_attempt(), new_attempt()
    books.grant(name, 1000, "for the asking", Source("cern", "off_1"))
    books.hold([Hold(first, name, 400)])
    books.settled(first, 300, shares=ONE)
    books.clock.now_ms = FEBRUARY_MS
    books.correct(first, 370, ONE, "off_1", "recounted")
    books.hold([Hold(second, name, 100)])
    return books


def test_a_statement_opens_where_the_last_one_closed(two_months):
    january = two_months.statement("prj_a", "2027-01").types[0]
    february = two_months.statement("prj_a", "2027-02").types[0]
    assert january.opening == Balance()
    assert january.closing == february.opening == Balance(1000, 700, 0, 300, 0)
    assert february.closing == two_months.balance("all_0001") == Balance(1000, 530, 100, 370, 0)
    assert january.kinds == (
        KindSum("grant", 1, 1000),
        KindSum("hold", 1, 400),
        KindSum("settle", 1, 300),
        KindSum("void", 1, 100),
    )
    assert february.kinds == (KindSum("hold", 1, 100), KindSum("correct", 1, 70))
    assert february.delivered == (Delivered("off_1", "cern", 70),)
    assert january.unbalanced_s == february.unbalanced_s == 0
    everything = two_months.statement("prj_a").types[0]
    assert (everything.opening, everything.closing) == (Balance(), february.closing)
    assert two_months.statement("prj_other").types == ()


def test_types_are_never_added_up(books):
    books.allocation(100, kind="h100")
    books.allocation(7, kind="core")
    types = {each.charged_type: each for each in books.statement("prj_a").types}
    assert {name: each.closing.free_s for name, each in types.items()} == {"core": 7, "h100": 100}


def told(books, month):
    return [(each.owner, each.granted_s, each.delivered_s) for each in books.owners(month)]


def test_a_correction_counts_for_owners_in_the_month_of_use_while_that_is_open(two_months):
    assert told(two_months, "2027-01") == [("cern", 1000, 370)]
    assert told(two_months, "2027-02") == []


def test_a_correction_of_a_closed_month_counts_for_owners_in_the_open_one(books):
    name, attempt = books.allocation(), new_attempt()
    books.grant(name, 1000, "for the asking", Source("cern", "off_1"))
    books.hold([Hold(attempt, name, 400)])
    books.settled(attempt, 300, shares=ONE)
    books.clock.now_ms = FEBRUARY_MS + CLOSE_AFTER_MS
    books.close_month("2027-01")
    books.correct(attempt, 370, ONE, "off_1", "recounted")
    assert told(books, "2027-01") == [("cern", 1000, 300)]
    assert told(books, "2027-02") == [("cern", 0, 70)]


def test_entries_come_in_pages_newest_first(two_months):
    seen, after = [], ""
    while True:
        with two_months.counted() as statements:
            rows, after = two_months.entries("prj_a", after, 2)
        assert len(statements) == 1
        seen += rows
        if not after:
            break
    assert [row.kind for row in seen] == ["hold", "correct", "void", "settle", "hold", "grant"]
    with pytest.raises(InvalidInput):
        two_months.entries("prj_a", "\uff11\uff12", 2)


def test_a_closed_month_takes_no_more_entries(two_months):
    with pytest.raises(Refused):
        two_months.close_month("2027-02")
    two_months.clock.now_ms = FEBRUARY_MS + CLOSE_AFTER_MS
    two_months.close_month("2027-01")
    two_months.close_month("2027-01")  # again: nothing changes
    before = two_months.statement("prj_a", "2027-01")
    two_months.clock.now_ms = FEBRUARY_MS - 5000  # the clock jumped back
    two_months.grant("all_0001", 5, "late")
    two_months.close_month("2026-12")
    assert two_months.statement("prj_a", "2027-01") == before
    rows, _ = two_months.entries("prj_a", "", 1)
    assert (rows[0].amount_s, rows[0].at_ms) == (5, FEBRUARY_MS)


def test_holds_of_ended_attempts_are_found(books):
    name, attempt = books.allocation(100), new_attempt()
    books.hold([Hold(attempt, name, 5)])
    assert books.verify([attempt]) == ()
    assert books.verify([]) == (Finding("hold_of_ended_attempt", attempt, 0, 5),)


def test_a_false_ledger_is_found_out(database_url):
    books = open_books(database_url)
    name, attempt = books.allocation(100), new_attempt()
    books.hold([Hold(attempt, name, 5)])
    books.close_month("2026-12")
    with books.database.write() as step:
        step.change(
            sa.update(store.accounts)
            .where(store.accounts.c.id == f"allocation:{name}")
            .values(balance_s=96)
        )
        old = {
            "at_ms": month_bounds_ms("2026-12")[0],
            "kind": "hold",
            "debit_account": f"allocation:{name}",
            "credit_account": f"hold:{name}",
            "amount_s": 2,
            "charged_type": "h100",
            "allocation_id": name,
            "project_id": "prj_a",
            "attempt": attempt,
            "part": 1,
            "reason": "slipped in",
        }
        step.add(store.entries, [old])
    found = {(each.code, each.subject, each.expected, each.found) for each in books.verify()}
    books.database.close()
    assert found == {
        ("sum_not_zero", "h100", 0, 1),
        ("balance_differs", f"allocation:{name}", 93, 96),
        ("balance_differs", f"hold:{name}", 7, 5),
        ("held_more_than_once", attempt, 1, 2),
        ("closed_month_entries", "2026-12", 0, 1),
        ("closed_month_amount", "2026-12", 0, 2),
    }
