"""A keeper of each test's own, gone with everything it started when the test is over."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from meyrin.agent.keeper_proc import kill_one, stat_fields
from meyrin.agent.local import LocalBatch
from meyrin.domain.site import Partition

CPU = Partition("cpu", nodes=1, cores_per_node=2, memory_mb_per_node=1000)
GPU = Partition(
    "gpu",
    nodes=2,
    cores_per_node=8,
    memory_mb_per_node=1000,
    accelerators_per_node=4,
    accelerator_type="h100",
)

Make = Callable[..., LocalBatch]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "keeper"


@pytest.fixture
def make(folder: Path) -> Iterator[Make]:
    """Makes clients of one keeper; the same folder again is the same keeper."""
    made: list[LocalBatch] = []

    def one(partitions: tuple[Partition, ...] = (CPU, GPU), **other: Any) -> LocalBatch:
        made.append(LocalBatch(folder, partitions, **{"grace_s": 1.0, **other}))
        return made[-1]

    yield one
    if made:
        made[-1].start()
        made[-1].stop(cancel=True)
        wait_ended(folder)
    for batch in made:
        batch.close()
    log = (folder / "keeper.log").read_text() if folder.exists() else ""
    assert "Traceback" not in log, log


@pytest.fixture
def batch(make: Make) -> LocalBatch:
    return make()


def wait_ended(folder: Path) -> None:
    """Return when neither keeper nor guard holds the folder's lock."""
    fd = os.open(folder / "lock", os.O_RDWR)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
    finally:
        os.close(fd)


def guard_of(keeper: int) -> int:
    fields = stat_fields(keeper)
    assert fields is not None
    return int(fields[1])


def kill_both(keeper: int, folder: Path) -> None:
    """Kill guard and keeper as one kill of a control group would."""
    guard = guard_of(keeper)
    os.kill(guard, signal.SIGSTOP)
    kill_one(keeper, signal.SIGKILL)
    kill_one(guard, signal.SIGKILL)
    wait_ended(folder)
