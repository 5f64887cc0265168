"""From a request to a start: folder, files, names and the variables of sbatch(1)."""

from __future__ import annotations

import hashlib
import os
import socket

import pytest
from tests.agent.scripted import StoryHub

from meyrin.agent import prepare
from meyrin.agent.config import AgentConfig, Rules
from meyrin.agent.journal import Item
from meyrin.agent.rules import objection
from meyrin.domain.errors import InvalidInput, MeyrinError, Unreachable
from meyrin.domain.job import ArraySpec, InputFile, JobRequest, Resources
from meyrin.domain.patterns import NODE

HERE = socket.gethostname()
DATA = b"data"
DIGEST = hashlib.sha256(DATA).hexdigest()


def item(request=None, **known):
    hub = StoryHub()
    request = request or JobRequest(script="#!/bin/sh\n")
    return Item(hub.add(request, **known), request)


def config(folder, **known):
    return AgentConfig(hub="http://hub", credential_file="c", dir=folder, **known)


def nothing(*_):
    raise AssertionError("no input was asked for")


# --- the site's own rules


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({}, ""),
        ({"allowed_projects": ()}, "project lab may not run here"),
        ({"allowed_projects": ("lab", "other")}, ""),
        ({"max_walltime_s": 600}, ""),
        ({"max_walltime_s": 599}, "asks 600 s of wall time, the site allows 599"),
        ({"max_accelerators": 8}, ""),
        ({"max_accelerators": 7}, "asks 8 accelerators, the site allows 7 a job"),
    ],
)
def test_the_rules_of_a_site(rules, words):
    work = item(nodes=2, accelerators=4).work
    assert objection(Rules(**rules), work) == words


# --- the folder


def test_a_shared_folder_is_used_where_it_can_be(tmp_path):
    shared = config(tmp_path / "agent", share_files=True)
    apart = config(tmp_path / "agent")
    home = str(tmp_path)

    def own(settings, **known):
        return prepare.folder_of(settings, item(JobRequest(script="x", **known))).own

    assert not own(shared, submit_dir=home, submit_host=HERE)
    assert not own(shared, submit_dir=home)
    assert own(apart, submit_dir=home, submit_host=HERE)
    assert own(shared, submit_dir=home, submit_host="elsewhere")
    assert own(shared, submit_dir="relative", submit_host=HERE)
    assert own(shared, submit_host=HERE)
    assert own(shared, submit_dir=home, output_files=("*",))
    assert own(shared, submit_dir=home, inputs=(InputFile("a", DIGEST, 4),))


def test_a_folder_of_its_own_is_its_owners_alone_and_has_the_inputs(tmp_path):
    settings = config(tmp_path)
    files = (InputFile("bin/run", DIGEST, 4, executable=True), InputFile("a/b/c", DIGEST, 4))
    job = item(JobRequest(script="x", inputs=files))
    fetched = []

    def fetch(attempt, file, target):
        fetched.append((attempt, file.name, file.sha256))
        target.write_bytes(DATA)

    start = prepare.start_of(settings, "alps", job, fetch)
    folder = tmp_path / "work" / job.work.attempt
    assert start.workdir == str(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "bin/run").stat().st_mode & 0o777 == 0o700
    assert (folder / "a/b/c").stat().st_mode & 0o777 == 0o600
    assert [name for _, name, _ in fetched] == ["bin/run", "a/b/c"]
    prepare.start_of(settings, "alps", job, nothing)  # what is there is not brought again


def test_the_names_of_inputs_outlive_a_power_cut(tmp_path, monkeypatch):
    """A job that Slurm has by then would run without them."""
    synced = set()
    monkeypatch.setattr(os, "fsync", lambda fd: synced.add(os.fstat(fd).st_ino))
    job = item(JobRequest(script="x", inputs=(InputFile("a/b/c", DIGEST, 4),)))
    prepare.start_of(config(tmp_path), "alps", job, lambda *call: call[-1].write_bytes(DATA))
    folder = tmp_path / "work" / job.work.attempt
    named = (folder.parent, folder, folder / "a", folder / "a/b")
    assert {each.stat().st_ino for each in named} <= synced


