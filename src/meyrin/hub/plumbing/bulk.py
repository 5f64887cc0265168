"""Many rows in one statement, the way that each database does it best.

PostgreSQL takes inserts by COPY and updates from arrays (`unnest`), which costs a fraction of a
statement per row; SQLite, which has no network in between, repeats a prepared statement.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

Row = dict[str, Any]
_FEW = 4  # below this a plain statement is as good


def insert(conn: sa.Connection, table: sa.Table, rows: list[Row]) -> None:
    """Insert the rows, which all name the same columns."""
    if conn.dialect.name != "postgresql" or len(rows) < _FEW:
        conn.execute(sa.insert(table), rows)
        return
    names = list(rows[0])
    dumps = [_as_json if isinstance(table.c[name].type, sa.JSON) else None for name in names]
    quoted = ", ".join(f'"{name}"' for name in names)
    raw = conn.connection.driver_connection
    assert raw is not None
    statement = f'COPY "{table.name}" ({quoted}) FROM STDIN'
    try:
        with raw.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(
                    [
                        row[name] if dump is None else dump(row[name])
                        for name, dump in zip(names, dumps, strict=True)
                    ]
                )
    except psycopg.Error as error:  # as SQLAlchemy says it of every other statement
        raise sa.exc.DBAPIError.instance(
            statement, None, error, psycopg.Error, dialect=conn.dialect
        ) from error


def update(conn: sa.Connection, table: sa.Table, key: str, rows: list[Row]) -> None:
    """Set the other columns of each row where `key` is the row's; all name the same columns."""
    names = tuple(name for name in rows[0] if name != key)
    if conn.dialect.name == "postgresql" and len(rows) >= _FEW:
        columns = {f"v_{name}": [row[name] for row in rows] for name in (key, *names)}
        conn.execute(_from_arrays(table, key, names), columns)
        return
    by_key = [{f"v_{name}": value for name, value in row.items()} for row in rows]
    conn.execute(_one_by_one(table, key, names), by_key)


def _as_json(value: Any) -> str | None:
    return None if value is None else json.dumps(value)


@lru_cache(maxsize=64)
def _one_by_one(table: sa.Table, key: str, names: tuple[str, ...]) -> sa.Update:
    values: dict[str, Any] = {name: sa.bindparam(f"v_{name}") for name in names}
    return sa.update(table).where(table.c[key] == sa.bindparam(f"v_{key}")).values(values)


@lru_cache(maxsize=64)
def _from_arrays(table: sa.Table, key: str, names: tuple[str, ...]) -> sa.TextClause:
    """UPDATE … FROM unnest(…), each array cast to its column's type."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    arrays = ", ".join(
        f"CAST(:v_{name} AS {table.c[name].type.compile(dialect)}[])" for name in (key, *names)
    )
    sets = ", ".join(f'"{name}" = v."{name}"' for name in names)
    listed = ", ".join(f'"{name}"' for name in (key, *names))
    return sa.text(
        f'UPDATE "{table.name}" AS t SET {sets} '  # noqa: S608 - names of our own tables
        f'FROM unnest({arrays}) AS v({listed}) WHERE t."{key}" = v."{key}"'
    )
