"""What one shard of a run is told, and the files that it writes. Knows nothing of Inspect."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from meyrin.suites.facts import SampleFact, read_sample

LINES, META, REACHED, LOGS = "samples.jsonl", "meta.json", "reached.jsonl", "log"
PROBLEM = "problem.json"
MOCK = "mock"


@dataclass(frozen=True, slots=True)
class Spec:
    """What one shard is to do. `model` is a folder or `mock`, or with a `relay` the name that a
    served model has behind it."""

    suite: str
    folder: str
    package: str
    model: str
    seed: int
    samples: int
    shard: int
    shards: int
    concurrency: int
    out: str
    relay: str = ""

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")


def read_lines(path: Path) -> dict[tuple[str, int], SampleFact]:
    """The finished samples in a file; a last line that a kill cut does not count."""
    raw = path.read_bytes() if path.exists() else b""
    samples = [read_sample(line) for line in raw.split(b"\n")[:-1]]
    return {(sample.id, sample.epoch): sample for sample in samples}


def mended_lines(path: Path) -> dict[tuple[str, int], SampleFact]:
    """As `read_lines`, and the cut line is taken away so that others can follow."""
    raw = path.read_bytes() if path.exists() else b""
    if raw and not raw.endswith(b"\n"):
        os.truncate(path, raw.rfind(b"\n") + 1)
    return read_lines(path)
