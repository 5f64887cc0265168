"""A `FakeSlurm` whose jobs take time: the caller says which begin, end, or are taken back, and
when. No process runs: what the wrapper does on a node is done here, in the same files.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from meyrin.testing.slurm import FakeJob, FakeSlurm

SECOND_COPY = 75  # the wrapper's exit code where another copy holds the claim
NO_FOLDER = 72  # and where its folder is gone
ENDED_BY_TERM = 143


@dataclass(frozen=True, slots=True)
class Node:
    """The wrapper of one attempt, as `wrapper.sh` is: its claim, and the facts that it leaves."""

    folder: Path
    news: str

    @classmethod
    def of(cls, script: str) -> Node:
        """Where the wrapper's text says that it works."""
        line = next(line for line in script.splitlines() if line.startswith("a="))
        said = dict(word.partition("=")[::2] for word in shlex.split(line))
        return cls(Path(said["a"]), said["news"])

    def claim(self, number: int, run: int, now_s: int) -> bool:
        """Whether this copy may run: the first, or a later run of the batch job that did."""
        try:
            os.symlink(f"{number}.{run}", self.folder / "owner")  # noqa: PTH211 - in one step
        except FileExistsError:
            owner, _, last = os.readlink(self.folder / "owner").rpartition(".")  # noqa: PTH115
            mine = owner == str(number) and run > int(last)
            if not mine or (self.folder / f"run.{run}").exists():
                (self.folder / f"second.{now_s}").touch()
                Path(f"{self.news}.{run}.second").touch()
                return False
            (self.folder / f"run.{run}").mkdir()
        return True

    def started(self, number: int, run: int, now_s: int) -> None:
        self._tell("start", run, str(number), str(now_s), "n1", "n1")

    def ended(self, number: int, run: int, times: tuple[int, int], code: int) -> None:
        cpu = "0m0.010s 0m0.005s"
        said = (str(number), *map(str, times), str(code), "no", "0m0.000s 0m0.000s", cpu)
        self._tell("end", run, *said)

    def said(self, name: str) -> str:
        """A value of the file that tells the wrapper what to do, such as `stdout`."""
        for line in (self.folder / "job").read_text().splitlines():
            if line.startswith(f"{name}="):
                return shlex.split(line)[0].partition("=")[2]
        raise KeyError(name)

    def _tell(self, kind: str, run: int, *lines: str) -> None:
        (self.folder / f"{kind}.{run}").write_text("\n".join((*lines, ".", "")))
        Path(f"{self.news}.{run}.{kind}").touch()


class PacedSlurm(FakeSlurm):
    """A cluster on which nothing begins or ends by itself."""

    def __init__(self, clock_s: Callable[[], float]) -> None:
        super().__init__(clock_s)
        self._asked: list[FakeJob] = []

    def advance(self) -> None:
        """What was late arrives; nothing is launched."""
        late, self.late = self.late, []
        for arrive in late:
            arrive()

    def waiting(self) -> list[FakeJob]:
        return [job for job in self.listed() if job.state == "PENDING"]

    def running(self) -> list[FakeJob]:
        """Whatever runs on a node, also what the controller has forgotten."""
        return [job for job in self.recorded if job.state == "RUNNING"]

    def orphans_over_time(self) -> list[FakeJob]:
        """What runs on a node past its wall time and is unknown to the controller.

        A real cluster kills it at the latest when its node registers with the controller.
        """
        return [
            job
            for job in self.running()
            if not job.listed
            and job.start_s is not None
            and job.walltime_s is not None
            and self.now_s > job.start_s + job.walltime_s
        ]

    def asked_to_end(self, job: FakeJob) -> bool:
        return any(each is job for each in self._asked)

    def begin(self, job: FakeJob) -> Node | None:
        """It is launched; None where it is a further copy, which ends at once."""
        self.launches[job.name] += 1
        node = Node.of(job.script)
        job.start_s = self.now_s
        if not node.folder.is_dir():
            self._close(job, "FAILED", NO_FOLDER)
            return None
        if not node.claim(job.number, job.restarts, self.now_s):
            self._close(job, "FAILED", SECOND_COPY)
            return None
        job.state = "RUNNING"
        node.started(job.number, job.restarts, self.now_s)
        return node

    def end(self, job: FakeJob, code: int) -> None:
        """Its script ends by itself."""
        self._ended(job, code)
        self._close(job, "COMPLETED" if code == 0 else "FAILED", code)

    def end_asked(self, job: FakeJob) -> None:
        """It is ended because somebody cancelled it."""
        self._ended(job, ENDED_BY_TERM)
        self._close(job, "CANCELLED by 1000", ENDED_BY_TERM)

    def take_back(self, job: FakeJob) -> None:
        """The site needs its nodes: it is ended and waits again, as the same job."""
        self._ended(job, ENDED_BY_TERM)
        self._close(job, "PREEMPTED", ENDED_BY_TERM)
        again = replace(
            job, state="PENDING", start_s=None, end_s=None, code=0, restarts=job.restarts + 1
        )
        again.listed, job.listed = job.listed, False
        self.jobs.append(again)
        self.recorded.append(again)

    def cancel(self, number: int) -> None:
        super().cancel(number)
        for job in self.jobs:
            if job.number == number and job.listed and job.state == "RUNNING":
                self._asked.append(job)

    def forget_lately(self, last_s: int, most: int) -> int:
        """The controller was killed and forgot what it did in the last seconds; of how many."""
        count = 0
        for job in reversed(self.jobs):
            if job.submit_s < self.now_s - last_s or count == most:
                break
            count += 1
        if count:
            self.forget(count)
        return count

    def _ended(self, job: FakeJob, code: int) -> None:
        assert job.start_s is not None
        times = (job.start_s, self.now_s)
        Node.of(job.script).ended(job.number, job.restarts, times, code)

    def _close(self, job: FakeJob, state: str, code: int) -> None:
        job.state, job.code, job.end_s = state, code, self.now_s
