"""Tables that are only ever added to: the database itself refuses to change what was written."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

_POSTGRES_FUNCTION = """
CREATE OR REPLACE FUNCTION meyrin_only_added() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is only ever added to: correct by another row', TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END $$"""


def guard(connection: sa.Connection, tables: Mapping[str, str]) -> None:
    """Refuse update, delete and truncate of `tables`. Safe to run again.

    Each comes with the condition by which a row `NEW` is there already: SQLite's INSERT OR
    REPLACE deletes without firing a delete trigger, so it is refused by that.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text(_POSTGRES_FUNCTION))
    for table, known in tables.items():
        for statement in _statements(connection.dialect.name, table, known):
            connection.execute(sa.text(statement))


def _statements(dialect: str, table: str, known: str) -> list[str]:
    if dialect == "postgresql":
        name = f"{table}_only_added"
        events = f"BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} FOR EACH STATEMENT"
        return [
            f"DROP TRIGGER IF EXISTS {name} ON {table}",
            f"CREATE TRIGGER {name} {events} EXECUTE FUNCTION meyrin_only_added()",
        ]
    refuse = f"BEGIN SELECT RAISE(ABORT, '{table} is only ever added to'); END"
    when = f"WHEN EXISTS (SELECT 1 FROM {table} WHERE {known}) "  # noqa: S608 - our own words
    start = "CREATE TRIGGER IF NOT EXISTS"
    return [
        f"{start} {table}_no_update BEFORE UPDATE ON {table} {refuse}",
        f"{start} {table}_no_delete BEFORE DELETE ON {table} {refuse}",
        f"{start} {table}_no_replace BEFORE INSERT ON {table} {when}{refuse}",
    ]
