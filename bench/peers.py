"""One peer as bench/throughput.py measures it: N no-op jobs, one process a job.

Run by the benchmark's own environment (requirements/bench.txt): `python bench/peers.py dask 1000`
prints one JSON object. None of these keeps a job on disk, so none survives its own end.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable


def job() -> float:
    """One job: when it started, by the wall clock; then a process of its own.

    It travels by its code alone, so it brings its own imports.
    """
    import subprocess
    import time

    started = time.time()
    subprocess.run(["/bin/true"], check=True)
    return started


def dask(count: int) -> dict[str, float]:
    from dask.distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=2, threads_per_worker=2, dashboard_address=None, host="127.0.0.1"
        ) as cluster,
        Client(cluster) as client,
    ):
        return measured(
            count,
            lambda n: client.gather([client.submit(job, pure=False) for _ in range(n)]),
        )


def parsl(count: int) -> dict[str, float]:
    import parsl as library
    from parsl.config import Config
    from parsl.executors import HighThroughputExecutor
    from parsl.providers import LocalProvider

    with tempfile.TemporaryDirectory(prefix="parsl-") as folder:
        executor = HighThroughputExecutor(
            address="127.0.0.1",
            loopback_address="127.0.0.1",
            max_workers_per_node=4,
            provider=LocalProvider(init_blocks=1, max_blocks=1),
        )
        library.load(Config(executors=[executor], run_dir=folder, usage_tracking=0))
        app = library.python_app(job)
        found = measured(count, lambda n: [future.result() for future in [app() for _ in range(n)]])
        library.dfk().cleanup()
        return found


def ray(count: int) -> dict[str, float]:
    import ray as library

    with tempfile.TemporaryDirectory(prefix="ray-") as folder:
        library.init(
            num_cpus=2,
            include_dashboard=False,
            object_store_memory=200 * 2**20,
            _temp_dir=folder,
            log_to_driver=False,
        )
        remote = library.remote(job)
        found = measured(count, lambda n: library.get([remote.remote() for _ in range(n)]))
        library.shutdown()
        return found


def measured(count: int, run: Callable[[int], Iterable[float]]) -> dict[str, float]:
    """Jobs per second after a warm-up, and submit-to-start of jobs sent one by one."""
    list(run(20))
    waits = []
    for _ in range(50):
        sent = time.time()
        waits.append(next(iter(run(1))) - sent)
    waits.sort()
    begun = time.perf_counter()
    assert len(list(run(count))) == count
    rate = count / (time.perf_counter() - begun)
    return {"jobs_per_s": rate, "p50_ms": waits[25] * 1000, "p99_ms": waits[-1] * 1000}


if __name__ == "__main__":
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_agent_register_timeout_ms", "250000")
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "250")
    peer = {"dask": dask, "parsl": parsl, "ray": ray}[sys.argv[1]]
    status = 1
    try:
        print(json.dumps(peer(int(sys.argv[2]))), flush=True)
        status = 0
    except Exception:  # noqa: BLE001 - whatever it is, it is told and ends the run
        traceback.print_exc()
    os._exit(status)  # a peer's threads and children must not keep a failed run alive
