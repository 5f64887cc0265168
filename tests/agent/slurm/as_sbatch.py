"""The same script by the real sbatch and by Meyrin: what Slurm itself says that it understood.

`CASES` are scripts and command lines that both take, `REFUSED` what neither takes. Each goes to
sbatch, held, and is told with `scontrol show job`; through Meyrin's parser, engine and adapter it
goes to the same cluster, held too. Names of nodes and numbers of jobs apart, all must agree.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.components import Slurm

from meyrin.agent import prepare
from meyrin.agent.batch import Start
from meyrin.agent.config import AgentConfig
from meyrin.agent.journal import Item
from meyrin.agent.slurm import ask, words
from meyrin.agent.slurm.command import CommandTransport, Done, runner
from meyrin.client.sbatch import parse, read_script, wants_wrap
from meyrin.domain.job import DependencyKind, JobRequest
from meyrin.domain.patterns import expand_pattern
from meyrin.engine.admission import Shaped, shape
from meyrin.wire.agents import Work

Facts = dict[str, Any]
_FIELD = re.compile(r"(?:^|\s)([A-Z][\w/:]*)=")
_OTHERS = ("JobId", "UserId")


@dataclass(frozen=True)
class Case:
    """`head` stands after the script's first line; @J is a job that waits, @A an array."""

    head: str
    argv: str = ""
    environ: Mapping[str, str] = field(default_factory=dict)
    first: str = "#!/bin/bash"

    def text(self, jobs: Mapping[str, str]) -> str:
        text = f"{self.first}\n{self.head}\ntrue\n"
        for mark, number in jobs.items():
            text = text.replace(mark, number)
        return text


def opt(*options: str) -> tuple[Case, ...]:
    """Each in a directive; every second on the command line instead, so that both are seen."""
    return tuple(
        Case("", words) if place % 2 else Case(f"#SBATCH {words}")
        for place, words in enumerate(options)
    )


CASES: tuple[Case, ...] = (
    # times, sizes, memory
    *opt("-t 10", "-t1:30", "--time=0:59", "--time 1-0", "-t 0-2:3", "-t 0-1:1:1", "-t 90:00",
         "-N2", "-N 1-2", "--nodes=1k -n1 -t1", "-N1 -n4 -c2", "-N2 --ntasks-per-node=3", "-N2 -n1",
         "--tasks-per-node=2", "-n4 --ntasks-per-node=2", "-n40", "--cpus-per-t=3",
         "--mem=4G", "--mem 4gb", "--mem=1000K", "--mem=0", "--mem-per-cpu=512 -n4",
         "--mem-per-cpu=1G -N1 -c4 -n2", "--mem-per-gpu=4G -G2"),
    # accelerators
    *opt("-G2", "--gpus=h100:2", "--gpus-per-node=2 -N2", "--gpus-per-task=1 -n2",
         "-N2 --gpus-per-task=1", "--gres=gpu:h100:2", "--gres=gpu",
         "--gres=gpu:2 --gres=none"),
    # arrays, moments, words
    *opt("-a 1-10:2%3", "--array=0-15,20", "-a[1-3%2]", "--array=5,3,1-2", "-b now+1hour",
         "--begin=2031-01-20T12:34", "--deadline=now+2days -t5", "--nice", "--nice=7",
         "--requeue", "--no-requeue", "--exclusive", "-J 'a b'", "--comment='for \"them\"'",
         "-p short -t5", "-A bio", "-D /tmp", "-o %x-%j.out -e err-%j", "-o None -i NONE",
         "--open-mode=append", "--signal=B:USR1@60", "-d afterok:@J:@A", "-d AfterAny:@J_1",
         "-d afternotok:@J?afterany:@A", "--dependency=singleton,@J --kill-on-invalid-dep=Yes",
         "-HN2"),
    # how lines are read
    Case("#SBATCH\t-t\t5 # five\n##SBATCH -N2\n# SBATCH -N2\n #SBATCH -N2\n#SBATCH-n2"),
    Case("#SBATCH -t 5\n\n# words\n#SBATCH -t 6\ntrue\n#SBATCH -t 7"),
    Case("#SBATCH -t\n#SBATCH 5 -N2 \\\n#SBATCH --mem=1G -J a\\#b"),
    Case("#SBATCH --job-name=a\" b\"'c \"d' --comment=a\u00a0b"),
    Case("#SBATCH -t 5", "-t7 -t8", {"SBATCH_TIMELIMIT": "9"}),
    Case("#SBATCH -t 5", "", {"SBATCH_TIMELIMIT": "9", "SBATCH_JOB_NAME": "e"}),
    Case("#SBATCH --mem=1G", "", {"SBATCH_MEM_PER_CPU": "2G"}),
    Case("", "--mem=3G", {"SBATCH_MEM_PER_CPU": "2G"}),
    Case("#SBATCH --requeue", "", {"SBATCH_NO_REQUEUE": ""}),
    Case("#SBATCH --no-requeue", "", {"SBATCH_REQUEUE": "", "SBATCH_EXCLUSIVE": ""}),
    Case("#PBS -N x", "", {"SBATCH_IGNORE_PBS": ""}),
    Case('"""words"""\n#SBATCH -t 5', first="#!/usr/bin/env python3"),
    Case("#SBATCH -t 5", first="#! /bin/bash -l"),
)  # fmt: skip

