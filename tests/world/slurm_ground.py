"""A simulated Slurm under a site: the real adapter over the real command transport, which asks a
double of the cluster. Its controller forgets and gives ids again; the nodes know better.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.world.grounds import Ground, Run

from meyrin.agent import late
from meyrin.agent.batch import BatchSystem
from meyrin.agent.slurm import ask
from meyrin.agent.slurm.batch import SlurmBatch
from meyrin.agent.slurm.command import CommandTransport, Done
from meyrin.testing.paced import Node, PacedSlurm
from meyrin.testing.slurm import FakeCommands, FakeJob, Faults

if TYPE_CHECKING:
    from tests.world.sites import Process, Site

DOUBT_S = 20.0
LATELY_S = 15


class SlurmGround(Ground):
    """One cluster; each start of the agent opens the adapter anew on what it kept."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.clock = self.world.clock_of(site.name)
        self.cluster = PacedSlurm(lambda: self.clock() / 1000)
        self.faults = Faults(self.world.chance.of(f"{site.name}/slurm"))
        odds = self.world.settings.odds("batch_unanswered")
        self.faults.silent, self.faults.late, self.faults.lost = odds / 2, odds / 4, odds / 4
        self.commands = FakeCommands(self.cluster, self.faults)
        self.up_again_ms = self.counts_again_ms = 0
        self._runs: dict[int, Run] = {}

    def batch(self, process: Process) -> BatchSystem:
        from tests.world.sites import Watched

        transport = CommandTransport(self._run, environ={})
        batch = SlurmBatch(
            self.site.folder / "slurm",
            Watched(transport, "slurm", process.boundary),  # type: ignore[arg-type]
            places=ask.named(self.site.partitions, {}),
            at_once=1,
            doubt_s=DOUBT_S,
            clock_s=lambda: self.clock() / 1000,
        )
        batch.store._db.execute("PRAGMA synchronous=OFF")
        process.at_death.append(batch.store.close)

        def look() -> None:
            batch._cancel()
            batch._look()

        process.own_steps = {
            "submits": batch._send,
            "looks": look,
            "late": lambda: late.tell(process.agent.batch, process.agent.hub),  # type: ignore[arg-type]
        }
        return batch

    def _run(self, command: Sequence[str], given: str, environment: Mapping[str, str]) -> Done:
        """One of Slurm's commands; the controller may be killed right after a submission."""
        self._end_orphans()
        done = self.commands(command, given, environment)
        if Path(command[0]).name == "sbatch" and self.world.chance.happens("amnesia"):
            chance = self.world.chance.of("amnesia/what")
            waiting = self.cluster.waiting()
            if waiting and self.cluster.up and chance.random() < 0.5:
                self._begin(waiting[-1])
            forgot = self.cluster.forget_lately(LATELY_S, chance.randint(1, 4))
            self.world.tell(f"{self.site.name}: slurmctld is killed and forgets {forgot}")
        return done

    # --- what goes wrong

    def fault(self) -> None:
        world, chance = self.world, self.world.chance.of("batch_away")
        if world.chance.happens("batch_away"):
            for_ms = chance.choice((3_000, 30_000, 300_000))
            self.cluster.up, self.up_again_ms = False, world.now_ms + for_ms
            world.tell(f"{self.site.name}: slurmctld is away for {for_ms // 1000} s")
        elif world.now_ms >= self.up_again_ms:
            self.cluster.up = True
        if world.chance.happens("records"):
            self._correct(world.chance.of("records/what"))
        elif world.now_ms >= self.counts_again_ms:
            self.cluster.accounting_away = False

    def _correct(self, chance: random.Random) -> None:
        """Accounting is away, or has another word on a job whose end the hub knows."""
        if chance.random() < 0.3:
            self.cluster.accounting_away = True
            self.counts_again_ms = self.world.now_ms + chance.choice((30_000, 300_000, 3_000_000))
            self.world.tell(f"{self.site.name}: slurmdbd is away")
            return
        known = self.world.laws.attempts
        over = [
            (job, self._runs[id(job)])
            for job in self.cluster.recorded
            if id(job) in self._runs
            and job.end_s is not None
            and (attempt := known.get(self._runs[id(job)].attempt)) is not None
            and attempt.state == "ended"
        ]
        if not over:
            return
        job, run = chance.choice(over)
        assert job.start_s is not None
        assert job.end_s is not None
        name, truth = run.attempt, self.truth
        truth.said[name].add(sum(each.elapsed_s for each in truth.of(name)))
        if chance.random() < 0.3:
            job.energy_j = chance.randint(1, 10**9)
        else:
            job.end_s = max(job.start_s, job.end_s + chance.choice((-40, -3, 1, 2, 60)))
            run.elapsed_s = job.end_s - job.start_s
        energies = [j.energy_j for j in self.cluster.recorded if j.name == job.name and j.energy_j]
        if energies:
            truth.energy_j[name] = sum(energies)
        self.world.tell(
            f"{self.site.name}: accounting says {run.elapsed_s} s, {job.energy_j} J of {name[-4:]}"
        )

    def heal(self) -> None:
        self.cluster.up = True
        self.cluster.accounting_away = False
        self.faults.silent = self.faults.late = self.faults.lost = 0.0

    # --- what happens

    def act(self) -> None:
        chance = self.world.chance.of(f"{self.site.name}/ground")
        self.cluster.advance()
        waiting, running = self.cluster.waiting(), self.cluster.running()
        if chance.random() < 0.05:
            self.cluster.drop_ended()
            return
        if waiting and self.cluster.up and (not running or chance.random() < 0.5):
            self._begin(chance.choice(waiting))
        elif running:
            job = chance.choice(running)
            if self._plan(job).may_run_again and job.listed and chance.random() < 0.5:
                self._take_back(job)
            else:
                self._end(job, obeys=chance.random() < 0.8)

    def settle(self) -> None:
        self.cluster.advance()
        for job in self.cluster.running():
            self._end(job, obeys=True)
        for job in self.cluster.waiting():
            self._begin(job)

    def _end_orphans(self) -> None:
        for job in self.cluster.orphans_over_time():
            self._end(job, obeys=False)

    def _begin(self, job: FakeJob) -> None:
        node = self.cluster.begin(job)
        attempt = ask.attempt_of(job.name) or ""
        name = f"{self.site.name}: {attempt[-4:]} as {job.number}.{job.restarts}"
        if node is None:
            self.world.tell(f"{name} is a second copy and ends")
            return
        self.world.tell(f"{name} begins")
        self.world.laws.check()
        known = self.world.laws.attempts.get(attempt)
        run = Run(
            attempt,
            known.partition if known else self.site.partitions[0].name,
            known.nodes if known else 1,
            known.cores if known else 1,
            known.accelerators if known else 0,
            self.clock(),
            printed=self._plan(job).prints,
        )
        self.truth.runs[attempt].append(run)
        self._runs[id(job)] = run
        _append(node, "stdout", run.printed)
        self.world.laws.began(self.site, run)

    def _end(self, job: FakeJob, *, obeys: bool) -> None:
        plan, node = self._plan(job), Node.of(job.script)
        for name in plan.leaves:
            Path(node.said("workdir"), name).write_bytes(b"42\n")
        asked = self.cluster.asked_to_end(job) and obeys
        if asked:
            self.cluster.end_asked(job)
        else:
            self.cluster.end(job, plan.exit_code)
        self._over(job, "cancelled" if asked else "exit", None if asked else plan.exit_code)

    def _take_back(self, job: FakeJob) -> None:
        self.cluster.take_back(job)
        self._over(job, "taken back", None)

    def _over(self, job: FakeJob, how: str, exit_code: int | None) -> None:
        run = self._runs[id(job)]
        assert job.start_s is not None
        assert job.end_s is not None
        run.end_ms, run.how, run.exit_code = self.clock(), how, exit_code
        run.elapsed_s = max(0, job.end_s - job.start_s)  # as the site's accounting has it
        self.world.tell(f"{self.site.name}: {run.attempt[-4:]} ends: {how} {exit_code}")

    def _plan(self, job: FakeJob) -> Any:
        """The job file of the attempt has the request's own name in its environment."""
        text = (Node.of(job.script).folder / "job").read_text()
        line = next(each for each in text.splitlines() if each.startswith("'SLURM_JOB_NAME="))
        return self.world.plan_of(line.strip("'").partition("=")[2])


def _append(node: Node, stream: str, data: bytes) -> None:
    with Path(node.said(stream)).open("ab") as file:
        file.write(data)