@pytest.mark.parametrize("place", ["", "bin", "bin/run"])
def test_inputs_are_written_through_no_link(tmp_path, place):
    """As a job of others with the same log-in may put there, while the inputs come."""
    (tmp_path / "agent").mkdir()
    settings, elsewhere = config(tmp_path / "agent"), tmp_path / "etc"
    job = item(JobRequest(script="x", inputs=(InputFile("bin/run", DIGEST, 4, executable=True),)))
    (elsewhere / "bin").mkdir(parents=True)
    (elsewhere / "run").write_text("theirs")
    (elsewhere / "run").chmod(0o600)
    put = prepare.own_folder(settings, job) / place
    put.parent.mkdir(parents=True)
    put.symlink_to(elsewhere / "run" if place == "bin/run" else elsewhere)

    def fetch(_attempt, _file, target):
        (tmp_path / "part").write_bytes(DATA)
        (tmp_path / "part").replace(target)

    if place == "bin/run":
        prepare.start_of(settings, "alps", job, fetch)
        assert put.read_bytes() == DATA
    else:
        with pytest.raises(InvalidInput, match=r"a link leads .* out of the job's folder"):
            prepare.start_of(settings, "alps", job, fetch)
    assert (elsewhere / "run").read_text() == "theirs"
    assert (elsewhere / "run").stat().st_mode & 0o777 == 0o600
    assert not (elsewhere / "bin" / "run").exists()


@pytest.mark.parametrize("error", [Unreachable("hub is away"), OSError(28, "disk full")])
def test_inputs_that_do_not_come_stop_the_start(tmp_path, error):
    def fetch(*_):
        raise error

    job = item(JobRequest(script="x", inputs=(InputFile("a", DIGEST, 4),)))
    with pytest.raises((MeyrinError, OSError)):
        prepare.start_of(config(tmp_path), "alps", job, fetch)


def test_the_working_directory_may_be_below_or_elsewhere(tmp_path):
    settings = config(tmp_path)

    def workdir(chdir):
        return prepare.start_of(
            settings, "alps", item(JobRequest(script="x", chdir=chdir)), nothing
        ).workdir

    own = str(tmp_path / "work" / item().work.attempt)
    assert workdir(None) == own
    assert workdir("sub") == f"{own}/sub"
    assert workdir("/elsewhere/x/../y") == "/elsewhere/y"


# --- names of outputs


def test_names_of_outputs_are_expanded(tmp_path):
    request = JobRequest(
        script="x",
        name="train",
        stdout="logs/%x-%A_%a.out",
        stderr="/var/log/%j.err",
        stdin="in/%a.txt",
        array=ArraySpec((3, 7)),
    )
    job = item(request, array_job=100, task=7, job=101)
    start = prepare.start_of(config(tmp_path), "alps", job, nothing)
    assert start.stdout == f"{start.workdir}/logs/train-100_7.out"
    assert start.stderr == "/var/log/101.err"
    assert start.stdin == f"{start.workdir}/in/7.txt"


def test_one_named_stream_takes_both(tmp_path):
    job = item(JobRequest(script="x", stdout="all.txt"))
    start = prepare.start_of(config(tmp_path), "alps", job, nothing)
    assert start.stdout == start.stderr == f"{start.workdir}/all.txt"


@pytest.mark.parametrize(("batch", "name"), [("local", HERE.partition(".")[0]), ("slurm", NODE)])
def test_the_node_is_filled_in_where_it_is_known(tmp_path, batch, name):
    job = item(JobRequest(script="x", stdout="%N.out"))
    start = prepare.start_of(config(tmp_path, batch=batch), "alps", job, nothing)
    assert start.stdout == f"{start.workdir}/{name}.out"


def test_unnamed_streams_are_kept_apart(tmp_path):
    start = prepare.start_of(config(tmp_path), "alps", item(), nothing)
    assert start.stdout is None
    assert start.stderr == str(prepare.stderr_file(config(tmp_path), start.attempt))


# --- variables


def variables(job, tmp_path):
    return prepare.environment("alps", job, str(tmp_path))


def test_a_plain_job_has_these_variables(tmp_path):
    request = JobRequest(
        script="x",
        name="train",
        environment=(("HOME", "/home/ada"), ("SLURM_JOB_ID", "forged")),
        submit_dir="/home/ada",
        submit_host="laptop",
    )
    job = item(request, epoch=2)  # a site gave it back before: it has not run
    assert variables(job, tmp_path) == {
        "HOME": "/home/ada",
        "SLURM_CLUSTER_NAME": "alps",
        "SLURM_JOB_ID": "101",
        "SLURM_JOBID": "101",
        "SLURM_JOB_NAME": "train",
        "SLURM_JOB_ACCOUNT": "lab",
        "SLURM_JOB_PARTITION": "cpu",
        "SLURM_JOB_USER": "ada",
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_NNODES": "1",
        "SLURM_MEM_PER_CPU": "100",
        "SLURM_SUBMIT_DIR": "/home/ada",
        "SLURM_SUBMIT_HOST": "laptop",
        "MEYRIN_ATTEMPT": job.work.attempt,
        "MEYRIN_SITE": "alps",
    }


