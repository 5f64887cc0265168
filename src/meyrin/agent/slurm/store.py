"""What the adapter must not forget: each attempt, how far it came, and what was told of it.

One SQLite file; every `save` is one transaction that is on disk when it returns. Written before
Slurm is asked, so that a crash at any moment leaves a doubt that can be looked up, never a loss.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any

from meyrin.agent.batch import BatchJob, Phase, Usage
from meyrin.agent.slurm.transport import Gres, Submission
from meyrin.domain.errors import StorageFull
from meyrin.domain.job import WarnSignal

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    attempt TEXT PRIMARY KEY, live INTEGER NOT NULL, body TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS needs (
    attempt TEXT PRIMARY KEY, script TEXT NOT NULL, job TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS scripts (digest TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS forgotten (attempt TEXT PRIMARY KEY, at_s INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS put_away (
    attempt TEXT PRIMARY KEY, due_s INTEGER, pending INTEGER NOT NULL, body TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS put_away_due ON put_away (due_s);
CREATE INDEX IF NOT EXISTS put_away_pending ON put_away (pending) WHERE pending;
CREATE TABLE IF NOT EXISTS memory (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


FILE = "slurm.sqlite"


class Stage(StrEnum):
    """How far an attempt came with Slurm."""

    WAITING = "waiting"  # accepted by us, Slurm has not been asked
    SENDING = "sending"  # Slurm is being asked, or was: in doubt
    SENT = "sent"  # Slurm has it, under `seen.batch_job`
    ENDED = "ended"


@dataclass(slots=True)
class Job:
    """One attempt. The only value here that changes; the adapter's lock guards it.

    `number` orders what was told; `first_s` is when Slurm was first asked, `asked_s` when last.
    `looks` counts times that it was looked for in vain since then, the last at `looked_s`; `rows`
    are the runs of it that accounting had closed at its end, `unsure` the times that Slurm said a
    no that may be one for ever, `unclear_times` those in a row that its answer was no clear one,
    the last being `unclear`. `job` is Meyrin's number: after a new start they go in by it. By
    `project` and `place`, a partition of ours, it is asked anew where settings changed.
    """

    submission: Submission
    seen: BatchJob
    stdout: str
    stderr: str
    stage: Stage = Stage.WAITING
    number: int = 0
    told: bool = False
    first_s: int = 0
    asked_s: int = 0
    not_before_s: int = 0
    looks: int = 0
    looked_s: int = 0
    tries: int = 0
    cancel_s: int | None = None
    cancelled_s: int = 0
    over_s: int | None = None
    listed_s: int = 0
    rows: int = 0
    unsure: int = 0
    unclear: str = ""
    unclear_times: int = 0
    job: int = 0
    project: str = ""
    place: str = ""

    @property
    def attempt(self) -> str:
        return self.seen.attempt

    def become(self, other: Job) -> None:
        for each in fields(self):
            setattr(self, each.name, getattr(other, each.name))


@dataclass(frozen=True, slots=True)
class PutAway:
    """An ended attempt that is looked at again at `due_s` (None: no more), as its adapter has it;
    `pending` where there is something of it to tell."""

    attempt: str
    due_s: int | None
    pending: bool
    body: dict[str, Any]


class Store:
    """The file; its methods may be called from any thread."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(_SCHEMA)
        self._lock = threading.Lock()
        path.chmod(0o600)

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except BaseException as error:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                if isinstance(error, sqlite3.OperationalError):
                    raise StorageFull(f"the journal can't be written: {error}") from error
                raise

    def load(self) -> list[Job]:
        with self._lock:
            rows = self._db.execute("SELECT body FROM jobs").fetchall()
        return sorted((_unpack(json.loads(body)) for (body,) in rows), key=lambda one: one.job)

    def forgotten(self, attempts: Sequence[str]) -> set[str]:
        """Those of them that were ended and forgotten: they never start again."""
        with self._lock:
            return {
                attempt
                for attempt in attempts
                if self._db.execute(
                    "SELECT 1 FROM forgotten WHERE attempt = ?", (attempt,)
                ).fetchone()
            }

    def add(self, new: Sequence[tuple[Job, str, str]]) -> None:
        """Keep jobs with the script and the job file that each needs."""
        with self._write() as db:
            for job, script, needs in new:
                data = script.encode("utf-8", "surrogateescape")
                digest = hashlib.sha256(data).hexdigest()
                db.execute("INSERT OR IGNORE INTO scripts VALUES (?, ?)", (digest, data))
                text = needs.encode("utf-8", "surrogateescape")
                db.execute(
                    "INSERT OR REPLACE INTO needs VALUES (?, ?, ?)", (job.attempt, digest, text)
                )
                _put(db, job)
            _count(db, [job for job, _, _ in new])

    def save(self, jobs: Sequence[Job]) -> None:
        with self._write() as db:
            for job in jobs:
                _put(db, job)
            _count(db, jobs)

    def needs(self, attempt: str) -> tuple[str, str]:
        """The script and the job file of an attempt."""
        with self._lock:
            data, text = self._db.execute(
                "SELECT body, job FROM needs JOIN scripts ON digest = script WHERE attempt = ?",
                (attempt,),
            ).fetchone()
        return data.decode("utf-8", "surrogateescape"), text.decode("utf-8", "surrogateescape")

    def forget(self, attempts: Sequence[str], now_s: int, kept: Sequence[PutAway] = ()) -> None:
        """Keep nothing but that they were, and what second looks need."""
        each = [(attempt,) for attempt in attempts]
        with self._write() as db:
            db.executemany("DELETE FROM jobs WHERE attempt = ?", each)
            db.executemany("DELETE FROM needs WHERE attempt = ?", each)
            db.executemany(
                "INSERT OR IGNORE INTO forgotten VALUES (?, ?)", [(a, now_s) for a in attempts]
            )
            db.execute("DELETE FROM scripts WHERE digest NOT IN (SELECT script FROM needs)")
            _put_away(db, kept)

    # --- second looks

    def due(self, now_s: int, most: int) -> list[dict[str, Any]]:
        """Attempts put away that are to be looked at by now, the longest due first."""
        return self._bodies(
            "SELECT body FROM put_away WHERE due_s <= ? ORDER BY due_s LIMIT ?", (now_s, most)
        )

    def pending(self, most: int) -> list[dict[str, Any]]:
        """Those of which there is something to tell."""
        return self._bodies("SELECT body FROM put_away WHERE pending LIMIT ?", (most,))

    def put_away(self, attempt: str) -> dict[str, Any] | None:
        found = self._bodies("SELECT body FROM put_away WHERE attempt = ?", (attempt,))
        return found[0] if found else None

    def looked(self, changed: Sequence[PutAway], gone: Sequence[str]) -> None:
        """What a look left: attempts as they are now, and those whose window is over."""
        if changed or gone:
            with self._write() as db:
                _put_away(db, changed)
                db.executemany("DELETE FROM put_away WHERE attempt = ?", [(a,) for a in gone])

    def _bodies(self, statement: str, values: tuple[object, ...]) -> list[dict[str, Any]]:
        with self._lock:
            rows = self._db.execute(statement, values).fetchall()
        return [json.loads(body) for (body,) in rows]

    def remember(self, name: str, value: str) -> None:
        with self._write() as db:
            db.execute("INSERT OR REPLACE INTO memory VALUES (?, ?)", (name, value))

    def recall(self, name: str) -> str | None:
        with self._lock:
            return recall(self._db, name)

    def close(self) -> None:
        with self._lock:
            self._db.close()


