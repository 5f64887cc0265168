"""How much short jobs freed lately at each partition: what may be sent there ahead of room.

Counted in spans of `LATELY_S`; of the span before as much counts as still lies within that time,
as if its ends had been spread evenly over it. A hint: where two hubs count at once and one count is
lost, a little less is sent ahead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meyrin.engine.ahead import LATELY_S
from meyrin.engine.amounts import NOTHING, Amounts, plus
from meyrin.hub.plumbing.database import Step
from meyrin.hub.sites import store

_SPAN_MS = LATELY_S * 1000


def note(step: Step, site_id: str, freed: Mapping[str, Amounts]) -> None:
    """By partition, what jobs that just ended had. Two statements a partition, at most."""
    for name, more in sorted(freed.items()):
        span = step.now_ms // _SPAN_MS
        now, before = _spans(store.turnover(step, site_id, name), span)
        kept = {"span": span, "now": plus(now, more), "before": before}
        store.set_turnover(step, site_id, name, kept)


def lately(kept: dict[str, Any] | None, now_ms: int) -> Amounts:
    """What was freed in the last `LATELY_S`, of what is kept of a partition."""
    if kept is None:
        return NOTHING
    span, into_ms = divmod(now_ms, _SPAN_MS)
    now, before = _spans(kept, span)
    nodes, cores, memory_mb, accelerators = (
        each * (_SPAN_MS - into_ms) // _SPAN_MS for each in before
    )
    return plus(now, (nodes, cores, memory_mb, accelerators))


def _spans(kept: dict[str, Any] | None, span: int) -> tuple[Amounts, Amounts]:
    """What was freed in this span and in the one before it."""
    if kept is not None and kept["span"] == span:
        return _amounts(kept["now"]), _amounts(kept["before"])
    if kept is not None and kept["span"] == span - 1:
        return NOTHING, _amounts(kept["now"])
    return NOTHING, NOTHING


def _amounts(numbers: list[int]) -> Amounts:
    nodes, cores, memory_mb, accelerators = numbers
    return nodes, cores, memory_mb, accelerators
