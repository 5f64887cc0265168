"""Two outcomes of one log side by side: who gains and who loses.

The jobs are the same, in the same order; only starts differ. Where one of the replays was
interrupted, jobs that began in both are compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meyrin.sim.classes import Classes
from meyrin.sim.outcome import QUANTILES, Outcome, quantile, summary
from meyrin.sim.prepare import Ints

WAITS = ("mean", *(f"p{percent}" for percent in QUANTILES))


@dataclass(frozen=True, slots=True)
class Row:
    """One class of jobs: how many, how many start earlier, later or when they did with the second
    policy, and the waits in seconds (`mean`, `p50`, `p90`, `p99`) under both."""

    label: str
    jobs: int
    earlier: int
    later: int
    equal: int
    a: dict[str, float]
    b: dict[str, float]


@dataclass(frozen=True, slots=True)
class Comparison:
    """`outcomes` of the first and the second policy on the same jobs; `classes` of those."""

    outcomes: tuple[Outcome, Outcome]
    classes: tuple[Classes, ...]

    @property
    def labels(self) -> tuple[str, str]:
        """What tables call the two; never the same word twice."""
        first, second = (outcome.label for outcome in self.outcomes)
        return (first, second) if first != second else (f"{first} (1)", f"{second} (2)")

    @property
    def both(self) -> NDArray[np.bool_]:
        """Jobs that began under both, bool[n]."""
        return self.outcomes[0].begun & self.outcomes[1].begun

    def total(self) -> Row:
        """All jobs together."""
        return self._row("all", self.both)

    def rows(self, classes: Classes) -> Iterator[Row]:
        """Each class that has jobs, in the classes' order."""
        both = self.both
        for number, label in enumerate(classes.labels):
            mine = both & (classes.of == number)
            if mine.any():
                yield self._row(label, mine)

    def _row(self, label: str, mine: NDArray[np.bool_]) -> Row:
        a, b = (outcome.start[mine] for outcome in self.outcomes)
        submit = self.outcomes[0].jobs.submit[mine]
        return Row(
            label,
            len(a),
            int(np.count_nonzero(b < a)),
            int(np.count_nonzero(b > a)),
            int(np.count_nonzero(b == a)),
            _waits(a - submit),
            _waits(b - submit),
        )


def _waits(wait: Ints) -> dict[str, float]:
    values = [float(wait.mean()) if len(wait) else 0.0]
    values += [quantile(wait, percent) for percent in QUANTILES]
    return dict(zip(WAITS, values, strict=True))


def compared(comparison: Comparison, peak_rss_mb: int) -> dict[str, Any]:
    """The object of `meyrin replay --compare --json`: `a` and `b` are as without `--compare`;
    earlier and later say how jobs start with `b` against `a`."""
    a, b = comparison.outcomes
    total = comparison.total()
    return {
        "trace": a.trace,
        "processors": a.processors,
        "jobs": total.jobs,
        "skipped": dict(a.jobs.skipped),
        "earlier": total.earlier,
        "later": total.later,
        "equal": total.equal,
        "a": summary(a, peak_rss_mb),
        "b": summary(b, peak_rss_mb),
        "by": {
            one.kind: [_as_data(row) for row in comparison.rows(one)] for one in comparison.classes
        },
    }


def _as_data(row: Row) -> dict[str, Any]:
    waits = {
        side: {f"{name}_wait_s": value for name, value in values.items()}
        for side, values in (("a", row.a), ("b", row.b))
    }
    counts = {"jobs": row.jobs, "earlier": row.earlier, "later": row.later, "equal": row.equal}
    return {"class": row.label, **counts, **waits}
