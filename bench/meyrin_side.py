"""Meyrin as bench/throughput.py measures it: hub, agent and keeper as processes of their own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from meyrin.client.api import Client
from meyrin.domain.job import ArraySpec, JobRequest, Resources
from meyrin.wire.jobs import Submission, SubmitBody, SubmitReply

NO_OP = "#!/bin/true\n"  # the kernel runs /bin/true itself: no shell in between
AGENT = """\
hub = "http://127.0.0.1"
credential_file = "credential"
dir = "."
batch = "local"
share_files = true

[[partition]]
name = "main"
nodes = 1
cores_per_node = {slots}
memory_mb_per_node = 1000000
max_walltime_s = 3600
default_walltime_s = 60
"""


@dataclass(frozen=True, slots=True)
class Side:
    """A running Meyrin: a client, its database for counting, and its processes' memory."""

    client: Client
    engine: sa.Engine
    hub: subprocess.Popen[str]

    def _count(self, statement: str) -> int:
        with self.engine.connect() as connection:
            return int(connection.execute(sa.text(statement)).scalar_one())

    def under_way(self) -> bool:
        """Whether jobs have not ended, as the database has them on disk; by its partial indexes.
        Not how many: to count them at each look cost a fifteenth of PostgreSQL's work."""
        return bool(
            self._count(
                "SELECT CASE WHEN EXISTS"
                " (SELECT 1 FROM jobs WHERE state IN ('submitted', 'admitted')) OR EXISTS"
                " (SELECT 1 FROM attempts WHERE state NOT IN ('ended', 'refused'))"
                " THEN 1 ELSE 0 END"
            )
        )

    def settled(self) -> int:
        """Jobs that were charged."""
        return self._count("SELECT count(*) FROM entries WHERE kind = 'settle'")

    def failed(self) -> int:
        return self._count(
            "SELECT count(*) FROM jobs WHERE state IN ('failed', 'cancelled', 'expired')"
        )

    def hub_rss_mb(self) -> int:
        text = Path(f"/proc/{self.hub.pid}/status").read_text(encoding="ascii")
        match = re.search(r"VmRSS:\s+(\d+) kB", text)
        return int(match[1]) // 1024 if match else 0


@contextmanager
def meyrin(database_url: str, slots: int) -> Iterator[Side]:
    """Start a hub with one local site of `slots` cores; stop everything at the end."""
    with tempfile.TemporaryDirectory(prefix="meyrin-bench-") as name:
        folder = Path(name)
        site = folder / "sites" / "local"
        site.mkdir(parents=True, mode=0o700)
        (site / "agent.toml").write_text(AGENT.format(slots=slots), encoding="utf-8")
        environ = {
            **os.environ,
            "MEYRIN_HUB_DB_URL": database_url,
            "MEYRIN_HUB_STARTER_HOURS": "1000000",
        }
        hub = subprocess.Popen(
            [sys.executable, "-m", "meyrin", "up", "--dir", name, "--port", "0", "--quiet"],
            stdout=subprocess.PIPE,
            text=True,
            env=environ,
        )
        assert hub.stdout is not None
        hub.stdout.readline()
        url = database_url or f"sqlite:///{folder}/hub.sqlite"
        try:
            with Client.from_environment(os.environ, folder=folder) as client:
                yield Side(client, sa.create_engine(url), hub)
        finally:
            hub.send_signal(signal.SIGTERM)
            hub.wait(60)


def request(name: str = "no-op", array: ArraySpec | None = None) -> JobRequest:
    return JobRequest(
        script=NO_OP,
        name=name,
        array=array,
        resources=Resources(memory_mb=1),
        walltime_s=60,
        stdout="/dev/null",
        submit_dir="/",
    )


def submit(side: Side, count: int) -> None:
    """Submit `count` jobs in one call, each a request of its own with a key of its own, no two
    alike: what an SDK's user has who sends many different jobs."""
    _post(
        side,
        [
            Submission(request=request(f"no-op-{i}"), idempotency_key=uuid.uuid4().hex)
            for i in range(count)
        ],
    )


