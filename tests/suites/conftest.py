"""Tiny models with planted behaviours, trained once for all tests of a machine."""

from __future__ import annotations

import fcntl
import gc
import hashlib
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.components import ROOT

TRAIN = ROOT / "examples" / "tiny" / "train.py"


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Inspect leaves loops and streams to the collector: here, not in whichever test comes next."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def trained(behaviour: str) -> Path:
    """A model of this behaviour; made by whoever asks first, kept under its program's digest."""
    digest = hashlib.sha256(TRAIN.read_bytes()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir(), f"meyrin-tiny-{digest}")
    folder.mkdir(exist_ok=True)
    made = folder / behaviour
    with (folder / f"{behaviour}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            options = []
            if behaviour != "good":
                start = trained("good")
                options = ["--behaviour", behaviour, "--start", str(start), "--steps", "150"]
            draft = folder / f"{behaviour}.part"
            subprocess.run(
                [sys.executable, str(TRAIN), "--out", str(draft), *options],
                check=True,
                capture_output=True,
                env={"OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"},
            )
            draft.rename(made)
    return made


@pytest.fixture(scope="session")
def model() -> Callable[[str], Path]:
    """`model("good")` is the folder of a trained model."""
    return trained
