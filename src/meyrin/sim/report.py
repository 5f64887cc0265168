"""What `--out` holds: the files of one replay, or of two on the same log, as bytes by name."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from meyrin.sim import pictures
from meyrin.sim.figure import as_png, as_svg
from meyrin.sim.folder import SUMMARY, as_json, file_sha256, jobs_parquet, page

if TYPE_CHECKING:
    from meyrin.sim.classes import Classes
    from meyrin.sim.compare import Comparison, Row
    from meyrin.sim.outcome import Outcome
    from meyrin.sim.policy import Policy
    from meyrin.sim.trace.model import Trace

UNFINISHED = "Interrupted: only jobs that had started by then are counted."


def words_of_time(seconds: float) -> str:
    """`5,400 s` as people say it: `1.5 h`; always with its unit."""
    size = abs(seconds)
    for unit, word in ((86400, "d"), (3600, "h"), (60, "min")):
        if size >= unit:
            return (
                f"{seconds / unit:,.3g} {word}"
                if size < 1000 * unit
                else (f"{seconds / unit:,.0f} {word}")
            )
    return f"{seconds:.3g} s"


def summary_rows(summary: dict[str, Any]) -> list[list[str]]:
    """The summary as a person reads it: name and value."""
    skipped = sum(summary["skipped"].values())
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in summary["skipped"].items())
    return [
        ["policy", str(summary["policy"])],
        ["processors", f"{summary['processors']:,}"],
        ["jobs", f"{summary['jobs']:,}"],
        ["skipped", f"{skipped:,} ({reasons})" if skipped else "0"],
        ["makespan", words_of_time(summary["makespan_s"])],
        ["mean wait", words_of_time(summary["mean_wait_s"])],
        ["half wait at most", words_of_time(summary["p50_wait_s"])],
        ["90 % wait at most", words_of_time(summary["p90_wait_s"])],
        ["99 % wait at most", words_of_time(summary["p99_wait_s"])],
        ["mean bounded slowdown", f"{summary['mean_bounded_slowdown']:,.2f}"],
        ["utilisation", f"{summary['utilisation']:.2%}"],
        ["engine time", f"{summary['engine_s']:.3f} s ({summary['jobs_per_s']:,.0f} jobs/s)"],
        ["peak memory", f"{summary['peak_rss_mb']:,} MiB"],
    ]


def compare_rows(comparison: Comparison, rows: list[Row], head: str) -> list[list[str]]:
    """Classes of jobs with waits under both policies; the first row holds the heads."""
    a, b = comparison.labels
    heads = [head, "jobs", f"mean {a}", f"mean {b}", f"median {a}", f"median {b}"]
    heads += [f"90 % {a}", f"90 % {b}", f"99 % {a}", f"99 % {b}", "earlier", "later", "same"]
    table = [heads]
    for row in rows:
        waits = [
            words_of_time(side[name])
            for name in ("mean", "p50", "p90", "p99")
            for side in (row.a, row.b)
        ]
        counts = [f"{count:,}" for count in (row.earlier, row.later, row.equal)]
        table.append([row.label, f"{row.jobs:,}", *waits, *counts])
    return table


def inputs(trace: Path, policies: list[Policy], version: str, kill: bool) -> dict[str, Any]:
    """What the results were made from, with SHA-256 of each file."""
    return {
        "meyrin": version,
        "kill_at_limit": kill,
        "trace": {"path": str(trace), "bytes": trace.stat().st_size, "sha256": file_sha256(trace)},
        "policies": [{"asked": p.asked, "kind": p.kind, "sha256": p.sha256} for p in policies],
    }


def files_of_replay(
    trace: Trace,
    outcome: Outcome,
    sizes: Classes,
    summary: dict[str, Any],
    made_from: dict[str, Any],
    policy: Policy,
) -> dict[str, bytes]:
    """Everything about one replay."""
    drawn = {
        "waits-by-size": ("Waits by size of job", pictures.waits_by_size(outcome, sizes)),
        "over-time": ("Use and queue over time", pictures.use_and_queue(outcome)),
    }
    svg, files = _drawn(drawn)
    title = f"Replay of {PurePath(outcome.trace).name} with {outcome.label}"
    rows = [["number", "value"], *summary_rows(summary)]
    note = "" if outcome.complete else UNFINISHED
    return {
        "jobs.parquet": jobs_parquet(trace, outcome),
        "policy.toml": policy.text.encode(),
        **files,
        "index.html": page(title, note, [("", rows)], svg, _foot(made_from)),
        SUMMARY: as_json(summary | {"inputs": made_from}),
    }


def files_of_comparison(
    trace: Trace,
    comparison: Comparison,
    compared: dict[str, Any],
    made_from: dict[str, Any],
    policies: tuple[Policy, Policy],
) -> dict[str, bytes]:
    """Everything about two replays of one log."""
    sizes = comparison.classes[0]
    drawn = {
        "waits-by-size": ("Waits by size of job", pictures.waits_compared(comparison, sizes)),
        "over-time": ("Queue and use over time", pictures.use_compared(comparison)),
    }
    for one in comparison.classes:
        words = one.kind.replace("_", " ")
        drawn[f"gains-by-{words.replace(' ', '-')}"] = (
            f"Change of the mean wait by {words}",
            pictures.gains(comparison, one),
        )
    svg, files = _drawn(drawn)
    first, second = comparison.labels
    tables = [("All jobs", compare_rows(comparison, [comparison.total()], "jobs"))]
    for one in comparison.classes:
        words = one.kind.replace("_", " ")
        tables.append((f"By {words}", compare_rows(comparison, list(comparison.rows(one)), words)))
    title = f"{first} against {second} on {PurePath(comparison.outcomes[0].trace).name}"
    whole = all(outcome.complete for outcome in comparison.outcomes)
    for letter, outcome, policy in zip("ab", comparison.outcomes, policies, strict=True):
        files[f"jobs-{letter}.parquet"] = jobs_parquet(trace, outcome)
        files[f"policy-{letter}.toml"] = policy.text.encode()
    return {
        **files,
        "index.html": page(title, "" if whole else UNFINISHED, tables, svg, _foot(made_from)),
        SUMMARY: as_json(compared | {"inputs": made_from}),
    }


def _drawn(charts: dict[str, tuple[str, Any]]) -> tuple[list[tuple[str, str]], dict[str, bytes]]:
    """The SVGs with their words, and all picture files."""
    shown, files = [], {}
    for name, (words, chart) in charts.items():
        svg = as_svg(chart)
        shown.append((words, svg))
        files[f"{name}.svg"] = svg.encode()
        files[f"{name}.png"] = as_png(chart)
    return shown, files


def _foot(made_from: dict[str, Any]) -> list[str]:
    trace = made_from["trace"]
    lines = [f"Meyrin {made_from['meyrin']}", f"{trace['path']}, SHA-256 {trace['sha256']}"]
    lines += [f"policy {p['asked']}, SHA-256 {p['sha256']}" for p in made_from["policies"]]
    if "cluster" in made_from:
        cluster = made_from["cluster"]
        lines.append(f"cluster {cluster['path']}, SHA-256 {cluster['sha256']}")
    return lines
