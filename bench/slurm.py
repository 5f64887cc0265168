"""Jobs per second through Meyrin on a real Slurm cluster, against plain sbatch in the same run.

Both sides run the same no-op as the same user on the same cluster, one after the other: plain
sbatch, then Meyrin from a client's submit to the end in the hub, then plain sbatch again; the
ratio is against the mean of the two. First one loop that submits on either side, then as many at
once on either side as the agent sends; Meyrin's one loop against sbatch's many is told too, and as
many at once by an agent that talks to slurmrestd and starts no sbatch. A run
begins at the first submission and ends when Slurm says that the last job has ended, on either side
by the same look; how long the hub then takes to know of every end is told beside it.

A no-op is the hardest job: Slurm has all processors here busy with nothing but starting and ending
jobs, and hub, agent and client, which are on other machines elsewhere, take their part of the same
ones. How busy they were, and what hub and agent took of them a job, is told (the agent's is with
the commands of Slurm that it starts). So the same is measured with jobs of a few seconds, more of
them than the cluster can run at a time: under the policy as it comes, where jobs wait at the hub,
and under one by which they wait in Slurm's queue, as they do by plain sbatch.

Start and end to seen is from the script's own word until the hub shows it, with nodes that tell
the agent and without. Latency is the wall time from a client's submit until the hub says that the
job is in Slurm's queue or past it, of single jobs on an idle system. Polls are counted on the
double of Slurm's commands, over ten minutes of its clock, with so many jobs waiting; the time of
one such look is measured on the real cluster, with an array of that size.

    python bench/slurm.py [--jobs 200] [--json]

Needs root (it starts a cluster of its own, as the tests do).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.components import Slurm, start_slurm  # noqa: E402
from tests.walk.facility import Facility, Process, facility, wait_for  # noqa: E402
from tests.walk.slurm_books import over_rest  # noqa: E402
from tests.walk.slurm_site import Way, site, way  # noqa: E402

from meyrin.agent.slurm.batch import SlurmBatch  # noqa: E402
from meyrin.agent.slurm.command import CommandTransport, runner  # noqa: E402
from meyrin.domain.job import JobRequest, Resources  # noqa: E402
from meyrin.testing.slurm import FakeCommands, FakeSlurm  # noqa: E402

CLUSTER = "alpha"
NO_OP = "#!/bin/sh\n"
LONGER = "#!/bin/sh\nexec sleep 3\n"
AT_ONCE = 4
LOOK_S = 0.25  # between looks at who is done, on either side: looking must not weigh


def sbatch(slurm: Slurm, who: Way, name: str, script: str) -> None:
    subprocess.run(
        ["sbatch", "--parsable", f"--job-name={name}", "--account=astro", "--mem=10", "-n1",
         "--partition=gpu", "--time=10", "--output=/dev/null"],
        input=script.encode(),
        env={"PATH": os.environ["PATH"], "SLURM_CONF": str(slurm.conf(CLUSTER)), **who.more},
        preexec_fn=who.preexec(),
        stdout=subprocess.DEVNULL,
        cwd="/",
        check=True,
    )  # fmt: skip


def ended(slurm: Slurm, names: str) -> int:
    text = slurm.command(CLUSTER, "squeue", "-h", "-t", "CD", "-o", "%j")
    return sum(line.startswith(names) for line in text.splitlines())


@dataclass(frozen=True)
class Ran:
    """So many jobs one after the other: until Slurm had ended the last, and until the hub knew of
    every end (0: it was none of the hub's)."""

    jobs: int
    slurm_s: float
    hub_s: float = 0.0
    busy: float = 0.0
    cpu_ms: tuple[float, ...] = ()

    @property
    def per_s(self) -> float:
        return self.jobs / self.slurm_s


def plain(slurm: Slurm, who: Way, jobs: int, at_once: int, script: str = NO_OP) -> Ran:
    """By sbatch, from the first submission to the last end."""
    name = f"plain{time.monotonic_ns()}"
    began, machine = time.monotonic(), _machine()
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(lambda _: sbatch(slurm, who, name, script), range(jobs)))
    _wait(lambda: ended(slurm, name) >= jobs, "plain jobs")
    return Ran(jobs, time.monotonic() - began, busy=_busy(machine))


