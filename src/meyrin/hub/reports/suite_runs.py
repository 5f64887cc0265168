"""Jobs that tested a model and left no evidence: what happened, and what to do, in words.

What such a job says of itself stands in the last lines of its output, `no evidence: …` and the
way out below (`meyrin.suites.job`). Where it could say nothing any more, the hub's own word on
how it ended stands in for that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from meyrin.domain.states import ENDED, JobState
from meyrin.hub.plumbing.database import Step
from meyrin.hub.reports import store
from meyrin.hub.reports.service import label_of

SHOWN = 10
AMONG = 500  # the newest jobs of a project: earlier ones are on their own pages
TAIL_BYTES = 4096
LONGEST = 600
MARK = "no evidence"


@dataclass(frozen=True, slots=True)
class NoEvidence:
    """One such job. `words` say what happened, `way_out` what to do."""

    label: str
    name: str
    at_ms: int
    words: str
    way_out: str


@dataclass(frozen=True, slots=True)
class Tested:
    """The run that a job's evidence became; empty where an earlier job's same run is kept."""

    run: str
    family: str


def of_job(
    step: Step, row: Any, script: str, attempt: str, results: str
) -> NoEvidence | Tested | None:
    """What the page of this job says of its evidence; None where it may come yet, or where the
    job tests no model."""
    if not _over(row.state, results) or _digest(script) != _script():
        return None
    kept = store.evidence_with_run(step, row.project_id, attempt) if attempt else None
    if kept is not None:
        return Tested(kept.digest or "", kept.family or "")
    return _told(row, results, store.last_words(step, [attempt], TAIL_BYTES) if attempt else [])


def newest(step: Step, project_id: str, limit: int = SHOWN) -> tuple[list[NoEvidence], bool]:
    """The newest such jobs of a project, and whether the newest test of all is one of them."""
    rows = store.suite_jobs(step, project_id, _script(), AMONG, limit)
    ended = [row for row in rows if _over(row.state, row.results)]
    without = [row for row in ended if row.bundle is None]
    words = store.last_words(step, [row.attempt for row in without if row.attempt], TAIL_BYTES)
    found = [
        _told(row, row.results or "none", [each for each in words if each.attempt == row.attempt])
        for row in without
    ]
    return found, bool(ended) and ended[0].bundle is None


def _over(state: str, results: str | None) -> bool:
    """Whether no evidence can come any more: of what did not end well none does."""
    coming = JobState(state) is JobState.COMPLETED and results == "pending"
    return JobState(state) in ENDED and not coming


def _told(row: Any, results: str, pieces: Sequence[Any]) -> NoEvidence:
    words, way_out = _said(pieces)
    if not words:
        words, way_out = _by_its_end(JobState(row.state), row.reason, results)
    at_ms = row.end_ms or row.submit_ms
    return NoEvidence(label_of(row), row.name, at_ms, _sentence(words), _sentence(way_out))


def _said(pieces: Sequence[Any]) -> tuple[str, str]:
    """The last words of the job itself, and the line below them; empty where it said none."""
    streams: dict[str, bytes] = {}
    for piece in pieces:
        streams[piece.stream] = streams.get(piece.stream, b"") + bytes(piece.data)
    for name in ("stdout", "stderr"):
        lines = streams.get(name, b"")[-TAIL_BYTES:].decode(errors="replace").splitlines()
        at = max((i for i, line in enumerate(lines) if line.startswith(MARK)), default=None)
        if at is not None:
            return lines[at][:LONGEST], "".join(lines[at + 1 : at + 2])[:LONGEST]
    return "", ""


def _by_its_end(state: JobState, reason: str, results: str) -> tuple[str, str]:
    """In the hub's words, where the job's own are not there."""
    again = "`meyrin suite run` as before makes a new job; --site NAME sends it to another site"
    if state is JobState.COMPLETED:
        why = "its site brought no evidence back" if results in ("none", "complete") else results
        return f"{MARK} counts: {why}", again
    if state is JobState.CANCELLED:
        return f"{MARK}: the job was cancelled before its run was whole", again
    why = f": {reason}" if reason else ", and nobody said why"
    return f"{MARK}: the job ended before its run was whole{why}", again


def _sentence(words: str) -> str:
    words = "".join(c if c.isprintable() else "\ufffd" for c in words).strip()
    return words[:1].upper() + words[1:] + ("" if not words or words[-1] in ".!?" else ".")


def _script() -> str:
    """The digest of the script that a run of a suite is."""
    from meyrin.suites.handed import SCRIPT  # noqa: PLC0415 - pages of jobs come often, runs seldom

    return _digest(SCRIPT)


def _digest(script: str) -> str:
    return hashlib.sha256(script.encode("utf-8", "surrogatepass")).hexdigest()
