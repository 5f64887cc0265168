"""The federation's kernel against its slow plain twin, on small cases with every feature."""

from __future__ import annotations

import os
from typing import Any

import pytest
from tests.oracles.federation_cases import case
from tests.oracles.federation_twin import Twin

from meyrin.engine.federation import Federation

PARTS = 4
CASES = int(os.environ.get("MEYRIN_FEDERATION_CASES", "400"))


@pytest.mark.parametrize("part", range(PARTS))
def test_every_job_fares_as_with_the_twin(part: int) -> None:
    for seed in range(part * CASES // PARTS, (part + 1) * CASES // PARTS):
        compare(seed)


def test_a_deep_queue_fares_as_with_the_twin() -> None:
    """Longer than the hundred looks after which a pass gives up."""
    for seed in range(6):
        given = case(seed, 700)
        given["ready"] = given["ready"] // 20  # all at once
        given["end_s"] = 3000
        compare(seed, given)


def compare(seed: int, given: dict[str, Any] | None = None) -> None:
    given = given or case(seed)
    kernel = Federation(**given)
    while not kernel.done:
        kernel.advance(3)
    twin = Twin(**given).play()
    for name in ("start", "site", "restarts", "lost"):
        found = getattr(kernel, name).tolist()
        assert found == [getattr(job, name) for job in twin.jobs], (name, seed)
    ends = [job.end if job.end >= 0 else job.ends for job in twin.jobs]
    assert kernel.end.tolist() == ends, seed
    for name in ("used", "wasted", "closed"):
        assert getattr(kernel, name).tolist() == getattr(twin, name), (name, seed)
