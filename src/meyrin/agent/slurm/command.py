"""Slurm by its commands: no shell, every option a word of its own, formats that we choose.

Fields are divided by control characters that Slurm's own values never hold, and text that a
person may have chosen comes last, so that no name can shift a column. Every command has a
time-out; one that was cut off leaves its caller in doubt (`Unreachable`), never with a guess.
Works with Slurm 20.11 and later.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from meyrin.agent.slurm import describe, words
from meyrin.agent.slurm.refusal import no_answer, not_run, refusal
from meyrin.agent.slurm.transport import (
    AccountingRow,
    ClusterFacts,
    Health,
    QueueRow,
    Submission,
    own_name,
)
from meyrin.domain.errors import Unreachable
from meyrin.domain.units import show_duration

ROW, FIELD = "\x1e", "\x1f"
_KEPT = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "SLURM_CONF", "SLURM_JWT")
_SOON_S, _RETRYING = 2.0, b"sleeping and retrying"
_MANY = 400  # names or ids in one command
_BLANKS = str.maketrans({ROW: " ", FIELD: " ", "\0": " "})


@dataclass(frozen=True, slots=True)
class Done:
    """What a command left."""

    code: int
    out: str
    err: str


Run = Callable[[Sequence[str], str, Mapping[str, str]], Done]


def runner(timeout_s: float) -> Run:
    """Runs real commands; one that does not end in time raises Unreachable."""

    def run(command: Sequence[str], given: str, environment: Mapping[str, str]) -> Done:
        data = given.encode("utf-8", "surrogateescape")
        pipe = subprocess.PIPE
        try:
            started = subprocess.Popen(
                list(command), env=dict(environment), stdin=pipe, stdout=pipe, stderr=pipe
            )
        except OSError as error:
            why = f"{command[0]} can't be run: {error.strerror}"
            raise Unreachable(why, sent=False, here=True) from error
        with started as child:
            try:
                out, err = _answer(child, command[0], data, timeout_s)
            except OSError as error:
                child.kill()
                raise Unreachable(f"{command[0]} broke off: {error.strerror}") from error
            except BaseException:
                child.kill()
                raise
        return Done(
            child.returncode,
            out.decode("utf-8", "surrogateescape"),
            err.decode("utf-8", "replace").strip(),
        )

    return run


def _answer(
    child: subprocess.Popen[bytes], name: str, data: bytes, timeout_s: float
) -> tuple[bytes, bytes]:
    """What it printed. Where the controller takes no more jobs for now, sbatch says so and asks
    again by itself for two minutes: that is not waited for."""
    try:
        return child.communicate(data, timeout=min(timeout_s, _SOON_S))
    except subprocess.TimeoutExpired as error:
        said = error.stderr or b""
        if _RETRYING in said:
            words = said.decode("utf-8", "replace").strip()[-300:]
            raise Unreachable(words, full=True) from error
    try:
        return child.communicate(timeout=max(0.0, timeout_s - _SOON_S))
    except subprocess.TimeoutExpired as error:
        full = _RETRYING in (error.stderr or b"")
        raise Unreachable(f"{name} gave no answer in {timeout_s:g} s", full=full) from error


class CommandTransport:
    """A `Transport` by sbatch, squeue, sacct, scancel, scontrol and sacctmgr."""

    at_once = 1000

    def __init__(
        self,
        run: Run,
        *,
        bin_folder: Path | None = None,
        conf: Path | None = None,
        environ: Mapping[str, str] = os.environ,
        user: str | None = None,
    ) -> None:
        self._run = run
        self._bin = bin_folder
        self.user = user or own_name()
        self._environment = {name: environ[name] for name in _KEPT if name in environ}
        self._environment.setdefault("PATH", "/usr/local/bin:/usr/bin:/bin")
        if conf is not None:
            self._environment["SLURM_CONF"] = str(conf)
        self._has_accounting: bool | None = None

    # --- one job

    def submit(self, submission: Submission) -> str:
        environment = dict(submission.environment) | self._own_of_slurm()
        done = self._call("sbatch", options(submission), submission.script, environment)
        word = done.out.strip().partition(";")[0]
        if done.code == 0 and word.isdigit():
            return word
        if done.code == 0:
            raise Unreachable(f"sbatch answered {done.out.strip()[:200]!r}")
        raise not_run(done.out, done.err) if done.code in (126, 127) else refusal(done.err)

    def cancel(self, batch_jobs: Sequence[str]) -> None:
        for some in _parts(batch_jobs):
            done = self._call("scancel", some)
            if done.code and no_answer(done.err):
                raise Unreachable(f"scancel: {done.err}")

    # --- all jobs

    def queue(self, names: Sequence[str] | None = None) -> list[QueueRow]:
        options = ["--noheader", "--all", "--states=all", "--array", f"--user={self.user}"]
        options.append(f"--format={_QUEUE_FORMAT}")
        if names is None:
            return [_queue_row(each) for each in _rows(self._text("squeue", options))]
        found: list[QueueRow] = []
        for some in _parts(names):
            text = self._text("squeue", [*options, f"--name={','.join(some)}"])
            found += [_queue_row(each) for each in _rows(text)]
        return found

    def whole_queue(self) -> list[QueueRow]:
        text = self._text("squeue", ["--noheader", "--all", "--array", f"--Format={_WHOLE_FORMAT}"])
        return [row for line in text.split("\n") if (row := _whole_row(line)) is not None]

    def accounting(
        self, names: Sequence[str], since_s: int, batch_jobs: Sequence[str] = ()
    ) -> list[AccountingRow]:
        since = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(max(0, since_s)))
        options = ["--noheader", "--parsable2", "--duplicates", f"--delimiter={FIELD}"]
        # what accounting can't name yet it takes for root's: ids are asked for as they are
        who = "--allusers" if batch_jobs else f"--user={self.user}"
        options += [who, f"--starttime={since}", f"--format={_SACCT_FORMAT}"]
        asked: list[list[str]] = [[]]
        if batch_jobs:
            asked = [[f"--jobs={','.join(some)}"] for some in _parts(batch_jobs)]
        elif names:
            asked = [[f"--name={','.join(some)}"] for some in _parts(names)]
        wanted = set(names)
        found: list[AccountingRow] = []
        for more in asked:
            rows = _accounting_rows(self._text("sacct", options + more))
            found += [
                row
                for row in rows
                if not wanted or row.name in wanted or (batch_jobs and row.unnamed)
            ]
        return found

    def health(self) -> Health:
        controller, words_of_it = self._controller()
        if self._accounting_known() is False:
            return Health(controller, None, words_of_it)
        try:
            self._text("sacct", ["--noheader", "--allocations", "--jobs=1", "--format=JobIDRaw"])
        except Unreachable as error:
            return Health(controller, False, f"{words_of_it} {error.message}".strip())
        return Health(controller, True, words_of_it)

    def _controller(self) -> tuple[bool, str]:
        try:
            done = self._call("scontrol", ["ping"])
        except Unreachable as error:
            return False, error.message
        return (True, "") if " is UP" in done.out else (False, (done.out or done.err).strip())

    def _accounting_known(self) -> bool | None:
        """Whether the site has accounting; asked once. None while nobody answers."""
        if self._has_accounting is None:
            with contextlib.suppress(Unreachable):
                text = self._text("scontrol", ["show", "config"])
                line = next((x for x in text.splitlines() if "AccountingStorageType" in x), "")
                self._has_accounting = "slurmdbd" in line or "mysql" in line
        return self._has_accounting

    def describe(self) -> ClusterFacts:
        config = self._text("scontrol", ["show", "config"])
        partitions = self._text("scontrol", ["--oneliner", "show", "partition"])
        nodes = self._text("scontrol", ["--oneliner", "show", "node"])
        found = describe.facts(self.user, config, partitions, nodes)
        self._has_accounting = found.accounting
        if not found.accounting:
            return found
        head = ["--noheader", "--parsable2", "show"]
        mine = ["assoc", "where", f"user={self.user}", f"cluster={found.cluster}"]
        associations = self._text(
            "sacctmgr", [*head, *mine, f"format={describe.ASSOCIATION_FIELDS}"]
        )
        qos = self._text("sacctmgr", [*head, "qos", f"format={describe.QOS_FIELDS}"])
        return replace(
            found,
            associations=tuple(
                describe.association(line) for line in associations.splitlines() if line
            ),
            qos=tuple(describe.qos(line) for line in qos.splitlines() if line),
        )

    def close(self) -> None:
        """Nothing is held open."""

    # --- commands

    def _own_of_slurm(self) -> dict[str, str]:
        """What sbatch itself needs to find its cluster."""
        names = ("SLURM_CONF", "SLURM_JWT")
        return {name: self._environment[name] for name in names if name in self._environment}

    def _text(self, command: str, options: Sequence[str]) -> str:
        done = self._call(command, options)
        if done.code:
            raise Unreachable(f"{command} failed: {done.err[:500] or done.code}")
        return done.out

    def _call(
        self,
        command: str,
        options: Sequence[str],
        given: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> Done:
        path = str(self._bin / command) if self._bin else command
        base = self._environment if environment is None else environment
        more = {"TZ": "UTC"} if environment is None else {}
        return self._run([path, *options], given, {**base, **more})


def options(job: Submission) -> list[str]:
    """The words after `sbatch`: the script itself goes to its standard input."""
    said = {
        "job-name": job.name,
        "comment": job.comment.translate(_BLANKS),
        "partition": job.partition,
        "account": job.account,
        "qos": job.qos,
        "reservation": job.reservation,
        "constraint": job.features,
        "chdir": job.workdir,
        "output": job.stdout.replace("%", "%%"),
        "nodes": job.nodes,
        "ntasks": job.tasks,
        "ntasks-per-node": job.tasks_per_node,
        "cpus-per-task": job.cores_per_task,
        "mincpus": job.cores_per_node,
        "mem": None if job.memory_mb is None else f"{job.memory_mb}M",
        "gres": ",".join(":".join(filter(None, (g.name, g.type, str(g.count)))) for g in job.gres),
        "time": None if job.walltime_s is None else show_duration(job.walltime_s),
    }
    found = ["--parsable", "--export=ALL", "--open-mode=append", "--input=/dev/null"]
    found += [f"--{name}={value}" for name, value in said.items() if value not in (None, "")]
    found.append("--requeue" if job.requeue else "--no-requeue")
    if job.exclusive:
        found.append("--exclusive")
    if job.signal is not None:
        shell = "B:" if job.signal.shell_only else ""
        found.append(f"--signal={shell}{job.signal.name}@{job.signal.before_s}")
    return found


# --- rows

_QUEUE = (
    "%i", "%u", "%T", "%P", "%a", "%q", "%V", "%S", "%e", "%M", "%l", "%D", "%C", "%m", "%b",
    "%Q", "%N", "%r", "%k", "%j",
)  # fmt: skip
_QUEUE_FORMAT = ROW + FIELD.join(_QUEUE)
_NODES_WIDTH = 300  # a longer list is cut off, and so not told
_WHOLE = (
    ("JobArrayID", 40), ("UserName", 40), ("State", 20), ("Partition", 60), ("Account", 60),
    ("QOS", 40), ("SubmitTime", 24), ("StartTime", 24), ("EndTime", 24), ("TimeUsed", 24),
    ("TimeLimit", 24), ("NumNodes", 10), ("NumCPUs", 10), ("PriorityLong", 14),
    ("tres-alloc", 160), ("Reason", 60), ("NodeList", _NODES_WIDTH),
)  # fmt: skip
_WHOLE_FORMAT = ",".join(f"{name}:{width}" for name, width in _WHOLE)
_SACCT = (
    "JobIDRaw", "User", "State", "ExitCode", "Submit", "Start", "End", "ElapsedRaw", "NNodes",
    "AllocCPUS", "AllocTRES", "TotalCPU", "MaxRSS", "ConsumedEnergyRaw", "NodeList", "Partition",
    "Account", "Reason", "JobName",
)  # fmt: skip
_SACCT_FORMAT = ",".join(_SACCT)


def _rows(text: str) -> Iterator[list[str]]:
    for part in text.split(ROW)[1:]:
        fields = part.removesuffix("\n").split(FIELD, len(_QUEUE) - 1)
        if len(fields) == len(_QUEUE):
            yield fields


def _queue_row(f: list[str]) -> QueueRow:
    nodes = words.number(f[11])
    memory, cores = words.memory_mb(f[13]), words.number(f[12])
    if memory is not None:
        # squeue says the smallest of a node, or with a `c` of a core
        memory *= (cores or 1) if f[13].endswith("c") else (nodes or 1)
    gpus = [g.count for g in words.gres(f[14]) if g.name == "gpu"]
    return QueueRow(
        batch_job=f[0],
        user=f[1],
        state=f[2],
        partition=f[3],
        account=words.text(f[4]),
        qos=words.text(f[5]),
        submit_s=words.moment(f[6]),
        start_s=words.moment(f[7]) if words.text(f[16]) else None,  # else a guess, or never
        end_s=words.moment(f[8]),
        elapsed_s=words.duration_s(f[9]),
        walltime_s=words.duration_s(f[10]),
        nodes=nodes,
        cores=cores,
        memory_mb=memory,
        accelerators=sum(gpus) * (nodes or 1) if gpus else None,
        priority=words.number(f[15]),
        node_list=words.text(f[16]) or "",
        reason=words.text(f[17]) or "",
        name=f[19],
    )


def _whole_row(line: str) -> QueueRow | None:
    raw = line.encode("utf-8", "surrogateescape")
    table, at = {}, 0
    for name, width in _WHOLE:
        table[name] = raw[at : at + width].decode("utf-8", "replace").strip()
        at += width
    if not table["JobArrayID"] or not table["State"]:
        return None
    memory = words.tres(table["tres-alloc"]).get("mem", "")
    nodes = words.text(table["NodeList"]) or ""
    return QueueRow(
        batch_job=table["JobArrayID"],
        name="",
        user=table["UserName"],
        state=table["State"],
        partition=table["Partition"],
        account=words.text(table["Account"]),
        qos=words.text(table["QOS"]),
        submit_s=words.moment(table["SubmitTime"]),
        start_s=words.moment(table["StartTime"]),
        end_s=words.moment(table["EndTime"]),
        elapsed_s=words.duration_s(table["TimeUsed"]),
        walltime_s=words.duration_s(table["TimeLimit"]),
        nodes=words.number(table["NumNodes"]),
        cores=words.number(table["NumCPUs"]),
        memory_mb=words.memory_mb(memory),
        accelerators=words.accelerators(table["tres-alloc"]),
        priority=words.number(table["PriorityLong"]),
        reason=words.text(table["Reason"]) or "",
        node_list=nodes if len(nodes) < _NODES_WIDTH else "",
    )


def _accounting_rows(text: str) -> list[AccountingRow]:
    """Jobs with what their steps add: sacct prints the steps of a run right after it."""
    found: list[AccountingRow] = []
    for fields in _sacct_lines(text):
        f = dict(zip(_SACCT, fields, strict=True))
        if "." in f["JobIDRaw"]:
            _add_step(found, f)
        else:
            found.append(_accounting_row(f))
    return found


def _sacct_lines(text: str) -> Iterator[list[str]]:
    """Rows of sacct, which ends each with a line end: a job name that holds one is joined."""
    row = ""
    for line in text.split("\n"):  # not splitlines: a name may hold other line ends
        if line.count(FIELD) >= len(_SACCT) - 1 and line.partition(FIELD)[0].strip(".+_") != "":
            if row:
                yield row.removesuffix("\n").split(FIELD, len(_SACCT) - 1)
            row = line
        elif row:
            row += "\n" + line
    if row:
        yield row.removesuffix("\n").split(FIELD, len(_SACCT) - 1)


def _accounting_row(f: dict[str, str]) -> AccountingRow:
    code, signal = words.exit_code(f["ExitCode"])
    began = words.text(f["NodeList"]) is not None and not words.is_to_begin(f["State"])
    return AccountingRow(
        batch_job=f["JobIDRaw"],
        name=f["JobName"],
        user=f["User"],
        partition=f["Partition"],
        state=f["State"],
        account=words.text(f["Account"]),
        reason=words.text(f["Reason"]) or "",
        exit_code=code,
        signal=signal,
        submit_s=words.moment(f["Submit"]),
        start_s=words.moment(f["Start"]) if began else None,
        end_s=words.moment(f["End"]),
        elapsed_s=words.number(f["ElapsedRaw"]),
        nodes=words.number(f["NNodes"]),
        cores=words.number(f["AllocCPUS"]),
        accelerators=words.accelerators(f["AllocTRES"]),
        tres=f["AllocTRES"],
        cpu_ms=words.duration_ms(f["TotalCPU"]),
        max_rss_kb=words.memory_kb(f["MaxRSS"]),
        energy_j=words.number(f["ConsumedEnergyRaw"]) or None,
        node_list=words.text(f["NodeList"]) or "",
    )


def _add_step(found: list[AccountingRow], f: dict[str, str]) -> None:
    job = f["JobIDRaw"].partition(".")[0]
    rss = words.memory_kb(f["MaxRSS"])
    if not found or found[-1].batch_job != job or rss is None:
        return
    found[-1] = replace(found[-1], max_rss_kb=max(rss, found[-1].max_rss_kb or 0) or None)


def _parts(items: Sequence[str]) -> Iterator[Sequence[str]]:
    return (items[i : i + _MANY] for i in range(0, len(items), _MANY))
