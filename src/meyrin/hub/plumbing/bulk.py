"""Many rows in one statement, the way that each database does it best.

PostgreSQL takes inserts by COPY and updates from arrays (`unnest`), which costs a fraction of a
statement per row; SQLite, which has no network in between, repeats a prepared statement.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

Row = dict[str, Any]
_POSTGRESQL: sa.Dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
_FEW = 4  # below this a plain statement is as good


class JsonText(str):
    """A JSON value that is written already: it goes into a JSON column as it is."""

    __slots__ = ()


class _Listed(sa.types.UserDefinedType[Any]):
    """Values that are one parameter, however many: an array for PostgreSQL, JSON for SQLite. The
    array is typed: cast from text in the statement, it would be compared one by one, not hashed."""

    cache_ok = True
    render_bind_cast = True

    def __init__(self, of: sa.types.TypeEngine[Any]) -> None:
        self.of = of

    def get_col_spec(self, **_: Any) -> str:
        return f"{self.of.compile(_POSTGRESQL)}[]"

    def bind_processor(self, dialect: sa.Dialect) -> Callable[[Any], Any]:
        if dialect.name == "postgresql":
            return lambda values: _array(self.of, list(values))
        return lambda values: json.dumps(list(values))


class _OneOf(FunctionElement[bool]):
    """`column = ANY (array)` or `column IN (the values of a JSON list)`."""

    inherit_cache = True
    type = sa.Boolean()


@compiles(_OneOf)
def _one_of(element: _OneOf, compiler: SQLCompiler, **how: Any) -> str:
    column, values = (compiler.process(part, **how) for part in element.clauses)
    if compiler.dialect.name == "postgresql":
        return f"{column} = ANY ({values})"
    return f"{column} IN (SELECT value FROM json_each({values}))"  # noqa: S608 - no values


def has_list(statement: str) -> bool:
    """Whether this statement, as PostgreSQL gets it, has values in it that are any number."""
    return "= ANY (" in statement or "unnest(" in statement


def as_json(value: Any) -> str:
    """How a value of a JSON column is written."""
    return value if isinstance(value, JsonText) else json.dumps(value)


def insert(conn: sa.Connection, table: sa.Table, rows: list[Row]) -> None:
    """Insert the rows, which all name the same columns."""
    if conn.dialect.name != "postgresql" or len(rows) < _FEW:
        conn.execute(_plain(table), rows)
        return
    import psycopg  # noqa: PLC0415 - 7 MB that a hub on SQLite does without

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


def insert_new(
    conn: sa.Connection, table: sa.Table, rows: list[Row], told: tuple[sa.Column[Any], ...]
) -> list[sa.Row[Any]]:
    """Insert the rows whose key is free; returns the columns `told` of those inserted."""
    if conn.dialect.name != "postgresql" or len(rows) < _FEW:
        return list(conn.execute(_new(conn.dialect.name, table, told), rows))
    statement = _new_from_arrays(table, tuple(rows[0]), told)
    return list(conn.execute(statement, _columns(table, rows)))


def among(column: sa.ColumnElement[Any], values: Iterable[Any]) -> sa.ColumnElement[bool]:
    """`column` is one of `values`, however many: one parameter, so one prepared statement."""
    listed = list(values)
    if len(listed) == 1 and listed[0] is not None:
        only: sa.ColumnElement[bool] = column == listed[0]
        return only
    return _OneOf(column, sa.literal(listed, _Listed(column.type)))


def one_of(column: sa.ColumnElement[Any], name: str) -> sa.ColumnElement[bool]:
    """`column` is one of those that the parameter `name` will list, for a statement that is put
    together once and run often."""
    return _OneOf(column, sa.bindparam(name, type_=_Listed(column.type)))


def update(conn: sa.Connection, table: sa.Table, key: str, rows: list[Row]) -> None:
    """Set the other columns of each row where `key` is the row's; all name the same columns."""
    names = tuple(name for name in rows[0] if name != key)
    if conn.dialect.name == "postgresql" and len(rows) >= _FEW:
        conn.execute(_from_arrays(table, key, names), _columns(table, rows))
        return
    by_key = [{f"v_{name}": value for name, value in row.items()} for row in rows]
    conn.execute(_one_by_one(table, key, names), by_key)


