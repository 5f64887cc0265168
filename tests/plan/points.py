"""Work for the tests of sweeps: small replays, and ways to go wrong. Other processes import it."""

from __future__ import annotations

import io
import os
import signal
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from meyrin.domain.errors import InvalidInput
from meyrin.engine.pool import Pool
from meyrin.plan.sweep import Point


def replayed(seed: int) -> dict[str, bytes]:
    """The starts of a few hundred random jobs, as Parquet."""
    chance = np.random.default_rng(seed)
    submit = np.sort(chance.integers(0, 40_000, 300))
    run = chance.integers(1, 5000, 300)
    pool = Pool("easy", submit, chance.integers(1, 17, 300), run, run * 2, 16)
    pool.advance(10**9)
    into = io.BytesIO()
    pq.write_table(pa.table({"submit_s": submit, "start_s": pool.start}), into)
    return {"starts.parquet": into.getvalue(), "seed": b"%d" % seed}


def points(count: int = 6) -> list[Point]:
    return [Point(f"seed {seed}", {"seed": seed}, seed) for seed in range(count)]


def refuses(value: int) -> dict[str, bytes]:
    """Good for all but 3."""
    if value == 3:
        raise InvalidInput("three is no number", hint="count again", field="value")
    return {"value": b"%d" % value}


def dies(value: int) -> dict[str, bytes]:
    if value == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"value": b"%d" % value}


def slow_after_two(value: int) -> dict[str, bytes]:
    """The first two at once; the others wait until they are ended."""
    if value >= 2:
        time.sleep(600)
    return {"value": b"%d" % value}
