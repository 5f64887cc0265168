"""Live and replay are one: a hub that plays a log starts every job when `meyrin replay` says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.hub import facility
from tests.hub.broker.live import Play, pool, whole_nodes
from tests.sim.trace.samples import TRACES, needs_traces

from meyrin.sim.prepare import prepare
from meyrin.sim.trace.read import read

SMALL = Path(__file__).parent / "data" / "small.swf"
SMALL_SIZE = 64
KTH = TRACES / "kth-sp2-1996" / "KTH-SP2-1996-2.1-cln.swf.zst"
KTH_SIZE, KTH_JOBS = 100, 250


@pytest.fixture
def bare_hub(sqlite_hub_url, tmp_path):
    """A hub with people and a project, and no site."""
    made = facility.make(sqlite_hub_url, tmp_path)
    yield made
    made.close()


def replayed(log: Path, size: int, out: Path, policy: str = "easy") -> bytes:
    """What the command writes for that log."""
    asked = ["replay", str(log), "--policy", policy, "--processors", str(size)]
    command = [sys.executable, "-m", "meyrin", *asked, "--starts", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    return out.read_bytes()


def played(hub, log: Path, partition) -> Play:
    size = max(partition.nodes, partition.cores_per_node)
    play = Play(hub, prepare(read(log), size), partition)
    play.run()
    return play


@pytest.mark.slow
@pytest.mark.parametrize("partition", [pool, whole_nodes])
def test_a_hub_starts_every_job_when_the_replay_does(bare_hub, tmp_path, partition):
    play = played(bare_hub, SMALL, partition(SMALL_SIZE))
    live = play.csv()
    assert len(live.splitlines()) == 1 + len(play.log) > 200
    assert live.encode() == replayed(SMALL, SMALL_SIZE, tmp_path / "starts.csv")
    bare_hub.books_balance()


@pytest.mark.slow
@needs_traces
def test_a_hub_starts_the_jobs_of_a_real_log_when_the_replay_does(bare_hub, tmp_path):
    """The first jobs of the KTH log, among them some that had to wait and some that passed."""
    log = first_jobs(KTH, KTH_JOBS, tmp_path / "first.swf")
    live = played(bare_hub, log, pool(KTH_SIZE)).csv()
    assert live.encode() == replayed(log, KTH_SIZE, tmp_path / "starts.csv")
    assert live.encode() != replayed(log, KTH_SIZE, tmp_path / "fcfs.csv", "fcfs")
    bare_hub.books_balance()


def first_jobs(trace: Path, jobs: int, target: Path) -> Path:
    """A log of the first jobs of another, by time of submission."""
    whole = read(trace)
    kept = whole.log_order()[:jobs]
    columns = (whole.job_id, whole.submit_s, whole.run_s, whole.processors, whole.limit_s)
    lines = [
        f"{job} {submit} -1 {run} {size} -1 -1 {size} {limit} -1 1 1 1 -1 1 1 -1 -1"
        for job, submit, run, size, limit in zip(*(one[kept] for one in columns), strict=True)
    ]
    target.write_text("\n".join(lines) + "\n")
    return target