def recall(db: sqlite3.Connection, name: str) -> str | None:
    row = db.execute("SELECT value FROM memory WHERE name = ?", (name,)).fetchone()
    return row[0] if row else None


def _put(db: sqlite3.Connection, job: Job) -> None:
    row = (job.attempt, job.stage is not Stage.ENDED, _pack(job))
    db.execute("INSERT OR REPLACE INTO jobs VALUES (?, ?, ?)", row)


def _put_away(db: sqlite3.Connection, kept: Sequence[PutAway]) -> None:
    db.executemany(
        "INSERT OR REPLACE INTO put_away VALUES (?, ?, ?, ?)",
        [
            (one.attempt, one.due_s, one.pending, json.dumps(one.body, separators=(",", ":")))
            for one in kept
        ],
    )


def _count(db: sqlite3.Connection, jobs: Iterable[Job]) -> None:
    """Keep the highest number given: it outlives the jobs that are forgotten, because cursors
    that were handed out count on."""
    db.execute(
        "INSERT INTO memory VALUES ('number', ?) ON CONFLICT (name) DO UPDATE"
        " SET value = max(CAST(value AS INTEGER), CAST(excluded.value AS INTEGER))",
        (max((job.number for job in jobs), default=0),),
    )


def _pack(job: Job) -> str:
    """As JSON: written with each step of the job, so it is put together by hand."""
    seen = {name: getattr(job.seen, name) for name in _SEEN}
    if job.seen.usage is not None:
        seen["usage"] = asdict(job.seen.usage)
    body = {"seen": seen, **{name: getattr(job, name) for name in _PLAIN}}
    return f'{{"submission":{_asked(job.submission)},{_encode(body)[1:]}'


@lru_cache(maxsize=1024)  # it never changes
def _asked(submission: Submission) -> str:
    """Without the script: that is made anew from the attempt's name."""
    return _encode({name: part for name, part in asdict(submission).items() if name != "script"})


_encode = json.JSONEncoder(separators=(",", ":")).encode
_SEEN = tuple(each.name for each in fields(BatchJob))
_PLAIN = tuple(each.name for each in fields(Job) if each.name not in {"submission", "seen"})


def _unpack(body: dict[str, object]) -> Job:
    asked, seen = body.pop("submission"), body.pop("seen")
    assert isinstance(asked, dict)
    assert isinstance(seen, dict)
    asked["gres"] = tuple(Gres(**each) for each in asked["gres"])
    asked["environment"] = tuple((name, value) for name, value in asked["environment"])
    asked["signal"] = WarnSignal(**asked["signal"]) if asked["signal"] else None
    seen["phase"] = Phase(seen["phase"])
    seen["usage"] = Usage(**seen["usage"]) if seen["usage"] else None
    body["stage"] = Stage(str(body["stage"]))
    return Job(Submission(script="", **asked), BatchJob(**seen), **body)  # type: ignore[arg-type]
