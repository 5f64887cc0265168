"""Transactions: one request or one periodic step is one `Step`, committed or rolled back whole.

SQLite (one-machine mode) and PostgreSQL (service) run the same statements. Differences live here:
SQLite is opened in WAL mode with full synchronisation and takes its write lock at the start;
writers of one process queue on a lock, because SQLite's own busy waiting starves some of them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DataError,
    OperationalError,
    TimeoutError,  # noqa: A004 - of the pool
)

from meyrin.domain.errors import Failed, InvalidInput, StorageFull, Unreachable
from meyrin.hub.plumbing import bulk, relay

if TYPE_CHECKING:
    from meyrin.domain.ids import Entropy
    from meyrin.hub.plumbing.bell import Bell

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
# SQLite counts up by itself only for INTEGER keys
BigId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

Clock = Callable[[], int]


@dataclass(slots=True)
class Step:
    """One transaction with the time and chance that it may use. Services never commit."""

    conn: sa.Connection
    now_ms: int
    entropy: Entropy
    # when this hub started: nobody could call it before
    started_s: int = 0
    topics: set[str] = field(default_factory=set)

    @property
    def now_s(self) -> int:
        return self.now_ms // 1000

    def ring(self, topic: str) -> None:
        """Wake whoever waits for `topic`, once this step is committed."""
        self.topics.add(topic)

    def rows(self, statement: sa.Executable, **values: Any) -> list[sa.Row[Any]]:
        return list(self.conn.execute(statement, values or None).all())

    def one(self, statement: sa.Executable, **values: Any) -> sa.Row[Any] | None:
        return self.conn.execute(statement, values or None).first()

    def change(self, statement: sa.Executable, **values: Any) -> int:
        """Run a guarded update; returns how many rows it really changed."""
        return self.conn.execute(statement, values or None).rowcount

    def add(self, table: sa.Table, rows: list[dict[str, Any]]) -> None:
        """Insert many rows at once; nothing happens for an empty list."""
        if rows:
            bulk.insert(self.conn, table, rows)

    def set_rows(self, table: sa.Table, key: str, rows: list[dict[str, Any]]) -> None:
        """Set the given columns of many rows, each found by `key`; guard them before."""
        if rows:
            bulk.update(self.conn, table, key, rows)

    def add_new(
        self,
        table: sa.Table,
        rows: list[dict[str, Any]],
        told: tuple[sa.Column[Any], ...] | None = None,
    ) -> list[sa.Row[Any]]:
        """Insert the rows whose key is not there yet; returns those inserted, in any order,
        whole or the columns `told`."""
        return bulk.insert_new(self.conn, table, rows, told or tuple(table.c)) if rows else []

    def among(self, column: sa.ColumnElement[Any], values: Iterable[Any]) -> Any:
        """The condition that `column` is one of `values`, however many."""
        return bulk.among(column, values)

    def next_ids(self, table: sa.Table, count: int) -> list[int]:
        """`count` fresh numbers for the table's `id`, rising."""
        if count == 0:
            return []
        if self.conn.dialect.name == "postgresql":
            rows = self.rows(_NEXT_IDS, name=table.name, count=count)
            return sorted(int(row.id) for row in rows)
        row = self.one(_last_id(table))
        assert row is not None
        return list(range(int(row.last) + 1, int(row.last) + 1 + count))


