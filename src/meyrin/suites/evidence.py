"""From an ask to evidence: run, pack, and keep or leave no file at all.

A job hands in what a site's agent then signs; a run outside of any job is signed here, by whoever
ran it, and says so.
"""

from __future__ import annotations

from pathlib import Path

from meyrin.domain.errors import Failed, InvalidInput
from meyrin.suites import bundle, execute, keys
from meyrin.suites.execute import Asked, OnProgress
from meyrin.suites.facts import Facts
from meyrin.suites.handed import FILE
from meyrin.suites.spec import LOGS, REACHED


def make(ask: Asked, key: Path, progress: OnProgress) -> tuple[Facts, Path]:
    """Run a suite here and write its evidence into the out folder, signed with the key in a file.

    Raises MeyrinError and leaves no evidence when anything is missing.
    """
    keys.make(key)
    found, target = hand_in(ask, bundle.WITH_RUN, progress)
    signed = bundle.seal(target.read_bytes(), keys.read(key), ask.folder)
    return found, _kept(signed, target)


def hand_in(ask: Asked, key_is: str, progress: OnProgress) -> tuple[Facts, Path]:
    """Run a suite and write what is to be signed; `key_is` says where the site's key was."""
    target = ask.out / FILE
    target.unlink(missing_ok=True)
    try:
        found = execute.run(ask, progress)
        raw = bundle.draft(found, ask.folder, _logs(ask), _reached(ask), key_is, ask.source)
        return found, _kept(raw, target)
    except OSError as error:
        raise Failed(
            f"no evidence: {error.filename or target.parent}: {error.strerror or error}",
            hint=execute.GOES_ON,
        ) from error


def _kept(raw: bytes, target: Path) -> Path:
    """The file whole under its name, or no file at all."""
    draft = target.with_suffix(".part")
    try:
        draft.write_bytes(raw)
        draft.replace(target)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    return target


def _shards(ask: Asked) -> list[Path]:
    return [ask.out / f"shard-{shard}" for shard in range(ask.shards)]


def _logs(ask: Asked) -> dict[str, bytes]:
    """Inspect's logs by a name that says their shard; none is read where they are too large."""
    found = {
        f"{shard}/{path.name}": path
        for shard, folder in enumerate(_shards(ask))
        for path in sorted((folder / LOGS).glob("*.eval"))
    }
    try:
        bundle.check_size(sum(path.stat().st_size for path in found.values()))
    except InvalidInput as error:
        raise Failed(f"no evidence: {error.message}", hint=error.hint) from error
    return {name: path.read_bytes() for name, path in found.items()}


def _reached(ask: Asked) -> bytes:
    files = [folder / REACHED for folder in (*_shards(ask), ask.out)]
    return b"".join(file.read_bytes() for file in files if file.exists())
