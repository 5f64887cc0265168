"""How much short jobs freed lately at each partition: what may be sent there ahead of room.

Counted in spans of `LATELY_S`; of the span before as much counts as still lies within that time,
as if its ends had been spread evenly over it. A hint: while another transaction has the row, ends
are not counted, and a little less is sent ahead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meyrin.engine.ahead import LATELY_S
from meyrin.engine.amounts import Amounts, Freed
from meyrin.hub.plumbing.database import Step
from meyrin.hub.sites import store

_SPAN_MS = LATELY_S * 1000


def note(step: Step, site_id: str, freed: Mapping[str, Freed]) -> None:
    """By partition, what jobs that just ended had. Two statements a partition, at most."""
    span = step.now_ms // _SPAN_MS
    for name, more in sorted(freed.items()):
        row = store.turnover(step, site_id, name)
        if row is not None:
            now, before = _spans(row.turnover, span)
            kept = {"span": span, "now": now.plus(*more), "before": before}
            store.set_turnover(step, site_id, name, kept)


def lately(kept: dict[str, Any] | None, now_ms: int) -> Freed:
    """What was freed in the last `LATELY_S`, of what is kept of a partition."""
    span, into_ms = divmod(now_ms, _SPAN_MS)
    now, before = _spans(kept, span)
    nodes, cores, memory_mb, accelerators = (
        each * (_SPAN_MS - into_ms) // _SPAN_MS for each in before.together
    )
    return now.plus((nodes, cores, memory_mb, accelerators), before.most)


def _spans(kept: dict[str, Any] | None, span: int) -> tuple[Freed, Freed]:
    """What was freed in this span and in the one before it."""
    if kept is not None and kept["span"] == span:
        return _freed(kept["now"]), _freed(kept["before"])
    if kept is not None and kept["span"] == span - 1:
        return Freed(), _freed(kept["now"])
    return Freed(), Freed()


def _freed(body: list[list[int]]) -> Freed:
    together, most = body
    return Freed().plus(_amounts(together), _amounts(most))


def _amounts(numbers: list[int]) -> Amounts:
    nodes, cores, memory_mb, accelerators = numbers
    return nodes, cores, memory_mb, accelerators
