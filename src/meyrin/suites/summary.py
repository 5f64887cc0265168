"""What a run found, in rows: for people who read it, never what a gate decides on."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from meyrin.domain.units import show_count
from meyrin.suites.facts import Facts


@dataclass(frozen=True, slots=True)
class Row:
    """One score of one task. `mean` is over scored samples; None where there are none."""

    task: str
    score: str
    samples: int
    scored: int
    mean: float | None


def rows(facts: Facts) -> list[Row]:
    """Each task's scores, and each score over all tasks (task `all`) where there are several."""
    found: dict[tuple[str, str], list[float | None]] = defaultdict(list)
    for sample in facts.samples:
        for name, value in sample.scores:
            found[sample.task, name].append(value)
            found["all", name].append(value)
    several = len({sample.task for sample in facts.samples}) > 1
    return [
        _row(task, score, values)
        for (task, score), values in sorted(found.items())
        if several or task != "all"
    ]


def _row(task: str, score: str, values: list[float | None]) -> Row:
    scored = [value for value in values if value is not None]
    mean = sum(scored) / len(scored) if scored else None
    return Row(task, score, len(values), len(scored), mean)


def _found(row: Row) -> str:
    if row.mean is None:
        return f"{show_count(row.samples, 'sample')}, none of them scored"
    left = f", {row.samples - row.scored} unscored" if row.scored < row.samples else ""
    return f"{row.mean:.1%} of {show_count(row.scored, 'sample')}{left}"


def lines(facts: Facts) -> list[str]:
    """The rows as text, with what isolation was measured."""
    run = facts.run
    told = [f"{row.task}/{row.score}: {_found(row)}" for row in rows(facts)]
    errors = [sample.error for sample in facts.samples if sample.error]
    if errors:
        kinds = ", ".join(sorted(set(errors))[:3])
        ended = f"{show_count(len(errors), 'sample')} ended with an error ({kinds})"
        told.append(f"{ended}, which counts as unscored")
    broken = f"; not held: {', '.join(run.isolation.broken)}" if run.isolation.broken else ""
    told.append(f"isolation level {run.isolation.level}, measured ({run.isolation.by}){broken}")
    return told
