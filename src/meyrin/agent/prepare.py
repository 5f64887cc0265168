"""From a request to a start: the job's folder, its files, its variables, its output names."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePath

from meyrin.agent.batch import Start
from meyrin.agent.config import AgentConfig
from meyrin.agent.journal import Item
from meyrin.agent.within import leads_out, really
from meyrin.client.durable import sync_folder
from meyrin.domain.errors import InvalidInput, StorageFull
from meyrin.domain.job import JobRequest, Resources
from meyrin.domain.patterns import NODE, expand_pattern
from meyrin.domain.units import NodeShape
from meyrin.wire.agents import Work
from meyrin.wire.jobs import FileView

Fetch = Callable[[str, FileView, Path], None]  # attempt, the input, where to put it


@dataclass(frozen=True, slots=True)
class Folder:
    """Where a job runs; `own` folders are the job's alone and are removed at the end."""

    path: Path
    own: bool


def folder_of(config: AgentConfig, item: Item) -> Folder:
    """A job runs where it was submitted if the site shares that folder and it brings no files.

    With inputs, or results to bring back, or no shared folder, it gets one of its own.
    """
    request = item.request
    brings = bool(request.inputs or request.output_files)
    here = config.share_files and request.submit_host in (None, socket.gethostname())
    if here and not brings and request.submit_dir and request.submit_dir.startswith("/"):
        return _shared(request.submit_dir)
    return Folder(config.dir / "work" / item.work.attempt, own=True)


def own_folder(config: AgentConfig, item: Item) -> Path:
    """A job's own folder, named without links: only a job puts one there."""
    return really(config.dir / "work") / item.work.attempt


@lru_cache(maxsize=256)
def _shared(path: str) -> Folder:
    return Folder(Path(path), own=False)


def start_of(config: AgentConfig, site: str, item: Item, fetch: Fetch) -> Start:
    """Make the folder, bring the inputs, and say what to start. Raises OSError, MeyrinError."""
    work, request = item.work, item.request
    folder = folder_of(config, item)
    if folder.own:
        folder.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        root = own_folder(config, item)
        for file in request.inputs:
            target = folder.path / file.name
            if leads_out(target.parent, root):
                raise InvalidInput(f"a link leads {target.parent} out of the job's folder")
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if target.is_symlink() or not target.exists():
                # else it is whole, or its job has begun to change it
                view = FileView(name=file.name, sha256=file.sha256, size=file.size)
                fetch(work.attempt, view, target)
            target.chmod(0o700 if file.executable else 0o600)
        if request.inputs:
            _sync_names(folder.path, request)
    workdir = os.path.normpath(os.path.join(folder.path, request.chdir or "."))  # noqa: PTH118
    return Start(
        attempt=work.attempt,
        job=work.job,
        name=request.name,
        partition=work.partition,
        nodes=work.nodes,
        asked=NodeShape(work.cores, work.memory_mb, work.accelerators),
        tasks=work.tasks,
        walltime_s=work.walltime_s,
        script=request.script,
        arguments=request.arguments,
        environment=tuple(sorted((environment(site, item, workdir) | of_site(config)).items())),
        workdir=workdir,
        stdin=_named(config, item, request.stdin, workdir),
        stdout=_named(config, item, request.stdout, workdir),
        stderr=_stderr(config, item, workdir),
        append_output=request.append_output,
        warn_signal=request.warn_signal,
        project=work.project,
        requeue=request.requeue,
        cores_per_task=request.resources.cores_per_task,
        exclusive=request.resources.exclusive,
    )


def _sync_names(folder: Path, request: JobRequest) -> None:
    """The inputs outlive a power cut, each with its name."""
    inside = {folder / above for file in request.inputs for above in PurePath(file.name).parents}
    for place in inside | {folder.parent}:
        sync_folder(place)


def of_site(config: AgentConfig) -> dict[str, str]:
    """What runs of suites need of the site: its own Meyrin, where data and keys of served models
    lie, and where its key lies, which they try to read, so that the evidence can say whether a
    job could."""
    data = os.environ.get("MEYRIN_SUITE_DATA")
    key = str(config.evidence_key_file.resolve())
    found = {"MEYRIN_PYTHON": sys.executable, "MEYRIN_SITE_KEY": key}
    keys = os.environ.get("MEYRIN_MODEL_KEYS")
    found |= {"MEYRIN_SUITE_DATA": data} if data else {}
    return found | ({"MEYRIN_MODEL_KEYS": keys} if keys else {})


def stderr_file(config: AgentConfig, attempt: str) -> Path:
    """Where standard error goes when nobody named a file for either stream: apart, so that it
    can be told apart again."""
    return config.dir / "streams" / f"{attempt}.err"


def unnamed(request: JobRequest) -> bool:
    """Whether nobody named a file for either stream."""
    return request.stdout is None and request.stderr is None