def test_runs_of_suites_are_told_where_the_site_keeps_things(tmp_path, monkeypatch):
    monkeypatch.setenv("MEYRIN_SUITE_DATA", "/data")
    monkeypatch.setenv("MEYRIN_MODEL_KEYS", "/keys")
    told = prepare.of_site(config(tmp_path))
    assert (told["MEYRIN_SUITE_DATA"], told["MEYRIN_MODEL_KEYS"]) == ("/data", "/keys")


def test_what_was_asked_for_has_its_variables(tmp_path):
    asked = Resources(
        nodes_min=2,
        tasks=8,
        tasks_per_node=4,
        cores_per_task=3,
        memory_mb=2000,
        memory_per="core",
        accelerators=4,
        accelerators_per="node",
    )
    job = item(JobRequest(script="x", resources=asked), nodes=2, tasks=8, cores=12, accelerators=4)
    found = variables(job, tmp_path)
    wanted = {
        "SLURM_NNODES": "2",
        "SLURM_NTASKS": "8",
        "SLURM_NTASKS_PER_NODE": "4",
        "SLURM_CPUS_PER_TASK": "3",
        "SLURM_MEM_PER_CPU": "2000",
        "SLURM_MEM_PER_NODE": None,
        "SLURM_GPUS": None,
        "SLURM_GPUS_ON_NODE": "4",
        "SLURM_GPUS_PER_NODE": "4",
        "SLURM_GPUS_PER_TASK": None,
        "SLURM_SUBMIT_DIR": str(tmp_path),
        "SLURM_SUBMIT_HOST": HERE,
    }
    assert {name: found.get(name) for name in wanted} == wanted


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ({}, {"SLURM_MEM_PER_CPU": "50"}),
        ({"tasks": 2}, {"SLURM_MEM_PER_CPU": "50", "SLURM_NTASKS": "1", "SLURM_NPROCS": "1"}),
        ({"memory_mb": 70}, {"SLURM_MEM_PER_NODE": "70"}),
        ({"memory_mb": 0}, {}),
        ({"memory_mb": 0, "accelerators": 3}, {"SLURM_GPUS": "3", "SLURM_GPUS_ON_NODE": "4"}),
        ({"memory_mb": 0, "exclusive": True}, {"SLURM_GPUS_ON_NODE": "4"}),
    ],
)
def test_what_nobody_asked_for_has_no_variable(tmp_path, asked, wanted):
    gpus = 4 if asked.get("accelerators") or asked.get("exclusive") else 0
    job = item(JobRequest(script="x", resources=Resources(**asked)), cores=2, accelerators=gpus)
    words = ("MEM_", "NTASKS", "NPROCS", "CPUS_PER_TASK", "GPUS", "OPEN_MODE")
    found = {k: v for k, v in variables(job, tmp_path).items() if k[6:].startswith(words)}
    assert found == wanted
    appends = item(JobRequest(script="x", append_output=True))
    assert variables(appends, tmp_path)["SLURM_OPEN_MODE"] == "a"


def test_gpus_and_memory_keep_the_words_that_they_were_asked_in(tmp_path):
    asked = Resources(
        tasks=2,
        memory_mb=500,
        memory_per="accelerator",
        accelerators=2,
        accelerators_per="task",
        accelerator_type="h100",
    )
    found = variables(item(JobRequest(script="x", resources=asked), accelerators=4), tmp_path)
    assert (found["SLURM_GPUS_PER_TASK"], found["SLURM_MEM_PER_GPU"]) == ("h100:2", "500")
    assert "SLURM_RESTART_COUNT" not in found  # a script that asks for it begins anew


@pytest.mark.parametrize(
    ("indices", "task", "step"), [((1, 3, 5), 3, "2"), ((0, 1, 2), 0, "1"), ((9,), 9, "1")]
)
def test_an_element_knows_its_array(tmp_path, indices, task, step):
    request = JobRequest(script="x", array=ArraySpec(indices))
    found = variables(item(request, array_job=100, task=task), tmp_path)
    wanted = {
        "SLURM_ARRAY_JOB_ID": "100",
        "SLURM_ARRAY_TASK_ID": str(task),
        "SLURM_ARRAY_TASK_COUNT": str(len(indices)),
        "SLURM_ARRAY_TASK_MIN": str(indices[0]),
        "SLURM_ARRAY_TASK_MAX": str(indices[-1]),
        "SLURM_ARRAY_TASK_STEP": step,
    }
    assert {name: found.get(name) for name in wanted} == wanted
    single = variables(item(), tmp_path)
    assert not [name for name in single if "ARRAY" in name]
