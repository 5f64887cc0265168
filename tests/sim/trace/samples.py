"""Where the small files are, where the shared logs are, and a way to write a line of SWF."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.components import ROOT

DATA = Path(__file__).resolve().parent.parent / "data"
SHARED = Path(os.environ.get("MEYRIN_SHARED", ROOT.parent / "shared"))
TRACES = SHARED / "traces"

needs_traces = pytest.mark.skipif(not TRACES.is_dir(), reason="left out: shared data traces")


def row(job: int = 1, submit: int | str = 0, run: int | str = 10, size: int | str = 1) -> str:
    return f"{job} {submit} 0 {run} {size} -1 -1 {size} 20 -1 1 1 1 -1 1 1 -1 -1\n"


def written(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path
