"""A run of a suite as a job: packed, placed, followed, its evidence fetched and checked."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meyrin.cli.exits import INTERRUPTED
from meyrin.cli.handin import Interrupted, hand_in
from meyrin.cli.session import Session
from meyrin.cli.suite import tell
from meyrin.cli.terminal import clean, data, say
from meyrin.domain.errors import Failed, MeyrinError, StorageFull, Unreachable
from meyrin.domain.job import JobRequest, Resources

if TYPE_CHECKING:
    from meyrin.client.api import Client
    from meyrin.suites.execute import Asked

SLACK_S = 300  # for starting, probing, packing and signing


def as_job(session: Session, ask: Asked, suite: str, asked: dict[str, Any]) -> int:
    """Submit, follow, fetch, verify; the exit code."""
    from meyrin.client.api import new_key  # noqa: PLC0415
    from meyrin.client.sbatch.parse import ClientOptions  # noqa: PLC0415

    given = asked["idempotency_key"]
    key = new_key() if given is None else given
    with tempfile.TemporaryDirectory(prefix="meyrin-suite-") as folder, session.client() as hub:
        options = ClientOptions(inputs=_inputs(ask, suite, Path(folder)), idempotency_key=key)
        try:
            accepted = hand_in(session, hub, request(ask, asked), options)
        except Interrupted as interrupted:
            say(str(interrupted))
            return INTERRUPTED
        label = str(accepted.job)
        way = f"the same command with --idempotency-key={key} comes back to job {label}"
        say(f"note: {way}")
        try:
            return _follow(session, hub, label, ask)
        except (Unreachable, StorageFull) as error:  # whose hint is to repeat a command as it is
            error.hint, error.retry = way, False
            raise


def _follow(session: Session, hub: Client, label: str, ask: Asked) -> int:
    from meyrin.cli.streaming import Streaming  # noqa: PLC0415

    code = Streaming(hub, label, session, sys.stderr.buffer).run()
    if code == INTERRUPTED:
        return code
    if code:
        raise Failed(
            f"no evidence: job {label} did not finish its run",
            hint=f"`meyrin logs {label}` has what it said, `meyrin show {label}` how it ended",
            job=label,
        )
    return _bring(session, hub, label, ask)


def request(ask: Asked, asked: dict[str, Any]) -> JobRequest:
    """The run as an ordinary job."""
    from meyrin.suites.handed import FILE, SCRIPT  # noqa: PLC0415

    limits = ask.suite.limits
    return JobRequest(
        script=SCRIPT,
        name=f"suite-{ask.suite.name.replace('/', '-')}"[:100],
        project=asked["project"],
        sites=(asked["site"],) if asked["site"] else (),
        resources=Resources(
            tasks=1,
            cores_per_task=ask.at_once,
            memory_mb=limits.memory_mb * ask.at_once + 512,
        ),
        walltime_s=limits.walltime_s + SLACK_S,
        output_files=(FILE,),
        comment=_comment(ask),
    )


def _comment(ask: Asked) -> str:
    """What a person reads on the job's page: what is tested, and where it came from."""
    model = ask.source or (ask.model if ask.served else ask.model_name)
    return f"suite {ask.suite.name} {ask.suite.version}, seed {ask.seed}, model {model}"


def _inputs(ask: Asked, suite: str, folder: Path) -> tuple[str, ...]:
    """What travels: the ask, the model's files by their content, a suite that is not installed."""
    from meyrin.suites.handed import ASK, MODEL, SUITE  # noqa: PLC0415

    brought = "/" in suite and bool(ask.suite.folder)
    package = Path(ask.suite.folder).name if brought else ""
    told = {
        "suite": package or ask.suite.name,
        "brought": brought,
        "address": ask.model if ask.served else "",
        "seed": ask.seed,
        "samples": ask.samples,
        "shards": ask.shards,
        "concurrency": ask.concurrency,
        "at_once": ask.at_once,
        "plan": ask.plan,
        "model_name": ask.model_name,
        "source": ask.source,
    }
    path = folder / ASK
    path.write_text(json.dumps(told, indent=1), encoding="utf-8")
    inputs = [f"{path}={ASK}"]
    if ask.folder is not None:
        inputs.append(f"{ask.folder}={MODEL}")
    if brought:
        inputs.append(f"{ask.suite.folder}={SUITE}/{package}")
    return tuple(inputs)


def _bring(session: Session, hub: Client, label: str, ask: Asked) -> int:
    from meyrin.suites.handed import FILE  # noqa: PLC0415
    from meyrin.suites.verify import verify  # noqa: PLC0415

    came = hub.results(label)
    if not any(each.name == FILE for each in came.files):
        raise Failed(
            f"no evidence: job {label} brought none back: {came.results}",
            hint=f"`meyrin logs {label}` has what it said",
            job=label,
        )
    (path,) = hub.fetch(label, ask.out, [FILE])
    found = verify(path.read_bytes(), model=ask.folder)
    if found.receipt is None:
        say(clean(f"note: {came.results}; no gate takes it so"))
    facts, run = found.facts, found.facts.run
    wrong = (run.suite, run.version, run.seed, run.fingerprints.plan) != (
        ask.suite.name, ask.suite.version, ask.seed, ask.plan,
    )  # fmt: skip
    if wrong:
        raise Failed("no evidence: what came back is of another run", job=label)
    where = _charged(hub, label)
    say(clean(f"job {label}: {where}"))
    if session.json:
        tell(session, facts, path, {"job": label})
    else:
        data(str(path))  # the job's own output has said what came out
    return 0


def _charged(hub: Client, label: str) -> str:
    """Where it ran and what it cost, or that nobody knows yet."""
    try:
        found = hub.job(label)
    except MeyrinError:
        return f"`meyrin show {label}` says where it ran and what it cost"
    used = f"{found.used_s} s charged"
    return f"ran at {found.job.site}/{found.job.partition}, {used}"
