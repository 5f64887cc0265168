"""Every start of the golden logs, on which two simulators without common code agree."""

from __future__ import annotations

import gzip

import pytest
from tests.engine.pool.logs import shared, swf

from meyrin.engine.pool import POLICIES, Pool


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(("log", "machine"), [("kth", 100), ("lublin256", 256)])
def test_every_golden_start(log: str, machine: int, policy: str) -> None:
    numbers, columns = swf(shared(f"golden/{log}-tie-free.swf.gz"), machine)
    text = gzip.decompress(shared(f"golden/{log}-{policy}.starts.csv.gz").read_bytes()).decode()
    rows = [line.split(",") for line in text.splitlines()[1:]]
    wanted = {int(row[0]): int(row[2]) for row in rows}
    pool = Pool(policy, *columns, machine)
    pool.advance(10**9)
    assert len(wanted) == len(numbers)
    assert dict(zip(numbers.tolist(), pool.start.tolist(), strict=True)) == wanted
