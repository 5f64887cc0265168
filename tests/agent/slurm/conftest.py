"""A batch system over a real cluster, for each test that asks for one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.components import Slurm

from meyrin.agent.slurm.batch import SlurmBatch
from meyrin.agent.slurm.command import CommandTransport, runner

Make = Callable[..., SlurmBatch]


@pytest.fixture
def make(slurm: Slurm, tmp_path: Path) -> Iterator[Make]:
    """Makes batch systems over one cluster; the same folder again is the same agent's."""
    made: list[SlurmBatch] = []

    def one(cluster: str = "alpha", **other: Any) -> SlurmBatch:
        transport = CommandTransport(runner(60), conf=slurm.conf(cluster))
        settings: dict[str, Any] = {"grace_s": 1, "poll_s": (0.5, 2.0), "doubt_s": 3.0}
        batch = SlurmBatch(tmp_path / f"agent-{cluster}", transport, **(settings | other))
        made.append(batch)
        batch.start()
        return batch

    yield one
    for batch in made:
        batch.leave()


@pytest.fixture
def batch(make: Make) -> SlurmBatch:
    return make()
