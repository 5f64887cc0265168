"""Tables in an empty database at once: SQLAlchemy writes their text once in a process.

It would ask for each table whether it is there and write each statement anew, a third of the time
of a small test. That `create_all` makes what the migrations make is tested with the migrations.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from meyrin.hub.plumbing.database import metadata


def create(engine: sa.Engine, tables: Sequence[sa.Table] | None = None) -> None:
    """As `metadata.create_all(engine, tables)` in a database without any."""
    wanted = metadata.tables.values() if tables is None else tables
    names = tuple(table.name for table in wanted)
    script = _script(engine.dialect.name, names)
    with closing(engine.raw_connection()) as connection, closing(connection.cursor()) as cursor:
        if engine.dialect.name == "sqlite":
            cursor.executescript(f"BEGIN; {script}; COMMIT")
        else:
            cursor.execute(script)
            connection.commit()


@lru_cache
def _script(dialect: str, names: tuple[str, ...]) -> str:
    said: list[str] = []

    def note(statement: Any, *_more: Any, **_named: Any) -> None:
        # no values go with it: a doubled % would stay one
        said.append(str(statement.compile(dialect=mock.dialect)).strip().replace("%%", "%"))

    address = "postgresql+psycopg://" if dialect == "postgresql" else f"{dialect}://"
    mock = sa.create_mock_engine(address, note)
    chosen = [metadata.tables[name] for name in names]
    metadata.create_all(mock, tables=chosen, checkfirst=False)
    return ";\n".join(said)
