"""How long asks really took, in public: by mode, from submission to each moment.

Quantiles are nearest-rank (the smallest value that at least the share of values does not exceed),
so every figure is one that happened. Fewer than five are masked: a group of one is a person.

Everybody may ask, and each count looks at every ask: so the database counts, once a minute at
each hub however often it is asked.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from meyrin.hub.calls import proposals_store as store
from meyrin.hub.plumbing.database import Database, Step

FEWEST = 5
KEEP_S = 60
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


@dataclass(frozen=True, slots=True)
class Count:
    """What was counted, and when."""

    at_ms: int
    modes: tuple[ModeClock, ...]


class Board:
    """The last count of one hub; whoever comes within a minute of it is shown that."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._last: Count | None = None
        self._counting = threading.Lock()

    def look(self) -> Count:
        """The last count, or a new one: of many who come at once, one counts."""
        with self._counting:
            now_ms = self._database.clock_ms()
            last = self._last
            # a clock that was set back counts anew too
            if last is None or not 0 <= now_ms - last.at_ms < KEEP_S * 1000:
                with self._database.read() as step:
                    last = self._last = Count(step.now_ms, tuple(clocks(step)))
            return last


def clocks(step: Step) -> list[ModeClock]:
    """Every mode that was ever asked for, by name. Two queries."""
    spans: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for row in store.ranked(step, SHARES):
        spans[row.mode, row.what].append(row)
    return [_mode(row, spans) for row in store.counted(step)]


def _mode(row: Any, spans: Mapping[tuple[str, str], list[Any]]) -> ModeClock:
    decided, provisioned, first_job = (
        _spread(spans.get((row.mode, what), [])) for what in ("decided", "provisioned", "first_job")
    )
    return ModeClock(
        row.mode,
        _shown(row.asked),
        _shown(row.waiting),
        row.kept if row.promised >= FEWEST else None,
        _shown(row.promised),
        decided,
        provisioned,
        first_job,
    )


def _shown(count: int) -> int | None:
    return count if count >= FEWEST or count == 0 else None


def _spread(ranks: list[Any]) -> Spread:
    """Ranked spans in whole seconds, begun ones counted."""
    count = ranks[0].of if ranks else 0
    if count < FEWEST:
        return Spread(_shown(count), None, None, None)
    at = {row.place: -(-row.span_ms // 1000) for row in ranks}
    p50, p90, p99 = (at[-(-share * count // 100)] for share in SHARES)
    return Spread(count, p50, p90, p99)
