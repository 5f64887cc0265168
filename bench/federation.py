"""Ten million jobs over thirty sites for a year, in one run: seconds, jobs a second, memory.

    .venv/bin/python bench/federation.py [--jobs N] [--sites N] [--threads N] [--one-queue]

Made-up jobs on sites of unequal size, with failures and repairs. By default each site has its own
jobs and scheduler (EASY), with a tenth of the jobs free to go to any of the first five sites under
the broker's placement; --one-queue lets every job go anywhere. For scale the same jobs, without
failures, are given to the engine's pool kernel, site by site, in the same run, and the first ten
thousand of one site to the peer of bench/replay.py, which can run no more of it.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from meyrin.engine.federation import Federation
from meyrin.engine.federation import warm as warm_federation
from meyrin.engine.pool import Pool
from meyrin.engine.pool import warm as warm_pool
from meyrin.plan.federate import joined
from peer_env import peers_python

YEAR_S = 365 * 86400
BENCH = Path(__file__).parent


def workload(jobs: int, counts: np.ndarray, load: float, seed: int = 1) -> dict[str, np.ndarray]:
    """Jobs in order of submission; each site has its part of the load."""
    chance = np.random.default_rng(seed)
    home = chance.choice(len(counts), jobs, p=counts / counts.sum()).astype(np.int32)
    size = np.minimum(2 ** chance.geometric(0.45, jobs), 256) // 2
    size = np.minimum(size, counts[home] // 4).astype(np.int32)
    shape = np.clip(chance.lognormal(0, 1.5, jobs), 0.01, 50)
    scale = load * counts.sum() * YEAR_S / float((size * shape).sum())
    run = np.maximum(1, shape * scale).astype(np.int64)
    day = np.sort(chance.random(jobs)) * YEAR_S
    return {
        "ready": day.astype(np.int64),
        "size": size,
        "run": run,
        "limit": run * chance.integers(1, 4, jobs),
        "home": home,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--jobs", type=int, default=10_000_000)
    parser.add_argument("--sites", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--load", type=float, default=0.8)
    parser.add_argument("--one-queue", action="store_true")
    parser.add_argument("--no-peer", action="store_true", help="without the peer")
    parser.add_argument("--no-pool", action="store_true", help="leave the comparison out")
    given = parser.parse_args()
    counts = np.geomspace(240, 24_000, given.sites).astype(np.int64)
    begun = time.perf_counter()
    jobs = workload(given.jobs, counts, given.load)
    allowed = np.int64(1) << jobs["home"].astype(np.int64)
    if given.one_queue:
        allowed = np.full(given.jobs, (1 << given.sites) - 1)
    else:
        allowed[::10] |= 0b11111
    print(f"jobs made in {time.perf_counter() - begun:.1f} s")
    warm_federation()
    begun, used = time.perf_counter(), time.process_time()
    started = sum(federation(jobs, allowed, counts, given.threads))
    took, cpu_s = time.perf_counter() - begun, time.process_time() - used
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    rate = given.jobs / took
    print(
        f"federation: {given.jobs:,} jobs, {given.sites} sites, {given.threads} threads:"
        f" {took:.1f} s, {rate:,.0f} jobs/s; {cpu_s:.1f} CPU s,"
        f" {given.jobs / cpu_s:,.0f} jobs a CPU s; {started:,} started, {peak:.2f} GiB at most"
    )
    if not given.no_peer:
        peer(jobs, counts, given.jobs / cpu_s)
    if given.no_pool:
        return
    warm_pool()
    begun = time.perf_counter()
    with ThreadPoolExecutor(given.threads) as threads:
        list(threads.map(lambda site: pool(jobs, counts, site), range(given.sites)))
    other = time.perf_counter() - begun
    print(
        f"pool, site by site, no failures: {other:.1f} s; the federation takes"
        f" {took / other:.2f} times as long"
    )


PEERS = """\
peer of bench/replay.py: AccaSim can't run this: it plays one log on one machine, has no broker
over several sites and no failures with checkpoints. What it can, one site's first jobs, EASY:"""
PEER_JOBS = 10_000


def peer(jobs, counts, rate):
    """What a peer takes for the first jobs of the middle site, under EASY, one core."""
    print(PEERS)
    python = peers_python()
    if python is None:
        print("  AccaSim    its environment could not be made")
        return
    site = len(counts) // 2
    mine = np.flatnonzero(jobs["home"] == site)[:PEER_JOBS]
    columns = (jobs[name][mine] for name in ("ready", "run", "size", "limit"))
    with tempfile.TemporaryDirectory(prefix="federation-") as folder:
        log = Path(folder, "site.swf")
        log.write_text(
            "".join(
                f"{number} {ready} -1 {run} {size} -1 -1 {size} {limit} -1 1 1 1 -1 1 1 -1 -1\n"
                for number, (ready, run, size, limit) in enumerate(zip(*columns, strict=True), 1)
            )
        )
        command = [str(python), str(BENCH / "replay_peer.py"), "easy", str(log), str(counts[site])]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        print(f"  AccaSim    failed: {ran.stderr.strip().splitlines()[-1:]}")
        return
    found = json.loads(ran.stdout)
    pace = found["jobs"] / found["seconds"][0]
    print(
        f"  AccaSim    {found['jobs']:,} jobs of one site: {pace:,.0f} jobs a second"
        f" of CPU; the federation's {rate:,.0f} are {rate / pace:,.0f} times that"
    )


def federation(jobs, allowed, counts, threads):
    """How many jobs started, by set of sites that share some."""

    def one(sites: list[int]) -> int:
        bits = sum(1 << site for site in sites)
        mine = np.flatnonzero(allowed & bits)
        local = np.zeros(len(counts), np.int32)
        local[sites] = np.arange(len(sites))
        masks = np.zeros(len(mine), np.int64)
        for at, site in enumerate(sites):
            masks |= (allowed[mine] >> site & 1) << at
        fits = np.zeros(len(mine), np.int64)
        for at, site in enumerate(sites):
            fits |= (jobs["size"][mine] <= counts[site]).astype(np.int64) << at
        columns = {name: column[mine] for name, column in jobs.items() if name != "home"}
        kernel = Federation(
            **columns,
            allowed=masks & fits,
            home=local[jobs["home"][mine]],
            number=mine,
            count=counts[sites],
            node=[4] * len(sites),
            rate=4.7e-4 / 86400,
            repair_s=43_200,
            checkpoint_s=3600,
            restart_s=600,
            seed=1,
            end_s=YEAR_S,
        )
        while not kernel.done:
            kernel.advance(1 << 20)
        return int((kernel.start >= 0).sum())

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, joined(allowed, len(counts))))


def pool(jobs, counts, site):
    mine = np.flatnonzero(jobs["home"] == site)
    columns = [jobs[name][mine] for name in ("ready", "size", "run", "limit")]
    kernel = Pool("easy", *columns, machine=int(counts[site]))
    while not kernel.done:
        kernel.advance(1 << 20)


if __name__ == "__main__":
    main()
