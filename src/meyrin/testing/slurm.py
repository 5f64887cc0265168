"""A double of one Slurm cluster: a queue, accounting and a clock, with faults at every step.

`FakeSlurm` is the cluster; batch scripts that it launches really run (bash). `FakeCommands` speaks
for it as sbatch, squeue, sacct, scancel and scontrol would, so the real command transport works on
it; another transport gets a speaker of its own beside it. `Faults` decides what goes wrong:

    lost      the question never arrives
    silent    it arrives and is obeyed; the answer is lost
    late      it arrives after the asker has given up
    forget    the controller is killed: what it acknowledged last is forgotten, its ids are given
              again, and what it launched last is launched a second time
"""

from __future__ import annotations

import os
import random
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import gmtime, strftime

from meyrin.agent.slurm.command import FIELD, ROW, Done
from meyrin.agent.slurm.words import duration_s

CONFIG = """AccountingStorageType   = accounting_storage/slurmdbd
ClusterName             = fake
KillWait                = 30 sec
MessageTimeout          = 10 sec
MinJobAge               = 300 sec
SLURM_VERSION           = 22.05.8
"""
PARTITION = (
    "PartitionName=main Default=YES DefaultTime=NONE MaxNodes=UNLIMITED MaxTime=1-00:00:00"
    " TotalNodes=4 OverSubscribe=NO State={state} DefMemPerCPU=1000 QoS=N/A\n"
)
NODE = (
    "NodeName=n{n} CPUEfctv=32 CPUTot=32 AvailableFeatures=(null) Gres=gpu:h100:8 RealMemory=64000"
    " State={state} Partitions=main {reason}\n"
)


@dataclass
class FakeJob:
    """One run of a job. `listed` is whether the controller knows it still; accounting has its
    times and its energy as they are here, so a corrected record is a changed one."""

    number: int
    name: str
    script: str
    submit_s: int
    state: str = "PENDING"
    start_s: int | None = None
    end_s: int | None = None
    code: int = 0
    restarts: int = 0
    listed: bool = True
    energy_j: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    walltime_s: int | None = None


class FakeSlurm:
    """The cluster. `clock_s` is the caller's. It launches on `advance`, all that waits."""

    user = "mtb1"

    def __init__(self, clock_s: Callable[[], float]) -> None:
        self._clock_s = clock_s
        self.jobs: list[FakeJob] = []
        self.recorded: list[FakeJob] = []
        self.next_number = 1
        self.up = True
        self.holds = False
        self.accounting_away = False
        self.late: list[Callable[[], object]] = []
        self.launches: Counter[str] = Counter()
        self.partition_state = "UP"
        self.drained: dict[int, str] = {}  # nodes that an operator took out, and why
        self.most: int | None = None  # of jobs that wait, before it takes no more
        self.names_after_s = 0  # accounting hears of a job's name so long after its start

    @property
    def now_s(self) -> int:
        return int(self._clock_s())

    def submit(
        self,
        name: str,
        script: str,
        environment: Mapping[str, str],
        walltime_s: int | None = None,
    ) -> int:
        number = self.next_number
        self.next_number += 1
        job = FakeJob(
            number,
            name,
            script,
            self.now_s,
            environment=dict(environment),
            walltime_s=walltime_s,
        )
        self.jobs.append(job)
        self.recorded.append(job)
        return number

    def accounted_as(self, job: FakeJob) -> tuple[str, str]:
        """Name and partition, as far as accounting has heard of them."""
        since = job.submit_s if job.start_s is None else job.start_s
        known = self.now_s >= since + self.names_after_s
        return (job.name, "main") if known else ("allocation", "")

    @property
    def full(self) -> bool:
        """Whether the limit on jobs in the queue (MaxSubmitJobs) is reached."""
        waiting = sum(job.state == "PENDING" for job in self.listed())
        return self.most is not None and waiting >= self.most

    def cancel(self, number: int) -> None:
        for job in self.jobs:
            if job.number == number and job.listed and job.state == "PENDING":
                job.state, job.end_s = "CANCELLED by 1000", self.now_s

    def advance(self) -> None:
        """What was late arrives; what waits is launched, runs and ends."""
        late, self.late = self.late, []
        for arrive in late:
            arrive()
        if not self.up or self.holds:
            return
        for job in self.jobs:
            if job.listed and job.state == "PENDING":
                self._launch(job)

    def _launch(self, job: FakeJob) -> None:
        self.launches[job.name] += 1
        job.start_s = self.now_s
        code = run_script(job.script, job.number, job.restarts, self.now_s, job.environment)
        job.end_s = self.now_s
        job.code = code
        job.state = "COMPLETED" if code == 0 else "FAILED"

    def forget(self, last: int) -> None:
        """The controller was killed: of the last acknowledged, those that wait are forgotten with
        their ids, and those that ended run again."""
        first = None
        for job in self.jobs[-last:]:
            if not job.listed:
                continue
            if job.state == "PENDING":
                job.listed = False
                first = job.number if first is None else first
            elif job.start_s is not None:
                again = FakeJob(
                    job.number,
                    job.name,
                    job.script,
                    job.submit_s,
                    environment=job.environment,
                    walltime_s=job.walltime_s,
                )
                job.listed = False
                self.jobs.append(again)
                self.recorded.append(again)
        if first is not None:
            self.next_number = max(first, 1 + max((j.number for j in self.listed()), default=0))

    def listed(self) -> list[FakeJob]:
        return [job for job in self.jobs if job.listed]

    def drop_ended(self) -> None:
        """MinJobAge has passed: the controller lists only what waits."""
        for job in self.jobs:
            if job.state != "PENDING":
                job.listed = False
        self.jobs = [job for job in self.jobs if job.listed]


