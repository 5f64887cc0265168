"""What came of a replay: starts and ends, and the few numbers that people compare.

Never runs anything. Each number's definition stands at its function, with its source.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from meyrin.sim.prepare import Arrivals, Ints

if TYPE_CHECKING:
    from meyrin.sim.trace.model import Trace

TAU_S = 10  # Feitelson's bound for the slowdown of very short jobs
QUANTILES = (50, 90, 99)
STARTS_HEAD = "job_id,submit_s,start_s,end_s\n"

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Jobs in log order with `start` and `end`, int64 seconds, -1 where not reached.

    `complete` is false when the replay was interrupted: then only jobs that had started count.
    `engine_s` is the processor time that the engine took. `policy` is what the person asked for,
    `label` what tables and pictures call it.
    """

    trace: str
    policy: str
    label: str
    processors: int
    jobs: Arrivals
    start: Ints
    end: Ints
    complete: bool
    engine_s: float
    not_ended: Mapping[str, int] = field(default_factory=dict)
    """On a cluster: jobs without an end that counts, by what became of them."""

    @property
    def begun(self) -> NDArray[np.bool_]:
        """Which jobs have a start and an end, bool[n]."""
        return (self.start >= 0) & (self.end >= 0)


def waits(outcome: Outcome) -> Ints:
    """Seconds from submission to start of the jobs that began, in log order."""
    done = outcome.begun
    return outcome.start[done] - outcome.jobs.submit[done]


def quantile(values: Ints | Floats, percent: float) -> float:
    """The `percent` quantile, linear between neighbours (type 7 of R. J. Hyndman and Y. Fan,
    Sample Quantiles in Statistical Packages, 1996; the default of NumPy, pandas and R)."""
    return float(np.quantile(values, percent / 100)) if len(values) else 0.0


def bounded_slowdown(wait: Ints, run: Ints) -> Floats:
    """max(1, (wait + run) / max(run, 10 s)) for each job: D. G. Feitelson, Metrics for Parallel
    Job Scheduling and Their Convergence, JSSPP 2001, with his threshold of 10 s."""
    slow: Floats = np.maximum(1.0, (wait + run) / np.maximum(run, TAU_S))
    return slow


def utilisation(outcome: Outcome) -> float:
    """Used processor-seconds over those that the machine had from the first submit time to the
    last end: D. G. Feitelson and L. Rudolph, Metrics and Benchmarking for Parallel Job
    Scheduling, JSSPP 1998."""
    done = outcome.begun
    if not done.any():
        return 0.0
    span = int(outcome.end[done].max()) - int(outcome.jobs.submit[done].min())
    spent = outcome.jobs.processors[done].astype(np.float64) * (
        outcome.end[done] - outcome.start[done]
    )
    return float(spent.sum()) / (outcome.processors * span)


def summary(outcome: Outcome, peak_rss_mb: int) -> dict[str, Any]:
    """The object of `meyrin replay --json`, keys in DESIGN's order.

    Two more keys come where they have something to say: `not_ended`, and `complete`, which is
    false, after an interruption.
    """
    done = outcome.begun
    count = int(np.count_nonzero(done))
    wait = waits(outcome)
    first = int(outcome.jobs.submit[done].min()) if count else 0
    last = int(outcome.end[done].max()) if count else 0
    run = outcome.end[done] - outcome.start[done]
    values: dict[str, Any] = {
        "trace": outcome.trace,
        "policy": outcome.policy,
        "processors": outcome.processors,
        "jobs": count,
        "skipped": dict(outcome.jobs.skipped),
        "first_submit_s": first,
        "makespan_s": last - first,
        "mean_wait_s": _rounded(wait.mean()) if count else 0.0,
    }
    values |= {f"p{percent}_wait_s": _rounded(quantile(wait, percent)) for percent in QUANTILES}
    values |= {
        "mean_bounded_slowdown": _rounded(bounded_slowdown(wait, run).mean()) if count else 0.0,
        "utilisation": utilisation(outcome),
        "engine_s": round(outcome.engine_s, 6),
        "jobs_per_s": round(count / outcome.engine_s, 1) if outcome.engine_s > 0 else 0.0,
        "peak_rss_mb": peak_rss_mb,
    }
    if outcome.not_ended:
        values["not_ended"] = dict(outcome.not_ended)
    if not outcome.complete:
        values["complete"] = False
    return values


def _rounded(value: float) -> float:
    """To the millionth, so that no digit is the noise of a sum."""
    return round(float(value), 6)


def starts_csv(trace: Trace, outcome: Outcome) -> str:
    """`job_id,submit_s,start_s,end_s`, one row for each job that began, in the trace's order.

    Job ids are the log's own words where they are no numbers.
    """
    jobs = outcome.jobs
    order = np.argsort(jobs.row, kind="stable")
    order = order[outcome.begun[order]]
    columns = [jobs.job_id, jobs.submit, outcome.start, outcome.end]
    numbers, *times = (column[order].tolist() for column in columns)
    if "job" not in trace.names:
        ids: list[Any] = numbers
    else:
        ids = [_quoted(trace.label("job", number)) for number in numbers]
    rows = zip(ids, *times, strict=True)
    return STARTS_HEAD + "".join(f"{a},{b},{c},{d}\n" for a, b, c, d in rows)


def _quoted(text: str) -> str:
    """A field of a CSV file (RFC 4180)."""
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\r\n') else text
