"""The Slurm batch system on a real cluster keeps the contract."""

from __future__ import annotations

import getpass
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from tests.agent.contract import BatchSystemContract, fifo, read_line, run, start, until  # noqa: F401
from tests.agent.slurm.as_sbatch import (
    CASES,
    OLDER,
    REFUSED,
    Both,
    Case,
)
from tests.agent.slurm.mixed_sbatch import mixed
from tests.components import Slurm

from meyrin.agent.batch import BatchSystem, Phase
from meyrin.agent.config import AgentConfig, SlurmConfig
from meyrin.agent.local import LocalBatch
from meyrin.agent.slurm.batch import SlurmBatch
from meyrin.domain.errors import MeyrinError
from meyrin.domain.patterns import NODE


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

    def test_the_node_stands_in_a_name_once_it_is_known(
        self, batch: BatchSystem, tmp_path: Path
    ) -> None:
        out = str(tmp_path / f"{NODE}.out")
        one = start(batch, tmp_path, 'echo "$SLURMD_NODENAME"', stdout=out, stderr=out)
        run(batch, one)
        output = batch.output(one.attempt)
        assert output is not None
        found = Path(output.stdout)
        assert found.read_text() == f"{found.stem}\n"

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

    @pytest.mark.parametrize("code", [0, 7])
    def test_what_a_failed_node_ended_did_not_end_by_itself(
        self, batch: SlurmBatch, tmp_path: Path, slurm: Slurm, code: int
    ) -> None:
        """Slurm ends it with TERM, which its script traps."""
        pipe = tmp_path / "go"
        os.mkfifo(pipe)
        traps = f"trap 'exit {code}' TERM; echo $SLURMD_NODENAME >{pipe}"
        one = start(batch, tmp_path, f"{traps}; while :; do sleep 0.1; done")
        batch.submit((one,))
        update = ("scontrol", "update", f"NodeName={read_line(pipe).strip()}")
        slurm.command("alpha", *update, "State=DOWN", "Reason=a-test")
        try:
            job = until(batch, [one.attempt])[one.attempt]
        finally:
            with suppress(AssertionError):  # it works again by itself
                slurm.command("alpha", *update, "State=RESUME")
        assert (job.end, job.exit_code, job.why) == ("lost", code or None, "a node of it failed")

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

    def test_what_an_operator_closes_is_told_and_what_he_opens_too(
        self, batch: SlurmBatch, tmp_path: Path, slurm: Slurm
    ) -> None:
        def told() -> dict[str, tuple[int, str]]:
            assert SlurmBatch.partitions(batch) == there  # the fixture's own asks once
            return {one.partition: (one.usable_nodes, one.why) for one in batch.shortages()}

        def update(*words: str) -> None:
            slurm.command("alpha", "scontrol", "update", *words)

        there = batch.partitions()
        nodes = {one.name: one.nodes for one in there}
        assert told() == {}
        try:
            update("PartitionName=short", "State=DRAIN")
            assert told() == {"short": (0, "short is DRAIN")}
            update("PartitionName=short", "State=UP", "ReqResv=YES")
            assert told() == {"short": (0, "short takes jobs in a reservation alone (ReqResv)")}
            job = start(batch, tmp_path, "true", partition="short", walltime_s=60)
            batch.submit((job,))
            until(batch, [job.attempt], lambda seen: seen.phase is Phase.HELD)
            update("PartitionName=short", "ReqResv=NO")
            assert until(batch, [job.attempt])[job.attempt].exit_code == 0
            update("NodeName=alpha-n1", "State=DRAIN", "Reason=new cooling")
            found = told()
            assert {name: usable for name, (usable, _) in found.items()} == {
                name: count - 1 for name, count in nodes.items()
            }
            assert all(why.endswith("drained: new cooling") for _, why in found.values())
        finally:
            update("PartitionName=short", "State=UP", "ReqResv=NO")
            update("NodeName=alpha-n1", "State=RESUME")
        assert told() == {}

    def test_an_account_that_is_none_is_told_and_asked_anew_once_it_is_mended(
        self, batch: SlurmBatch, tmp_path: Path
    ) -> None:
        def use(account: str | None) -> None:
            how = SlurmConfig(default_account=account, poll_min_s=0.5, poll_max_s=2, doubt_s=3)
            batch.use(
                AgentConfig(
                    hub="http://h", credential_file=Path("c"), dir=tmp_path, grace_s=1, slurm=how
                )
            )

        facts = batch.transport.describe()
        assert facts.enforces_qos
        assert all(one.qos for one in facts.associations)
        use("no-such-account")
        try:
            one = start(batch, tmp_path, "exit 3")
            batch.submit((one,))
            deadline = time.monotonic() + 60
            while not batch.refusals():
                assert time.monotonic() < deadline, batch.look_up((one.attempt,))
                time.sleep(0.1)
            assert "refuses account no-such-account (Slurm: " in batch.refusals()
            seen = batch.look_up((one.attempt,))[one.attempt]
            assert seen.phase is Phase.HELD
            assert seen.why.startswith("the site's Slurm refuses the account")
        finally:
            use(None)
        assert until(batch, [one.attempt])[one.attempt].exit_code == 3
        assert batch.refusals() == ""

    def test_what_others_have_there_is_told_and_ours_is_not(
        self, batch: SlurmBatch, tmp_path: Path, slurm: Slurm
    ) -> None:
        def told() -> dict[str, list[tuple[int, int, bool]]]:
            return {
                one.partition: [(j.nodes, j.accelerators, j.end_s is None) for j in one.jobs]
                for one in batch.whole_queue().others
            }

        batch.partitions()
        pipe = tmp_path / "go"
        os.mkfifo(pipe)
        ours = start(batch, tmp_path, f"echo go > {pipe}; sleep 300")
        batch.submit((ours,))
        read_line(pipe)
        assert told() == {}
        plain = (
            "sbatch",
            "--parsable",
            "--output=/dev/null",
            "--time=5",
            "--partition=gpu",
            "--wrap=sleep 300",
        )
        wide = ("--nodes=2", "--exclusive", "--gres=gpu:1")
        numbers = [slurm.command("alpha", *plain, "--gres=gpu:1").strip()]
        try:
            deadline = time.monotonic() + 60
            while told().get("gpu", [(0, 0, True)])[0][2]:
                assert time.monotonic() < deadline, told()
                time.sleep(0.2)
            assert told()["gpu"] == [(1, 1, False)]
            numbers.append(slurm.command("alpha", *plain, *wide).strip())
            assert told()["gpu"] == [(1, 1, False), (2, 1, True)]
            slurm.command("alpha", "scontrol", "hold", numbers[1])
            assert told()["gpu"] == [(1, 1, False)], "what is held is in nobody's way"
        finally:
            slurm.command("alpha", "scancel", *numbers)
            batch.cancel((ours.attempt,))
        until(batch, [ours.attempt])


