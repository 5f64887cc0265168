"""The wrapper on its own, run by bash as a node would: claims, facts, signals, exits."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from meyrin.agent.batch import Start
from meyrin.agent.slurm.spool import FENCED, News, Spool, environment_of, job_file, objection
from meyrin.domain.job import WarnSignal
from meyrin.domain.patterns import NODE
from meyrin.domain.units import NodeShape


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool ü")


def made(
    spool: Spool, folder: Path, script: str, words: Mapping[str, str] | None = None, **other: Any
) -> Start:
    fields: dict[str, Any] = {
        "attempt": str(uuid.uuid4()),
        "job": 7,
        "name": "a job",
        "partition": "gpu",
        "nodes": 1,
        "asked": NodeShape(1, 10),
        "tasks": 1,
        "walltime_s": 3600,
        "workdir": str(folder),
    }
    one = Start(script=f"#!/bin/bash\n{script}\n", **(fields | other))
    environment = environment_of(one)
    text = job_file(one, spool.own_output(one.attempt), 1, environment, words or {})
    assert spool.prepare({one.attempt: (one.script, text)}) == {}
    return one


def run(spool: Spool, one: Start, job: int = 5, restarts: int = 0) -> int:
    """As a node runs it: the batch script is a file, and its streams are the wrapper's."""
    return begin(spool, one, job, restarts).wait()


@pytest.mark.parametrize("code", [147, 148, 149, 150])
def test_one_that_ends_as_if_it_was_stopped_ends(spool, tmp_path, code):
    """The signals of these codes would stop the wrapper for good, on the nodes it has."""
    one = made(spool, tmp_path, f"exit {code}")
    assert begin(spool, one).wait(60) == code


def test_the_agents_own_token_stays_out_of_the_job(spool, tmp_path):
    one = made(spool, tmp_path, '[ -z "${SLURM_JWT+set}" ]')
    assert begin(spool, one, SLURM_JWT="eyJ").wait() == 0


def begin(
    spool: Spool, one: Start, job: int = 5, restarts: int = 0, parts: str = "", **slurms: str
) -> subprocess.Popen[bytes]:
    file = Path(spool.folder(one.attempt)) / f"slurm_script.{job}.{restarts}"
    text = spool.wrapper(one.attempt)
    file.write_text(text.replace("part=10", parts, 1) if parts else text)
    more = {"SLURM_RESTART_COUNT": str(restarts)} if restarts else {}
    return subprocess.Popen(
        ["/bin/bash", file],
        env={"PATH": os.environ["PATH"], "SLURM_JOB_ID": str(job), **more, **slurms},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )


@pytest.mark.parametrize("code", [0, 1, 75, 193, 255])
def test_an_exit_code_is_kept_and_given_to_slurm(spool, tmp_path, code):
    one = made(spool, tmp_path, f"exit {code}")
    assert run(spool, one) == code
    (found,) = spool.runs(one.attempt)
    assert (found.code, found.signal, found.batch_job, found.ended) == (code, None, "5", True)
    assert found.start_s <= found.end_s
    assert {news.kind for news in spool.news()} == {"start", "end"}
    spool.put_away(spool.news())
    assert spool.news() == []


def test_a_script_sees_what_it_asked_for_and_what_slurm_says_of_the_run(spool, tmp_path):
    asked = (("SLURM_CPUS_PER_TASK", "3"), ("SLURM_GPUS_PER_NODE", "2"),
             ("SLURM_MEM_PER_CPU", "100"), ("SLURM_NTASKS", "9"))  # fmt: skip
    one = made(spool, tmp_path, "env | grep ^SLURM_ | sort > seen", environment=asked)
    # what Slurm says because the agent asked by node and by task is not the script's affair
    own = ("MEM_PER_NODE", "NPROCS", "NTASKS_PER_NODE", "CPUS_PER_TASK", "OPEN_MODE")
    slurms = {"SLURM_NTASKS": "2", **{f"SLURM_{name}": "4" for name in own}}
    assert begin(spool, one, **slurms).wait() == 0
    seen = dict(line.split("=", 1) for line in (tmp_path / "seen").read_text().splitlines())
    assert seen == {
        "SLURM_JOB_ID": "5",
        "SLURM_JOB_NAME": one.name,
        "SLURM_SUBMIT_DIR": one.workdir,
        "SLURM_NTASKS": "2",
        "SLURM_CPUS_PER_TASK": "3",  # slurmrestd sets none
        "SLURM_GPUS_PER_NODE": "2",
        "SLURM_MEM_PER_CPU": "100",  # srun refuses it beside SLURM_MEM_PER_NODE
    }