def clear_away(config: AgentConfig, item: Item) -> None:
    """Remove what was made for an attempt of which nobody asks any more, its own folder with
    whatever the job left in it; what can't be removed stays."""
    if folder_of(config, item).own:
        folder = own_folder(config, item)
        try:
            if folder.is_symlink():
                folder.unlink(missing_ok=True)
            elif not leads_out(folder, folder):
                shutil.rmtree(folder, ignore_errors=True)
        except RecursionError:  # a thousand folders in each other
            command = ["rm", "-rf", "--", str(folder)]
            subprocess.run(command, stderr=subprocess.DEVNULL, check=False)
    if unnamed(item.request):
        with suppress(OSError):  # its job may have put a folder there
            stderr_file(config, item.work.attempt).unlink(missing_ok=True)


def _stderr(config: AgentConfig, item: Item, workdir: str) -> str | None:
    request = item.request
    if unnamed(request):
        path = stderr_file(config, item.work.attempt)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return str(path)
    # as sbatch(1) has it: both in one file when only the first is named
    return _named(config, item, request.stderr or request.stdout, workdir)


def _named(config: AgentConfig, item: Item, pattern: str | None, workdir: str) -> str | None:
    """A file name pattern of the script as an absolute path; where other machines run the job,
    its node is filled in there."""
    if pattern is None:
        return None
    work = item.work
    name = expand_pattern(
        pattern,
        job=work.job,
        array_job=work.array_job,
        task=work.task,
        name=item.request.name,
        user=work.person,
        node=socket.gethostname() if config.batch == "local" else NODE,
    )
    return os.path.normpath(os.path.join(workdir, name))  # noqa: PTH118 - a hot path


def environment(site: str, item: Item, workdir: str) -> dict[str, str]:
    """The variables that the request decides (sbatch(1), OUTPUT ENVIRONMENT VARIABLES); the
    batch system adds those that the run decides (nodes, accelerators, times).

    As sbatch has it, what nobody asked for has no variable: programs read much from that. With
    SLURM_NTASKS set, PyTorch Lightning takes it that srun started its ranks.
    """
    work, request = item.work, item.request
    found = dict(request.environment) | {
        "SLURM_CLUSTER_NAME": site,
        "SLURM_JOB_ID": str(work.job),
        "SLURM_JOBID": str(work.job),
        "SLURM_JOB_NAME": request.name,
        "SLURM_JOB_ACCOUNT": work.project,
        "SLURM_JOB_PARTITION": work.partition,
        "SLURM_JOB_USER": work.person,
        "SLURM_JOB_NUM_NODES": str(work.nodes),
        "SLURM_NNODES": str(work.nodes),
        "SLURM_SUBMIT_DIR": request.submit_dir or workdir,
        "SLURM_SUBMIT_HOST": request.submit_host or socket.gethostname(),
        "MEYRIN_ATTEMPT": work.attempt,
        "MEYRIN_SITE": site,
    }
    found |= _asked(request.resources, work)
    if request.append_output:
        found["SLURM_OPEN_MODE"] = "a"
    if request.array and work.task is not None:
        indices = request.array.indices
        found |= {
            "SLURM_ARRAY_JOB_ID": str(work.array_job),
            "SLURM_ARRAY_TASK_ID": str(work.task),
            "SLURM_ARRAY_TASK_COUNT": str(len(indices)),
            "SLURM_ARRAY_TASK_MIN": str(indices[0]),
            "SLURM_ARRAY_TASK_MAX": str(indices[-1]),
            "SLURM_ARRAY_TASK_STEP": str(indices[1] - indices[0] if len(indices) > 1 else 1),
        }
    return found


def _asked(asked: Resources, work: Work) -> dict[str, str]:
    found = {}
    if asked.tasks or asked.tasks_per_node:
        found["SLURM_NTASKS"] = found["SLURM_NPROCS"] = str(work.tasks)
    if asked.cores_per_task > 1:  # where 1 was said, the variable came with the request
        found["SLURM_CPUS_PER_TASK"] = str(asked.cores_per_task)
    if asked.tasks_per_node:
        found["SLURM_NTASKS_PER_NODE"] = str(asked.tasks_per_node)
    if work.accelerators:
        found["SLURM_GPUS_ON_NODE"] = str(work.accelerators)
    if asked.accelerators and work.accelerators:
        kind = f"{asked.accelerator_type}:" if asked.accelerator_type else ""
        per = asked.accelerators_per
        name = "SLURM_GPUS" if per == "job" else f"SLURM_GPUS_PER_{per.upper()}"
        found[name] = f"{kind}{asked.accelerators}"
    if asked.memory_mb is None:  # by core, so that steps of srun may share it
        found["SLURM_MEM_PER_CPU"] = str(max(1, work.memory_mb // work.cores))
    elif asked.memory_mb and (asked.memory_per != "accelerator" or work.accelerators):
        name = {"node": "NODE", "core": "CPU", "accelerator": "GPU"}[asked.memory_per]
        found[f"SLURM_MEM_PER_{name}"] = str(asked.memory_mb)
    return found


def no_room(error: Exception) -> bool:
    """Whether the disk is full: what then fails is tried again, not given up."""
    return isinstance(error, StorageFull) or (
        isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}
    )
