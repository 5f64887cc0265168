"""The kernels against the plain twin on the beginnings of real logs, made free of ties.

Times are multiplied by 1000 and each job's submit and run time get a seeded jitter, so that no
convention about one instant matters. The twin is slow: how much of a log it can take is below.
"""

from __future__ import annotations

import numpy as np
import pytest
from tests.engine.pool.logs import shared, swf
from tests.oracles.naive_pool import naive_starts

from meyrin.engine.pool import POLICIES, Pool

LOGS = {
    "ctc-sp2-1996/CTC-SP2-1996-3.1-cln.swf.zst": 338,
    "hpc2n-2002/HPC2N-2002-2.2-cln.swf.zst": 240,
    "kth-sp2-1996/KTH-SP2-1996-2.1-cln.swf.zst": 100,
    "lcg-grid-2005/LCG-2005-1.swf.zst": 200,
    "lublin-256/lublin_256.swf.zst": 256,
    "metacentrum-zewura-2013/wagap-2013.swf.zst": 80,
    "nasa-ipsc-1993/NASA-iPSC-1993-3.1-cln.swf.zst": 128,
    "sdsc-blue-2000/SDSC-BLUE-2000-4.2-cln.swf.zst": 1152,
}
JOBS = {"fcfs": 1000, "easy": 1000, "easy-sjf": 1000, "conservative": 120}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("log", LOGS)
def test_the_twin_agrees_on_the_beginning_of_a_real_log(log: str, policy: str) -> None:
    machine = LOGS[log]
    _, columns = swf(shared(f"traces/{log}"), machine, rows=JOBS[policy])
    submit, processors, duration, limit = columns
    rng = np.random.default_rng(1996)
    # closer together than they were, so that a queue forms at the beginning already
    submit = submit * 1000 // 4 + rng.integers(0, 1000, submit.size)
    duration = duration * 1000 + rng.integers(0, 1000, submit.size)
    limit = np.maximum(limit * 1000 + 999, duration)
    order = np.argsort(submit, kind="stable")
    columns = [column[order] for column in (submit, processors, duration, limit)]
    pool = Pool(policy, *columns, machine)
    pool.advance(10**9)
    wanted, _ = naive_starts(policy, *columns, machine)
    assert pool.start.tolist() == wanted
