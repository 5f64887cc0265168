"""Submissions through faults: an agent that is killed at any step, over a cluster that loses words.

`Run.play` submits attempts, kills and restarts the agent's batch system as `Faults` decides, and
ends when every attempt has been told as ended. Works over any transport on a `FakeSlurm`.
"""

from __future__ import annotations

import os
import random
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from meyrin.agent.batch import BatchJob, Phase, Start
from meyrin.agent.config import AgentConfig, SlurmConfig
from meyrin.agent.slurm.batch import SlurmBatch
from meyrin.agent.slurm.spool import TOLD, News
from meyrin.agent.slurm.transport import Transport
from meyrin.domain.errors import Unreachable
from meyrin.domain.units import NodeShape
from meyrin.testing.slurm import FakeSlurm, Faults, Killed, Mortal

DOUBT_S = 20.0


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Run:
    """One agent's life. `speak` makes the transport anew, as each start of the agent does."""

    folder: Path
    cluster: FakeSlurm
    clock: Clock
    faults: Faults
    speak: Callable[[], Transport]
    forgets: float = 0.0
    starts: dict[str, Start] = field(default_factory=dict)
    handed: set[str] = field(default_factory=set)
    ended: dict[str, BatchJob] = field(default_factory=dict)
    ends: Counter[str] = field(default_factory=Counter)
    deaths: int = 0
    cursor: str = ""
    batch: SlurmBatch | None = None

    def __post_init__(self) -> None:
        """The operator edits the settings now and then: under which account jobs are asked."""
        self._edits = random.Random(0)
        self._how = SlurmConfig(
            doubt_s=DOUBT_S,
            poll_min_s=2,
            poll_max_s=8,
            accounting_wait_s=30,
            submits_at_once=1,
        )
        self._config = AgentConfig(
            hub="http://hub.test", credential_file=Path("c"), dir=self.folder, batch="slurm"
        )

    def play(self, count: int, wave: int = 50) -> None:
        (self.folder / "runs").mkdir(parents=True)
        while len(self.ended) < count:
            for _ in range(min(wave, count - len(self.ended))):
                start = self._start()
                self.starts[start.attempt] = start
            self._until_ended()
        self._close()

    def _start(self) -> Start:
        attempt = str(uuid.UUID(int=self.faults.random.getrandbits(128), version=4))
        mark = self.folder / "runs" / attempt
        return Start(
            attempt=attempt,
            job=len(self.starts),
            name="x",
            partition="main",
            nodes=1,
            asked=NodeShape(1, 10),
            tasks=1,
            walltime_s=600,
            script=f"#!/bin/sh\necho ran >>{mark}\n",
            workdir=str(self.folder),
            stdout=os.devnull,
            stderr=os.devnull,
        )

    def _until_ended(self) -> None:
        for turn in range(5000):
            if len(self.ended) == len(self.starts):
                return
            try:
                self._turn()
            except Unreachable:
                self.faults.counted["unreachable"] += 1
            except Killed:
                self.deaths += 1
                self._close()
            self.clock.now += 1 + self.faults.random.random() * 3
            if self.faults.random.random() < self.forgets:
                self.cluster.forget(1 + self.faults.random.randrange(8))
            self.cluster.holds = self.faults.random.random() < 0.3
            self.cluster.up = self.faults.random.random() > 0.1
            full = self.faults.random.random() < 0.3
            self.cluster.most = self.faults.random.randrange(12) if full else None
            self.cluster.advance()
            if turn % 50 == 49:
                self.cluster.drop_ended()
        left = set(self.starts) - set(self.ended)
        self.batch = self.batch or self._open()
        words = [
            (job.stage, job.number, job.tries, job.seen)
            for attempt in list(left)[:3]
            if (job := self.batch.book.jobs.get(attempt)) is not None
        ]
        raise AssertionError(f"{len(left)} attempts never ended: {words}")

    def _turn(self) -> None:
        """What an agent does: hand over what may not have arrived, take the news, forget."""
        batch = self.batch or self._open()
        due = [s for a, s in self.starts.items() if a not in self.handed and a not in self.ended]
        if due:
            there = batch.look_up(tuple(start.attempt for start in due))
            batch.submit(tuple(start for start in due if start.attempt not in there))
            self.handed.update(start.attempt for start in due)
        if self._edits.random() < 0.2:
            how = self._how.model_copy(update={"default_account": self._edits.choice("ab")})
            batch.use(self._config.model_copy(update={"slurm": how}))
        batch.watcher.read_told(self._hints())
        try:
            batch.step()
        except Unreachable:
            self.faults.counted["unreachable"] += 1  # what was told before is taken all the same
        told = batch.changes(self.cursor, 0)
        for job in told.jobs:
            if job.phase is Phase.ENDED and self.ended.get(job.attempt) != job:
                self.ends[job.attempt] += 1
                self.ended[job.attempt] = job
        self.cursor = told.cursor
        batch.forget(tuple(job.attempt for job in told.jobs if job.phase is Phase.ENDED))

    def _hints(self) -> list[News]:
        """What nodes tell at once: early, late, repeated, of runs that never were, or nothing."""
        chance = self.faults.random
        some = chance.sample(sorted(self.starts), min(3, len(self.starts)))
        kinds = [(attempt, chance.choice(TOLD), chance.choice([0, 0, 1])) for attempt in some]
        return [News(attempt, kind, f"{attempt}.{run}.{kind}") for attempt, kind, run in kinds]

    def _open(self) -> SlurmBatch:
        made = SlurmBatch(
            self.folder / "agent",
            self.speak(),
            clock_s=self.clock,
            doubt_s=DOUBT_S,
            poll_s=(2.0, 8.0),
            accounting_wait_s=30.0,
            at_once=1,
        )
        for part in (made.book, made.sender):
            if hasattr(part, "store"):
                part.store = Mortal(part.store, self.faults)  # type: ignore[assignment]
        made.sender.spool = Mortal(made.spool, self.faults)  # type: ignore[assignment]
        made.sender.transport = Mortal(made.transport, self.faults)  # type: ignore[assignment]
        made.watcher.spool = Mortal(made.spool, self.faults)  # type: ignore[assignment]
        made.watcher.transport = Mortal(made.transport, self.faults)  # type: ignore[assignment]
        self.batch = made
        return made

    def _close(self) -> None:
        """Killed: only the files are left."""
        if self.batch is not None:
            self.batch.store.close()
            self.batch = None

    def check(self) -> None:
        """Each payload ran once, each attempt ended once and well, each second is charged once."""
        ran = Counter(
            {path.name: path.read_text().count("ran") for path in (self.folder / "runs").iterdir()}
        )
        lost = set(self.starts) - set(ran)
        assert not lost, [(self.cluster.launches[f"meyrin-{a}"], self.ended.get(a)) for a in lost]
        assert set(ran.values()) == {1}, ran.most_common(3)
        assert set(self.ends.values()) == {1}, self.ends.most_common(3)
        for job in self.ended.values():
            assert (job.end, job.exit_code) == ("exit", 0), job
            assert job.usage is not None
            assert job.usage.elapsed_s == 0, job
