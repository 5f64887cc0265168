"""Logs for the tests of the pool: small random ones, and the shared real ones."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from tests.components import ROOT

SHARED = Path(os.environ.get("MEYRIN_SHARED") or ROOT.parent / "shared")


def random_log(seed: int) -> tuple[list[np.ndarray], int]:
    """A few jobs with many ties, as the arrays that `Pool` takes, and the machine's size."""
    rng = np.random.default_rng(seed)
    count, machine = int(rng.integers(1, 32)), int(rng.integers(1, 13))
    submit = np.sort(rng.integers(0, rng.integers(1, 60), count))
    processors = rng.integers(1, machine + 1, count)
    duration = rng.integers(1, 15, count)
    limit = duration + rng.integers(0, 15, count) * rng.integers(0, 2, count)
    return [submit, processors, duration, limit], machine


def shared(path: str) -> Path:
    """A file of the shared data; the test is left out where there is none."""
    found = SHARED / path
    if not found.exists():
        pytest.skip(f"left out: shared data {path}")
    return found


def swf(path: Path, machine: int, rows: int | None = None) -> tuple[np.ndarray, list[np.ndarray]]:
    """Job numbers and the arrays for `Pool`, in log order, of the jobs that can run."""
    if path.suffix == ".gz":
        text = gzip.decompress(path.read_bytes()).decode()
    else:
        import pyarrow as pa

        with pa.input_stream(path, compression="zstd") as stream:
            text = stream.read().decode("latin-1")
    lines = [line.split() for line in text.splitlines() if line.strip() and line[0] != ";"]
    table = np.array([[int(float(word)) for word in line[:9]] for line in lines[:rows]])
    processors = np.where(table[:, 4] > 0, table[:, 4], table[:, 7])
    runs = (table[:, 3] > 0) & (processors > 0) & (processors <= machine)
    table, processors = table[runs], processors[runs]
    limit = np.where(table[:, 8] > 0, table[:, 8], table[:, 3])
    order = np.lexsort((table[:, 0], table[:, 1]))
    columns = [table[:, 1], processors, np.minimum(table[:, 3], limit), limit]
    return table[order, 0], [column[order] for column in columns]
