"""The Slurm batch system on a real cluster keeps the contract."""

from __future__ import annotations

import getpass
import os
from pathlib import Path

from tests.agent.contract import BatchSystemContract, fifo, read_line, run, start, until  # noqa: F401
from tests.components import Slurm

from meyrin.agent.batch import BatchSystem
from meyrin.agent.slurm.batch import SlurmBatch


class TestSlurm(BatchSystemContract):
    """Where Slurm differs: it counts whole seconds, and its own variables are its own."""

    least_s = 0

    # what outlives a script is ended by the site's Slurm, as well as its ProctrackType can
    test_nothing_outlives_its_script = None  # type: ignore[assignment]

    def test_cancel_of_what_ignores_it(  # type: ignore[override]
        self, batch: BatchSystem, tmp_path: Path
    ) -> None:
        """Slurm kills it, but notes the signal that it sent first, or last, or none."""
        pipe = tmp_path / "go"
        os.mkfifo(pipe)
        script = f"trap '' TERM; echo go > {pipe}; while :; do sleep 1000; done"
        one = start(batch, tmp_path, script)
        batch.submit((one,))
        read_line(pipe)
        batch.cancel((one.attempt,))
        job = until(batch, [one.attempt])[one.attempt]
        assert (job.end, job.exit_code) == ("cancelled", None)
        assert job.signal in (9, 15, None)

    def test_what_a_script_expects_of_slurm(self, batch: BatchSystem, tmp_path: Path) -> None:
        out = tmp_path / "out"
        job = run(batch, start(batch, tmp_path, "env", stdout=str(out), job=4711))
        env = dict(line.split("=", 1) for line in out.read_text().splitlines() if "=" in line)
        assert env["SLURM_JOB_ID"] == env["SLURM_JOBID"] == job.batch_job
        assert env["MEYRIN_JOB_ID"] == "4711"
        assert env["SLURM_JOB_NAME"] == "a job"
        assert env["SLURM_JOB_PARTITION"] == batch.partitions()[0].name
        assert env["SLURM_JOB_NUM_NODES"] == env["SLURM_NNODES"] == "1"
        assert env["SLURM_CPUS_ON_NODE"] == env["SLURM_JOB_CPUS_PER_NODE"] == "1"
        assert env["SLURMD_NODENAME"] == env["SLURM_JOB_NODELIST"] == env["SLURM_NODELIST"]
        assert env["SLURM_SUBMIT_DIR"] == str(tmp_path)
        assert env["SLURM_PROCID"] == env["SLURM_LOCALID"] == env["SLURM_NODEID"] == "0"
        assert {"HOME", "PATH", "USER"} <= set(env)

    def test_an_element_of_an_array_is_a_job_of_its_own_there(
        self, batch: BatchSystem, tmp_path: Path
    ) -> None:
        """The script sees Meyrin's array; whoever looks at Slurm sees one job, and whose it is."""
        out = tmp_path / "out"
        script = (
            'echo "$SLURM_ARRAY_JOB_ID $SLURM_ARRAY_TASK_ID $SLURM_ARRAY_TASK_COUNT"\n'
            'squeue -h -j "$SLURM_JOB_ID" -o "%i|%j|%k"'
        )
        array = {"JOB_ID": "40", "TASK_ID": "3", "TASK_COUNT": "8"}
        more = tuple((f"SLURM_ARRAY_{name}", value) for name, value in array.items())
        one = start(batch, tmp_path, script, stdout=str(out), job=43, environment=more)
        job = run(batch, one)
        words = f"{job.batch_job}|meyrin-{one.attempt}|Meyrin job 43 a job"
        assert out.read_text().splitlines() == ["40 3 8", words]

    def test_nodes_tell_their_news_at_once(self, batch: SlurmBatch, tmp_path: Path) -> None:
        run(batch, start(batch, tmp_path, "true"))
        assert batch.push.works
        assert batch.news.startswith("nodes tell starts and ends at once (UDP to 127.0.0.1 port")

    def test_at_the_sites_limit_jobs_wait_with_the_agent_and_go_in_as_others_end(
        self, batch: SlurmBatch, tmp_path: Path, slurm: Slurm
    ) -> None:
        """MaxSubmitJobs=2 with six jobs: none is lost, none fails, each runs once."""
        marks = tmp_path / "marks"
        jobs = tuple(start(batch, tmp_path, f"echo ran >>{marks}") for _ in range(6))
        who = ("sacctmgr", "-i", "modify", "user", getpass.getuser(), "set")
        slurm.command("alpha", *who, "MaxSubmitJobs=2")
        try:
            batch.submit(jobs)
            ended = until(batch, [job.attempt for job in jobs])
        finally:
            slurm.command("alpha", *who, "MaxSubmitJobs=-1")
        assert {(job.end, job.exit_code) for job in ended.values()} == {("exit", 0)}
        assert marks.read_text().splitlines() == ["ran"] * len(jobs)
