"""Tables that come at once are those that SQLAlchemy makes one by one, guards and all."""

from __future__ import annotations

import sqlalchemy as sa
from tests import tables

import meyrin.hub.app  # every table
from meyrin.hub.plumbing.database import metadata

assert meyrin.hub.app
COLUMNS = """SELECT table_name, column_name, ordinal_position, data_type,
is_nullable, column_default FROM information_schema.columns WHERE table_schema = 'public'"""
CONSTRAINTS = """SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE connamespace = 'public'::regnamespace"""
INDEXES = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
TRIGGERS = "SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal"
FUNCTIONS = "SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
SAID = {
    "sqlite": ["SELECT type, name, tbl_name, sql FROM sqlite_master"],
    "postgresql": [COLUMNS, CONSTRAINTS, INDEXES, TRIGGERS, FUNCTIONS],
}


def _said(engine: sa.Engine) -> list[list[str]]:
    with engine.connect() as connection:
        return [
            sorted(" ".join(repr(tuple(row)).split()) for row in connection.execute(sa.text(each)))
            for each in SAID[engine.dialect.name]
        ]


def test_tables_at_once_are_the_same_tables(database_url: str) -> None:
    engine = sa.create_engine(database_url)
    tables.create(engine)
    at_once = _said(engine)
    assert any("only_added" in line or "_no_update" in line for said in at_once for line in said)
    with engine.begin() as connection:
        for table in reversed(metadata.sorted_tables):
            table.drop(connection)
    metadata.create_all(engine)
    assert _said(engine) == at_once
    engine.dispose()
