"""The keeper's jobs in motion: claimed, started, warned, stopped, reaped, and all of it on record.

Order is everything here:
- a claim is durable before its process starts; a claimed job is never started a second time;
- the last moment before a process may exist is on record, with the place that it takes;
- a group is killed before its dead leader is reaped, so its number can't belong to another;
- an end is recorded when no process of the group is left, or when `grace_s` has passed in vain.
"""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from meyrin.agent.batch import Phase, Start
from meyrin.agent.keeper_proc import (
    attempt_of,
    children,
    group_members,
    kill_group,
    kill_marked,
    kill_one,
    now_ms,
    open_children,
    signal_number,
    stat_fields,
    up_ns,
)
from meyrin.agent.keeper_process import Started, environment, spawn
from meyrin.agent.keeper_scripts import Scripts
from meyrin.agent.keeper_slots import Part, Place, Waiting, parts
from meyrin.agent.keeper_state import End, Job, State
from meyrin.agent.keeper_wire import Body

SECOND = 1_000_000_000
AHEAD = 64  # jobs claimed at once while jobs are so short that each claim would cost a sync
SHORT = 16  # so many starts within a second are short jobs
AT_ONCE = 16  # starts before the keeper looks again who asks something, and what has ended
FULL_NS = 10 * SECOND  # until a job is tried again for whose files there was no room
QUEUED_NS = SECOND  # a job is told to be queued once it has been for so long
NEVER = 1 << 62


@dataclass(slots=True, eq=False)
class Run:
    """A job with a process. `ended` is set while the rest of its group is still dying."""

    job: Job
    limit_ns: int
    warn_ns: int = NEVER
    kill_ns: int = NEVER
    adopted: bool = False  # started by an earlier keeper, so not our child
    pidfd: int = -1
    resolve_ns: int = NEVER
    ended: End | None = None
    drain_ns: int = NEVER

    def due_ns(self) -> int:
        if self.ended:
            return self.drain_ns
        limit = NEVER if self.job.stopping else self.limit_ns
        return min(limit, self.warn_ns, self.kill_ns, self.resolve_ns)