# taken by Meyrin still, but no longer by later releases
OLDER = (
    *opt("--gres gres:gpu:2"),
    Case("#SBATCH --no-requeue", "", {"SBATCH_REQUEUE": "0", "SBATCH_EXCLUSIVE": ""}),
)
REFUSED: tuple[Case, ...] = (
    *opt("-t 10m", "--time=1:2:3:4", "-N2-1", "-N=2", "-n0", "-c1k", "--nt=4", "--mem=4Gi",
         "--mem=1G --mem-per-cpu=1G", "--mem-per-gpu=1G", "--gpus-per-task=1", "--gres=gpu:",
         "--gpus=3 --gpus-per-node=2", "-N2 -G1",
         "--gres=nic:1", "--array=5-1", "--array=1-5:0", "-b 4pm",
         "-b now+1h", "--deadline=2020-01-01", "--signal=NOSUCH", "--signal=USR1@99999",
         "--open-mode=x", "-d afterok:", "-d foo:@J", "--foo", "-Z", "--cpu-bind=none", "--hold=1",
         "--Time=5", "--exclusive=1"),
    Case("#SBATCH -J 'a"),
    Case("#SBATCH --nice 10"),
    Case("#SBATCH -t 5 word"),
    Case("#SBATCH --time = 5"),
    Case("#SBATCH -t x", "-t5"),
    Case("\u00a0\n#SBATCH\u00a0-t5".strip("\n"), first="#!/bin/bash\n#SBATCH \u2014time=5"),
    Case("#SBATCH --mem=1G", "--mem-per-cpu=1G"),
    Case("", "", {"SBATCH_MEM_PER_NODE": "1G", "SBATCH_MEM_PER_CPU": "1G"}),
    Case("#SBATCH -t 5", first="true"),
    Case("", "--wrap=true more"),
)  # fmt: skip