class Database:
    """A SQL database and the outside world that its steps may see (clock, chance, bell)."""

    def __init__(self, url: str, *, clock_ms: Clock, entropy: Entropy, bell: Bell) -> None:
        self.url = url
        self.clock_ms = clock_ms
        self.entropy = entropy
        self.bell = bell
        self.started_s = clock_ms() // 1000
        self.is_sqlite = url.startswith("sqlite")
        try:
            self.engine = _sqlite_engine(url) if self.is_sqlite else _postgres_engine(url)
        except (ArgumentError, ImportError) as error:
            raise InvalidInput(
                "this is no address of a database that Meyrin can use",
                hint="write postgresql+psycopg://USER@HOST/NAME, or leave it out for SQLite",
                field="db_url",
            ) from error
        self._writer = threading.Lock()

    @contextmanager
    def read(self) -> Iterator[Step]:
        """A transaction that only reads."""
        with self.translated(), self.engine.connect() as conn, conn.begin():
            yield Step(conn, self.clock_ms(), self.entropy, self.started_s)

    @contextmanager
    def write(self) -> Iterator[Step]:
        """A transaction that may write; topics rung in it are heard after the commit."""
        with self.translated(), self._one_writer(), self.engine.connect() as conn:
            conn.execution_options(meyrin_write=True)
            with conn.begin():
                step = Step(conn, self.clock_ms(), self.entropy, self.started_s)
                yield step
                if step.topics and not self.is_sqlite:
                    _notify(conn, step.topics)
        if step.topics:
            self.bell.ring(step.topics)

    @contextmanager
    def _one_writer(self) -> Iterator[None]:
        if not self.is_sqlite:
            yield
            return
        with self._writer:
            yield

    @contextmanager
    def translated(self) -> Iterator[None]:
        """What a database says of itself (full, away, unreadable) as errors of ours."""
        try:
            yield
        except (DataError, OverflowError, UnicodeEncodeError) as error:
            if isinstance(error, OverflowError) and "SQLite" not in str(error):
                raise
            raise InvalidInput(
                "a value can't be stored",
                hint="is there a NUL, half of a character or a huge number in it?",
            ) from error
        except TimeoutError as error:
            raise Unreachable(
                "the hub has more to do than connections to its database",
                hint="try again in a moment",
            ) from error
        except OperationalError as error:
            words = str(error.orig).lower()
            if "full" in words or "no space" in words:
                raise StorageFull(
                    "the hub's disk is full; nothing of this request was kept",
                    hint="free some space where the hub keeps its data, then send it again",
                ) from error
            raise Unreachable(
                "the hub's database does not answer", hint="try again in a moment"
            ) from error
        except DatabaseError as error:
            if type(error) is not DatabaseError:  # anything narrower is a bug of ours
                raise
            raise Failed(f"the hub's database can't be read: {error.orig}") from error

    def close(self) -> None:
        self.engine.dispose()


def _notify(conn: sa.Connection, topics: set[str]) -> None:
    """Tell the other hubs, when this transaction commits."""
    for payload in relay.payloads(topics):
        conn.execute(_NOTIFY, {"channel": relay.CHANNEL, "payload": payload})


_NEXT_IDS = sa.text(
    "SELECT nextval(pg_get_serial_sequence(:name, 'id')) AS id FROM generate_series(1, :count)"
)


@lru_cache(maxsize=64)
def _last_id(table: sa.Table) -> sa.Select[Any]:
    return sa.select(sa.func.coalesce(sa.func.max(table.c.id), 0).label("last"))


_NOTIFY = sa.text("SELECT pg_notify(:channel, :payload)")


def _sqlite_engine(url: str) -> sa.Engine:
    engine = sa.create_engine(url, pool_size=8, max_overflow=32, json_serializer=bulk.as_json)

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        cursor = connection.cursor()
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "busy_timeout=20000",
            "cache_size=-16000",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def begin(conn: sa.Connection) -> None:
        write = conn.get_execution_options().get("meyrin_write", False)
        conn.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def _postgres_engine(url: str) -> sa.Engine:
    engine = sa.create_engine(
        url, pool_size=8, max_overflow=24, pool_pre_ping=True, json_serializer=bulk.as_json
    )

    @sa.event.listens_for(engine, "do_execute")
    def execute(cursor: Any, statement: str, values: Any, _context: Any) -> bool | None:
        """A statement with a list in it is planned for the list that it has now. A plan that is
        kept for any list knows neither its length nor how the table has grown: one from when the
        tables were small read them whole, and compared each row with each value, until somebody
        analysed them."""
        if bulk.has_list(statement):
            cursor.execute(statement, values, prepare=False)
            return True
        return None

    return engine
