"""The environment of the benches' peers: `.venv-bench`, made from requirements/bench.txt."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def peers_python() -> Path | None:
    """The Python of the peers' environment, made at first use and after a change of the lock."""
    folder = ROOT / ".venv-bench"
    python = folder / "bin" / "python"
    lock = ROOT / "requirements" / "bench.txt"
    wanted = hashlib.sha256(lock.read_bytes()).hexdigest()
    stamp = folder / "complete"
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    uv = ROOT / ".venv" / "bin" / "uv"
    made = [
        [str(uv), "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)],
        [str(uv), "pip", "install", "--quiet", "--require-hashes", "--python", str(python),
         "-r", str(lock)],
    ]  # fmt: skip
    for command in made:
        if subprocess.run(command, check=False).returncode:
            return None
    stamp.write_text(wanted)
    return python