def through(place: Facility, slurm: Slurm, jobs: int, at_once: int = 1, script: str = NO_OP) -> Ran:
    """By Meyrin, single requests, with so many clients at once."""
    before = ended(slurm, "meyrin-")
    parties = [place.hub.process, place.agents[CLUSTER].process]
    took = [_cpu_ms(one) for one in parties]

    def submit(numbers: range) -> list[int]:
        with place.hub.client() as client:
            return [client.submit(_request(f"bench{number}", script)).job for number in numbers]

    with place.hub.client() as client, ThreadPoolExecutor(at_once) as pool:
        began, machine = time.monotonic(), _machine()
        parts = [range(first, jobs, at_once) for first in range(at_once)]
        left = [job for part in pool.map(submit, parts) for job in part]
        _wait(lambda: ended(slurm, "meyrin-") >= before + jobs, "Meyrin's jobs")
        slurm_s, busy = time.monotonic() - began, _busy(machine)
        cpu_ms = [(_cpu_ms(one) - was) / jobs for one, was in zip(parties, took, strict=True)]

        def look() -> bool:
            while left and client.job(left[-1]).job.state == "completed":
                left.pop()
            return not left

        wait_for(look, "Meyrin's jobs in the hub")
        hub_s = time.monotonic() - began
    return Ran(jobs, slurm_s, hub_s, busy, tuple(cpu_ms))


def _cpu_ms(process: Process) -> float:
    """What a program and what it has waited for have had of the processors."""
    assert process.running is not None
    stat = Path(f"/proc/{process.running.pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, stat[11:15])) * 1000 / os.sysconf("SC_CLK_TCK")


def _machine() -> tuple[int, int]:
    """Ticks of all processors, and those in which they had nothing to do."""
    ticks = list(map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]))
    return sum(ticks), ticks[3] + ticks[4]


def _busy(before: tuple[int, int]) -> float:
    """Which part of the processors was at work since then."""
    whole, idle = (now - was for now, was in zip(_machine(), before, strict=True))
    return 1 - idle / whole


def _wait(done: Callable[[], bool], what: str) -> None:
    """As `wait_for`, but a look in a quarter of a second."""

    def look() -> bool:
        time.sleep(LOOK_S)
        return done()

    wait_for(look, what)


def _request(name: str, script: str = NO_OP) -> JobRequest:
    wanted = Resources(cores_per_task=1, memory_mb=10)
    return JobRequest(script=script, name=name, resources=wanted, walltime_s=600)


def latencies_ms(place: Facility, count: int) -> list[float]:
    """From submit to "queued" or past it, as the hub says it; single jobs, one after another."""
    found = []
    with place.hub.client() as client:
        for number in range(count):
            began = time.monotonic()
            job = client.submit(_request(f"one{number}")).job
            while client.job(job).job.state in {"submitted", "admitted", "placed", "leased"}:
                time.sleep(0.01)
            found.append((time.monotonic() - began) * 1000)
            wait_for(lambda job=job: client.job(job).job.state == "completed", "one job")
    return sorted(found)


def polls_per_s(live: int, seconds: int = 600) -> dict[str, float]:
    """Questions a second, of each kind, with so many jobs waiting and nothing happening."""
    from meyrin.agent.batch import Start
    from meyrin.domain.units import NodeShape

    now = [1_800_000_000.0]
    cluster = FakeSlurm(lambda: now[0])
    cluster.holds = True
    commands = FakeCommands(cluster)
    with tempfile.TemporaryDirectory() as folder:
        batch = SlurmBatch(
            Path(folder), CommandTransport(commands, user=cluster.user), clock_s=lambda: now[0],
            at_once=1,
        )  # fmt: skip
        batch.submit(
            tuple(
                Start(f"{n:08d}", n, "x", "main", 1, NodeShape(1, 10), 1, 600, NO_OP, workdir="/")
                for n in range(live)
            )
        )
        while batch.sender.send_once():
            pass
        commands.asked.clear()
        for _ in range(seconds * 2):
            batch.step()
            now[0] += 0.5
        batch.leave()
    return {name: round(count / seconds, 4) for name, count in sorted(commands.asked.items())}


