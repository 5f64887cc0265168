"""What a sweep's job runs at a site: the points of one file, their outcomes into another.

    python -m meyrin.plan.batch points.bin outcomes.zip

The file is a pickle that the person who submitted the job made; a job runs their code anyway.
"""

from __future__ import annotations

import importlib
import json
import pickle
import sys
import zipfile
from pathlib import Path

from meyrin.plan.sweep import Work, code_version

EPOCH = (1980, 1, 1, 0, 0, 0)  # no clock in the archive: same points, same bytes


def main(points: Path, outcomes: Path) -> int:
    """Run them one after the other; the exit code. Nothing is written unless all ran."""
    code, named, values = pickle.loads(points.read_bytes())  # noqa: S301 - our own job's file
    if code != code_version():
        sys.stderr.write(f"this Meyrin is {code_version()}, the sweep's is {code}: not the same\n")
        return 1
    module, _, function = named.partition(":")
    work: Work = getattr(importlib.import_module(module), function)
    with zipfile.ZipFile(outcomes, "w", zipfile.ZIP_STORED) as archive:
        about = {"code": code_version(), "python": sys.version.split()[0]}
        archive.writestr(zipfile.ZipInfo("about.json", EPOCH), json.dumps(about))
        for number, (key, value) in enumerate(values, 1):
            for name, content in work(value).items():
                archive.writestr(zipfile.ZipInfo(f"{key}/{name}", EPOCH), content)
            sys.stdout.write(f"{number} of {len(values)}\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
