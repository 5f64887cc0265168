"""Seeded jobs that come from no log: batch jobs, and inference load by hour.

Batch: run times are log-normal, sizes powers of two of which each is `small` times as frequent as
the one below, arrivals uniform, users of unequal appetite (Zipf). Limits
are run times times `overstated`, rounded up to a quarter of an hour.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from meyrin.plan.scenario import Part
from meyrin.plan.world import Numbers, Place

QUARTER_S = 900
LONGEST_S = 30 * 86400
USER_JOBS = 200  # jobs of a user on average


def batch(
    part: Part,
    number: Numbers,
    chance: np.random.Generator,
    work: float,
    length_s: int,
    grown: int,
) -> dict[str, Any]:
    """Jobs of `work` accelerator-seconds. `grown`: the machine that sizes grow with, or 0."""
    assert part.median
    assert part.spread
    assert part.largest
    assert part.small
    assert part.overstated
    median, spread = number(part.median), number(part.spread)
    largest = int(number(part.largest))
    sizes = 2 ** np.arange(largest.bit_length())
    often = number(part.small) ** np.arange(len(sizes))
    if grown:
        sizes = np.maximum(1, sizes * grown // largest // 4)
    often /= often.sum()
    mean = float((sizes * often).sum()) * median * np.exp(spread**2 / 2)
    count = max(1, round(work / mean))
    run = np.clip(np.exp(chance.normal(np.log(median), spread, count)), 1, LONGEST_S)
    run = run.astype(np.int64)
    limit = np.ceil(run * number(part.overstated) / QUARTER_S).astype(np.int64) * QUARTER_S
    users = max(1, count // USER_JOBS)
    appetite = 1 / np.arange(1, users + 1)
    return {
        "submit": np.sort(chance.integers(0, length_s, count)),
        "size": chance.choice(sizes, count, p=often),
        "run": run,
        "limit": np.maximum(limit, run),
        "user": chance.choice(users, count, p=appetite / appetite.sum()),
    }


def inference(
    part: Part, number: Numbers, chance: np.random.Generator, place: Place, length_s: int
) -> dict[str, Any]:
    """Servers of one node for about `median` each, as many as the hour's load needs.

    The load follows the sun between `night` of its peak at 3 h and the peak at 15 h local time.
    """
    assert part.median
    assert part.night
    median, night = number(part.median), number(part.night)
    hours = np.arange(length_s // 3600)
    local = (hours + (place.longitude or 0) / 15) % 24
    shape = (1 + night) / 2 + (1 - night) / 2 * np.cos(2 * np.pi * (local - 15) / 24)
    level = number(part.load) * place.homed / place.node / ((1 + night) / 2) * shape
    starting = chance.poisson(level * 3600 / median)
    submit = np.repeat(hours * 3600, starting)
    submit = np.sort(submit + chance.integers(0, 3600, len(submit)))
    count = len(submit)
    run = np.maximum(60, chance.normal(median, median / 10, count)).astype(np.int64)
    return {
        "submit": submit,
        "size": np.full(count, place.node, np.int64),
        "run": run,
        "limit": run + QUARTER_S,
        "user": np.zeros(count, np.int64),
    }