def test_names_of_outputs_get_the_node(spool, tmp_path):
    out = str(tmp_path / f"{NODE}.%N")  # the second one came of `%%N`, or a folder is called so
    one = made(spool, tmp_path, "echo hi", stdout=out, stderr=out)
    assert begin(spool, one, SLURMD_NODENAME="n7").wait() == 0
    assert (tmp_path / "n7.%N").read_text() == "hi\n"
    assert spool.runs(one.attempt)[0].node == "n7"


def test_while_it_is_suspended_its_wall_time_stands_still(spool, tmp_path):
    one = made(spool, tmp_path, "echo $$ > begun; read line < go; echo on > done", walltime_s=2)
    os.mkfifo(tmp_path / "go")
    process = begin(spool, one, parts="part=1")
    while not (tmp_path / "begun").exists() and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGSTOP)
    time.sleep(2.1)  # longer than its wall time
    os.killpg(process.pid, signal.SIGCONT)
    (tmp_path / "go").write_text("go\n")
    assert process.wait(30) == 0
    (found,) = spool.runs(one.attempt)
    assert (found.code, found.over_time) == (0, False)


def test_a_wall_time_of_odd_seconds_says_nothing_of_its_own(spool, tmp_path):
    out = tmp_path / "out"
    one = made(spool, tmp_path, "echo hi", walltime_s=90, stdout=str(out), stderr=str(out))
    assert run(spool, one) == 0
    assert out.read_text() == "hi\n"


def test_a_signal_is_kept_and_ends_the_batch_shell_too(spool, tmp_path):
    one = made(spool, tmp_path, "kill -9 $$")
    assert run(spool, one) == -signal.SIGKILL
    assert spool.runs(one.attempt)[0].signal == 9


def test_of_many_copies_at_once_one_runs(spool, tmp_path):
    one = made(spool, tmp_path, "echo ran >> runs; sleep 0.2")
    with ThreadPoolExecutor(12) as pool:
        codes = list(pool.map(lambda job: run(spool, one, job), range(100, 112)))
    assert (tmp_path / "runs").read_text() == "ran\n"
    assert sorted(codes) == [0] + [75] * 11
    assert spool.owner(one.attempt) == spool.runs(one.attempt)[0].batch_job
    assert spool.seconds(one.attempt)


def test_the_same_job_launched_again_does_not_run_but_a_requeued_one_does(spool, tmp_path):
    one = made(spool, tmp_path, "echo $SLURM_RESTART_COUNT >> runs; echo out", append_output=False)
    assert run(spool, one, 5) == 0
    assert run(spool, one, 5) == 75
    assert run(spool, one, 6, restarts=1) == 75
    assert run(spool, one, 5, restarts=1) == 0
    assert run(spool, one, 5, restarts=1) == 75
    assert run(spool, one, 5, restarts=2) == 0
    assert (tmp_path / "runs").read_text() == "\n1\n2\n"
    assert [each.number for each in spool.runs(one.attempt)] == [0, 1, 2]
    # what a requeued run prints does not wipe out what the first one did
    assert Path(spool.own_output(one.attempt)).read_text() == "out\n" * 3


def test_what_is_fenced_never_runs(spool, tmp_path):
    one = made(spool, tmp_path, "echo ran >> runs")
    assert spool.fence(one.attempt)
    assert spool.fence(one.attempt)
    assert run(spool, one) == 75
    assert not (tmp_path / "runs").exists()
    assert spool.owner(one.attempt) == FENCED
    other = made(spool, tmp_path, "true")
    run(spool, other)
    assert not spool.fence(other.attempt)


def test_a_forgotten_one_does_not_run(spool, tmp_path):
    one = made(spool, tmp_path, "echo ran >> runs")
    text = spool.wrapper(one.attempt)
    spool.forget(one.attempt)
    done = subprocess.run(
        ["/bin/bash", "-c", text], env={"SLURM_JOB_ID": "5"}, capture_output=True, check=False
    )
    assert done.returncode != 0
    assert not (tmp_path / "runs").exists()