# --- the same scripts by the real sbatch


@pytest.fixture(scope="module")
def both(slurm: Slurm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    made = Both(slurm, tmp_path_factory.mktemp("scripts"))
    yield made
    slurm.command("alpha", "scancel", f"--user={getpass.getuser()}")


def test_scripts_are_understood_as_by_the_real_sbatch(both: Both) -> None:
    """All of a request; and what the adapter then asks of Slurm has the same size there."""
    asked = []
    for case in CASES + (OLDER if both.release < (23, 11) else ()):
        number = both.real(case)
        assert number.isdigit(), (case, number)
        request = both.request(case, int(time.time()))
        asked.append((case, number, request, both.adapted(request)))
    wrong = both.differences(asked)
    assert not wrong, "\n".join(map(str, wrong))


def test_mixtures_of_options_are_understood_or_refused_alike(both: Both) -> None:
    """MEYRIN_SBATCH_CASES is how many, MEYRIN_SBATCH_SEED where to begin."""
    first, count = (
        int(os.environ.get(f"MEYRIN_SBATCH_{n}", d)) for n, d in (("SEED", 0), ("CASES", 40))
    )
    asked, wrong = [], []
    for seed in range(first, first + count):
        case = mixed(seed)
        number = both.real(case)
        try:
            request = both.request(case, int(time.time()))
        except MeyrinError as error:
            # two kinds in the script, one of them again in a variable: there that one gives way
            clash = "clashes" in error.message and "SBATCH_MEM" in str(case.environ)
            wrong += [(seed, case, number, error)] if number.isdigit() and not clash else []
            continue
        if both.fits(request) and not number.isdigit():
            wrong.append((seed, case, number, request))
        elif both.fits(request):
            asked.append((case, number, request, both.adapted(request)))
    wrong += both.differences(asked)
    assert not wrong, "\n".join(map(str, wrong))
    assert len(asked) > count // 4


def test_what_the_real_sbatch_refuses_is_refused(both: Both) -> None:
    taken = []
    for case in REFUSED:
        number = both.real(case)
        try:
            said: object = both.request(case, int(time.time()))
        except MeyrinError as error:
            said = error
        if number.isdigit() or not (isinstance(said, MeyrinError) and said.hint):
            taken.append((case, number, said))
    assert taken == []


_SEES = "env | grep -E '^(SLURM|SBATCH)_' | sort; echo ARGS=\"$*\"; echo UMASK=$(umask)"
_OWN = {  # of this run and its devices, of the machine, or a number of Meyrin's
    "SLURM_ARRAY_JOB_ID", "SLURM_JOBID", "SLURM_JOB_ID", "SLURM_TASK_PID", "SLURM_JOB_GPUS",
    "SLURM_SUBMIT_HOST", "SLURM_SUBMIT_DIR", "SLURM_JOB_START_TIME", "SLURM_JOB_END_TIME",
    "SLURMD_NODENAME", "SLURM_JOB_NODELIST", "SLURM_NODELIST", "SLURM_TOPOLOGY_ADDR",
    "SLURM_PRIO_PROCESS", "SLURM_JOB_SLUID",
    "SLURM_TRES_BIND",  # later releases say it beside GPUs of each task, from which srun knows it
}  # fmt: skip
_SLURMS = {  # nothing of this machine's own batch system; the second lines by later releases
    "SLURM_CONF", "SLURM_JOB_QOS", "SLURM_NODE_ALIASES", "SLURM_WORKING_CLUSTER",
    "SLURM_JOB_EXCLUSIVE", "SLURM_JOB_OVERSUBSCRIBE", "SLURM_OOM_KILL_STEP", "SLURM_STEPID",
    "SLURM_STEP_ID", "SLURM_TRES_PER_TASK",
}  # fmt: skip


@pytest.fixture(scope="module")
def here(both: Both, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBatch]:
    """The same partition, on this machine."""
    folder = tmp_path_factory.mktemp("keeper")
    gpu = both.places["gpu"].partition
    made = LocalBatch(folder, (gpu,), grace_s=1.0, cluster="alpha")
    made.start()
    yield made
    made.stop(cancel=True)
    made.close()


@pytest.mark.parametrize(
    "options",
    [
        "-t5",
        "-N2 --ntasks-per-node=2 -c2 --mem-per-cpu=100 --gpus-per-node=h100:1",
        "-a 3-7:4%1 -n3 --mem=300 -G2 --open-mode=append -J 'a b'",
        "-c1 --mem=0 -t 1:30 --gpus-per-task=1 -n2",
    ],
)
def test_a_script_sees_what_it_sees_by_the_real_sbatch(
    both: Both, batch: BatchSystem, here: BatchSystem, tmp_path: Path, slurm: Slurm, options: str
) -> None:
    folder, pipe = tmp_path, tmp_path / "pipe"
    os.mkfifo(pipe)
    request = both.request(Case(f"#SBATCH {options}\n{_SEES}"), int(time.time()))
    task = request.array.indices[0] if request.array else None
    config = AgentConfig(
        hub="http://h", credential_file=Path("c"), dir=folder / "agent", batch="slurm"
    )
    for name, system in (("slurm", batch), ("here", here)):
        out = str(folder / name)
        one = replace(both.start(request, config, task), stdout=out, stderr=out)
        assert run(system, replace(one, create_workdir=True)).exit_code == 0
    case = Case(f"#SBATCH {options} -o {folder}/real-%a -e None\n{_SEES}\necho done >{pipe}")
    number = both.real(case, held=False)
    assert read_line(pipe) == "done"
    slurm.command("alpha", "scancel", number)
    real = seen(next(folder.glob("real-*")))
    assert seen(folder / "slurm") == real
    if real["SLURM_CLUSTER_NAME"] == "(null)":  # by 23.11
        real["SLURM_CLUSTER_NAME"] = "alpha"
    assert seen(folder / "here") == {k: v for k, v in real.items() if k not in _SLURMS}


def seen(file: Path) -> dict[str, str]:
    lines = file.read_text().splitlines()
    assert [line for line in lines if "=" not in line] == []
    found = dict(line.split("=", 1) for line in lines)
    assert found["ARGS"] == "one two words"
    per_task, _, gpus = found.get("SLURM_TRES_PER_TASK", "").partition(",gres/gpu")
    if gpus:  # all that later releases say of it
        found |= {"SLURM_GPUS_PER_TASK": gpus[1:], "SLURM_TRES_PER_TASK": per_task}
    return {name: value for name, value in found.items() if name not in _OWN}
