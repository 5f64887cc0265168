"""The adapter's attempts in memory, as the journal has them, and what changed since when."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from meyrin.agent.batch import BatchJob, Changes, Phase
from meyrin.agent.slurm.store import Job, PutAway, Stage, Store


class Book:
    """All attempts that are not forgotten. `changed` is the lock and tells of news."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.changed = threading.Condition(threading.RLock())
        self.jobs: dict[str, Job] = {job.attempt: job for job in store.load()}
        self._number = int(store.recall("number") or 0)

    def add(self, new: Sequence[tuple[Job, str, str]]) -> None:
        with self._kept():
            for job, _, _ in new:
                if job.stage is Stage.ENDED:
                    self._tell(job)
            self.store.add(new)
            self.jobs |= {job.attempt: job for job, _, _ in new}
            self.changed.notify_all()

    def change(self, attempts: Iterable[str], how: Callable[[Job], None]) -> None:
        """Change some and keep it, in one transaction; none is changed where that fails. What is
        ended stays as it is."""
        with self._kept() as touched:
            for attempt in attempts:
                job = self.jobs.get(attempt)
                if job is None or job.stage is Stage.ENDED:
                    continue
                before = replace(job)
                touched.append((job, before))
                how(job)
                if _news(job, before.seen, before.stage):
                    self._tell(job)
            if touched:
                self.store.save([job for job, _ in touched])
                self.changed.notify_all()

    @contextmanager
    def _kept(self) -> Iterator[list[tuple[Job, Job]]]:
        """Nobody sees what is not on disk: what fails in here leaves the jobs of the list as they
        were before, and no number is taken."""
        touched: list[tuple[Job, Job]] = []
        with self.changed:
            number = self._number
            try:
                yield touched
            except BaseException:
                self._number = number
                for job, before in reversed(touched):
                    job.become(before)
                raise

    def _tell(self, job: Job) -> None:
        self._number += 1
        job.number, job.told = self._number, True

    def since(self, cursor: str) -> Changes:
        """What was told after `cursor`, in its order."""
        after = int(cursor or 0)
        with self.changed:
            news = (
                sorted(
                    (job.number, _said(job))
                    for job in self.jobs.values()
                    if job.told and job.number > after
                )
                if self._number > after
                else []
            )
            return Changes(str(max(self._number, after)), tuple(said for _, said in news))

    def of(self, *stages: Stage) -> list[Job]:
        with self.changed:
            return [job for job in self.jobs.values() if job.stage in stages]

    def seen(self, attempts: Iterable[str]) -> dict[str, BatchJob]:
        with self.changed:
            return {a: _said(self.jobs[a]) for a in attempts if a in self.jobs}

    def forget(
        self, attempts: Sequence[str], now_s: int, keep: Callable[[Job], PutAway | None]
    ) -> None:
        """Those that have ended are dropped. `keep` says what stays of each."""
        with self.changed:
            over = [a for a in attempts if a in self.jobs and self.jobs[a].stage is Stage.ENDED]
            if over:
                kept = [one for a in over if (one := keep(self.jobs[a])) is not None]
                self.store.forget(over, now_s, kept)
            for attempt in over:
                del self.jobs[attempt]


def _news(job: Job, before: BatchJob, was: Stage) -> bool:
    """Whether there is something to tell: what Slurm has, and why it does not have it yet."""
    if job.stage in (Stage.SENT, Stage.ENDED):
        return job.seen != before or was is not job.stage or not job.told
    return bool(job.seen.why) and job.seen.why != before.why


def _said(job: Job) -> BatchJob:
    held = job.stage in (Stage.WAITING, Stage.SENDING) and not job.seen.batch_job
    return replace(job.seen, phase=Phase.HELD) if held else job.seen


def end(job: Job, kind: str, why: str = "") -> None:
    """It never began, or nobody knows how it ended."""
    job.stage = Stage.ENDED
    job.seen = replace(job.seen, phase=job.seen.phase.ENDED, end=kind, why=why, site_word=None)


def adopt(job: Job, batch_job: str, taken_s: int) -> None:
    """Slurm has it under this id, since `taken_s` as far as we know."""
    job.stage, job.looks = Stage.SENT, 0
    job.seen = replace(job.seen, batch_job=batch_job, queued_ms=taken_s * 1000, why="")