def test_variables_and_arguments_arrive_as_they_are(spool, tmp_path):
    odd = "a'b\"c $HOME `x` \\ \n*ü"
    one = made(
        spool,
        tmp_path,
        'printf %s "$ODD"; printf "|%s" "$@" "$SLURM_JOB_ID" "$SLURM_NTASKS"; echo; env',
        environment=(("ODD", odd), ("BASH_FUNC_f%%", "() { :; }"), ("a.b", "dot"),
                     ("SLURM_JOB_ID", "4711"), ("SLURM_NTASKS", "9"),
                     ("SLURM_ARRAY_TASK_ID", "3")),
        arguments=(odd, "", "-n"),
        stdout=str(tmp_path / "out"),
    )  # fmt: skip
    assert run(spool, one) == 0
    text = (tmp_path / "out").read_text()
    # what Slurm says about the run stays Slurm's: its own number, and no tasks of ours
    assert text.startswith(f"{odd}|{odd}||-n|5|")
    assert "SLURM_NTASKS" not in text
    assert "\na.b=dot\n" in text
    assert "\nSLURM_ARRAY_TASK_ID=3\n" in text
    assert "\nMEYRIN_JOB_ID=7\n" in text


@pytest.mark.parametrize(
    ("script", "other", "words"),
    [
        ("true", {"workdir": "/no/such/dir"}, "/no/such/dir"),
        ("true", {"stdout": "/no/such/dir/out"}, "stdout /no/such/dir/out"),
        ("true", {"stdin": "/no/such/input"}, "stdin /no/such/input"),
    ],
)
def test_what_cannot_start_says_why(spool, tmp_path, script, other, words):
    one = made(spool, tmp_path, script, **other)
    assert run(spool, one) == 64
    (found,) = spool.runs(one.attempt)
    assert words in found.never
    assert found.start_s is None


def test_a_damaged_job_file_is_not_run(spool, tmp_path):
    one = made(spool, tmp_path, "echo ran >> runs")
    file = Path(spool.folder(one.attempt)) / "job"
    file.write_text(file.read_text().removesuffix("whole=yes\n"))
    assert run(spool, one) == 64
    assert "damaged" in spool.runs(one.attempt)[0].never
    assert not (tmp_path / "runs").exists()


