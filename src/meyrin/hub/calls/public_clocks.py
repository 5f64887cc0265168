"""How long asks really took, in public: by mode, from submission to each moment.

Quantiles are nearest-rank (the smallest value that at least the share of values does not exceed),
so every figure is one that happened. Fewer than five are masked: a group of one is a person.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from meyrin.hub.calls import proposals_store as store
from meyrin.hub.plumbing.database import Step

FEWEST = 5
SHARES = (50, 90, 99)


@dataclass(frozen=True, slots=True)
class Spread:
    """Seconds from submission at 50, 90 and 99 percent; None where too few to show."""

    count: int | None
    p50_s: int | None
    p90_s: int | None
    p99_s: int | None


@dataclass(frozen=True, slots=True)
class ModeClock:
    """One mode's asks. `kept` of `promised` decisions came in time; None where too few."""

    mode: str
    asked: int | None
    waiting: int | None
    kept: int | None
    promised: int | None
    decided: Spread
    provisioned: Spread
    first_job: Spread


def clocks(step: Step) -> list[ModeClock]:
    """Every mode that was ever asked for, by name. One query."""
    by_mode: dict[str, list[Any]] = {}
    for row in store.moments(step):
        by_mode.setdefault(row.mode, []).append(row)
    return [_mode(name, rows) for name, rows in sorted(by_mode.items())]


def _mode(name: str, rows: Sequence[Any]) -> ModeClock:
    answered = [row for row in rows if row.state in ("granted", "refused")]
    in_time = [
        row for row in answered if row.due_s is not None and row.decided_ms <= row.due_s * 1000
    ]
    promised = [row for row in answered if row.due_s is not None]
    return ModeClock(
        name,
        _shown(len(rows)),
        _shown(sum(row.state == "waiting" for row in rows)),
        len(in_time) if len(promised) >= FEWEST else None,
        _shown(len(promised)),
        spread(row.decided_ms - row.submit_ms for row in answered),
        spread(_since(rows, "provisioned_ms")),
        spread(_since(rows, "first_job_ms")),
    )


def _since(rows: Iterable[Any], name: str) -> Iterable[int]:
    for row in rows:
        at_ms = getattr(row, name)
        if at_ms is not None:
            yield at_ms - row.submit_ms


def _shown(count: int) -> int | None:
    return count if count >= FEWEST or count == 0 else None


def spread(spans_ms: Iterable[int]) -> Spread:
    """Quantiles of spans, in whole seconds, begun ones counted."""
    ordered = sorted(spans_ms)
    if len(ordered) < FEWEST:
        return Spread(_shown(len(ordered)), None, None, None)
    p50, p90, p99 = (-(-ordered[-(-share * len(ordered) // 100) - 1] // 1000) for share in SHARES)
    return Spread(len(ordered), p50, p90, p99)
