"""The agent's memory: what it took, what it handed over, what it still has to tell the hub.

Written before it acts. One SQLite file; every write is one transaction that is on disk when the
call returns. A crash between any two lines of the agent leaves a journal from which it goes on.

    taken      the hub gave the attempt to us; the batch system may or may not know it yet
    handed     the batch system has accepted it
    told       the hub has acknowledged its end; the batch system may forget it
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from meyrin.domain.errors import StorageFull
from meyrin.domain.job import JobRequest
from meyrin.wire.agents import Report, Work

REQUEST: TypeAdapter[JobRequest] = TypeAdapter(JobRequest)

_TRY = (32 * 1024,)  # bytes, written as twice as many
_SCHEMA = """
CREATE TABLE IF NOT EXISTS attempts (
    attempt TEXT PRIMARY KEY,
    stage TEXT NOT NULL,
    request_id INTEGER NOT NULL,
    work TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS requests (id INTEGER PRIMARY KEY, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS attempts_stage ON attempts (stage);
CREATE TABLE IF NOT EXISTS reports (
    attempt TEXT PRIMARY KEY,
    body TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS results (attempt TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS memory (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Item:
    """An attempt with its request: all that is needed to start it, also after a crash."""

    work: Work
    request: JobRequest


def works(path: Path) -> list[Work]:
    """The attempts that a journal knows, also while its agent runs; nothing is changed."""
    if not path.exists():
        return []
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
        return [
            Work.model_validate_json(text) for (text,) in db.execute("SELECT work FROM attempts")
        ]


class Journal:
    """The journal of one site's agent; its methods may be called from any thread."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(_SCHEMA)
        self._lock = threading.Lock()
        self._requests: dict[int, JobRequest] = {}
        self._read_as: dict[str, tuple[Report, str]] = {}  # reports that were read, as they stand
        path.chmod(0o600)

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except BaseException as error:
                if self._db.in_transaction:  # a full disk may have ended it already
                    self._db.execute("ROLLBACK")
                if isinstance(error, sqlite3.OperationalError):
                    raise StorageFull(f"the agent's journal can't be written: {error}") from error
                raise

    def _read(self, statement: str, values: tuple[object, ...] = ()) -> list[tuple[str, ...]]:
        with self._lock:
            return self._db.execute(statement, values).fetchall()

    def take(self, work: Sequence[Work], requests: Mapping[int, JobRequest]) -> list[Item]:
        """Note attempts that the hub gave; returns those that are new to us."""
        new = []
        with self._write() as db:
            for request_id, request in requests.items():
                # asked of the file, not of the cache: an earlier try may have been rolled back
                there = db.execute("SELECT 1 FROM requests WHERE id = ?", (request_id,))
                if there.fetchone() is None:
                    body = REQUEST.dump_json(request).decode()
                    db.execute("INSERT INTO requests VALUES (?, ?)", (request_id, body))
                self._requests[request_id] = request
            for each in work:
                row = (each.attempt, each.request_id, each.model_dump_json())
                done = db.execute("INSERT OR IGNORE INTO attempts VALUES (?, 'taken', ?, ?)", row)
                if done.rowcount:
                    new.append(Item(each, requests[each.request_id]))
        return new

    def taken(self) -> list[Item]:
        """Attempts that may not have reached the batch system."""
        return self._items("WHERE stage = 'taken'")

    def handed_over(self) -> list[Item]:
        """Attempts that the batch system accepted and whose end was not told yet."""
        return self._items("WHERE stage = 'handed'")

    def everything(self) -> list[Item]:
        """All attempts that the journal still knows."""
        return self._items("")

    def _items(self, where: str) -> list[Item]:
        rows = self._read(f"SELECT request_id, work FROM attempts {where}")  # noqa: S608 - constant
        items = (
            Item(Work.model_validate_json(work), self._request(int(number)))
            for number, work in rows
        )
        return sorted(items, key=lambda item: item.work.job)  # the file has them by attempt

    def _request(self, number: int) -> JobRequest:
        if number not in self._requests:
            ((body,),) = self._read("SELECT body FROM requests WHERE id = ?", (number,))
            self._requests[number] = REQUEST.validate_json(body)
        return self._requests[number]

    def handed(self, attempts: Iterable[str]) -> None:
        """The batch system has accepted them."""
        with self._write() as db:
            db.executemany(
                "UPDATE attempts SET stage = 'handed' WHERE attempt = ? AND stage = 'taken'",
                [(attempt,) for attempt in attempts],
            )

    def note(self, reports: Sequence[Report], cursor: str | None = None) -> None:
        """Keep reports until the hub has acknowledged them, the newest of each attempt; with
        the batch system's cursor that they came with, in one transaction. An attempt whose end
        is noted is never handed over."""
        with self._write() as db:
            db.executemany(
                "INSERT OR REPLACE INTO reports VALUES (?, ?)",
                [(each.attempt, each.model_dump_json()) for each in reports],
            )
            db.executemany(
                "UPDATE attempts SET stage = 'handed' WHERE attempt = ? AND stage = 'taken'",
                [(each.attempt,) for each in reports if each.phase in ("ended", "refused")],
            )
            if cursor is not None:
                db.execute("INSERT OR REPLACE INTO memory VALUES ('cursor', ?)", (cursor,))

    def name_start(self, fresh: str, now_ms: int) -> str:
        """The name of a new start of the agent: the journal's own (`fresh` for a new journal) and
        a number that rises, so that the hub knows a late word of an earlier start. The number is
        the moment, as a copy of the journal would count on from the same one: of two copies the
        later start is another one, and a copy from a backup is no earlier one."""
        with self._write() as db:
            known = db.execute("SELECT value FROM memory WHERE name = 'start'").fetchone()
            own, _, number = (known[0] if known else f"{fresh}.0").rpartition(".")
            name = f"{own}.{max(int(number) + 1, now_ms)}"
            db.execute("INSERT OR REPLACE INTO memory VALUES ('start', ?)", (name,))
        return name

    def takes_notes(self) -> bool:
        """Whether the disk takes notes now: found out by one as long as many are together."""
        try:
            with self._write() as db:
                db.execute("INSERT OR REPLACE INTO memory VALUES ('try', hex(zeroblob(?)))", _TRY)
            with self._write() as db:
                db.execute("DELETE FROM memory WHERE name = 'try'")
        except StorageFull:
            return False
        return True

    def cursor(self) -> str:
        """Up to where the batch system's changes are in the journal; "" at first."""
        rows = self._read("SELECT value FROM memory WHERE name = 'cursor'")
        return rows[0][0] if rows else ""

    def unsent(self, most: int) -> list[Report]:
        rows = self._read("SELECT attempt, body FROM reports LIMIT ?", (most,))
        found = {name: (Report.model_validate_json(body), body) for name, body in rows}
        self._read_as = found
        return [report for report, _ in found.values()]

    def sent(self, reports: Iterable[Report]) -> None:
        """The hub acknowledged them; a newer report of the same attempt stays."""
        told = list(reports)
        with self._write() as db:
            db.executemany(
                "DELETE FROM reports WHERE attempt = ? AND body = ?",
                [(each.attempt, self._text(each)) for each in told],
            )
            db.executemany(
                "UPDATE attempts SET stage = 'told' WHERE attempt = ?",
                [(each.attempt,) for each in told if each.phase in ("ended", "refused")],
            )
            db.executemany(
                "INSERT OR IGNORE INTO results VALUES (?)",
                [(each.attempt,) for each in told if each.results_follow],
            )

    def _text(self, report: Report) -> str:
        """As it stands in the file: an earlier version may have written it, with fewer fields."""
        known, text = self._read_as.get(report.attempt, (None, ""))
        return text if known is report or known == report else report.model_dump_json()

    def results_due(self) -> list[str]:
        """Ended attempts whose result files the hub waits for."""
        return [attempt for (attempt,) in self._read("SELECT attempt FROM results")]

    def results_sent(self, attempt: str) -> None:
        with self._write() as db:
            db.execute("DELETE FROM results WHERE attempt = ?", (attempt,))

    def forgettable(self) -> list[str]:
        """Attempts of which nobody will ask again."""
        rows = self._read(
            "SELECT attempt FROM attempts WHERE stage = 'told'"
            " AND attempt NOT IN (SELECT attempt FROM results)"
            " AND attempt NOT IN (SELECT attempt FROM reports)"
        )
        return [attempt for (attempt,) in rows]

    def forget(self, attempts: Iterable[str]) -> None:
        with self._write() as db:
            db.executemany(
                "DELETE FROM attempts WHERE attempt = ?", [(attempt,) for attempt in attempts]
            )
            db.execute("DELETE FROM requests WHERE id NOT IN (SELECT request_id FROM attempts)")
            left = {number for (number,) in db.execute("SELECT id FROM requests")}
            self._requests = {n: r for n, r in self._requests.items() if n in left}

    def close(self) -> None:
        with self._lock:
            self._db.close()