def look_ms(slurm: Slurm, live: int) -> float:
    """One look at the real queue with an array of this size waiting in it."""
    if live:
        slurm.command(
            CLUSTER, "sbatch", f"--array=1-{live}", "--hold", "--account=astro", "--mem=10",
            "--output=/dev/null", "--wrap=true",
        )  # fmt: skip
    transport = CommandTransport(runner(60), conf=slurm.conf(CLUSTER), user="root")
    times = [_timed(transport.queue) for _ in range(5)]
    slurm.command(CLUSTER, "scancel", "--user=root")
    return round(min(times) * 1000, 1)


def _timed(what: Callable[[], object]) -> float:
    began = time.monotonic()
    what()
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    who = way()
    slurm = start_slurm(SITES=CLUSTER)
    try:
        with tempfile.TemporaryDirectory(prefix="mtb-bench-") as folder:
            Path(folder).chmod(0o755)
            found = measure(slurm, who, Path(folder), chosen.jobs)
    finally:
        slurm.service.close()
    if chosen.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:24} {value}")


@contextmanager
def joined(slurm: Slurm, folder: Path) -> Iterator[Facility]:
    """A facility with this cluster as its site, warm."""
    with facility(folder) as place:
        place.hub.start()
        place.grant(10**9, charged_type="h100")
        agent = site(
            place, slurm, CLUSTER, folder, submits_at_once=AT_ONCE, poll_min_s=2.0, poll_max_s=30.0
        )
        agent.start()
        place.joined(CLUSTER)
        through(place, slurm, 10)
        yield place


def against(
    place: Facility, slurm: Slurm, who: Way, jobs: int, at_once: int, script: str = NO_OP
) -> tuple[Ran, Ran]:
    """Plain sbatch, before and after, and Meyrin in between."""
    before = plain(slurm, who, jobs, at_once, script)
    ours = through(place, slurm, jobs, at_once, script)
    after = plain(slurm, who, jobs, at_once, script)
    slurm_s, busy = before.slurm_s + after.slurm_s, (before.busy + after.busy) / 2
    return Ran(2 * jobs, slurm_s, busy=busy), ours


def longer(place: Facility, slurm: Slurm, who: Way, jobs: int) -> dict[str, object]:
    """Jobs of three seconds, more than run at a time, where jobs wait at the hub and in Slurm."""
    found: dict[str, object] = {}
    for waits, policy in (
        ("at_hub", {}),
        ("in_slurm", {"send_ahead_s": 3600, "queue_ahead": 10_000}),
    ):
        with place.hub.client() as client:
            client.connection.call("PUT", "/policy", repeatable=True, json=policy)
        plainly, ours = against(place, slurm, who, jobs, 1, LONGER)
        found |= {
            f"of_3_s_waiting_{waits}_ratio_to_loop": _ratio(plainly, ours),
            f"of_3_s_waiting_{waits}_per_s": {
                "sbatch": round(plainly.per_s, 2),
                "meyrin": round(ours.per_s, 2),
            },
        }
        if waits == "in_slurm":
            found |= {
                f"waiting_in_slurm_ratio_to_{n}": _ratio(*against(place, slurm, who, jobs, n))
                for n in (1, AT_ONCE)
            }
    with place.hub.client() as client:
        client.connection.call("PUT", "/policy", repeatable=True, json={})
    return found


def _ratio(plainly: Ran, ours: Ran) -> float:
    return round(ours.per_s / plainly.per_s, 2)


def seen_ms(place: Facility, folder: Path, count: int) -> tuple[float, float]:
    """How long after a script's start and end the hub knows of it: the median of so many jobs."""
    starts, ends = [], []
    with place.hub.client() as client:
        for number in range(count):
            mark = folder / f"{time.monotonic_ns()}"
            script = (
                f"#!/bin/bash\ndate +%s%N > {mark}; sleep 1.{number % 10}\ndate +%s%N >> {mark}\n"
            )
            job = client.submit(replace(_request(f"seen{number}"), script=script)).job
            seen = {}
            while "completed" not in seen:
                seen.setdefault(client.job(job).job.state, time.time_ns())
                time.sleep(0.01)
            began, ended = map(int, mark.read_text().split())
            starts.append((seen.get("running", seen["completed"]) - began) / 1e6)
            ends.append((seen["completed"] - ended) / 1e6)
    return round(statistics.median(starts)), round(statistics.median(ends))