def test_a_warning_for_the_shell_alone_reaches_the_script(spool, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    one = made(
        spool,
        tmp_path,
        f"trap 'echo warned; exit 4' USR1; echo go > {fifo}; while :; do sleep 0.05; done",
        warn_signal=WarnSignal("USR1", 60, shell_only=True),
    )
    shell = begin(spool, one)
    fifo.read_text()
    os.kill(shell.pid, signal.SIGUSR1)
    assert shell.wait(30) == 4
    assert Path(spool.own_output(one.attempt)).read_text() == "warned\n"


def test_the_end_is_told_when_slurm_sends_term_to_all(spool, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    one = made(
        spool, tmp_path, f"trap 'exit 5' TERM; echo go > {fifo}; while :; do sleep 0.05; done"
    )
    shell = begin(spool, one)
    fifo.read_text()
    os.killpg(shell.pid, signal.SIGTERM)
    assert shell.wait(30) == 5
    assert spool.runs(one.attempt)[0].code == 5


def test_an_interrupt_reaches_the_script(spool, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    script = f"trap 'exit 6' INT; echo go > {fifo}; while :; do sleep 0.05; done"
    shell = begin(spool, one := made(spool, tmp_path, script))
    fifo.read_text()
    os.killpg(shell.pid, signal.SIGINT)
    assert shell.wait(30) == 6
    assert spool.runs(one.attempt)[0].code == 6


def test_seconds_of_wall_time_are_kept_by_the_wrapper(spool, tmp_path):
    one = made(spool, tmp_path, "trap '' TERM; while :; do sleep 0.05; done", walltime_s=1)
    began = time.monotonic()
    assert run(spool, one) == -signal.SIGKILL
    assert time.monotonic() - began < 30
    (found,) = spool.runs(one.attempt)
    assert found.over_time
    assert found.signal == 9


def test_half_a_fact_is_none_yet(spool, tmp_path):
    one = made(spool, tmp_path, "true")
    run(spool, one)
    file = Path(spool.folder(one.attempt)) / "end.0"
    file.write_text(file.read_text().removesuffix(".\n"))
    assert not spool.runs(one.attempt)[0].ended


@pytest.mark.parametrize("kept", ["", "5\n", "5\n1800000000\n", "5\n\n\n3\nno\n"])
def test_a_fact_of_which_a_full_file_system_kept_some_lines_is_none(spool, tmp_path, kept):
    one = made(spool, tmp_path, "exit 3")
    run(spool, one)
    (Path(spool.folder(one.attempt)) / "end.0").write_text(f"{kept}.\n")
    (found,) = spool.runs(one.attempt)
    assert (found.batch_job, found.ended, found.code) == ("5", False, None)
    assert spool.told(News(one.attempt, "end", f"{one.attempt}.0.end")) is None


@pytest.mark.parametrize(
    ("script", "words"),
    [("\ufeff#!/bin/sh\n", "byte order"), ("echo\n", "#!"), ("#!/bin/sh\r\n", "Windows")],
)
def test_scripts_that_can_never_run(spool, tmp_path, script, words):
    one = made(spool, tmp_path, "true")
    from dataclasses import replace

    assert words in objection(replace(one, script=script), {})


def test_an_emptied_script_is_never_taken_for_a_success(spool, tmp_path):
    """As a power cut leaves it on a disk that lies about what it has."""
    one = made(spool, tmp_path, "exit 3")
    os.truncate(f"{spool.folder(one.attempt)}/script", 0)
    assert run(spool, one) == 64
    (found,) = spool.runs(one.attempt)
    assert found.never == f"what it needs in {spool.folder(one.attempt)} is damaged"
    assert found.code is None


def test_what_a_wrapper_needs_is_on_disk_before_slurm_hears_of_it(spool, tmp_path, monkeypatch):
    synced, renamed = set(), []

    def fsync(fd: int) -> None:
        synced.add(os.fstat(fd).st_ino)

    def rename(old: str, new: str) -> None:
        renamed.append((new, Path(old).stat().st_ino in synced))
        Path(old).replace(new)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename)
    one = made(spool, tmp_path, "exit 3")
    folder = Path(spool.folder(one.attempt))
    assert sorted(renamed) == [(f"{folder}/job", True), (f"{folder}/script", True)]
    assert {folder.stat().st_ino, folder.parent.stat().st_ino} <= synced


def test_what_can_not_be_written_is_said_of_that_attempt_alone(spool):
    Path(spool.folder("b")).write_text("a file where its folder should be")
    failed = spool.prepare({"a": ("#!/bin/sh\n", "whole=yes\n"), "b": ("#!/bin/sh\n", "")})
    assert isinstance(failed.pop("b"), FileExistsError)
    assert failed == {}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("start.²", "5\n1\nn\n\n.\n"),
        ("start.100001", "5\n1\nn\n\n.\n"),
        (f"start.{'9' * 200}", "5\n1\nn\n\n.\n"),
        ("start.1", "5\n-5\nn\n\n.\n"),
        ("start.1", "5\n²\nn\n\n.\n"),
        ("start.1", f"5\n{'9' * 5000}\nn\n\n.\n"),
        ("never.1", "5\n999999999999\nwhy\n.\n"),
        ("end.1", "5\n1\n2\n-9\nno\n0m0.1s 0m0.1s\n0m0.1s 0m0.1s\n.\n"),
        ("start.1", "5\n1\n" + "n" * (1 << 17) + "\n\n.\n"),
        ("second.²", ""),
        ("second.-1", ""),
        ("second.999999999999", ""),
    ],
)
def test_what_no_wrapper_writes_says_nothing(spool, name, text):
    """A job runs as the same user, and can write there."""
    Path(spool.folder("a")).mkdir()
    Path(spool.folder("a"), name).write_text(text)
    assert spool.runs("a") == []
    assert spool.seconds("a") == []
    number, _, kind = name[::-1].partition(".")
    news = News("a", kind[::-1], f"a.{number[::-1]}.{kind[::-1]}")
    assert spool.told(news) is None


def test_a_pipe_or_a_folder_in_place_of_a_fact_holds_up_nobody(spool):
    folder = Path(spool.folder("a"))
    folder.mkdir()
    os.mkfifo(folder / "start.0")
    (folder / "end.0").mkdir()
    assert spool.runs("a") == []
    assert spool.told(News("a", "", "noise")) is None


def test_a_name_among_the_news_that_stays_holds_up_no_other(spool, tmp_path):
    """A folder, or what another machine of an NFS holds open."""
    (spool.root / "news" / "x.0.start").mkdir()
    spool.put_away(spool.news())
    assert spool.news() == []
    one = made(spool, tmp_path, "exit 3")
    assert run(spool, one) == 3
    assert {news.attempt for news in spool.news()} == {one.attempt}
    spool.put_away(spool.news())
    assert spool.news() == []