def run_script(
    script: str, number: int, restarts: int, now_s: int, environment: Mapping[str, str]
) -> int:
    """Run a batch script as a node would, with the cluster's clock; its exit code."""
    text = script.replace("'%(%s)T' -1", f"%s {now_s}")
    with tempfile.NamedTemporaryFile("w", suffix=".sh") as file:
        file.write(text)
        file.flush()
        done = subprocess.run(
            ["/bin/bash", file.name],
            env={
                "PATH": os.environ["PATH"],
                **environment,
                "SLURM_JOB_ID": str(number),
                "SLURMD_NODENAME": "n1",
                **({"SLURM_RESTART_COUNT": str(restarts)} if restarts else {}),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            check=False,
        )
    return done.returncode if done.returncode >= 0 else 128 - done.returncode


class Killed(BaseException):
    """The program was killed here: nothing of it runs on."""


@dataclass
class Faults:
    """Chances, each out of 1, at every question (`lost`, `silent`, `late`), and at every step of
    the program itself (`kill`)."""

    random: random.Random
    lost: float = 0.0
    silent: float = 0.0
    late: float = 0.0
    kill: float = 0.0
    counted: Counter[str] = field(default_factory=Counter)

    def happens(self, kind: str) -> bool:
        hit: bool = self.random.random() < getattr(self, kind)
        self.counted[kind] += hit
        return hit

    def point(self) -> None:
        """A moment between two steps: the program may be killed here."""
        if self.happens("kill"):
            raise Killed


class Mortal:
    """Stands before an object: before and after each of its methods the program may be killed."""

    def __init__(self, inner: object, faults: Faults) -> None:
        self._inner, self._faults = inner, faults

    def __getattr__(self, name: str) -> object:
        found = getattr(self._inner, name)
        if not callable(found):
            return found

        def call(*args: object, **named: object) -> object:
            self._faults.point()
            answer = found(*args, **named)
            self._faults.point()
            return answer

        return call


_FULL = Done(
    1, "", "sbatch: error: AssocMaxSubmitJobLimit\n"
    "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit"
    " limit, user's size and/or time limits)",
)  # fmt: skip
_NO_ANSWER = Done(1, "", "error: Unable to contact slurm controller (connect failure)")
_NO_DATABASE = Done(1, "", "sacct: error: Problem talking to the database: Connection refused")
_TIMED_OUT = Done(1, "", "error: Socket timed out on send/recv operation")


class FakeCommands:
    """A `command.Run`: what Slurm's commands would answer."""

    def __init__(self, cluster: FakeSlurm, faults: Faults | None = None) -> None:
        self.cluster = cluster
        self.faults = faults or Faults(random.Random(0))  # noqa: S311 - chances of a story
        self.asked: Counter[str] = Counter()

    def __call__(self, command: Sequence[str], given: str, environment: Mapping[str, str]) -> Done:
        name, options = Path(command[0]).name, list(command[1:])
        self.asked[name] += 1
        accounting = name in ("sacct", "sacctmgr")
        if not self.cluster.up and not accounting:
            return _NO_ANSWER
        if self.faults.happens("lost"):
            return _TIMED_OUT

        def obey() -> Done:
            return self._obey(name, options, given, environment)

        if name in ("sbatch", "scancel") and self.faults.happens("late"):
            self.cluster.late.append(obey)
            return _TIMED_OUT
        answer = obey()
        return _TIMED_OUT if self.faults.happens("silent") else answer

    def _obey(
        self, name: str, options: list[str], given: str, environment: Mapping[str, str]
    ) -> Done:
        said = dict(each.removeprefix("--").partition("=")[::2] for each in options)
        if name == "sbatch" and self.cluster.full:
            return _FULL
        if name == "sbatch":
            walltime_s = duration_s(said.get("time", ""))
            number = self.cluster.submit(said["job-name"], given, environment, walltime_s)
            return Done(0, f"{number}\n", "")
        if name == "scancel":
            for each in options:
                self.cluster.cancel(int(each))
            return Done(0, "", "")
        if name == "squeue":
            return Done(0, self._squeue(said), "")
        if name == "sacct":
            rows = self._sacct(said)
            return _NO_DATABASE if rows is None else Done(0, rows, "")
        return Done(0, self._scontrol(options) if name == "scontrol" else "", "")

    def _scontrol(self, options: list[str]) -> str:
        if options == ["ping"]:
            return "Slurmctld(primary) at fake is UP\n"
        if "config" in options:
            return CONFIG
        if "partition" in options:
            return PARTITION.format(state=self.cluster.partition_state)
        return "".join(self._node(n) for n in range(4))

    def _node(self, n: int) -> str:
        why = self.cluster.drained.get(n)
        if why is None:
            return NODE.format(n=n, state="IDLE", reason="")
        reason = f"Reason={why} [root@2026-11-30T12:00:00]"
        return NODE.format(n=n, state="IDLE+DRAIN", reason=reason)

    def _squeue(self, said: Mapping[str, str]) -> str:
        names = set(said["name"].split(",")) if "name" in said else None
        tokens = said["format"].removeprefix(ROW).split(FIELD)
        rows = []
        for job in self.cluster.listed():
            if names is None or job.name in names:
                table = self._queue_values(job)
                rows.append(ROW + FIELD.join(table.get(token, "") for token in tokens) + "\n")
        return "".join(rows)

    def _queue_values(self, job: FakeJob) -> dict[str, str]:
        return {
            "%i": str(job.number),
            "%u": self.cluster.user,
            "%T": job.state.partition(" ")[0],
            "%P": "main",
            "%V": _when(job.submit_s),
            "%S": _when(job.start_s),
            "%e": _when(job.end_s),
            "%D": "1",
            "%C": "1",
            "%N": "n1" if job.start_s is not None else "",
            "%r": "Priority",
            "%j": job.name,
        }

    def _sacct(self, said: Mapping[str, str]) -> str | None:
        if self.cluster.accounting_away:
            return None
        names = set(said["name"].split(",")) if "name" in said else None
        numbers = set(said["jobs"].split(",")) if "jobs" in said else None
        rows = []
        for job in self.cluster.recorded:
            if (names is None or self.cluster.accounted_as(job)[0] in names) and (
                numbers is None or str(job.number) in numbers
            ):
                table = self._accounting_values(job)
                fields = said["format"].split(",")
                rows.append(FIELD.join(table.get(each, "") for each in fields) + "\n")
        return "".join(rows)

    def _accounting_values(self, job: FakeJob) -> dict[str, str]:
        started = job.start_s is not None
        until_s = job.end_s or self.cluster.now_s
        # a clock that stepped back: slurmdbd says 0, never less
        elapsed = max(0, until_s - job.start_s) if job.start_s is not None else 0
        return {
            "JobIDRaw": str(job.number),
            "User": self.cluster.user,
            "State": job.state,
            "ExitCode": f"{job.code}:0" if job.code <= 128 else f"0:{job.code - 128}",
            "Submit": _when(job.submit_s),
            "Start": _when(job.start_s),
            "End": _when(job.end_s),
            "ElapsedRaw": str(elapsed),
            "NNodes": "1",
            "AllocTRES": "cpu=1,mem=10M,node=1" if started else "",
            "ConsumedEnergyRaw": "" if job.energy_j is None else str(job.energy_j),
            "NodeList": "n1" if started else "None assigned",
            "Partition": self.cluster.accounted_as(job)[1],
            "JobName": self.cluster.accounted_as(job)[0],
        }


def _when(moment_s: int | None) -> str:
    return "Unknown" if moment_s is None else strftime("%Y-%m-%dT%H:%M:%S", gmtime(moment_s))
