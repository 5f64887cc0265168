"""The chain of the audit: what was changed, removed or slipped in shows."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError

from meyrin.hub.plumbing import audit
from meyrin.hub.plumbing.bell import Bell
from meyrin.hub.plumbing.database import Database, metadata


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    made = Database(
        database_url, clock_ms=lambda: 5, entropy=lambda: secrets.token_bytes(16), bell=Bell()
    )
    metadata.create_all(made.engine, tables=[audit.audit])
    with made.write() as step:
        for number in range(10):
            audit.note(step, "root", "test.act", f"thing {number}", of="Ångström", none=None)
    yield made
    made.close()


def verified(database: Database) -> audit.Verified:
    with database.read() as step:
        return audit.verify(step, batch=3)


def test_an_untouched_chain_fits(database: Database) -> None:
    found = verified(database)
    assert (found.rows, found.broken) == (10, None)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE audit SET thing = 'else' WHERE id = 4",
        "DELETE FROM audit WHERE id = 4",
        (
            "INSERT INTO audit (id, at_ms, actor, verb, thing, facts, prior, hash)"
            " SELECT 4, at_ms, actor, verb, thing, facts, prior, 'x' FROM audit WHERE id = 5"
        ),
    ],
    ids=["changed", "removed", "put again"],
)
def test_the_database_refuses_a_change(database: Database, change: str) -> None:
    with pytest.raises(DatabaseError), database.engine.begin() as connection:
        connection.execute(sa.text(change))
    assert verified(database).broken is None


@pytest.mark.parametrize("column", ["at_ms", "actor", "verb", "thing", "facts", "prior", "hash"])
def test_a_change_behind_the_databases_back_shows(database: Database, column: str) -> None:
    _open(database)
    value = 6 if column == "at_ms" else "x"
    with database.engine.begin() as connection:
        connection.execute(
            sa.update(audit.audit).where(audit.audit.c.id == 4).values({column: value})
        )
    found = verified(database)
    assert (found.rows, found.broken) == (3, 4)


def test_a_row_removed_behind_the_databases_back_shows(database: Database) -> None:
    _open(database)
    with database.engine.begin() as connection:
        connection.execute(sa.delete(audit.audit).where(audit.audit.c.id == 4))
    assert verified(database).broken == 5


def test_a_chain_cut_at_its_end_shows_by_the_last_hash_that_was_kept(database: Database) -> None:
    kept = verified(database).last
    _open(database)
    with database.engine.begin() as connection:
        connection.execute(sa.delete(audit.audit).where(audit.audit.c.id == 10))
    found = verified(database)
    assert found.broken is None
    assert found.last != kept


def _open(database: Database) -> None:
    """Take the guards away, as somebody with all rights on the database could."""
    with database.engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("DROP TRIGGER audit_only_added ON audit"))
        else:
            for guard in ("update", "delete", "replace"):
                connection.execute(sa.text(f"DROP TRIGGER audit_no_{guard}"))
