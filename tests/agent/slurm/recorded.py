"""What slurmrestd and Slurm's commands answered, recorded or written down, served again.

Each file says of itself where it is from (`_about`). All of them tell of the same jobs, so that
one table of expectations holds for every version.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx2

from meyrin.agent.config import SlurmConfig
from meyrin.agent.slurm.command import FIELD, ROW, CommandTransport, Done
from meyrin.agent.slurm.rest import Rest

FOLDER = Path(__file__).parent / "recorded"
RELEASES = tuple(sorted(each.stem.removeprefix("rest-") for each in FOLDER.glob("rest-*.json")))
COMMANDS = tuple(
    sorted(each.stem.removeprefix("command-") for each in FOLDER.glob("command-*.json"))
)
_PLAIN = {"ping", "partitions", "nodes", "associations", "qos", "clusters"}
# of the jobs of 22.05, from which those written by hand were made too; later recordings have
# their own, from the commands of the same cluster
EARLIER: dict[str, Any] = {
    "ids": {
        "meyrin-done": "79", "meyrin-code": "80", "meyrin-killed": "81", "meyrin-late": "82",
        "meyrin-stopped": "83", "meyrin-never": "84", "meyrin-again": "85",
        "meyrin-refused": "86", "meyrin-running": "87", "meyrin-waiting": "89",
        "meyrin-array": "90",
    },
    "others": ["88", "91"],
    "ran": [
        ["meyrin-done", "COMPLETED", "2026-11-29T02:11:14", "2026-11-29T02:11:15", 1],
        ["meyrin-late", "TIMEOUT", "2026-11-29T02:11:14", "2026-11-29T02:12:20", 66],
        ["meyrin-stopped", "CANCELLED", "2026-11-29T02:11:14", "2026-11-29T02:11:15", 1],
        ["meyrin-again", "REQUEUED", "2026-11-29T02:11:14", "2026-11-29T02:11:15", 1],
        ["meyrin-again", "COMPLETED", "2026-11-29T02:13:19", "2026-11-29T02:13:23", 4],
    ],
    "late_rss": "3208K",
    "running": {
        "submit": "2026-11-29T02:11:15", "start": "2026-11-29T02:14:07", "priority": "2000",
    },
}  # fmt: skip


def _unseen(release: str) -> set[str]:
    """What `record` holds from the beginning and cancels is never heard of by accounting."""
    return {"meyrin-never"} if release in ("20.11", "23.11", "24.11", "26.05") else set()


class Recorded:
    """Answers questions from one file; `asked` holds what was asked."""

    def __init__(self, release: str) -> None:
        self.unseen = _unseen(release)
        told = json.loads((FOLDER / f"rest-{release}.json").read_text(encoding="utf-8"))
        self.version: str = told["version"]
        self.facts: dict[str, Any] = told.get("facts", EARLIER)
        self.replies: dict[str, Any] = told["replies"]
        self.asked: list[httpx2.Request] = []
        self.refusing = False

    def transport(self) -> Rest:
        config = SlurmConfig(transport="rest", rest_url="http://slurm.example:6820")
        return Rest(
            config, "mtb1", lambda: 0.0, transport=httpx2.MockTransport(self), uid_of=lambda _: 1001
        )

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        room, version, *rest = request.url.path.strip("/").split("/")
        if version != self.version:
            return httpx2.Response(404, text="Unable find requested URL.")
        return self._reply(room, "/".join(rest), request)

    def _reply(self, room: str, what: str, request: httpx2.Request) -> httpx2.Response:
        query = {k: v[0] for k, v in parse_qs(request.url.query.decode()).items()}
        if what in _PLAIN:
            return self._json(what)
        if request.method == "DELETE":
            return self._json("end-unknown", 500 if self.replies["end-unknown"]["errors"] else 200)
        if what == "job/submit":
            return self._json("submit-no", 500) if self.refusing else self._json("submit-yes")
        if room == "slurm" and what == "jobs":
            return self._json("jobs")
        assert (room, what) == ("slurmdb", "jobs"), request.url
        assert query, "all of accounting was asked for"
        return self._accounting(query)

    def _accounting(self, query: dict[str, str]) -> httpx2.Response:
        jobs = self.replies["accounting"]["jobs"]
        if "step" in query:
            ids = set(query["step"].split(","))
            jobs = [each for each in jobs if str(each["job_id"]) in ids]
        if "job_name" in query:
            names = set(query["job_name"].split(","))
            jobs = [each for each in jobs if each["name"] in names]
        if "users" in query:
            jobs = [each for each in jobs if each["user"] == query["users"]]
        if not jobs:
            return self._json("nothing")
        return httpx2.Response(200, json=self.replies["accounting"] | {"jobs": jobs})

    def _json(self, name: str, status: int = 200) -> httpx2.Response:
        return httpx2.Response(status, json=self.replies[name])


# --- by commands


class RecordedCommands:
    """A `command.Run` over one file: what each of Slurm's commands printed."""

    def __init__(self, release: str) -> None:
        self.unseen = _unseen(release)
        told = json.loads((FOLDER / f"command-{release}.json").read_text(encoding="utf-8"))
        self.replies: dict[str, dict[str, Any]] = told["replies"]
        self.asked: list[list[str]] = []
        self.refusing = False

    def transport(self) -> CommandTransport:
        return CommandTransport(self, user="mtb1", environ={"PATH": "/usr/bin:/bin"})

    def __call__(self, command: Sequence[str], _given: str, _environment: Any) -> Done:
        self.asked.append(list(command))
        said = dict(each.removeprefix("--").partition("=")[::2] for each in command[1:])
        kind = self.kind(command)
        if kind == "sbatch":
            kind = "sbatch-no" if self.refusing else "sbatch-yes"
        reply = self.replies[kind]
        out = reply["out"]
        if kind == "squeue" and "name" in said:
            out = _only(out, set(said["name"].split(",")))
        return Done(reply["code"], out, reply["err"])

    @staticmethod
    def kind(command: Sequence[str]) -> str:
        name = command[0]
        if name == "squeue":
            return "whole" if any(each.startswith("--Format") for each in command) else name
        if name == "scontrol":
            return next(each for each in ("ping", "config", "partition", "node") if each in command)
        if name == "sacctmgr":
            return "qos" if "qos" in command else "assoc"
        return name


def _only(text: str, names: set[str]) -> str:
    """squeue's rows of these names, which stand last in each."""
    rows = text.split(ROW)[1:]
    return "".join(ROW + row for row in rows if row.rstrip("\n").rpartition(FIELD)[2] in names)
