"""A run of a suite as a job at a site: reads `ask.json`, leaves `evidence.zip`, or nothing.

The script in the job is `handed.SCRIPT`; what else it needs came with it as inputs: the model's
files below `model/`, and below `suite/` a suite that is installed nowhere. What it leaves is not
signed: the site's agent does that, outside of the job, with a key that is not this program's.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from meyrin.domain.errors import InvalidInput, MeyrinError
from meyrin.suites import bundle, evidence, model_key, summary
from meyrin.suites.execute import GOES_ON, Asked
from meyrin.suites.facts import NO_SITE
from meyrin.suites.handed import AGAIN, ASK, FILE, MODEL, RUN, SUITE
from meyrin.suites.suite import find

_INSTALLED = re.compile(r"(inspect_evals/)?[A-Za-z0-9_][A-Za-z0-9_.-]*")
_BROUGHT = re.compile(r"[^/\0]*[^/\0.][^/\0]*")  # one folder's name, and not the one above
_SOURCE = re.compile(r"https?://[!-\"$-~]{1,500}#sha256=[0-9a-f]{64}")
EVERY = 0.1  # of all samples, between two lines of progress


def main() -> int:
    """Run what the folder asks for; the exit code of the job."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        ask = read_ask(Path.cwd(), os.environ)
        _say(f"suite {ask.suite.name} {ask.suite.version}, seed {ask.seed}, at {ask.site}")
        found, path = evidence.hand_in(ask, reach(os.environ.get("MEYRIN_SITE_KEY")), _Progress())
    except MeyrinError as error:
        return _no_evidence(error.message, error.hint)
    except OSError as error:
        return _no_evidence(f"{error.filename or 'a file'}: {error.strerror or error}", AGAIN)
    path.replace(Path.cwd() / FILE)
    for line in summary.lines(found):
        _say(line)
    return 0


def read_ask(folder: Path, environ: Mapping[str, str]) -> Asked:
    """The ask in a job's folder. Site, keys and jail are the site's to say, never the job's."""
    try:
        told: dict[str, Any] = json.loads((folder / ASK).read_text(encoding="utf-8"))
        suite = find(_suite(folder, str(told["suite"]), brought=bool(told["brought"])))
        data = environ.get("MEYRIN_SUITE_DATA")
        address = str(told["address"])
        shown = [Path(place) for place in (suite.folder, data) if place]
        return Asked(
            suite=suite,
            model=address or str(folder / MODEL),
            out=folder / RUN,
            seed=int(told["seed"]),
            samples=int(told["samples"]),
            shards=int(told["shards"]),
            concurrency=int(told["concurrency"]),
            site=environ.get("MEYRIN_SITE", NO_SITE),
            plan=None if told["plan"] is None else str(told["plan"]),
            at_once=int(told["at_once"]),
            model_name=str(told["model_name"]),
            source=_source(str(told.get("source", ""))),
            data=(Path(data),) if data else (),
            model_key=model_key.of_site(environ.get(model_key.PLACE), address, shown),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"{ASK} can't be read: {error}") from error


def _suite(folder: Path, name: str, *, brought: bool) -> str:
    """How `find` knows the suite. A path would lead to code that neither the site has installed
    nor came with the job, so that nobody could say what ran."""
    if not (_BROUGHT if brought else _INSTALLED).fullmatch(name):
        raise InvalidInput(
            f"{ASK} names the suite {name[:100]!r}",
            hint="a suite that the site has installed, or a folder that came with the job",
            field="suite",
        )
    return str(folder / SUITE / name) if brought else name


def _source(told: str) -> str:
    """An address with its digest, as `models.bring` writes it; ValueError for anything else."""
    if told and not _SOURCE.fullmatch(told):
        raise ValueError("its model's source is no address with a digest")
    return told


def reach(key: str | None) -> str:
    """Whether a job at this site could read the site's key: tried, by a job that has no need to."""
    if not key:
        return bundle.UNKNOWN
    try:
        Path(key).open("rb").close()
    except OSError:
        return bundle.APART
    return bundle.SHARED


def _no_evidence(why: str, way_out: str) -> int:
    """The last words: a hub's pages look for them. One line each, whatever was raised."""
    words = " ".join(why.split())
    _say(words if words.startswith("no evidence") else f"no evidence: {words}")
    _say(" ".join((AGAIN if way_out in ("", GOES_ON) else way_out).split()))
    return 1


class _Progress:
    """A line now and then: the job's output is kept and followed."""

    def __init__(self) -> None:
        self.next = 0.0

    def __call__(self, done: int, planned: int) -> None:
        if planned and done and done / planned >= self.next:
            self.next = done / planned + EVERY
            _say(f"{done} of {planned} samples")


def _say(words: str) -> None:
    if words:
        sys.stdout.write(words + "\n")
        sys.stdout.flush()


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise MeyrinError("no evidence: the job was ended before it was done")


if __name__ == "__main__":
    sys.exit(main())
