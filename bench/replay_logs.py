"""The logs of bench/replay.py as files that C, Meyrin and the peer all read.

    python bench/replay_logs.py FOLDER

writes for each log NAME.jobs (int64: n, machine, submit[n], processors[n], duration[n], limit[n],
sorted as a log is), NAME.swf where somebody reads text, NAME.POLICY.starts where the right starts
are known, and prints one JSON object. Effective values are put in here, so that everybody replays
the same: a job ends at the earlier of run time and limit, a missing limit is the run time.

The real log is found by MEYRIN_SHARED; without it a synthetic one of the same size stands in.
"""

from __future__ import annotations

import gzip
import json
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

SHARED = Path(os.environ.get("MEYRIN_SHARED", Path(__file__).resolve().parents[2] / "shared"))
SETH = SHARED / "traces" / "hpc2n-2002" / "HPC2N-2002-2.2-cln.swf.zst"
GOLDEN = {"kth": 100, "lublin256": 256}
POLICIES = ("fcfs", "easy", "conservative", "easy-sjf")

Jobs = NDArray[np.int64]  # 4 rows: submit, processors, duration, limit


def read_swf(path: Path) -> Jobs:
    """The usable jobs of a log, in log order."""
    with pa.input_stream(str(path), compression="detect") as stream:
        found = pd.read_csv(stream, sep=r"\s+", comment=";", header=None).to_numpy()
    job, submit, run, used, asked, limit = found[:, [0, 1, 3, 4, 7, 8]].astype(np.int64).T
    processors = np.where(used > 0, used, asked)
    limit = np.where(limit > 0, limit, run)
    rows = np.stack([submit, processors, np.minimum(run, limit), limit])
    order = np.lexsort((job, submit))
    return rows[:, order][:, ((run > 0) & (processors > 0))[order]]


def synthetic(jobs: int, machine: int) -> Jobs:
    """Arrivals with a daily rhythm, sizes mostly powers of two, lognormal run times; load 0.7."""
    rng = np.random.default_rng(20261123)
    processors = np.minimum(2 ** rng.integers(0, 6, jobs), machine)
    odd = rng.random(jobs) < 0.2
    processors[odd] = rng.integers(1, 33, int(odd.sum()))
    duration = np.clip(rng.lognormal(8.0, 1.6, jobs), 1, 5 * 86400).astype(np.int64)
    limit = np.ceil(duration * rng.uniform(1, 6, jobs) / 600).astype(np.int64) * 600
    span = float((processors * duration).sum()) / machine / 0.7
    even = np.sort(rng.random(jobs)) * span
    submit = even + 7000 * np.sin(2 * np.pi * even / 86400)  # more by day; still in order
    submit = np.maximum.accumulate(submit - submit[0])
    return np.stack([submit.astype(np.int64), processors, duration, limit])


def end_to_end(log: Jobs, jobs: int) -> Jobs:
    """As many copies of a log, one after the other, as make `jobs`."""
    span = log[0, -1] - log[0, 0] + 3600
    shift = np.array([1, 0, 0, 0])[:, None] * span
    copies = -(-jobs // log.shape[1])
    return np.concatenate([log + copy * shift for copy in range(copies)], axis=1)[:, :jobs]


def all_at_once(jobs: int, machine: int, exact: bool) -> Jobs:
    """Everybody at time 0: sizes up to the machine and limits of a minute to a day.

    A job runs as long as its limit where limits are exact, else any part of it.
    """
    rng = np.random.default_rng(jobs)
    processors = np.minimum(machine, 2 ** (8 * rng.random(jobs)) + 1).astype(np.int64)
    limit = rng.integers(60, 86400, jobs)
    duration = limit if exact else np.maximum(1, limit * rng.random(jobs)).astype(np.int64)
    return np.stack([np.zeros(jobs, np.int64), processors, duration, limit])


class Writer:
    """Keeps the logs of one folder and what is said about them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: dict[str, dict[str, object]] = {}

    def log(self, name: str, text: str, machine: int, jobs: Jobs, swf: bool = False) -> None:
        with (self.folder / f"{name}.jobs").open("wb") as file:
            np.array([jobs.shape[1], machine]).tofile(file)
            np.ascontiguousarray(jobs, np.int64).tofile(file)
        if swf:
            self.swf(name, machine, jobs)
        self.said[name] = {"text": text, "jobs": jobs.shape[1], "processors": machine}

    def swf(self, name: str, machine: int, jobs: Jobs) -> None:
        rows = [f"; MaxProcs: {machine}\n"]
        for number, (submit, size, run, limit) in enumerate(jobs.T.tolist(), 1):
            user = number % 257 + 1
            rows.append(
                f"{number:7d} {submit:10d} -1 {run:7d} {size:4d} -1 -1 {size:4d} {limit:7d} -1"
                f" 1 {user:3d} {user % 9:2d} -1 -1 1 -1 -1\n"
            )
        (self.folder / f"{name}.swf").write_text("".join(rows))

    def golden(self, name: str, machine: int) -> None:
        folder = SHARED / "golden"
        jobs = read_swf(folder / f"{name}-tie-free.swf.gz")
        self.log(name, f"{name}, tie-free", machine, jobs)
        for policy in POLICIES:
            with gzip.open(folder / f"{name}-{policy}.starts.csv.gz", "rt") as file:
                starts = pd.read_csv(file).sort_values(["submit", "job_id"])["start"]
            starts.to_numpy(np.int64).tofile(self.folder / f"{name}.{policy}.starts")


def main() -> None:
    writer = Writer(Path(sys.argv[1]))
    if (SHARED / "golden").is_dir():
        for name, machine in GOLDEN.items():
            writer.golden(name, machine)
    real, machine = SETH.exists(), 240
    log = read_swf(SETH) if real else synthetic(202_871, machine)
    text = "HPC2N" if real else "synthetic, seeded"
    writer.log("10k", text, machine, log[:, :10_000], swf=True)
    writer.log("100k", text, machine, log[:, :100_000], swf=True)
    writer.log("1m", f"{text}, 5 x", machine, end_to_end(log, 1_000_000), swf=True)
    rush = log[:, :100_000].copy()
    rush[0] //= 4
    writer.log("rush", f"{text}, 4 x as fast", machine, rush)
    for jobs in (2_000, 4_000, 8_000, 16_000):
        once = all_at_once(jobs, machine, exact=False)
        writer.log(f"once{jobs}", "at once, ends early", machine, once)
    for jobs in (4_000, 25_000, 50_000, 100_000):
        once = all_at_once(jobs, machine, exact=True)
        writer.log(f"exact{jobs}", "at once, exact limits", machine, once)
    print(json.dumps(writer.said))


if __name__ == "__main__":
    main()
