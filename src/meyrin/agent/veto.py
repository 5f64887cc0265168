"""A site's own program that sees each job and may say no.

It reads one JSON object and answers by its exit code: 0 is yes, 1 with words on standard output is
no, for that reason. Anything else (another exit code, no words, no end in time, no start) is no
answer: it is broken, and a broken veto lets nothing in. It sees what the job asks and its script,
and none of its variables, for they may hold secrets.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

from meyrin.agent.journal import Item

_LONGEST_REASON = 500


@dataclass(frozen=True, slots=True)
class Answer:
    """`no` is the site's reason; `broken` says why there is no answer. Both empty: yes."""

    no: str = ""
    broken: str = ""


def question(site: str, account: str | None, item: Item) -> dict[str, object]:
    """What the program reads."""
    work, request = item.work, item.request
    return {
        "site": site,
        "attempt": work.attempt,
        "job": work.job,
        "array_job": work.array_job,
        "array_task": work.task,
        "project": work.project,
        "person": work.person,
        "account": account,
        "partition": work.partition,
        "nodes": work.nodes,
        "tasks": work.tasks,
        "cores_per_node": work.cores,
        "memory_mb_per_node": work.memory_mb,
        "accelerators_per_node": work.accelerators,
        "walltime_s": work.walltime_s,
        "name": request.name,
        "script": request.script,
        "arguments": list(request.arguments),
    }


def ask(program: Path, asked: dict[str, object], timeout_s: float) -> Answer:
    """One question; never raises for what the program does."""
    said = json.dumps(asked, ensure_ascii=False).encode("utf-8", "backslashreplace")
    keep = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    with TemporaryFile() as out, TemporaryFile() as errors, TemporaryFile() as given:
        given.write(said)
        given.seek(0)
        try:
            process = subprocess.Popen(
                [program],
                stdin=given,
                stdout=out,
                stderr=errors,
                cwd=program.parent,
                env=keep,
                start_new_session=True,
            )
        except OSError as error:
            return Answer(broken=f"{program} can't be started: {error.strerror or error}")
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return Answer(broken=f"{program} gave no answer in {timeout_s:g} s")
        finally:
            if process.returncode is None:
                _end(process)
        out.seek(0)
        reason = " ".join(out.read(4 * _LONGEST_REASON).decode("utf-8", "replace").split())
        errors.seek(0)
        complaint = errors.read(4 * _LONGEST_REASON).decode("utf-8", "replace").strip()
    if code == 0:
        return Answer()
    if code == 1 and reason:
        return Answer(no=reason[:_LONGEST_REASON])
    last = complaint.splitlines()[-1][:200] if complaint else "it said nothing"
    how = f"ended with signal {-code}" if code < 0 else f"ended with exit code {code}"
    return Answer(broken=f"{program} {how} and no reason: {last}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """It and what it started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