class Jobs:
    """All jobs of one keeper."""

    def __init__(
        self, state: State, folder: Path, base: Mapping[str, str], resolve: Callable[[Run], None]
    ) -> None:
        self.state = state
        self.running: dict[int, Run] = {}
        self.parts: dict[str, Part] = {}
        self.grace_ns = 30 * SECOND
        self.retry_ns = NEVER
        self.resolve = resolve  # learns how an adopted run ended: `keeper_recover`
        self.scripts = Scripts(folder / "spool")
        self._folder = folder
        self._inherited = base
        self._base: Mapping[str, str] = base
        self._dirty = False
        self._picked: list[tuple[Part, Waiting, Place]] = []
        self._recent: deque[int] = deque(maxlen=SHORT)
        self._aside: deque[tuple[int, Part, Waiting]] = deque()  # until when, of which partition
        self._untold: deque[tuple[int, Job]] = deque()  # until when, which queued job
        me = os.getpid()
        self._children = open_children(me)
        self.more = False  # `schedule` stopped with starts left that need not wait
        self._queued = 0

    # what is asked

    def configure(self, config: Body) -> None:
        """Take over partitions and grace; jobs that run keep what they hold."""
        if self.state.config != config:
            self.state.record(["config", config])
        self.take_settings()
        self.parts = parts(config)
        for run in self.running.values():
            part = self.parts.get(run.job.partition)
            if part and run.job.place:
                part.retake(run.job.place, run.job.asked)
        self._queued = 0
        self._picked = []  # their places were in the partitions before
        self._aside.clear()
        queued = [job for job in self.state.jobs.values() if job.phase is Phase.QUEUED]
        self._enqueue(sorted(queued, key=lambda job: job.serial))

    def take_settings(self) -> None:
        """Those on record, for jobs that run already."""
        if config := self.state.config:
            self._base = {**self._inherited, "SLURM_CLUSTER_NAME": config["cluster"]}
            self.grace_ns = int(config["grace_s"] * SECOND)

    def submit(self, raw: bytes, starts: Sequence[Start]) -> None:
        self._enqueue(self.state.submit(raw, starts))

    def _enqueue(self, jobs: Iterable[Job]) -> None:
        tell_ns = up_ns() + QUEUED_NS
        for job in jobs:
            if why := self._impossible(job):
                self.state.end(job, End("not_started", why=why))
                continue
            # its claim may be on its way to the disk still
            claimed = self.state.journal.want() if job.claimed else -1
            job.waiting = Waiting(job.serial, job.nodes, job.asked, claimed=claimed)
            self.parts[job.partition].push(job.waiting)
            self._queued += 1
            if not job.seq:
                self._untold.append((tell_ns, job))
        self._dirty = True

    def _impossible(self, job: Job) -> str:
        part = self.parts.get(job.partition)
        if part is None:
            return f"there is no partition {job.partition!r} here"
        if job.warn:
            try:
                signal_number(job.warn.name)
            except ValueError as error:
                return str(error)
        return part.impossible(job.nodes, job.asked)

    def cancel(self, attempts: Iterable[str]) -> None:
        self.reap()
        for attempt in attempts:
            job = self.state.jobs.get(attempt)
            if job is None or job.stopping or job.phase is Phase.ENDED:
                continue
            if job.phase is Phase.RUNNING:
                self.stop(self.running[job.pid], "cancelled")
                continue
            if job.waiting:
                job.waiting.gone = True
            self._queued -= 1
            self.state.end(job, End("cancelled", why="cancelled before it started"))
            self._dirty = True

    def forget(self, attempts: Iterable[str]) -> None:
        known = [job for attempt in attempts if (job := self.state.jobs.get(attempt))]
        ended = [job for job in known if job.phase is Phase.ENDED]
        if ended:
            self.state.record(["forget", [job.serial for job in ended]])
        for job in ended:
            with suppress(OSError):
                os.unlink(f"{self._folder}/out/{job.serial}.out")  # noqa: PTH108 - a hot path

    @property
    def idle(self) -> bool:
        return not self.running and not self._queued

    @property
    def counts(self) -> Body:
        return {"running": len(self.running), "queued": self._queued}

    # starting

    def schedule(self) -> None:
        """Pick what fits, claim it, and start a few of those whose claim is durable."""
        self.more = False
        if self._dirty:
            self._dirty = False
            self._pick()
        if not self._picked or self.retry_ns < NEVER:
            return
        waits: list[tuple[Part, Waiting, Place]] = []
        left = AT_ONCE
        for i, (part, job, place) in enumerate(self._picked):
            if job.gone:
                part.release(place, job.asked)
                self._dirty = True
            elif job.claimed > self.state.journal.safe:
                waits.append((part, job, place))
            elif left == 0:
                waits += self._picked[i:]
                self.more = True
                break
            elif not self._start(part, job, place):
                self.retry_ns = up_ns() + SECOND
                waits += self._picked[i:]
                break
            else:
                left -= 1
        self._picked = waits
        self.more = self.more or self._dirty

    def _pick(self) -> None:
        claims: list[int] = []
        for part in self.parts.values():
            for job, place in part.picks():
                self._picked.append((part, job, place))
                if job.claimed < 0:
                    found = [job, *part.next_in_line(job, self._ahead() - 1)]
                    claims += [one.serial for one in found]
                    for one in found:
                        one.claimed = 0
        if claims:
            self._claim(claims)

    def _claim(self, serials: list[int]) -> None:
        self.state.record(["claim", serials])
        position = self.state.journal.want()
        for serial in serials:
            waiting = self.state.by_serial[serial].waiting
            assert waiting is not None, "what is claimed is queued"
            waiting.claimed = position

    def _ahead(self) -> int:
        """More than one only while jobs are short: a power cut loses what was claimed."""
        recent = self._recent
        return AHEAD if len(recent) == SHORT and recent[-1] - recent[0] < SECOND else 1

    def _start(self, part: Part, waiting: Waiting, place: Place) -> bool:
        """Start one, or set it aside or end it; False when the machine has no room for a process
        just now."""
        job = self.state.by_serial[waiting.serial]
        start = job.start
        assert start is not None, "a queued job has its start"
        start_ms, began = now_ms(), up_ns()
        env = environment(start, part, place, start_ms, self._base)

        def last_moment(script: str) -> None:
            """From here on it may have started, whatever happens to this keeper."""
            at = ["at", job.serial, start_ms, began, place.nodes, place.devices, script]
            self.state.record_with_room(at)

        outcome = spawn(start, self.scripts, env, (job.stdout, job.stderr), last_moment)
        if isinstance(outcome, Started):
            self.state.record(["run", job.serial, outcome.pid, outcome.ticks])
            self.state.journal.flush()
            self.running[outcome.pid] = run_of(job)
            self.scripts.use(job.script)
            self._recent.append(began)
        elif outcome.again:
            if job.place is not None:
                self.state.record(["back", job.serial])  # still claimed, by this keeper
                self.state.journal.flush()
            return False
        elif outcome.full:
            part.release(place, job.asked)
            with suppress(OSError):  # where the journal has no room it stays claimed
                self.state.record_with_room(["unclaim", job.serial])
            if not job.claimed:  # it can't have started, also not for who finds it later
                waiting.claimed = -1
            waiting.passed = 0
            self._aside.append((up_ns() + FULL_NS, part, waiting))
            self._dirty = True
            return True
        else:
            self.state.end(job, End("not_started", why=outcome.why))
            part.release(place, job.asked)
            self._dirty = True
        self._queued -= 1
        return True

    # time

    def due_ns(self) -> int:
        """When `tick` has something to do, by the boot clock."""
        due = min((run.due_ns() for run in self.running.values()), default=NEVER)
        if self._aside:
            due = min(due, self._aside[0][0])
        return min(due, self._untold[0][0]) if self._untold else due

    def tick(self) -> None:
        now = up_ns()
        if now >= self.retry_ns:
            self.retry_ns = NEVER
        self._again(now)
        while self._untold and (self._untold[0][1].seq or self._untold[0][0] <= now):
            job = self._untold.popleft()[1]
            if not job.seq:  # what started or ended meanwhile is told of as that
                self.state.changed(job)
        for run in [run for run in self.running.values() if run.due_ns() <= now]:
            if run.ended:
                self.finish(run, run.ended)
            elif run.resolve_ns <= now:
                self.resolve(run)
            elif run.kill_ns <= now:
                run.kill_ns = now + self.grace_ns
                self._kill_all(run)
            elif not run.job.stopping and run.limit_ns <= now:
                self.stop(run, "timeout")
            elif run.warn_ns <= now:
                run.warn_ns = NEVER
                self._warn(run)

    def _again(self, now_ns: int) -> None:
        """What was set aside stands in its line again when its time has come."""
        due = []
        while self._aside and self._aside[0][0] <= now_ns:
            due.append(self._aside.popleft())
        for _, part, waiting in reversed(due):  # each goes before those that are there
            part.push_again(waiting)
            self._dirty = True

    def stop(self, run: Run, reason: str) -> None:
        """TERM to its whole group now, KILL after the grace."""
        self.state.record(["stop", run.job.serial, reason])
        run.warn_ns, run.kill_ns = NEVER, up_ns() + self.grace_ns
        kill_group(run.job.pid, signal.SIGTERM)
        kill_group(run.job.pid, signal.SIGCONT)

    def _warn(self, run: Run) -> None:
        """As sbatch(1) --signal: `B:` tells the shell only, else all but the shell."""
        warn, leader = run.job.warn, run.job.pid
        assert warn is not None, "only a run with a warning is warned"
        number = signal_number(warn.name)
        for pid in [leader] if warn.shell_only else group_members(leader):
            kill_one(pid, number)

    def _kill_all(self, run: Run) -> None:
        kill_group(run.job.pid, signal.SIGKILL)
        if run.adopted:
            kill_marked({run.job.attempt})
        else:
            self._sweep(run.job)

    # ends

    def reap(self) -> None:
        """Take in every child that has ended, jobs and what jobs left behind."""
        reaped = False
        while True:
            try:
                info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                break
            if info is None:
                break
            reaped = True
            run = self.running.get(info.si_pid)
            if run is not None and not run.adopted and run.ended is None:
                kill_group(info.si_pid, signal.SIGKILL)
                _, status, used = os.wait4(info.si_pid, 0)
                cpu_ms = round((used.ru_utime + used.ru_stime) * 1000)
                self._ended(run, end_of(run.job, status, up_ns(), cpu_ms, used.ru_maxrss))
            else:
                os.waitpid(info.si_pid, 0)
        if reaped:
            self._sweep(None)
            for run in [run for run in self.running.values() if run.ended]:
                if run.ended and not kill_group(run.job.pid, 0):
                    self.finish(run, run.ended)
            self.state.journal.flush()  # what was reaped can't be asked for again

    def _ended(self, run: Run, end: End) -> None:
        if kill_group(run.job.pid, 0):
            run.ended, run.drain_ns = end, up_ns() + self.grace_ns
        else:
            self.finish(run, end)

    def _sweep(self, dying: Job | None) -> None:
        """Kill what left its job's group and outlived it (or its job is `dying`)."""
        mine = self.state.journal.syncer
        alive = {
            run.job.pid: run.job.attempt
            for run in self.running.values()
            if run.ended is None and run.job is not dying
        }
        for pid in children(self._children):
            if pid in alive or (dying and pid == dying.pid) or (mine and pid == mine.pid):
                continue
            fields = stat_fields(pid)
            if fields is None or fields[0] == b"Z" or int(fields[2]) in alive:
                continue
            mark = attempt_of(pid)
            if mark not in alive.values() and (mark or not alive):
                kill_one(pid, signal.SIGKILL)

    def finish(self, run: Run, end: End) -> None:
        job = run.job
        del self.running[job.pid]
        if run.pidfd >= 0:
            os.close(run.pidfd)
        self.state.end(job, end)
        part = self.parts.get(job.partition)
        if part and job.place:
            part.release(job.place, job.asked)
        self.scripts.done(job.script)
        self._dirty = True


def end_of(job: Job, status: int, at_ns: int, cpu_ms: int | None, max_rss_kb: int | None) -> End:
    code = os.waitstatus_to_exitcode(status)
    return End(
        job.stopping or ("exit" if code >= 0 else "signal"),
        exit_code=code if code >= 0 else None,
        signal=-code if code < 0 else None,
        elapsed_ms=max(0, -((job.up_ns - at_ns) // 1_000_000)),
        cpu_ms=cpu_ms,
        max_rss_kb=max_rss_kb,
    )


def run_of(job: Job) -> Run:
    """A fresh run of a job that has a process."""
    run = Run(job, limit_ns=job.up_ns + job.walltime_s * SECOND)
    if job.warn:
        # not before its script had a second to set its trap
        before = run.limit_ns - job.warn.before_s * SECOND
        run.warn_ns = max(before, job.up_ns + SECOND)
    return run
