"""After a keeper was killed: what became of the jobs that it started, or was about to start.

| the job was | and now | so it is |
| --- | --- | --- |
| queued | | queued |
| about to start, or running | its process lives | running, watched by its pidfd |
| the same | the guard wrote its end down | ended, with exit code and usage |
| running | it ends later, without a guard | ended, with the exit code that the kernel keeps |
| the same | none of these | `lost` |
| claimed or running | the machine restarted | `lost` |

A process is known by pid, start time and boot; a job whose start is not on record by the attempt
in its environment. Nothing that may have started is started again.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from meyrin.agent.batch import Phase
from meyrin.agent.keeper_guard import Orphan, locked, orphans
from meyrin.agent.keeper_jobs import NEVER, SECOND, Jobs, Run, end_of, run_of
from meyrin.agent.keeper_proc import (
    exit_of,
    kill_group,
    kill_marked,
    leaders_of,
    ticks,
    up_ns,
)
from meyrin.agent.keeper_state import End, Job, State

_TICKS = os.sysconf("SC_CLK_TCK")


class Recovery:
    """Knows of the runs that this keeper did not start itself."""

    def __init__(self, state: State, folder: Path) -> None:
        self._state = state
        self._folder = folder

    def recover(self, jobs: Jobs, boot: str) -> list[Run]:
        """Bring every job's record up to date; returns the runs to watch."""
        with locked(self._folder) as fd:
            known = orphans(fd)
        dead: set[str] = set()
        for job in list(self._state.jobs.values()):
            if job.phase is Phase.QUEUED and job.claimed:
                self._claimed(job, boot, known)
            if job.phase is Phase.RUNNING and not self._adopt(jobs, job, boot):
                dead.add(job.attempt)
        if dead:
            kill_marked(dead)
        if not jobs.running and self._state.journal.sync():
            with locked(self._folder) as fd:
                os.ftruncate(fd, 0)
        jobs.scripts.clean({run.job.script for run in jobs.running.values()})
        return list(jobs.running.values())

    def _claimed(self, job: Job, boot: str, known: Sequence[Orphan]) -> None:
        if job.claimed != boot:
            why = "the machine restarted when it may have started; it is not started twice"
            self._state.end(job, End("lost", why=why))
            return
        if job.place is None:
            return  # the keeper had not come to it
        first = job.up_ns * _TICKS // SECOND
        for pid, began, name in leaders_of(job.attempt)[:1]:
            # not a group that the job itself made, and that outlived it
            if name == job.script or began <= first + _TICKS // 20:
                self._state.record(["run", job.serial, pid, began])
                return
        if orphan := self._unclaimed(job, known):
            self._state.record(["run", job.serial, orphan.pid, orphan.ticks])
            return
        why = "the keeper was killed when it may have started; it is not started twice"
        self._state.end(job, End("lost", why=why))

    def _unclaimed(self, job: Job, known: Sequence[Orphan]) -> Orphan | None:
        """The orphan that must be this job: starting it was the last thing that keeper did.

        It led a group, bore the script file's name, started no earlier, and no other job's
        start is on record for it. Two that match prove nothing.
        """
        mine = {(other.pid, other.ticks) for other in self._state.jobs.values() if other.pid}
        first = job.up_ns * _TICKS // SECOND
        found = [
            one
            for one in known
            if one.leader and one.name == job.script and one.ticks >= first
            if (one.pid, one.ticks) not in mine
        ]
        return found[0] if len(found) == 1 else None

    def _adopt(self, jobs: Jobs, job: Job, boot: str) -> bool:
        """Watch a running job; False when it has ended."""
        if job.boot != boot:
            self._state.end(job, End("lost", why="the machine restarted while it ran"))
            return False
        run = run_of(job)
        run.adopted = True
        with suppress(ProcessLookupError):
            run.pidfd = os.pidfd_open(job.pid)
        if run.pidfd >= 0 and ticks(job.pid) != job.ticks:
            os.close(run.pidfd)  # the number belongs to another process now
            run.pidfd = -1
        jobs.running[job.pid] = run
        if run.pidfd < 0:
            self.resolve(jobs, run)
            return False
        if job.stopping:
            jobs.stop(run, job.stopping)
        return True

    def leader_ended(self, jobs: Jobs, run: Run) -> None:
        """A watched pidfd says that an adopted job's own process has ended."""
        kill_group(run.job.pid, signal.SIGKILL)
        kill_marked({run.job.attempt})
        self.resolve(jobs, run)

    def written_down(self, jobs: Jobs) -> None:
        """The guard has written something down."""
        for run in list(jobs.running.values()):
            if run.resolve_ns < NEVER:
                self.resolve(jobs, run)

    def resolve(self, jobs: Jobs, run: Run) -> None:
        """Learn how an adopted job ended; asked again later while its zombie is not reaped."""
        job = run.job
        with locked(self._folder) as fd:
            found = [o for o in orphans(fd) if (o.pid, o.ticks) == (job.pid, job.ticks)]
            zombie = not found and ticks(job.pid) == job.ticks
        if zombie:
            run.resolve_ns = up_ns() + SECOND // 20
            return
        if found:
            one = found[0]
            end = end_of(job, one.status, one.up_ns, one.cpu_ms, one.max_rss_kb)
        elif run.pidfd >= 0 and (status := exit_of(run.pidfd)) is not None:
            end = end_of(job, status, up_ns(), None, None)
        else:
            end = End("lost", why="it ended while no keeper watched; its exit code is not known")
        jobs.finish(run, end)