def _columns(table: sa.Table, rows: list[Row]) -> dict[str, str | list[Any]]:
    """The rows as one array a column."""
    return {
        f"v_{name}": _array(table.c[name].type, [row[name] for row in rows]) for name in rows[0]
    }


def _array(kind: sa.types.TypeEngine[Any], values: list[Any]) -> str | list[Any]:
    """The values as PostgreSQL reads an array: psycopg would take many times as long to write
    one. Kinds that are rare here are left to it."""
    if isinstance(kind, (sa.Integer, sa.Boolean)):
        return "{" + ",".join(["NULL" if v is None else str(v) for v in values]) + "}"
    if isinstance(kind, sa.JSON):
        values = [_as_json(value) for value in values]
    elif not isinstance(kind, sa.String):
        return values
    return "{" + ",".join(["NULL" if v is None else _quoted(v) for v in values]) + "}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _arrays(table: sa.Table, names: Iterable[str]) -> str:
    """`unnest` of the columns' arrays, each cast to its column's type; JSON comes as text."""
    kinds = {
        name: "TEXT"
        if isinstance(table.c[name].type, sa.JSON)
        else table.c[name].type.compile(_POSTGRESQL)
        for name in names
    }
    return "unnest(" + ", ".join(f"CAST(:v_{n} AS {kind}[])" for n, kind in kinds.items()) + ")"


@lru_cache(maxsize=64)
def _plain(table: sa.Table) -> sa.Insert:
    return sa.insert(table)


@lru_cache(maxsize=64)
def _new(dialect: str, table: sa.Table, told: tuple[sa.Column[Any], ...]) -> sa.Insert:
    of = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}[dialect]
    statement: sa.Insert = of(table).on_conflict_do_nothing()  # type: ignore[attr-defined]
    return statement.returning(*told)


@lru_cache(maxsize=64)
def _new_from_arrays(
    table: sa.Table, names: tuple[str, ...], told: tuple[sa.Column[Any], ...]
) -> sa.TextualSelect:
    """INSERT … SELECT … FROM unnest(…) ON CONFLICT DO NOTHING RETURNING …"""
    listed = ", ".join(f'"{name}"' for name in names)
    values = ", ".join(
        f'CAST(v."{name}" AS JSONB)' if isinstance(table.c[name].type, sa.JSON) else f'v."{name}"'
        for name in names
    )
    returned = ", ".join(f'"{column.name}"' for column in told)
    return sa.text(
        f'INSERT INTO "{table.name}" ({listed}) SELECT {values} '  # noqa: S608 - our own names
        f"FROM {_arrays(table, names)} AS v({listed}) ON CONFLICT DO NOTHING RETURNING {returned}"
    ).columns(*told)


def _as_json(value: Any) -> str | None:
    return None if value is None else as_json(value)


@lru_cache(maxsize=64)
def _one_by_one(table: sa.Table, key: str, names: tuple[str, ...]) -> sa.Update:
    values: dict[str, Any] = {name: sa.bindparam(f"v_{name}") for name in names}
    return sa.update(table).where(table.c[key] == sa.bindparam(f"v_{key}")).values(values)


@lru_cache(maxsize=64)
def _from_arrays(table: sa.Table, key: str, names: tuple[str, ...]) -> sa.TextClause:
    """UPDATE … FROM unnest(…), each array cast to its column's type."""
    sets = ", ".join(f'"{name}" = v."{name}"' for name in names)
    listed = ", ".join(f'"{name}"' for name in (key, *names))
    return sa.text(
        f'UPDATE "{table.name}" AS t SET {sets} '  # noqa: S608 - names of our own tables
        f'FROM {_arrays(table, (key, *names))} AS v({listed}) WHERE t."{key}" = v."{key}"'
    )