def submit_array(side: Side, count: int) -> None:
    """Submit `count` jobs as the elements of one array: what `meyrin submit --array` does, and
    nearest to the map that the peers are measured by. Each is a job, an attempt and a charge."""
    array = ArraySpec(tuple(range(count)))
    _post(side, [Submission(request=request(array=array), idempotency_key=uuid.uuid4().hex)])


def _post(side: Side, submissions: list[Submission]) -> None:
    body = SubmitBody(submissions=submissions)
    side.client.connection.call(
        "POST", "/jobs", repeatable=True, content=body.model_dump_json(),
        headers={"content-type": "application/json"},
    )  # fmt: skip


def throughput(
    side: Side, jobs: int, batch: int, send: Callable[[Side, int], None] = submit
) -> float:
    """Jobs per second from the first submit until all are settled, on disk."""
    before = side.settled()
    begun = time.perf_counter()
    for start in range(0, jobs, batch):
        send(side, min(batch, jobs - start))
    end = begun + 600
    while side.under_way():
        if time.perf_counter() > end:
            raise TimeoutError(f"{side.settled() - before} of {jobs} settled after 600 s")
        time.sleep(0.05)
    took = time.perf_counter() - begun
    assert side.settled() == before + jobs, "every job is charged once"
    assert side.failed() == 0, f"{side.failed()} jobs did not complete"
    return jobs / took


def latencies_ms(side: Side, jobs: int, per_s: float) -> list[int]:
    """Submit-to-start of single jobs sent at a fixed rate, in milliseconds."""
    sent: list[tuple[int, int]] = []
    begun = time.perf_counter()
    for number in range(jobs):
        wait = begun + number / per_s - time.perf_counter()
        if wait > 0:
            time.sleep(wait)
        now_ms = time.time_ns() // 1_000_000
        body = SubmitBody(
            submissions=[Submission(request=request(), idempotency_key=uuid.uuid4().hex)]
        )
        answer = side.client.connection.call(
            "POST", "/jobs", repeatable=True, content=body.model_dump_json(),
            headers={"content-type": "application/json"},
        )  # fmt: skip
        sent.append((SubmitReply.model_validate_json(answer.content).jobs[0].job, now_ms))
    last = max(job for job, _ in sent)
    end = time.perf_counter() + 60
    while side.client.job(str(last)).job.end_ms is None and time.perf_counter() < end:
        time.sleep(0.05)
    starts = {}
    for job, _ in sent:
        starts[job] = side.client.job(str(job)).job.start_ms
    return sorted(starts[job] - at for job, at in sent if starts[job] is not None)


def cpu_s(hub: int, url: str) -> dict[str, float]:
    """CPU seconds so far of each part: the hub, the agent, the keeper, the jobs that it reaped,
    and of PostgreSQL the server with its connections."""
    found = {"hub": 0.0, "agent": 0.0, "keeper": 0.0, "jobs": 0.0}
    seen = {int(p.name): p for p in Path("/proc").iterdir() if p.name.isdigit()}
    for pid, path in seen.items():
        try:
            words = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            text = (path / "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue  # ended meanwhile
        fields = text[text.rindex(")") + 2 :].split()
        parent = int(fields[1])
        own, reaped = (sum(map(int, fields[i : i + 2])) * _TICK_S for i in (11, 13))
        if pid == hub:
            found["hub"] += own
        elif parent == hub and " agent " in words:
            found["agent"] += own
        elif "meyrin.agent.keeper" in words:
            found["keeper"] += own
            found["jobs"] += reaped if _is_keeper(parent) else 0
        elif url and words.startswith("postgres: meyrin meyrin"):
            found["postgres"] = found.get("postgres", 0.0) + own
    return found


_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def _is_keeper(pid: int) -> bool:
    """Whether that is the guard: its child is the keeper, which reaps the jobs."""
    try:
        return b"meyrin.agent.keeper" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
