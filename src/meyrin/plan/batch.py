"""What a sweep's job runs at a site: the points of one file, their outcomes into another.

    python -m meyrin.plan.batch points.bin outcomes.tar

The file is a pickle that the person who submitted the job made; a job runs their code anyway. An
outcome is in the archive as soon as its point is done, so that a job that is ended in the middle
leaves what it had. What comes back is read as data only: see `on_facility`.
"""

from __future__ import annotations

import importlib
import io
import json
import pickle
import sys
import tarfile
from pathlib import Path

from meyrin.domain.errors import MeyrinError
from meyrin.plan.sweep import Work, code_version

ABOUT, WHOLE, WRONG = "about.json", ".whole", ".wrong.json"
"""Members of the archive: what made it; behind the files of a point that is done; instead of
them, for a point that can't be."""


def main(points: Path, outcomes: Path) -> int:
    """Run them one after the other; the exit code."""
    code, named, values = pickle.loads(points.read_bytes())  # noqa: S301 - our own job's file
    if code != code_version():
        sys.stderr.write(f"this Meyrin is {code_version()}, the sweep's is {code}: not the same\n")
        return 1
    module, _, function = named.partition(":")
    work: Work = getattr(importlib.import_module(module), function)
    with outcomes.open("wb") as file, tarfile.open(fileobj=file, mode="w") as archive:
        _add(archive, ABOUT, _json({"code": code, "python": sys.version.split()[0]}))
        for number, (key, value) in enumerate(values, 1):
            try:
                files = work(value)
            except MeyrinError as error:
                told = {"code": error.code, "message": error.message, "hint": error.hint}
                _add(archive, f"{key}/{WRONG}", _json(told))
                sys.stderr.write(f"{error.message}\n")
                return 1
            for name, content in files.items():
                _add(archive, f"{key}/{name}", content)
            _add(archive, f"{key}/{WHOLE}", b"")
            file.flush()
            sys.stdout.write(f"{number} of {len(values)}\n")
            sys.stdout.flush()
    return 0


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    """A file with no clock and no owner: same points, same bytes."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
