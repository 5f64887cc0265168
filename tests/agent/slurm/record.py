"""Records what a real Slurm answers, by commands and by slurmrestd, for `recorded/`.

    python -m tests.agent.slurm.record FOLDER WHERE_FROM

starts a cluster (of another version: see testbed/slurm/other-version.sh), brings the same jobs to
the same ends as in every recording, takes three minutes for it, and writes `command-RELEASE.json`
and `rest-RELEASE.json` into FOLDER. Both transports ask their own questions here, and what came
back is kept as it was. Beside slurmrestd's answers stand the facts as the commands tell them, so
that each way is held against the other.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx2
from tests.agent.slurm.recorded import RecordedCommands
from tests.components import Slurm, start_slurm

from meyrin.agent.config import SlurmConfig
from meyrin.agent.slurm.command import CommandTransport, Done, runner
from meyrin.agent.slurm.rest import Rest
from meyrin.agent.slurm.transport import Gres, NotAccepted, Submission
from meyrin.domain.errors import Unreachable

PERSON, OTHER = "mtb1", "mtb2"
NAMES = [
    "meyrin-done", "meyrin-code", "meyrin-killed", "meyrin-late", "meyrin-stopped", "meyrin-never",
    "meyrin-again", "meyrin-refused", "meyrin-running", "meyrin-waiting", "meyrin-array",
]  # fmt: skip
ENDING = {
    "done": ("--mem=800M -c2 --gres=gpu:h100:1", "sleep 1"),
    "code": ("", "exit 3"),
    "killed": ("", "kill -9 $$"),
    "late": ("-t1", "sleep 600"),
    "stopped": ("", "sleep 600"),
    "never": ("--hold", "true"),
    "again": ("--requeue", "sleep 4"),
    "refused": ("--gres=gpu:99", "true"),
}
STAYING = {
    "running": ("-N2 --ntasks-per-node=4 --mem=1000M --gres=gpu:h100:4 -t1-0", "sleep 900"),
    "waiting": ("-N2 --exclusive -t120", "true"),
    "array": ("-a1,3,5,7,9%2 --gres=gpu:8 -t10", "true"),
}
LIMITS = """\
add qos deb set priority=7 maxwall=21 maxsubmitjobsperuser=22 maxtresperuser=gres/gpu=24 \
maxtresperjob=cpu=25 flags=DenyOnLimit,NoDecay
modify user mtb1 where account=bio set maxjobs=11 maxsubmitjobs=12 maxwall=13 \
maxtresperjob=cpu=14 maxtresminsperjob=cpu=15
"""
SETTINGS = (
    "Configuration data", "AccountingStorageType", "AuthType", "ClusterName", "KillWait",
    "MaxJobCount", "MessageTimeout", "MinJobAge", "SchedulerType", "SelectType ", "SLURM_VERSION",
    "Slurmctld(primary)",
)  # fmt: skip
FACTS = "JobIDRaw,JobName,State,Submit,Start,End,ElapsedRaw,MaxRSS"


class Cluster:
    """Jobs on one cluster, sent as the people who own them."""

    def __init__(self, slurm: Slurm) -> None:
        self.slurm = slurm

    def say(self, *words: str) -> str:
        return self.slurm.command("rest", *words)

    def sbatch(self, person: str, name: str, options: str, script: str) -> str:
        """The id of the job; empty where it was refused."""
        as_person = f"--reuid={person}", f"--regid={person}", "--init-groups"
        common = "-A", "astro", "-p", "gpu", "-t5", "-o", "/dev/null", "-D", "/tmp"
        line = "setpriv", *as_person, "--", "sbatch", "--parsable", "-J", name, *common
        with contextlib.suppress(AssertionError):
            return self.say(*line, *options.split(), "--wrap", script).strip()
        return ""

    def state(self, job: str) -> str:
        return self.say("squeue", "-h", "-a", "-t", "all", "-j", job, "-o", "%T").strip()

    def until(self, job: str, state: str, seconds: int = 240) -> None:
        end = time.monotonic() + seconds
        while (now := self.state(job)) != state:
            assert time.monotonic() < end, (job, now, state)
            time.sleep(0.5)


def play(there: Cluster) -> None:
    """All jobs where they are in every recording."""
    for line in LIMITS.splitlines():
        there.say("sacctmgr", "-i", *line.split())
    ids = {name: there.sbatch(PERSON, f"meyrin-{name}", *how) for name, how in ENDING.items()}
    for name in ("stopped", "again"):
        there.until(ids[name], "RUNNING")
    time.sleep(1)
    there.say("scancel", ids["stopped"])
    there.say("scancel", ids["never"])
    there.say("scontrol", "requeue", ids["again"])
    there.until(ids["late"], "TIMEOUT")
    there.until(ids["again"], "COMPLETED")
    ids |= {name: there.sbatch(PERSON, f"meyrin-{name}", *how) for name, how in STAYING.items()}
    other = there.sbatch(OTHER, "other", "--gres=gpu:h100:2 -t60", "sleep 900")
    there.until(ids["running"], "RUNNING")
    there.until(other, "RUNNING")
    time.sleep(8)


# --- by commands


class Kept:
    """Runs real commands and keeps what each kind of question first brought."""

    def __init__(self, run: Callable[..., Done]) -> None:
        self._run = run
        self.replies: dict[str, dict[str, Any]] = {}

    def __call__(self, command: Sequence[str], given: str, environment: Mapping[str, str]) -> Done:
        done = self._run(command, given, environment)
        kind = RecordedCommands.kind(command)
        if kind == "sbatch":
            kind = "sbatch-no" if done.code else "sbatch-yes"
        out = done.out
        if kind == "config":
            out = "".join(x for x in out.splitlines(True) if x.startswith(SETTINGS))
        self.replies.setdefault(kind, {"code": done.code, "out": out, "err": done.err})
        return done


def by_commands(slurm: Slurm) -> dict[str, Any]:
    kept = Kept(runner(60))
    there = CommandTransport(kept, conf=slurm.conf("rest"), user=PERSON)
    there.queue()
    there.whole_queue()
    there.accounting(NAMES, 0)
    there.describe()
    there.health()
    there.cancel(["999999"])
    submitted(there, "short")
    return kept.replies


def submitted(there: CommandTransport | Rest, partition: str) -> None:
    """One that is taken, and one that is not."""
    taken = Submission(
        name="other", script="#!/bin/bash\ntrue\n", partition=partition, workdir="/tmp",
        stdout="/dev/null", account="astro", walltime_s=60,
        environment=(("PATH", os.environ["PATH"]),),
    )  # fmt: skip
    there.submit(taken)
    with contextlib.suppress(NotAccepted):
        there.submit(Submission(**{f: getattr(taken, f) for f in taken.__slots__}
                                | {"gres": (Gres("gpu", None, 99),)}))  # fmt: skip


# --- by slurmrestd


class Listening(httpx2.BaseTransport):
    """The way to a real slurmrestd; keeps what each kind of question last brought, and of
    accounting all."""

    def __init__(self) -> None:
        self._way = httpx2.HTTPTransport()
        self.replies: dict[str, Any] = {}

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        reply = self._way.handle_request(request)
        raw = reply.read()
        with contextlib.suppress(ValueError):
            kind, told = self._kind(request, reply.status_code), json.loads(raw)
            if kind == "accounting" and kind in self.replies:  # one by one
                told["jobs"] = self.replies[kind]["jobs"] + told["jobs"]
            self.replies[kind] = told
        return httpx2.Response(reply.status_code, content=raw)

    @staticmethod
    def _kind(request: httpx2.Request, status: int) -> str:
        room, _, *rest = request.url.path.strip("/").split("/")
        what = "/".join(rest)
        if request.method == "DELETE":
            return "end-unknown"
        if what == "job/submit":
            return "submit-yes" if status == 200 else "submit-no"
        if (room, what) == ("slurmdb", "jobs"):
            return "accounting" if b"step=" in request.url.query else "by-name"
        return what


def by_rest(slurm: Slurm) -> tuple[str, dict[str, Any]]:
    way = Listening()
    with tempfile.TemporaryDirectory() as folder:
        token = Path(folder) / "token"
        token.touch(0o600)
        token.write_text(slurm.token("rest", PERSON), encoding="utf-8")
        config = SlurmConfig(
            transport="rest", rest_url=slurm.rest("rest"), rest_user=PERSON, rest_token_file=token
        )
        there = Rest(config, PERSON, time.time, transport=way)
        there.health()
        there.describe()
        there.queue()
        there.accounting(NAMES, int(time.time()) - 3600, ["999999"])
        way.replies["nothing"] = way.replies.pop("accounting")
        there.accounting(NAMES, int(time.time()) - 3600)
        way.replies.pop("by-name")
        there.cancel(["9999"])
        submitted(there, "short")
        version = there._version().name
        there.close()
    return version, way.replies


def facts(there: Cluster) -> dict[str, Any]:
    """Of the same jobs, as the commands tell it."""
    out = there.say("sacct", "-n", "-P", "-D", "-a", "-S", "now-1hour", f"--format={FACTS}")
    rows = [dict(zip(FACTS.split(","), line.split("|"), strict=True)) for line in out.splitlines()]
    rss = {row["JobIDRaw"].partition(".")[0]: row["MaxRSS"] for row in rows if row["MaxRSS"]}
    jobs = [row for row in rows if "." not in row["JobIDRaw"] and row["JobName"] in NAMES]
    start = there.say("squeue", "-h", "-n", "meyrin-running", "-o", "%S|%V|%Q").strip().split("|")
    return {
        "ids": {row["JobName"]: row["JobIDRaw"] for row in jobs},
        "others": sorted({row["JobIDRaw"] for row in rows if row["JobName"] == "other"}),
        "ran": [
            [row["JobName"], row["State"].split()[0], row["Start"], row["End"],
             int(row["ElapsedRaw"])]
            for row in jobs
            if row["ElapsedRaw"] != "0" and row["JobName"] != "meyrin-running"
        ],
        "late_rss": next(rss[row["JobIDRaw"]] for row in jobs if row["JobName"] == "meyrin-late"),
        "running": dict(zip(("start", "submit", "priority"), start, strict=True)),
    }  # fmt: skip


# --- files


def text(value: Any, depth: int = 0) -> str:
    """JSON for eyes: one line for each job, node and so on."""
    pad = " " * (depth + 1)
    if depth < 3 and isinstance(value, dict) and value:
        lines = [f"{pad}{json.dumps(k)}: {text(v, depth + 1)}" for k, v in value.items()]
        return "{\n" + ",\n".join(lines) + "\n" + " " * depth + "}"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(pad + json.dumps(each) for each in value) + "\n" + pad + "]"
    return json.dumps(value, ensure_ascii=True)


def write(path: Path, told: dict[str, Any]) -> None:
    path.write_text(text(told) + "\n", encoding="utf-8")
    print(path)


def main(folder: Path, source: str) -> None:
    slurm = start_slurm(SITES="rest")
    try:
        there = Cluster(slurm)
        release = there.say("sinfo", "--version").split()[-1]
        print(f"Slurm {release}: the jobs take three minutes", file=sys.stderr)
        play(there)
        told, commands = facts(there), by_commands(slurm)
        short = ".".join(release.split(".")[:2])
        by_command = {
            "_about": f"real: the commands of Slurm {release} ({source}); other settings left out",
            "replies": commands,
        }
        write(folder / f"command-{short}.json", by_command)
        try:
            version, rest = by_rest(slurm)
        except Unreachable as error:  # as that of 20.11 is
            print(error, file=sys.stderr)
            return
        by_http = {
            "_about": f"real: slurmrestd of Slurm {release} ({source}) speaking {version}",
            "version": version,
            "facts": told,
            "replies": rest,
        }
        write(folder / f"rest-{short}.json", by_http)
    finally:
        slurm.service.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
