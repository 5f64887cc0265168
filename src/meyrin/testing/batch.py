"""A batch system that is only a story: the test says what starts, prints and ends, and when.

It keeps the promises of `meyrin.agent.batch.BatchSystem` towards an agent and runs no process.
With `forgetful`, an attempt that is submitted again starts again, as on a batch system that
knows nothing of attempts: then only the agent's own care keeps a job from running twice.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from meyrin.agent.batch import BatchJob, Changes, Output, Phase, Start, Usage
from meyrin.domain.site import Partition
from meyrin.domain.units import show_count


class FakeBatch:
    """A `BatchSystem` on a clock of the caller's. `launches` counts how often each began."""

    kind = "fake"
    gather_s = 0.0  # its clock is the test's

    def __init__(
        self,
        folder: Path,
        partitions: tuple[Partition, ...],
        clock_ms: Callable[[], int],
        *,
        forgetful: bool = False,
    ) -> None:
        self._folder = folder
        self._partitions = partitions
        self._clock_ms = clock_ms
        self._forgetful = forgetful
        self._changed = threading.Condition()
        self._number = 0
        self._jobs: dict[str, tuple[int, BatchJob]] = {}
        self._starts: dict[str, Start] = {}
        self._seen: set[str] = set()
        self._asked_to_end: set[str] = set()
        self.launches: Counter[str] = Counter()
        self.submits: Counter[str] = Counter()
        self.left = False

    # --- what agents call

    def partitions(self) -> tuple[Partition, ...]:
        return self._partitions

    def submit(self, starts: tuple[Start, ...]) -> None:
        with self._changed:
            for start in starts:
                self.submits[start.attempt] += 1
                if start.attempt in self._seen and not self._forgetful:
                    continue
                self._seen.add(start.attempt)
                self._starts[start.attempt] = start
                job = BatchJob(start.attempt, str(1000 + len(self._seen)), Phase.QUEUED)
                why = self._objection(start)
                if why:
                    job = replace(job, phase=Phase.ENDED, end="not_started", why=why)
                else:
                    self.launches[start.attempt] += 1
                self._note(job)

    def look_up(self, attempts: tuple[str, ...]) -> dict[str, BatchJob]:
        with self._changed:
            return {a: self._jobs[a][1] for a in attempts if a in self._jobs}

    def changes(self, cursor: str, wait_s: float) -> Changes:
        after = int(cursor or 0)
        with self._changed:
            self._changed.wait_for(lambda: self._number > after, wait_s)
            news = sorted((number, a) for a, (number, _) in self._jobs.items() if number > after)
            return Changes(str(self._number), tuple(self._jobs[a][1] for _, a in news))

    def cancel(self, attempts: tuple[str, ...]) -> None:
        with self._changed:
            for attempt in attempts:
                job = self._jobs[attempt][1] if attempt in self._jobs else None
                if job is not None and job.phase is Phase.QUEUED:
                    self._note(replace(job, phase=Phase.ENDED, end="cancelled"))
                elif job is not None and job.phase is Phase.RUNNING:
                    self._asked_to_end.add(attempt)

    def output(self, attempt: str) -> Output | None:
        start = self._starts.get(attempt)
        if start is None:
            return None
        stdout = start.stdout or str(self._folder / "printed" / f"{attempt}.out")
        return Output(stdout, start.stderr or stdout)

    def forget(self, attempts: tuple[str, ...]) -> None:
        with self._changed:
            for attempt in attempts:
                if attempt in self._jobs and self._jobs[attempt][1].phase is Phase.ENDED:
                    del self._jobs[attempt]
                    del self._starts[attempt]

    def leave(self) -> None:
        self.left = True

    # --- what the test says

    def begin(self, attempt: str, site_word: str | None = None) -> None:
        """It starts now."""
        with self._changed:
            job = self._jobs[attempt][1]
            assert job.phase is Phase.QUEUED, f"{attempt} is {job.phase}"
            now_ms = self._clock_ms()
            self._note(replace(job, phase=Phase.RUNNING, start_ms=now_ms, site_word=site_word))

    def say(self, attempt: str, data: bytes, stream: str = "stdout") -> None:
        """It prints."""
        output = self.output(attempt)
        assert output is not None
        path = Path(output.stdout if stream == "stdout" else output.stderr)
        path.parent.mkdir(exist_ok=True)
        with path.open("ab") as file:
            file.write(data)

    def end(self, attempt: str, exit_code: int = 0) -> None:
        """It ends now; one that was asked to ends as cancelled."""
        with self._changed:
            job = self._jobs[attempt][1]
            assert job.phase is Phase.RUNNING, f"{attempt} is {job.phase}"
            assert job.start_ms is not None
            now_ms = self._clock_ms()
            asked = attempt in self._asked_to_end
            self._note(
                replace(
                    job,
                    phase=Phase.ENDED,
                    end="cancelled" if asked else "exit",
                    exit_code=exit_code,
                    end_ms=now_ms,
                    usage=Usage(max(1, -(-(now_ms - job.start_ms) // 1000))),
                    site_word=None,
                )
            )

    def waiting(self) -> list[str]:
        """Attempts that are in the queue."""
        return [a for a, (_, job) in self._jobs.items() if job.phase is Phase.QUEUED]

    def running(self) -> list[str]:
        return [a for a, (_, job) in self._jobs.items() if job.phase is Phase.RUNNING]

    def start_of(self, attempt: str) -> Start:
        """What the agent asked to start."""
        return self._starts[attempt]

    def _note(self, job: BatchJob) -> None:
        self._number += 1
        self._jobs[job.attempt] = (self._number, job)
        self._changed.notify_all()

    def _objection(self, start: Start) -> str:
        places = {each.name: each for each in self._partitions}
        place = places.get(start.partition)
        if place is None:
            return f"there is no partition {start.partition}"
        if start.nodes > place.nodes:
            return f"asks {show_count(start.nodes, 'node')} of {place.nodes}"
        if not start.asked.fits_in(place.node):
            return (
                f"asks {show_count(start.asked.cores, 'core')} of {place.cores_per_node} on a node"
            )
        workdir = Path(start.workdir)
        if start.create_workdir:
            workdir.mkdir(parents=True, exist_ok=True, mode=0o700)
        return "" if workdir.is_dir() else f"there is no folder {workdir}"
