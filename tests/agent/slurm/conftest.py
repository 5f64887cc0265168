"""A batch system over a real cluster, for the tests of one file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.components import Slurm

from meyrin.agent.batch import Phase
from meyrin.agent.slurm.batch import SlurmBatch
from meyrin.agent.slurm.command import CommandTransport, runner


@pytest.fixture(scope="module")
def agents_batch(slurm: Slurm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmBatch]:
    """One for the file: to start one costs seconds. The cluster is described once."""
    transport = CommandTransport(runner(60), conf=slurm.conf("alpha"))
    folder = tmp_path_factory.mktemp("agent")
    made = SlurmBatch(folder, transport, grace_s=1, poll_s=(0.5, 2.0), doubt_s=3.0)
    described = made.partitions()
    made.partitions = lambda: described  # type: ignore[method-assign]
    made.start()
    yield made
    made.leave()


@pytest.fixture
def batch(agents_batch: SlurmBatch) -> Iterator[SlurmBatch]:
    """It knows of no attempt at first, and forgets those of this test."""
    yield agents_batch
    told = agents_batch.changes("", 0).jobs
    live = tuple(job.attempt for job in told if job.phase is not Phase.ENDED)
    agents_batch.cancel(live)
    agents_batch.forget(tuple(job.attempt for job in told))