def _through_rest(place: Facility, slurm: Slurm, jobs: int) -> Ran:
    """The same by an agent that asks slurmrestd, which is stopped again afterwards."""
    agent = place.agents[CLUSTER]
    path = agent.folder / "agent.toml"
    by_commands, by_rest = path.read_text(), over_rest(slurm, agent).read_text()
    agent.kill()
    path.write_text(by_rest)
    agent.start()
    through(place, slurm, 10)
    ran = through(place, slurm, jobs, AT_ONCE)
    agent.kill()
    path.write_text(by_commands)
    agent.start()
    through(place, slurm, 2)
    return ran


def measure(slurm: Slurm, who: Way, folder: Path, jobs: int) -> dict[str, object]:
    marks = folder / "marks"
    marks.mkdir()
    marks.chmod(0o777)
    with joined(slurm, folder) as place:
        agent = place.agents[CLUSTER]
        plain(slurm, who, 10, 1)
        plainly, ours = {}, {}
        for at_once in (1, AT_ONCE):
            plainly[at_once], ours[at_once] = against(place, slurm, who, jobs, at_once)
        before = plain(slurm, who, jobs, AT_ONCE)
        by_rest = _through_rest(place, slurm, jobs)
        after = plain(slurm, who, jobs, AT_ONCE)
        beside_rest = Ran(2 * jobs, before.slurm_s + after.slurm_s)
        of_seconds = longer(place, slurm, who, jobs)
        late = latencies_ms(place, 20)
        pushed = seen_ms(place, marks, 15)
        agent.kill()
        with (folder / CLUSTER / "agent.toml").open("a") as settings:
            settings.write("push = false\n")
        agent.start()
        through(place, slurm, 2)
        unpushed = seen_ms(place, marks, 15)
    return {
        "jobs": jobs,
        "ran_as": who.user,
        "sbatch_loop_per_s": round(plainly[1].per_s, 2),
        "meyrin_loop_per_s": round(ours[1].per_s, 2),
        f"sbatch_{AT_ONCE}_at_once_per_s": round(plainly[AT_ONCE].per_s, 2),
        f"meyrin_{AT_ONCE}_at_once_per_s": round(ours[AT_ONCE].per_s, 2),
        "ratio_to_loop": _ratio(plainly[1], ours[1]),
        f"ratio_to_{AT_ONCE}_at_once": _ratio(plainly[AT_ONCE], ours[AT_ONCE]),
        f"meyrin_by_slurmrestd_{AT_ONCE}_at_once_per_s": round(by_rest.per_s, 2),
        f"ratio_by_slurmrestd_to_{AT_ONCE}_at_once": _ratio(beside_rest, by_rest),
        f"ratio_of_loop_to_{AT_ONCE}_at_once": _ratio(plainly[AT_ONCE], ours[1]),
        **of_seconds,
        "last_end_to_hub_knows_s": {
            n: round(one.hub_s - one.slurm_s, 2) for n, one in ours.items()
        },
        "processors_busy": {
            n: {"sbatch": round(plainly[n].busy, 2), "meyrin": round(ours[n].busy, 2)} for n in ours
        },
        "cpu_ms_a_job": {
            n: dict(zip(("hub", "agent"), (round(ms, 1) for ms in one.cpu_ms), strict=True))
            for n, one in ours.items()
        },
        "submit_to_queued_p50_ms": round(late[len(late) // 2]),
        "submit_to_queued_max_ms": round(late[-1]),
        "start_to_seen_p50_ms": {"pushed": pushed[0], "by_spool_alone": unpushed[0]},
        "end_to_seen_p50_ms": {"pushed": pushed[1], "by_spool_alone": unpushed[1]},
        "questions_per_s": {live: polls_per_s(live) for live in (0, 100, 5000)},
        "one_look_ms": {live: look_ms(slurm, live) for live in (0, 100, 5000)},
    }


if __name__ == "__main__":
    main()
