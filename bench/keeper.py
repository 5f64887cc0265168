"""Starts per second of the `local` batch system, as a ratio to a fork ceiling of the same run.

The ceiling is `posix_spawn` and `waitpid` of a no-op in two processes, no shell in between, run
before and after each round; the mean of the two counts. A job is `#!/bin/sh` and `true` with an
output file, from `submit` to its end told by `changes`, all durable. Creating the output file is
part of it and not of the ceiling; ext4 is slow at that for a minute after many files were removed
(it passes over inodes that were free for less), so `--dir` on another file system tells more.

    python bench/keeper.py [--jobs 2000] [--rounds 3] [--slots 4] [--profile OUT]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

from meyrin.agent.batch import Phase, Start
from meyrin.agent.local import LocalBatch
from meyrin.domain.site import Partition
from meyrin.domain.units import NodeShape

SCRIPT = "#!/bin/sh\ntrue\n"


def ceiling(command: str, count: int, processes: int = 2) -> float:
    """No-ops per second that this machine can spawn and wait for."""
    began = time.perf_counter()
    workers = []
    for _ in range(processes):
        if (worker := os.fork()) == 0:
            for _ in range(count // processes):
                os.waitpid(os.posix_spawn(command, [command], {}), 0)
            os._exit(0)
        workers.append(worker)
    for worker in workers:
        os.waitpid(worker, 0)
    return count / (time.perf_counter() - began)


def ceiling_of_threads(command: str, count: int, threads: int = 2) -> float:
    """The same from threads of one Python process, as the peers' own tests have it: the looser
    ceiling, since the interpreter is shared."""

    def work() -> None:
        for _ in range(count // threads):
            subprocess.run([command], check=True)

    began = time.perf_counter()
    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return count / (time.perf_counter() - began)


def starts(count: int, folder: str) -> tuple[Start, ...]:
    shape = NodeShape(1, 100, 0)
    shared = tuple((f"SLURM_VARIABLE_{i}", f"value {i}") for i in range(30))
    return tuple(
        Start(
            attempt=str(uuid.uuid4()),
            job=i,
            name="no-op",
            partition="cpu",
            nodes=1,
            asked=shape,
            tasks=1,
            walltime_s=60,
            script=SCRIPT,
            environment=(*shared, ("SLURM_ARRAY_TASK_ID", str(i))),
            workdir=folder,
            stdout=f"{folder}/slurm-{i}.out",
            stderr=f"{folder}/slurm-{i}.out",
        )
        for i in range(count)
    )


def jobs_per_s(batch: LocalBatch, todo: tuple[Start, ...]) -> float:
    cursor = batch.changes("", 0).cursor
    left = {start.attempt for start in todo}
    began = time.perf_counter()
    for i in range(0, len(todo), 200):
        batch.submit(todo[i : i + 200])
    while left:
        told = batch.changes(cursor, 10)
        cursor = told.cursor
        ended = [job for job in told.jobs if job.phase is Phase.ENDED and job.attempt in left]
        assert all(job.end == "exit" and job.exit_code == 0 for job in ended), ended[:3]
        left -= {job.attempt for job in ended}
        batch.forget(tuple(job.attempt for job in ended))
    return len(todo) / (time.perf_counter() - began)


def latency_ms(batch: LocalBatch, folder: str, count: int = 100) -> list[float]:
    """From `submit` of one job to an idle machine, to its end being told."""
    found = []
    cursor = batch.changes("", 0).cursor
    for start in starts(count, folder):
        began = time.perf_counter()
        batch.submit((start,))
        ended = False
        while not ended:
            told = batch.changes(cursor, 10)
            cursor = told.cursor
            ended = any(job.phase is Phase.ENDED for job in told.jobs)
        found.append(1000 * (time.perf_counter() - began))
        batch.forget((start.attempt,))
    return sorted(found)


@contextlib.contextmanager
def profiled(pid: int, out: str | None):
    """Sample the keeper with py-spy where asked and installed."""
    if not out:
        yield
        return
    spy = subprocess.Popen(
        ["py-spy", "record", "-n", "-r", "500", "-f", "raw", "-o", out, "-p", str(pid)],
        stdout=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        spy.send_signal(2)
        spy.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slots", type=int, default=2 * (os.cpu_count() or 1))
    parser.add_argument("--dir", help="where to work; default: a temporary folder")
    parser.add_argument("--profile", metavar="OUT", help="sample the keeper into OUT with py-spy")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(dir=asked.dir) as folder:
        part = Partition("cpu", 1, asked.slots, 100 * asked.slots)
        batch = LocalBatch(Path(folder) / "keeper", (part,))
        keeper = batch.start()
        script = Path(folder) / "no-op"
        script.write_text(SCRIPT)
        script.chmod(0o700)
        jobs_per_s(batch, starts(50, folder))
        with profiled(keeper, asked.profile):
            for _ in range(asked.rounds):
                before = ceiling("/bin/true", asked.jobs), ceiling(str(script), asked.jobs)
                rate = jobs_per_s(batch, starts(asked.jobs, folder))
                after = ceiling("/bin/true", asked.jobs), ceiling(str(script), asked.jobs)
                program, shell = ((a + b) / 2 for a, b in zip(before, after, strict=True))
                rows.append(
                    {"jobs_per_s": rate, "true_per_s": program, "script_per_s": shell}
                    | {"ratio": rate / program, "ratio_script": rate / shell}
                )
        waits = latency_ms(batch, folder)
        rss_kb = int(Path(f"/proc/{keeper}/statm").read_text().split()[1]) * 4
        batch.stop(cancel=True)
    result = {
        "rounds": rows,
        "ratio": statistics.median(row["ratio"] for row in rows),
        "ratio_script": statistics.median(row["ratio_script"] for row in rows),
        "latency_p50_ms": waits[len(waits) // 2],
        "latency_p99_ms": waits[int(len(waits) * 0.99)],
        "keeper_rss_mb": rss_kb / 1024,
    }
    if asked.json:
        print(json.dumps(result))
        return
    for row in rows:
        print(
            f"{row['jobs_per_s']:6.0f} jobs/s   ceiling {row['true_per_s']:6.0f}/s of /bin/true, "
            f"{row['script_per_s']:6.0f}/s of the script   ratio {row['ratio']:.2f}, "
            f"{row['ratio_script']:.2f}"
        )
    print(
        f"median ratio {result['ratio']:.2f} to /bin/true, {result['ratio_script']:.2f} to the "
        f"script; one job alone, submit to end told: p50 {result['latency_p50_ms']:.1f} ms, "
        f"p99 {result['latency_p99_ms']:.1f} ms; keeper {result['keeper_rss_mb']:.0f} MB"
    )


if __name__ == "__main__":
    sys.exit(main())
