"""Meyrin in a process of its own, as bench/replay.py measures it; prints one JSON object.

    python bench/replay_child.py engine POLICY JOBS STARTS REPEATS    the kernel alone
    python bench/replay_child.py read SMALL SWF REPEATS               Meyrin's reader
    python bench/replay_child.py pandas SMALL SWF REPEATS             pandas, the same columns
    python bench/replay_child.py both POLICY SWF PROCESSORS REPEATS   reader and kernel

Seconds are CPU seconds of this process, without imports: a kernel runs once on a few jobs first,
which takes it out of its cache, and a reader reads the small log. `bytes` is what the measured part
adds to the resident set at its peak.
"""

from __future__ import annotations

import ctypes
import gc
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

EVENTS = 2**18  # between two looks at the clock, a few times a second


def status_kb(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    raise SystemExit(f"no {name} in /proc/self/status")


def measured(repeats: int, work: Callable[[], object]) -> dict[str, object]:
    """CPU seconds of each repeat, and what the first one adds to the resident set."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what is free goes back, so that it is not used for nothing
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before_kb, seconds, peak_kb = status_kb("VmRSS:"), [], 0
    for _ in range(repeats):
        begun = time.process_time()
        work()
        seconds.append(time.process_time() - begun)
        peak_kb = peak_kb or status_kb("VmHWM:")
    return {"seconds": seconds, "bytes": (peak_kb - before_kb) * 1024, "peak_kb": peak_kb}


def engine(policy: str, jobs: str, starts: str, repeats: str) -> dict[str, object]:
    import numpy as np

    from meyrin.engine.pool import Pool

    with Path(jobs).open("rb") as file:
        count, machine = np.fromfile(file, np.int64, 2).tolist()
        columns = [np.fromfile(file, np.int64, count) for _ in range(4)]
    start, counted = columns[0], {}

    def replay(given: list[np.ndarray]) -> None:
        nonlocal start, counted
        pool = Pool(policy, *given, machine)
        while not pool.done:
            pool.advance(EVENTS)
        start = pool.start
        if policy == "conservative":
            numbers = pool._state.moves.tolist()  # noqa: SLF001 - a count for this table only
            counted = dict(zip(("passes", "looks", "moves"), numbers, strict=True))
            counted["asked"] = int(pool._state.gaps.asked[0])  # noqa: SLF001

    replay([column[:50] for column in columns])
    found = measured(int(repeats), lambda: replay(columns))
    start.tofile(starts)
    return found | counted | {"wait_s": int((start - columns[0]).sum())}


def read(small: str, swf: str, repeats: str) -> dict[str, object]:
    from meyrin.sim.trace.read import read

    read(Path(small))
    return measured(int(repeats), lambda: read(Path(swf)))


def pandas(small: str, swf: str, repeats: str) -> dict[str, object]:
    import pandas as pd

    columns = [column for column in range(18) if column not in {5, 13}]  # CPU time, executable

    def work(log: str) -> None:
        pd.read_csv(log, sep=r"\s+", comment=";", header=None, usecols=columns, dtype="int64")

    work(small)
    return measured(int(repeats), lambda: work(swf))


def both(policy: str, swf: str, processors: str, repeats: str) -> dict[str, object]:
    from meyrin.engine.pool import Pool
    from meyrin.sim.prepare import prepare
    from meyrin.sim.trace.read import read

    wait_s = 0

    def work() -> None:
        nonlocal wait_s
        jobs = prepare(read(Path(swf)), int(processors))
        columns = (jobs.submit, jobs.processors, jobs.duration, jobs.limit)
        pool = Pool(policy, *columns, int(processors))
        while not pool.done:
            pool.advance(EVENTS)
        wait_s = int((pool.start - jobs.submit).sum())

    work()  # out of the cache
    return measured(int(repeats), work) | {"wait_s": wait_s}


if __name__ == "__main__":
    part = {"engine": engine, "read": read, "pandas": pandas, "both": both}[sys.argv[1]]
    print(json.dumps(part(*sys.argv[2:])))
