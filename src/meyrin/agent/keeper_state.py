"""What the keeper knows of its jobs: changed by records only, so a replay gives the same.

    submit → claim → at → run → [stop] → end → forget
                      └── back (the machine had no room for a process just then)

`State.record` writes a record to the journal and applies it; nothing else changes a job. The
keeper decides when the journal is synced: before a submit is acknowledged, before a claimed job
starts, and before an end is told.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from meyrin.agent.batch import Phase, Start
from meyrin.agent.keeper_journal import Journal
from meyrin.agent.keeper_slots import Place, Waiting
from meyrin.agent.keeper_wire import Body, dump, pack_starts, unpack_starts
from meyrin.domain.job import WarnSignal
from meyrin.domain.units import NodeShape

COMPACT_BYTES = 16 << 20
REMEMBERED = 50_000  # forgotten attempts that are still recognised when they are sent again
_CHUNK = 500

Record = list[Any]


@dataclass(slots=True, eq=False)
class Job:
    """One attempt. `start` is dropped once it ran: queued jobs are what memory is spent on."""

    serial: int
    attempt: str
    partition: str
    nodes: int
    asked: NodeShape
    walltime_s: int
    warn: WarnSignal | None
    stdout: str
    stderr: str
    start: Start | None = None
    waiting: Waiting | None = None
    phase: Phase = Phase.QUEUED
    claimed: str = ""  # the boot in which it was claimed
    boot: str = ""  # the boot in which it ran
    place: Place | None = None
    script: str = ""  # name of its script file
    pid: int = 0
    ticks: int = 0
    start_ms: int | None = None
    up_ns: int = 0
    stopping: str = ""
    end: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    elapsed_ms: int | None = None
    cpu_ms: int | None = None
    max_rss_kb: int | None = None
    why: str = ""
    seq: int = 0  # of its last change; 0: nothing to tell yet

    def view(self) -> Body:
        """As a BatchJob's fields, without those that are None."""
        body: Body = {"attempt": self.attempt, "batch_job": str(self.serial), "phase": self.phase}
        if self.start_ms is not None:
            body["start_ms"] = self.start_ms
        if self.end is None:
            return body
        body["end"] = self.end
        if self.why:
            body["why"] = self.why
        if self.exit_code is not None:
            body["exit_code"] = self.exit_code
        if self.signal is not None:
            body["signal"] = self.signal
        if self.elapsed_ms is not None and self.start_ms is not None:
            body["end_ms"] = self.start_ms + self.elapsed_ms
            body["usage"] = {
                "elapsed_s": max(1, -(-self.elapsed_ms // 1000)),
                "cpu_ms": self.cpu_ms,
                "max_rss_kb": self.max_rss_kb,
            }
        return body


@dataclass(slots=True)
class End:
    """How an attempt ended, before it is on record."""

    end: str
    exit_code: int | None = None
    signal: int | None = None
    elapsed_ms: int | None = None
    cpu_ms: int | None = None
    max_rss_kb: int | None = None
    why: str = ""


@dataclass(eq=False)
class State:
    """All jobs, in the order of their last change; those just queued behind them."""

    folder: str
    journal: Journal
    jobs: dict[str, Job] = field(default_factory=dict)
    by_serial: dict[int, Job] = field(default_factory=dict)
    gone: dict[str, None] = field(default_factory=dict)
    config: Body = field(default_factory=dict)
    boot: str = ""
    next_serial: int = 1
    seq: int = 0
    _compact_at: int = COMPACT_BYTES

    def open(self, boot: str) -> None:
        """Replay the journal, then put on record that this boot's records follow."""
        for payload in self.journal.open():
            self._apply(json.loads(payload))
        self._compact_at = max(COMPACT_BYTES, 2 * self.journal.offset)
        if self.boot != boot:
            self.record(["boot", boot])

    def record(self, record: Record) -> None:
        self.journal.append(dump(record))
        self._apply(record)

    def record_with_room(self, record: Record) -> None:
        """As `record`, and in the kernel when it returns; not from the reserve, which is for ends.
        Raises OSError when there is no room."""
        payload = dump(record)
        self._flush()  # what had no room before: it shall not grow in memory
        self.journal.room(len(payload))
        self.journal.append(payload)
        self._apply(record)
        self._flush()

    def _flush(self) -> None:
        if not self.journal.flush():
            raise OSError(errno.ENOSPC, "the journal has no room")

    def submit(self, raw: bytes, starts: Sequence[Start]) -> list[Job]:
        """Accept; returns the new jobs. Raises OSError, accepting none, when there is no room."""
        if all(self.known(start.attempt) for start in starts):
            return []
        self.journal.room(len(raw))
        self.journal.append(raw)
        return self._accept(starts, None)

    def known(self, attempt: str) -> bool:
        return attempt in self.jobs or attempt in self.gone

    def _accept(self, starts: Sequence[Start], serials: Sequence[int] | None) -> list[Job]:
        fresh = []
        for i, start in enumerate(starts):
            if self.known(start.attempt):
                continue
            serial = self.next_serial if serials is None else serials[i]
            self.next_serial = max(self.next_serial, serial + 1)
            own = f"{self.folder}/out/{serial}.out"
            job = Job(
                serial=serial,
                attempt=start.attempt,
                partition=start.partition,
                nodes=start.nodes,
                asked=start.asked,
                walltime_s=start.walltime_s,
                warn=start.warn_signal,
                stdout=start.stdout or own,
                stderr=start.stderr or own,
                start=start,
            )
            self._add(job)
            fresh.append(job)
        return fresh

    def _add(self, job: Job) -> None:
        self.jobs[job.attempt] = job
        self.by_serial[job.serial] = job

    def changed(self, job: Job) -> None:
        """It is to be told, after all that was to be told before."""
        self.seq += 1
        job.seq = self.seq
        self.jobs[job.attempt] = self.jobs.pop(job.attempt)

    def changed_since(self, seq: int) -> list[Job]:
        """Jobs changed after `seq`, oldest change first."""
        found = []
        for job in reversed(self.jobs.values()):
            if job.seq > seq:
                found.append(job)
            elif job.seq:
                break
        found.reverse()
        return found

    def _apply(self, record: Record | Body) -> None:
        if isinstance(record, dict):
            self._accept(unpack_starts(record), record.get("serials"))
            return
        kind = record[0]
        change = _CHANGES.get(kind)
        if change is None:
            raise ValueError(f"a journal record of the unknown kind {kind!r}")
        change(self, record)

    def _at(self, record: Record) -> None:
        _, serial, start_ms, up_ns, nodes, devices, script = record
        job = self.by_serial[serial]
        job.boot, job.start_ms, job.up_ns = self.boot, start_ms, up_ns
        job.place, job.script = Place(tuple(nodes), tuple(map(tuple, devices))), script

    def _claim(self, record: Record) -> None:
        for serial in record[1]:
            self.by_serial[serial].claimed = self.boot

    def _unclaim(self, record: Record) -> None:
        self.by_serial[record[1]].claimed = ""

    def _back(self, record: Record) -> None:
        job = self.by_serial[record[1]]
        job.start_ms = job.place = None

    def _run(self, record: Record) -> None:
        job = self.by_serial[record[1]]
        job.phase = Phase.RUNNING
        job.pid, job.ticks = record[2:4]
        job.start = job.waiting = None
        self.changed(job)

    def _end(self, record: Record) -> None:
        job = self.by_serial[record[1]]
        job.phase = Phase.ENDED
        job.end, job.exit_code, job.signal, job.elapsed_ms = record[2:6]
        job.cpu_ms, job.max_rss_kb, job.why = record[6:9]
        if job.end == "not_started":
            job.start_ms = job.place = None
        job.start = job.waiting = None
        self.changed(job)

    def _stop(self, record: Record) -> None:
        self.by_serial[record[1]].stopping = record[2]

    def end(self, job: Job, end: End) -> None:
        numbers = [end.exit_code, end.signal, end.elapsed_ms, end.cpu_ms, end.max_rss_kb]
        self.record(["end", job.serial, end.end, *numbers, end.why])

    def _forget(self, record: Record) -> None:
        for serial in record[1]:
            job = self.by_serial.pop(serial)
            del self.jobs[job.attempt]
            self.gone[job.attempt] = None
        while len(self.gone) > REMEMBERED:
            del self.gone[next(iter(self.gone))]

    def _of_all(self, record: Record) -> None:
        kind, value = record
        if kind == "boot":
            self.boot = value
        elif kind == "config":
            self.config = value
        elif kind == "next":
            self.next_serial = value
        elif kind == "gone":
            self.gone.update(dict.fromkeys(value))
        else:
            job = _unpack(value)
            self._add(job)
            self.changed(job)

    def compact_if_large(self) -> bool:
        """Rewrite the journal from what is known now, once it has grown enough."""
        if self.journal.offset < self._compact_at:
            return False
        done = self.journal.rewrite(self._snapshot())
        self._compact_at = max(COMPACT_BYTES, 2 * self.journal.offset)
        return done

    def _snapshot(self) -> Iterator[bytes]:
        yield dump(["boot", self.boot])
        yield dump(["config", self.config])
        gone = list(self.gone)
        for i in range(0, len(gone), 10 * _CHUNK):
            yield dump(["gone", gone[i : i + 10 * _CHUNK]])
        queued = sorted((j for j in self.jobs.values() if j.start), key=lambda j: j.serial)
        for i in range(0, len(queued), _CHUNK):
            some = queued[i : i + _CHUNK]
            body = pack_starts([job.start for job in some if job.start])
            yield dump({**body, "serials": [job.serial for job in some]})
        if claimed := [job.serial for job in queued if job.claimed]:
            yield dump(["claim", claimed])
        for job in queued:
            if job.stopping:
                yield dump(["stop", job.serial, job.stopping])
        for job in self.jobs.values():
            if not job.start:
                yield dump(["job", _pack(job)])
        yield dump(["next", self.next_serial])


_CHANGES: dict[str, Callable[[State, Record], None]] = {
    "claim": State._claim,  # noqa: SLF001 - its own table
    "unclaim": State._unclaim,  # noqa: SLF001
    "at": State._at,  # noqa: SLF001
    "back": State._back,  # noqa: SLF001
    "run": State._run,  # noqa: SLF001
    "stop": State._stop,  # noqa: SLF001
    "end": State._end,  # noqa: SLF001
    "forget": State._forget,  # noqa: SLF001
    **dict.fromkeys(("boot", "config", "next", "gone", "job"), State._of_all),  # noqa: SLF001
}
_KEPT = (
    "serial",
    "attempt",
    "partition",
    "nodes",
    "walltime_s",
    "stdout",
    "stderr",
    "phase",
    "boot",
    "script",
    "pid",
    "ticks",
    "start_ms",
    "up_ns",
    "stopping",
    "end",
    "exit_code",
    "signal",
    "elapsed_ms",
    "cpu_ms",
    "max_rss_kb",
    "why",
)


def _pack(job: Job) -> Body:
    body: Body = {name: getattr(job, name) for name in _KEPT}
    body["asked"] = [job.asked.cores, job.asked.memory_mb, job.asked.accelerators]
    if job.place:
        body["place"] = [job.place.nodes, job.place.devices]
    if job.warn:
        body["warn"] = [job.warn.name, job.warn.before_s, job.warn.shell_only]
    return body


def _unpack(body: Body) -> Job:
    asked, place, warn = body.pop("asked"), body.pop("place", None), body.pop("warn", None)
    phase = Phase(body.pop("phase"))
    if place:
        place = Place(tuple(place[0]), tuple(map(tuple, place[1])))
    return Job(
        **body,
        phase=phase,
        asked=NodeShape(*asked),
        place=place or None,
        warn=WarnSignal(*warn) if warn else None,
    )
