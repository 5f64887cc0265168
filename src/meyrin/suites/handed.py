"""A run of a suite as a request for a job: what it is made of, and what makes it one.

A site signs what such a job handed in, and a hub countersigns it, only where the job was this and
nothing else: the site's own program, with no variables, arguments or files but those named here.
"""

from __future__ import annotations

from meyrin.domain.errors import NotAllowed
from meyrin.domain.job import JobRequest
from meyrin.suites.environment import weights_digest
from meyrin.suites.facts import Facts

ASK, MODEL, SUITE, RUN = "ask.json", "model", "suite", "run"
FILE = "evidence.zip"
# what somebody who reads a job's words can do: its folder is gone with it
AGAIN = "mend that, or choose another site with --site; the same command then makes a new job"
SCRIPT = """#!/bin/bash
# The test of a model in a jail at this site: see `meyrin suite run`.
python="${MEYRIN_PYTHON:-python3}"
if ! "$python" -c 'import meyrin.suites, inspect_ai' 2>/dev/null; then
    echo "no evidence: this site runs no suites: $python lacks meyrin[suites]" >&2
    exit 1
fi
exec "$python" -m meyrin.suites.job
"""


def is_run(request: JobRequest) -> bool:
    """Whether the job was asked to run a suite; `check` says whether it could do anything else."""
    return request.script == SCRIPT and FILE in request.output_files


def check(request: JobRequest, facts: Facts, site: str) -> None:
    """NotAllowed unless the request is a run of a suite alone, and these are facts about the
    model that came with it, at this site."""
    plain = {
        "the site's own program": request.script == SCRIPT,
        "no arguments": not request.arguments,
        "no variables": not request.environment,
        "no other folder or input": not (request.chdir or request.stdin or request.array),
        "no files but the ask, a model and a suite": all(
            file.name == ASK or file.name.startswith((f"{MODEL}/", f"{SUITE}/"))
            for file in request.inputs
        ),
    }
    wrong = [name for name, holds in plain.items() if not holds]
    if wrong:
        raise _refused(f"a run of a suite has {wrong[0]}, and this job had")
    if facts.run.site != site:
        raise _refused(f"its facts name the site {facts.run.site[:100]}, and it ran at {site}")
    weights = facts.run.fingerprints.weights
    brought = [
        (file.name.removeprefix(f"{MODEL}/"), file.sha256, file.size)
        for file in request.inputs
        if file.name.startswith(f"{MODEL}/")
    ]
    if brought and weights_digest(brought) != weights:
        raise _refused("its facts are about another model than the one that came with the job")
    if not brought and len(weights) == 64:
        raise _refused("its facts name a model's weights, and no model came with the job")


def brings_suite(request: JobRequest) -> bool:
    """Whether the suite came with the job, rather than being one that the site has installed."""
    return any(file.name.startswith(f"{SUITE}/") for file in request.inputs)


def _refused(why: str) -> NotAllowed:
    return NotAllowed(
        f"what the job handed in can't be signed: {why}",
        hint="`meyrin suite run` makes jobs whose evidence counts",
    )
