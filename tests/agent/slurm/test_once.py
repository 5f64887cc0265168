"""A kill or a lost answer at every step: as many runs as submissions, none lost, none double.

MEYRIN_ONCE sets how many (the whole show is 10,000), MEYRIN_SEED which.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from tests.agent.slurm.once import Clock, Run

from meyrin.agent.slurm.command import CommandTransport
from meyrin.agent.slurm.spool import Spool
from meyrin.agent.slurm.transport import Transport
from meyrin.testing.slurm import FakeCommands, FakeSlurm, Faults

COUNT = int(os.environ.get("MEYRIN_ONCE", "100"))


def seed() -> int:
    return int(os.environ.get("MEYRIN_SEED") or random.SystemRandom().randrange(10**6))


def played(folder: Path, number: int, count: int, *, forgets: float = 0.05) -> Run:
    """A run of `count` submissions through faults, wholly ended; it is not checked yet."""
    faults = Faults(random.Random(number), lost=0.05, silent=0.1, late=0.1, kill=0.01)
    clock = Clock()
    cluster = FakeSlurm(clock)
    cluster.names_after_s = 5
    commands = FakeCommands(cluster, faults)

    def speak() -> Transport:
        return CommandTransport(commands, user=cluster.user)

    run = Run(folder, cluster, clock, faults, speak, forgets=forgets)
    run.play(count)
    print(f"{count} submissions, {run.deaths} kills, {dict(faults.counted)}, "
          f"{sum(cluster.launches.values())} launches, {dict(commands.asked)}")  # fmt: skip
    return run


@pytest.mark.timeout(3600)
def test_every_submission_runs_once_whatever_is_lost_or_killed(tmp_path: Path) -> None:
    number = seed()
    print(f"MEYRIN_SEED={number}")
    run = played(tmp_path, number, COUNT)
    run.check()
    assert run.deaths > 0
    assert run.faults.counted["silent"] > 0


def test_without_the_claim_the_same_run_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrapper that starts the script whether the link could be made or not."""
    wrapper = Spool.wrapper
    fence = "exit 75"
    monkeypatch.setattr(
        Spool, "wrapper", lambda self, attempt: wrapper(self, attempt).replace(fence, ":")
    )
    run = played(tmp_path, 3, 60, forgets=0.3)
    with pytest.raises(AssertionError):
        run.check()
