"""A double of slurmrestd before a `FakeSlurm`: answers as the real one does, or loses its answers.

Speaks two dialects, that of Slurm 22.05 (v0.0.38: plain numbers, words, wait statuses) and that of
25.05 (v0.0.43: numbers that are set or not, lists of words). What is lost is lost in any of the
ways that were seen: nobody listens, a connection that breaks, a time-out, HTTP 500, and HTTP 200
with the error inside.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from meyrin.testing.slurm import FakeJob, FakeSlurm, Faults

if TYPE_CHECKING:
    import httpx2

OLD, NEW = "v0.0.38", "v0.0.43"
_FULL = (
    2050,
    "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
)
_NO_ANSWER = (1005, "Zero Bytes were transmitted or received")
_CUT = (1008, "Insane message length")
_STATES = {"CANCELLED by 1000": "CANCELLED"}


class FakeRestd:
    """The handler of an `httpx2.MockTransport`. `asked` counts questions by path."""

    def __init__(
        self, cluster: FakeSlurm, faults: Faults | None = None, version: str = NEW
    ) -> None:
        self.cluster = cluster
        self.faults = faults or Faults(random.Random(0))  # noqa: S311 - chances of a story
        self.version = version
        self.asked: Counter[str] = Counter()

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        room, version, *rest = request.url.path.strip("/").split("/")
        what = "/".join(rest)
        if version != self.version:
            return self._text(404, "Unable find requested URL.")
        self.asked[f"{request.method} {room}/{rest[0]}"] += 1
        if (not self.cluster.up and room == "slurm") or self.faults.happens("lost"):
            return self._lost(arrived=False)

        def obey() -> httpx2.Response:
            return self._obey(request, room, what)

        if request.method != "GET" and self.faults.happens("late"):
            self.cluster.late.append(obey)
            return self._lost(arrived=True)
        answer = obey()
        return self._lost(arrived=True) if self.faults.happens("silent") else answer

    # --- what is obeyed

    def _obey(self, request: httpx2.Request, room: str, what: str) -> httpx2.Response:
        if request.method == "DELETE":
            return self._end(int(what.rpartition("/")[2]))
        if what == "job/submit":
            return self._submit(json.loads(request.content))
        if what == "ping":
            word = {"ping": "UP"} if self.version == OLD else {"pinged": "UP"}
            return self._good(pings=[{"hostname": "fake", **word}])
        if what == "jobs" and room == "slurm":
            return self._good(jobs=[self._live(job) for job in self.cluster.listed()])
        if what == "jobs":
            return self._accounting(request)
        return self._good(**self._facts(what))

    def _submit(self, body: dict[str, Any]) -> httpx2.Response:
        if self.cluster.full:
            return self._bad(500, *_FULL)
        job = body["job"]
        environment = job["environment"]
        if isinstance(environment, list):
            environment = dict(each.partition("=")[::2] for each in environment)
        script = body.get("script") or job["script"]
        number = self.cluster.submit(job["name"], script, environment)
        return self._good(job_id=number, step_id="batch")

    def _end(self, number: int) -> httpx2.Response:
        if not any(job.number == number for job in self.cluster.listed()):
            return self._bad(500, 2017, "Invalid job id specified")
        self.cluster.cancel(number)
        return self._good()

    def _accounting(self, request: httpx2.Request) -> httpx2.Response:
        query = {k: set(v[0].split(",")) for k, v in parse_qs(request.url.query.decode()).items()}
        assert query, "all of accounting was asked for"
        jobs = [
            self._recorded(job)
            for job in self.cluster.recorded
            if ("step" not in query or str(job.number) in query["step"])
            and ("job_name" not in query or self.cluster.accounted_as(job)[0] in query["job_name"])
        ]
        if not jobs and self.version == OLD:
            return self._bad(200, 9003, "Nothing found with query", jobs=[])
        return self._good(jobs=jobs)

    def _facts(self, what: str) -> dict[str, Any]:
        if what == "partitions":
            limit = {"max_time_limit": 1440, "total_nodes": 4, "nodes": "n[0-3]"}
            if self.version != OLD:
                limit = {"maximums": {"time": self._number(1440)}, "nodes": {"total": 4}}
            state = [self.cluster.partition_state]
            return {"partitions": [{"name": "main", "partition": {"state": state}, **limit}]}
        if what == "nodes":
            node = {"cpus": 32, "real_memory": 64_000, "gres": "gpu:h100:8", "partitions": ["main"]}
            out = self.cluster.drained
            said = {n: {"state_flags": ["DRAIN"], "reason": why} for n, why in out.items()}
            return {
                "nodes": [
                    {"name": f"n{n}", "state": "idle", **node, **said.get(n, {})} for n in range(4)
                ]
            }
        if what == "clusters":
            return {"clusters": [{"name": "fake"}]}
        return {"associations": [], "qos": []}

    # --- how it is said

    def _number(self, value: int | None) -> Any:
        if self.version == OLD:
            return value
        return {"set": value is not None, "infinite": False, "number": value or 0}

    def _word(self, state: str) -> Any:
        word = _STATES.get(state, state)
        return word if self.version == OLD else [word]

    def _live(self, job: FakeJob) -> dict[str, Any]:
        return {
            "job_id": job.number,
            "name": job.name,
            "user_name": self.cluster.user,
            "partition": "main",
            "job_state": self._word(job.state),
            "state_reason": "Priority" if job.state == "PENDING" else "None",
            "submit_time": self._number(job.submit_s),
            "start_time": self._number(job.start_s or 0),
            "end_time": self._number(job.end_s or 0),
            "exit_code": self._code(job.code),
            "node_count": self._number(1),
            "cpus": self._number(1),
            "restart_cnt": job.restarts,
            "nodes": "n1" if job.start_s is not None else "",
        }

    def _code(self, code: int) -> Any:
        if self.version == OLD:
            return code << 8 if code <= 128 else code - 128
        killed = code > 128
        signal = {"id": self._number(code - 128 if killed else None)}
        return {"return_code": self._number(None if killed else code), "signal": signal}

    def _recorded(self, job: FakeJob) -> dict[str, Any]:
        began = job.start_s is not None
        until = job.end_s if job.end_s is not None else self.cluster.now_s
        code: Any = {"status": "SUCCESS", "return_code": 0}  # as the real old one says of any code
        held = [{"type": name, "name": "", "count": 1} for name in ("cpu", "node")]
        return {
            "job_id": job.number,
            "name": self.cluster.accounted_as(job)[0],
            "user": self.cluster.user,
            "partition": self.cluster.accounted_as(job)[1],
            "state": {"current": self._word(job.state), "reason": "None"},
            "exit_code": code if self.version == OLD else self._code(job.code),
            "time": {
                "submission": job.submit_s,
                "start": job.start_s or 0,
                "end": job.end_s or 0,
                "elapsed": max(0, until - job.start_s) if job.start_s is not None else 0,
            },
            "allocation_nodes": 1 if began else 0,
            "nodes": "n1" if began else "None assigned",
            "tres": {"allocated": held if began else []},
            "steps": [],
        }

    # --- how it is lost

    def _lost(self, *, arrived: bool) -> httpx2.Response:
        import httpx2  # noqa: PLC0415

        def cut() -> httpx2.Response:
            raise httpx2.RemoteProtocolError("slurmrestd was restarted")

        def silent() -> httpx2.Response:
            raise httpx2.ReadTimeout("no answer")

        def nobody() -> httpx2.Response:
            raise httpx2.ConnectError("nobody listens")

        ways: list[Callable[[], httpx2.Response]] = [
            cut,
            silent,
            lambda: self._bad(200, *_NO_ANSWER),
            lambda: self._bad(500, *_CUT),
            lambda: self._bad(500, -1, "Unspecified error"),
            lambda: self._text(502, "bad gateway"),
        ]
        if not arrived:
            ways.append(nobody)
        return self.faults.random.choice(ways)()

    def _good(self, **body: Any) -> httpx2.Response:
        import httpx2  # noqa: PLC0415

        return httpx2.Response(200, json=self._meta() | {"errors": [], "warnings": []} | body)

    def _bad(self, status: int, number: int, words: str, **body: Any) -> httpx2.Response:
        import httpx2  # noqa: PLC0415

        errors = [{"error_number": number, "error": words}]
        return httpx2.Response(status, json=self._meta() | {"errors": errors} | body)

    @staticmethod
    def _text(status: int, words: str) -> httpx2.Response:
        import httpx2  # noqa: PLC0415

        return httpx2.Response(status, text=words)

    def _meta(self) -> dict[str, Any]:
        key = "Slurm" if self.version == OLD else "slurm"
        return {"meta": {key: {"release": "22.05.8", "cluster": "fake"}}}
