"""The same faults as by commands, over slurmrestd: as many runs as submissions, in two dialects.

MEYRIN_ONCE sets how many (the whole show is 10,000), MEYRIN_SEED which.
"""

from __future__ import annotations

import random
from pathlib import Path

import httpx2
import pytest
from tests.agent.slurm.once import Clock, Run
from tests.agent.slurm.test_once import COUNT, seed

from meyrin.agent.config import SlurmConfig
from meyrin.agent.slurm.rest import Rest
from meyrin.agent.slurm.transport import Transport
from meyrin.testing.slurm import FakeSlurm, Faults
from meyrin.testing.slurmrestd import NEW, OLD, FakeRestd


@pytest.mark.timeout(300 + COUNT)
@pytest.mark.parametrize("version", [OLD, NEW])
def test_every_submission_runs_once_over_slurmrestd(tmp_path: Path, version: str) -> None:
    number = seed()
    print(f"MEYRIN_SEED={number}")
    faults = Faults(random.Random(number), lost=0.05, silent=0.1, late=0.1, kill=0.01)
    clock = Clock()
    cluster = FakeSlurm(clock)
    cluster.names_after_s = 5
    restd = FakeRestd(cluster, faults, version)
    config = SlurmConfig(rest_url="http://fake:6820", rest_version=version)

    def speak() -> Transport:
        return Rest(config, cluster.user, clock, transport=httpx2.MockTransport(restd))

    run = Run(tmp_path, cluster, clock, faults, speak, forgets=0.05)
    run.play(max(COUNT // 2, 1))
    print(f"{run.deaths} kills, {dict(faults.counted)}, "
          f"{sum(cluster.launches.values())} launches, {dict(restd.asked)}")  # fmt: skip
    run.check()
    assert run.deaths > 0
    assert faults.counted["silent"] > 0
