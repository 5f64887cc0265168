"""A project's models: what gates decided about them, and their scores over versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from meyrin.hub.evaluations import service as evaluations
from meyrin.hub.identity import service as identity
from meyrin.hub.plumbing.authz import Actor
from meyrin.hub.plumbing.database import Step
from meyrin.hub.reports import store, suite_runs
from meyrin.hub.reports.service import label_of
from meyrin.hub.reports.suite_runs import NoEvidence

SHOWN = 50


@dataclass(frozen=True, slots=True)
class RunLine:
    """One run; `label` is its job, empty where none of the project left it."""

    digest: str
    label: str
    version: str
    suite: str
    seed: int
    site: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Span:
    """Where the interval and its estimate lie between 0 and 1, in thousandths."""

    low: int
    estimate: int
    high: int


@dataclass(frozen=True, slots=True)
class ScoreLine:
    """One score in one run."""

    run: RunLine
    samples: int
    clusters: int
    unscored: int
    seen: str
    estimate: str
    interval: str
    span: Span | None


@dataclass(frozen=True, slots=True)
class Score:
    """One score over versions, the newest run first."""

    suite: str
    task: str
    metric: str
    lines: tuple[ScoreLine, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    digest: str
    gate: str
    family: str
    attempt: int
    verdict: str
    action: str
    says: tuple[str, ...]
    at_ms: int


@dataclass(frozen=True, slots=True)
class ModelsPage:
    """The newest decisions and runs, of all models or of one family."""

    families: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
    runs: tuple[RunLine, ...]
    scores: tuple[Score, ...]
    without: tuple[NoEvidence, ...]


def look(step: Step, actor: Actor, project: str, family: str) -> ModelsPage:
    """NotFound where the project is none of the actor's. A fixed number of queries."""
    runs, _ = evaluations.runs(step, actor, project, family, "", SHOWN)
    decided, _ = evaluations.decisions(step, actor, project, family, "", SHOWN)
    project_id = identity.project_by_name(step, actor, project).id
    without, _ = suite_runs.newest(step, project_id)
    left = store.jobs_of_bundles(step, project_id, {run.bundle for run in runs})
    labels = {bundle: label_of(row) for bundle, row in left.items()}
    named = {run.family for run in runs} | {str(each.decision["family"]) for each in decided}
    return ModelsPage(
        tuple(sorted(named)),
        tuple(_verdict(each) for each in decided),
        tuple(_run(run, labels.get(run.bundle, "")) for run in runs),
        _over_versions(runs, labels),
        () if family else tuple(without),
    )


def _verdict(kept: evaluations.KeptDecision) -> Verdict:
    told = kept.decision
    return Verdict(
        str(told["digest"]),
        str(told["gate"]),
        str(told["family"]),
        int(told["attempt"]),
        str(told["verdict"]),
        str(told["action"]),
        tuple(str(line) for line in told["says"]),
        kept.decided_ms,
    )


def _run(kept: evaluations.KeptRun, label: str) -> RunLine:
    run = kept.run
    return RunLine(
        kept.digest,
        label,
        _version(str(run["fingerprints"]["weights"])),
        f"{run['suite']} {run['version']}",
        int(run["seed"]),
        str(run["site"]),
        int(run["started_ms"]),
    )


def _over_versions(
    runs: Sequence[evaluations.KeptRun], labels: Mapping[str, str]
) -> tuple[Score, ...]:
    """The runs come newest first, and so do the lines of each score."""
    found: dict[tuple[str, str, str], list[ScoreLine]] = {}
    for kept in runs:
        line = _run(kept, labels.get(kept.bundle, ""))
        for each in kept.scores:
            name = (str(kept.run["suite"]), str(each["task"]), str(each["metric"]))
            found.setdefault(name, []).append(_score(line, each))
    return tuple(Score(*name, tuple(lines)) for name, lines in sorted(found.items()))


def _score(run: RunLine, told: Mapping[str, Any]) -> ScoreLine:
    return ScoreLine(
        run=run,
        samples=int(told["samples"]),
        clusters=int(told["clusters"]),
        unscored=int(told["unscored"]),
        seen=_seen(told),
        estimate=_decimals(told.get("estimate")),
        interval=_interval(told),
        span=_span(told),
    )


def _version(weights: str) -> str:
    """A model's digest in short; of a served one nobody knows it."""
    return weights[:12] if len(weights) == 64 else "not measured, as it is served"


def _seen(score: Mapping[str, Any]) -> str:
    """The plain count where the score is yes or no, else its mean: over all samples."""
    mean, samples = float(score["mean"]), int(score["samples"])
    if score["low"] is None:
        return f"mean {mean:.3f}"
    return f"{round(mean * samples):,} of {samples:,}"


def _decimals(value: float | None) -> str:
    return "unknown" if value is None else f"{float(value):.3f}"


def _interval(score: Mapping[str, Any]) -> str:
    if score["low"] is None:
        return "unknown"
    return f"{float(score['low']):.3f} to {float(score['high']):.3f}"


def _span(score: Mapping[str, Any]) -> Span | None:
    low, estimate, high = (score.get(name) for name in ("low", "estimate", "high"))
    if low is None or estimate is None or high is None:
        return None
    return Span(*(round(1000 * min(1.0, max(0.0, float(at)))) for at in (low, estimate, high)))
