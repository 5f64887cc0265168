"""From an ask to a signed bundle: run, pack, sign, and keep or leave no file at all."""

from __future__ import annotations

from pathlib import Path

from meyrin.suites import bundle, execute, keys
from meyrin.suites.execute import Ask, OnProgress
from meyrin.suites.facts import Facts
from meyrin.suites.spec import LOGS, REACHED

FILE = "evidence.zip"


def make(ask: Ask, key: Path, progress: OnProgress) -> tuple[Facts, Path]:
    """Run a suite and write its evidence into the out folder, signed with the key in a file.

    Raises MeyrinError and leaves no evidence when anything is missing.
    """
    target = ask.out / FILE
    target.unlink(missing_ok=True)
    keys.make(key)
    found = execute.run(ask, progress)
    raw = bundle.pack(found, keys.read(key), ask.folder, _logs(ask), _reached(ask))
    draft = target.with_suffix(".part")
    draft.write_bytes(raw)
    draft.replace(target)
    return found, target


def _shards(ask: Ask) -> list[Path]:
    return [ask.out / f"shard-{shard}" for shard in range(ask.shards)]


def _logs(ask: Ask) -> dict[str, bytes]:
    """Inspect's logs by a name that says their shard."""
    found = {}
    for shard, folder in enumerate(_shards(ask)):
        for path in sorted((folder / LOGS).glob("*.eval")):
            found[f"{shard}/{path.name}"] = path.read_bytes()
    return found


def _reached(ask: Ask) -> bytes:
    files = [folder / REACHED for folder in _shards(ask)]
    return b"".join(file.read_bytes() for file in files if file.exists())
