"""The database itself refuses to change an entry, whoever asks."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError, IntegrityError
from tests.hub.ledger.fixtures import new_attempt

from meyrin.domain.errors import Conflict
from meyrin.domain.ledger import EntryKind
from meyrin.hub.ledger import store
from meyrin.hub.ledger.service import Hold

AMISS = [
    "UPDATE entries SET amount_s = 1",
    "UPDATE entries SET reason = 'another' WHERE id = 1",
    "DELETE FROM entries",
    "DELETE FROM entries WHERE id = 1",
    "UPDATE closed_months SET entries = 0",
    "DELETE FROM closed_months",
]
COLUMNS = (
    "id, at_ms, kind, debit_account, credit_account, amount_s, charged_type, allocation_id,"
    " project_id, attempt, part, reason"
)
OTHER_ID = COLUMNS.replace("id", "99", 1)
CHANGE = "DO UPDATE SET amount_s = 7"
ON_SQLITE = [
    f"INSERT OR REPLACE INTO entries ({COLUMNS}) SELECT {COLUMNS} FROM entries WHERE id = 1",
    f"INSERT OR REPLACE INTO entries ({COLUMNS}) SELECT {OTHER_ID} FROM entries WHERE part = 0",
    "INSERT OR REPLACE INTO closed_months SELECT * FROM closed_months",
]
ON_POSTGRES = [
    "TRUNCATE entries",
    "TRUNCATE accounts CASCADE",
    "TRUNCATE closed_months",
    f"INSERT INTO entries ({COLUMNS}) SELECT {COLUMNS} FROM entries ON CONFLICT (id) {CHANGE}",
]


def everything(books):
    with books.database.read() as step:
        return [
            step.rows(sa.select(table).order_by(*table.primary_key))
            for table in (store.accounts, store.entries, store.closed_months)
        ]


@pytest.fixture
def filled(books):
    name = books.allocation(100)
    books.hold([Hold(new_attempt(), name, 5)])
    books.close_month("2026-12")
    return books


def test_what_was_written_stays(filled):
    before = everything(filled)
    more = ON_SQLITE if filled.database.is_sqlite else ON_POSTGRES
    for statement in AMISS + more:
        with pytest.raises(IntegrityError, match="only ever added"):  # noqa: SIM117
            with filled.database.write() as step:
                step.conn.exec_driver_sql(statement)
    assert everything(filled) == before


def test_the_guards_can_be_installed_again(filled):
    with filled.database.write() as step:
        store.install_guards(step.conn)
        store.install_guards(step.conn)
    with pytest.raises(IntegrityError), filled.database.write() as step:
        step.change(sa.delete(store.entries))


def test_an_entry_moves_something_between_two_accounts(filled):
    row = {
        "at_ms": 1,
        "kind": "grant",
        "charged_type": "h100",
        "allocation_id": "all_0001",
        "project_id": "prj_a",
        "reason": "by hand",
        "debit_account": "allocation:all_0001",
        "credit_account": "hold:all_0001",
    }
    for change in (
        {"amount_s": 0},
        {"amount_s": -5},
        {"amount_s": 5, "credit_account": "allocation:all_0001"},
        {"amount_s": 5, "credit_account": "hold:all_none"},
    ):
        with pytest.raises(IntegrityError), filled.database.write() as step:
            step.add(store.entries, [row | change])


def test_only_shares_and_allocations_go_below_zero(filled):
    with pytest.raises(DatabaseError), filled.database.write() as step:
        step.change(
            sa.update(store.accounts)
            .where(store.accounts.c.id == "hold:all_0001")
            .values(balance_s=-1)
        )


def test_a_hold_beyond_the_balance_is_stopped_by_the_update_too(filled):
    """The lock makes this unreachable; the guard stands where a lock was forgotten."""
    facts = {"charged_type": "h100", "allocation_id": "all_0001", "project_id": "prj_a"}

    def post(amount_s):
        with filled.database.write() as step:
            posting = store.Posting(step, store.lock(step, allocations=["all_0001"]))
            sides = ("allocation:all_0001", "hold:all_0001")
            posting.entry(EntryKind.HOLD, *sides, amount_s, reason="by hand", **facts)
            posting.write()

    with pytest.raises(Conflict):
        post(96)
