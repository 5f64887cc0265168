"""No-op jobs per second through the whole house, against a fork ceiling of the same run.

A job of Meyrin goes from a client's submit over HTTP through hub, broker, ledger hold, agent and
the local batch system, where it is a process of its own, back to settled: all of it durable on
disk. The ceiling is two processes that only spawn and reap the same no-op (posix_spawn),
measured before and after each system; a ratio is against their mean. Beside it stands the looser
ceiling of two threads in one Python process. Latency is submit-to-start of single jobs sent at a
fixed rate to an otherwise idle system. Meyrin is measured twice: as single requests, no two
alike, 250 in a call, and as one array; N jobs are N jobs, attempts and charges in both. CPU per
job tells more than jobs per second on a machine that is shared; it is printed for each process.
No language is set in any of it: the ceiling's no-op has none in its environment, and one that has
reads the files of its locale, which costs it half as much again.

    python bench/throughput.py [--jobs 2000] [--no-peers] [--json]

Peers (Dask, Parsl, Ray) run in an environment of their own, made on first use from
requirements/bench.txt; none of them keeps a job on disk.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from keeper import ceiling, ceiling_of_threads
from meyrin_side import cpu_s, latencies_ms, meyrin, submit_array, throughput
from peer_env import peers_python

ROOT = Path(__file__).resolve().parents[1]
PEERS = ("dask", "parsl", "ray")
SLOTS = 1000


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the table; None is "not measured", with the reason in `note`."""

    system: str
    durable: bool
    jobs_per_s: float | None = None
    ceiling_per_s: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    note: str = ""
    loose_per_s: float | None = None

    @property
    def ratio(self) -> float | None:
        if self.jobs_per_s is None or not self.ceiling_per_s:
            return None
        return self.jobs_per_s / self.ceiling_per_s


def forks() -> float:
    """Processes a second that this machine spawns and reaps, two at a time."""
    return ceiling("/bin/true", 2000)


def measure_meyrin(name: str, url: str, jobs: int) -> Iterator[Line]:
    with meyrin(url, SLOTS) as side:
        idle_mb = side.hub_rss_mb()
        throughput(side, 200, 100)
        latency = latencies_ms(side, 100, 10)
        p50, p99 = _at(latency, 50), _at(latency, 99)
        before, spent = forks(), cpu_s(side.hub.pid, url)
        rate = throughput(side, jobs, 250)
        note = f"hub {idle_mb} MB idle, {side.hub_rss_mb()} MB after; CPU ms a job: "
        note += _each(spent, cpu_s(side.hub.pid, url), jobs)
        mean = (before + forks()) / 2
        yield Line(name, True, rate, mean, p50, p99, note, loose())
        before, spent = forks(), cpu_s(side.hub.pid, url)
        rate = throughput(side, jobs, jobs, submit_array)
        note = f"CPU ms a job: {_each(spent, cpu_s(side.hub.pid, url), jobs)}"
        mean = (before + forks()) / 2
        yield Line(f"{name}, array", True, rate, mean, None, None, note, loose())


def _each(before: dict[str, float], after: dict[str, float], jobs: int) -> str:
    return ", ".join(f"{n} {1000 * (after[n] - before.get(n, 0)) / jobs:.2f}" for n in after)


def loose() -> float:
    """The looser ceiling: two threads of one Python process."""
    return ceiling_of_threads("/bin/true", 1000)


def measure_peer(name: str, python: Path | None, jobs: int) -> Line:
    if python is None:
        return Line(name, False, note="its environment could not be made")
    command = [str(python), str(ROOT / "bench" / "peers.py"), name, str(jobs)]
    if name == "ray":  # it looks for other addresses than loopback: give it none
        command = ["unshare", "-rn", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *command]
    environ = {**os.environ, "PATH": f"{python.parent}:{os.environ.get('PATH', '')}"}
    before = forks()
    peer = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ,
        start_new_session=True,
    )  # fmt: skip
    try:
        said, trouble = peer.communicate(timeout=420)
    except subprocess.TimeoutExpired:
        return Line(name, False, note="no result after 420 s")
    finally:
        with suppress(ProcessLookupError):
            os.killpg(peer.pid, signal.SIGKILL)  # what it left running
    mean, wide = (before + forks()) / 2, loose()
    if peer.returncode:
        words = trouble.strip().splitlines() or ["no words"]
        return Line(name, False, note=f"failed: {words[-1][:80]}")
    found = json.loads(said.strip().splitlines()[-1])
    p50, p99 = found["p50_ms"], found["p99_ms"]
    return Line(name, False, found["jobs_per_s"], mean, p50, p99, loose_per_s=wide)


def _at(ordered: list[int], percent: int) -> float:
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


@contextmanager
def postgres() -> Iterator[str]:
    """A PostgreSQL server of our own, durable, for the time of the measurement."""
    with TemporaryDirectory(prefix="meyrin-bench-pg-") as folder:
        Path(folder).chmod(0o755)
        script = str(ROOT / "testbed" / "postgres" / "postgres.sh")
        environ = {**os.environ, "MTB_DIR": folder, "PG_DURABLE": "1"}
        subprocess.run([script, "up"], env=environ, check=True, stderr=subprocess.DEVNULL)
        try:
            dsn = subprocess.run(
                [script, "dsn"], env=environ, check=True, capture_output=True, text=True
            ).stdout.strip()
            yield dsn.replace("postgresql://", "postgresql+psycopg://")
        finally:
            subprocess.run([script, "down"], env=environ, check=True, stderr=subprocess.DEVNULL)


def show(lines: list[Line]) -> None:
    head = f"{'system':28} {'jobs/s':>8} {'ceiling/s':>10} {'ratio':>6} {'threads/s':>10}"
    head += f" {'p50 ms':>8} {'p99 ms':>8}"
    print(f"{head}  durable")
    for line in lines:
        numbers = (line.jobs_per_s, line.ceiling_per_s, line.ratio, line.loose_per_s,
                   line.p50_ms, line.p99_ms)  # fmt: skip
        widths = ((8, 0), (10, 0), (6, 2), (10, 0), (8, 1), (8, 1))
        cells = [
            f"{'-':>{width}}" if number is None else f"{number:>{width}.{digits}f}"
            for number, (width, digits) in zip(numbers, widths, strict=True)
        ]
        durable = "yes" if line.durable else "no"
        print(f"{line.system:28} {' '.join(cells)}  {durable:3}  {line.note}", flush=True)


def _without_language() -> None:
    for name in [name for name in os.environ if name in ("LANG", "LANGUAGE") or name[:3] == "LC_"]:
        del os.environ[name]
    os.environ["LC_ALL"] = "C"  # else Python would set one of its own, which children inherit


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--jobs", type=int, default=2000, help="jobs per system")
    parser.add_argument("--no-peers", action="store_true", help="Meyrin only")
    parser.add_argument("--json", action="store_true", help="print the table as JSON")
    asked = parser.parse_args()
    _without_language()
    lines = list(measure_meyrin("Meyrin on SQLite", "", asked.jobs))
    if os.geteuid() == 0 or shutil.which("postgres"):
        with postgres() as url:
            lines += measure_meyrin("Meyrin on PostgreSQL", url, asked.jobs)
    else:
        lines.append(Line("Meyrin on PostgreSQL", True, note="needs root or an installed server"))
    if not asked.no_peers:
        python = peers_python()
        lines += [measure_peer(name, python, asked.jobs // 2) for name in PEERS]
    if asked.json:
        print(json.dumps([asdict(line) | {"ratio": line.ratio} for line in lines], indent=2))
    else:
        show(lines)


if __name__ == "__main__":
    main()