class Both:
    """The two ways to one cluster, for a folder of scripts."""

    def __init__(self, slurm: Slurm, folder: Path) -> None:
        self.folder, self._slurm = folder, slurm
        self._environ = {
            name: os.environ[name] for name in ("PATH", "HOME", "TZ") if name in os.environ
        } | {"SLURM_CONF": str(slurm.conf("alpha"))}
        plain = runner(60)

        def held(command: Sequence[str], given: str, environment: Mapping[str, str]) -> Done:
            more = ["--hold"] if command[0].endswith("sbatch") else []
            return plain([command[0], *more, *command[1:]], given, environment)

        self._adapter = CommandTransport(held, conf=slurm.conf("alpha"))
        described = self._adapter.describe()
        self.places = ask.discovered(described)
        self.release = tuple(int(word) for word in described.version.split(".")[:2])
        self.jobs: dict[str, str] = {}
        waits = {"@J": ("--wrap=true",), "@A": ("-a1-3", "--wrap=true")}
        self.jobs = {mark: self.submitted(argv) for mark, argv in waits.items()}

    def submitted(
        self,
        argv: Sequence[str],
        environ: Mapping[str, str] | None = None,
        *,
        held: bool = True,
    ) -> str:
        """The number that sbatch gave, or its words of refusal."""
        done = subprocess.run(
            ["sbatch", "--parsable", *(["--hold"] if held else []), *argv],
            cwd=self.folder, env={**self._environ, **(environ or {})},
            capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return done.stdout.strip() if done.returncode == 0 else done.stderr.strip() or "no"

    def argv(self, case: Case) -> list[str]:
        """Its words, with its script written down."""
        (self.folder / "s.sh").write_text(case.text(self.jobs), encoding="utf-8")
        options = case.argv
        for mark, number in self.jobs.items():
            options = options.replace(mark, number)
        found = shlex.split(options)
        if any(word.startswith("--wrap") for word in found):
            return found
        return [*found, "s.sh", "one", "two words"]

    def real(self, case: Case, *, held: bool = True) -> str:
        return self.submitted(self.argv(case), case.environ, held=held)

    def request(self, case: Case, now_s: int) -> JobRequest:
        argv = self.argv(case)
        script = None if wants_wrap(argv) else read_script(self.folder / "s.sh")
        environ = {**self._environ, **case.environ}
        around = {"cwd": str(self.folder), "host": "here", "now_s": now_s}
        return parse(script, argv, environ, **around).request  # type: ignore[arg-type]

    def fits(self, request: JobRequest) -> bool:
        """Whether the partition can ever run it; Slurm takes some that it never can."""
        place = self.places[(request.partitions or ("gpu",))[0]]
        asked = request.resources, request.walltime_s, place.partition, request.features
        return isinstance(shape(*asked), Shaped)

    def placed(self, request: JobRequest) -> tuple[Shaped, ask.Place]:
        place = self.places[(request.partitions or ("gpu",))[0]]
        found = shape(request.resources, request.walltime_s, place.partition, request.features)
        assert isinstance(found, Shaped), found
        return found, place

    def start(self, request: JobRequest, config: AgentConfig, task: int | None = None) -> Start:
        """What an agent would hand to its batch system, had the hub placed it here."""
        shaped, place = self.placed(request)
        work = Work(
            attempt=str(uuid.uuid4()), epoch=1, job=4711, task=task,
            array_job=None if task is None else 4700, task_count=1, person="root",
            project="root", partition=place.partition.name, nodes=shaped.nodes,
            cores=shaped.asked.cores, memory_mb=shaped.asked.memory_mb,
            accelerators=shaped.asked.accelerators, tasks=shaped.tasks,
            walltime_s=shaped.walltime_s, request_id=1,
        )  # fmt: skip
        return prepare.start_of(config, "alpha", Item(work, request), _no_files)

    def adapted(self, request: JobRequest) -> str:
        """Its number, sent as the adapter sends it."""
        config = AgentConfig(
            hub="http://h", credential_file=Path("c"), dir=self.folder, batch="slurm"
        )
        start = self.start(request, config)
        place = self.places[start.partition]
        text = "#!/bin/sh\n"
        wanted = ask.submission(
            start, place, request.project, script=text, workdir="/tmp",
            stdout="/dev/null", base={"PATH": self._environ["PATH"]},
        )  # fmt: skip
        return self._adapter.submit(wanted)

    def told(self) -> dict[str, Facts]:
        """What Slurm says of every job."""
        out = self._slurm.command("alpha", "scontrol", "--oneliner", "show", "job")
        found = {}
        for line in out.splitlines():
            marks = [m for m in _FIELD.finditer(line) if m[1] != "US"]
            ends = [m.start() for m in marks[1:]] + [len(line)]
            f = {m[1]: line[m.end() : end].strip(" ") for m, end in zip(marks, ends, strict=True)}
            found[f["JobId"]] = f
        return found

    def differences(self, asked: Sequence[tuple[Case, str, JobRequest, str]]) -> list[object]:
        """Of each: what Slurm understood against what was read, and the two sizes there."""
        told = self.told()
        found: list[object] = []
        for case, number, request, ours in asked:
            real, read = as_slurm_tells(told[number]), as_meyrin_reads(self, request, number)
            if real["arguments"] is None:
                real["arguments"] = read["arguments"]
            for moment in ("begin_s", "deadline_s"):  # both were counted from their own now
                if real[moment] and read[moment] and abs(real[moment] - read[moment]) <= 60:
                    read[moment] = real[moment]
            one, other = size(told[number]), size(told[ours])
            guess = _GUESSED if _is_guessed(request) else ()
            for mine, theirs in ((real, read), (one, other)):
                differ = [k for k in mine if mine[k] != theirs[k] and k not in guess]
                found += [(case, k, mine[k], theirs[k]) for k in differ]
        return found


# of several cores without a number of nodes Slurm guesses these until it starts the job
_GUESSED = ("nodes", "cores", "memory_mb", "gpus")


def _is_guessed(request: JobRequest) -> bool:
    asked = request.resources
    exact = asked.nodes_min is not None and asked.nodes_min == asked.nodes_max
    cores = asked.cores_per_task * max(asked.tasks or 1, asked.tasks_per_node or 1)
    return not exact and cores > 1


def size(told: Facts) -> Facts:
    """What a job is to get. Slurm counts the whole node of an exclusive one when it starts."""
    tres = dict(one.split("=") for one in (told.get("ReqTRES") or told["TRES"]).split(","))
    whole = _exclusive(told)
    return {
        "minutes": words.duration_s(told["TimeLimit"]),
        "nodes": told["NumNodes"].partition("-")[0],
        "tasks": told["NumTasks"],
        "cores_per_task": told["CPUs/Task"],
        "exclusive": whole,
        "cores": None if whole else tres["cpu"],
        "memory_mb": None if whole else words.memory_mb(tres["mem"]),
        "gpus": None if whole else tres.get("gres/gpu"),
    }


def _exclusive(f: Facts) -> bool:
    """Since 26.05 in a word of its own."""
    return f["Exclusive"] == "NODE" if "Exclusive" in f else f["OverSubscribe"] == "NO"


def _no_files(*_: object) -> None:
    raise AssertionError("no input was asked for")


def as_slurm_tells(f: Facts) -> Facts:
    """Slurm's fields in the terms of a request."""
    # from 23.11 to 24.11 not told at all, later in the line of sbatch
    told = f["Command"] if "s.sh " in f["Command"] else f.get("SubmitLine", "")
    return {
        "name": f["JobName"],
        "minutes": (words.duration_s(f["TimeLimit"]) or 0) // 60,
        "nodes": int(f["NumNodes"].partition("-")[0]),
        "tasks": int(f["NumTasks"]),
        "cores_per_task": int(f["CPUs/Task"]),
        "memory": _memory(f),
        "gpus": {
            k[7:].lower(): _gpus(v) for k, v in f.items() if k[:7] == "TresPer" and "gpu" in v
        },
        "array": _array(f.get("ArrayTaskId", "")),
        "dependencies": re.sub(r"\(\w+\)|\(null\)", "", f["Dependency"]).replace("_*", ""),
        "begin_s": _later(f),
        "deadline_s": words.moment(f["Deadline"]),
        "nice": int(f["Nice"]),
        "account": f["Account"],
        "partition": f["Partition"],
        "exclusive": _exclusive(f),
        "arguments": told.partition("s.sh")[2] if told else None,
        "workdir": f["WorkDir"],
        "comment": f.get("Comment", ""),
        "stdout": f["StdOut"],
        "stderr": f["StdErr"] or f["StdOut"],  # empty in later releases where they are one
        "stdin": f["StdIn"],
    }


def _memory(f: Facts) -> tuple[str, int | None]:
    if f.get("MemPerTres"):
        return "accelerator", int(f["MemPerTres"].rpartition(":")[2])
    kind = "node" if "MinMemoryNode" in f else "core"
    return kind, words.memory_mb(f["MinMemoryNode" if kind == "node" else "MinMemoryCPU"])


def _gpus(text: str) -> str:
    """`gres:gpu:h100:2`, and in later releases `cpu=4,gres/gpu:h100=2`, as `gpu:h100:2`."""
    (gpu,) = (part for part in text.partition(" ")[0].split(",") if "gpu" in part)
    plain = re.sub(r"^gres[:/]", "", gpu).replace("=", ":")
    return plain if plain[-1:].isdigit() and ":" in plain else f"{plain}:1"


def _array(text: str) -> tuple[tuple[int, ...], int]:
    spans, _, limit = text.partition("%")
    found: set[int] = set()
    for span in filter(None, spans.split(",")):
        first, _, rest = span.partition("-")
        last, _, step = rest.partition(":")
        found.update(range(int(first), int(last or first) + 1, int(step or 1)))
    return tuple(sorted(found)), int(limit or 0)


def _later(f: Facts) -> int | None:
    eligible, submitted = words.moment(f["EligibleTime"]), words.moment(f["SubmitTime"])
    return eligible if eligible and submitted and eligible > submitted else None


def as_meyrin_reads(both: Both, request: JobRequest, number: str) -> Facts:
    """A request in the same terms, had it the number that Slurm gave."""
    asked = request.resources
    shaped, place = both.placed(request)
    memory = asked.memory_per, asked.memory_mb
    if asked.memory_mb is None:
        memory = "core", place.partition.default_memory_mb_per_core
    kind = f"{asked.accelerator_type}:" if asked.accelerator_type else ""
    given = {asked.accelerators_per: f"gpu:{kind}{asked.accelerators}"}
    array = request.array
    workdir = os.path.normpath(both.folder / (request.chdir or "."))

    def path(pattern: str | None) -> str:
        job = int(number)
        return os.path.join(  # noqa: PTH118 - a text, as Slurm tells it
            workdir,
            expand_pattern(
                pattern or "/dev/null", job=job, array_job=job, name=request.name, user="root"
            ),
        )

    return {
        "name": request.name,
        "minutes": -(-shaped.walltime_s // 60),
        "nodes": shaped.nodes,
        "tasks": shaped.tasks,
        "cores_per_task": asked.cores_per_task,
        "memory": memory,
        "gpus": given if asked.accelerators else {},
        "array": (array.indices, array.max_running) if array else ((), 0),
        "dependencies": _dependencies(request),
        "begin_s": request.begin_s,
        "deadline_s": request.deadline_s,
        "nice": request.nice,
        "account": request.project or "root",
        "partition": (request.partitions or ("gpu",))[0],
        "exclusive": asked.exclusive,
        "arguments": "".join(f" {word}" for word in request.arguments),
        "workdir": workdir,
        "comment": request.comment,
        "stdout": path(request.stdout),
        "stderr": path(request.stderr or request.stdout),
        "stdin": path(request.stdin),
    }


def _dependencies(request: JobRequest) -> str:
    found = []
    for one in request.dependencies:
        place = "" if one.element is None else f"_{one.element}"
        job = "" if one.kind is DependencyKind.SINGLETON else f":{one.job}{place}"
        found.append(f"{one.kind}{job}")
    return ("?" if request.any_dependency else ",").join(found)
