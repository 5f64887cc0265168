"""How much of each partition could take work, from when on. Rows are only ever added.

What owners are entitled to is worked out from them (`hub.owners`). A partition that is gone, a
site that is drained, closed, silent or takes nothing new has no capacity for that time; nodes that
take no work have none either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from meyrin.domain.errors import InvalidInput
from meyrin.domain.site import LONGEST_FEATURE, MOST_FEATURES, Partition
from meyrin.domain.units import show_count
from meyrin.hub.plumbing.database import Step
from meyrin.hub.sites import store

SILENT_AFTER_S = 60
MAX_PARTITIONS = 1000
MAX_NODES = 1_000_000  # of a site: the engine keeps a row for each
# of anything else, and of a partition's cores or accelerators: a rate that is made of two such
# numbers still fits where it is kept
MAX_NUMBER = 10**9
MAX_FEATURES = 50_000  # of a site's partitions together: the broker reads them at each look


def check_announced(partitions: Sequence[Partition]) -> None:
    """Raise InvalidInput for what no site has: one site's numbers must not stop the broker."""
    names = {one.name for one in partitions}
    if len(names) != len(partitions) or len(names) > MAX_PARTITIONS:
        raise InvalidInput(
            f"{len(partitions)} partitions under {len(names)} names",
            hint=f"each partition once, {MAX_PARTITIONS} at most",
            field="partitions",
        )
    nodes = sum(one.nodes for one in partitions)
    if nodes > MAX_NODES:
        raise InvalidInput(
            f"{show_count(nodes, 'node')} at one site",
            hint=f"at most {MAX_NODES}",
            field="partitions",
        )
    features = sum(len(one.features) for one in partitions)
    if features > MAX_FEATURES:
        raise InvalidInput(
            f"{features} features of all partitions",
            hint=f"at most {MAX_FEATURES}: announce those that jobs ask for",
            field="features",
        )
    for one in partitions:
        _check_words(one)
        units = one.nodes * max(one.cores_per_node, one.accelerators_per_node)
        for name, value in {**asdict(one), "nodes times cores or accelerators": units}.items():
            if isinstance(value, int) and value > MAX_NUMBER:
                raise InvalidInput(
                    f"partition {one.name}: {name} is {value}",
                    hint=f"at most {MAX_NUMBER}, or leave it out",
                    field=name,
                )


def _check_words(one: Partition) -> None:
    if len(one.features) > MOST_FEATURES:
        raise InvalidInput(
            f"partition {one.name}: {len(one.features)} features",
            hint=f"at most {MOST_FEATURES}: announce those that jobs ask for",
            field="features",
        )
    words = [("features", each) for each in one.features]
    for name, word in [*words, ("accelerator_type", one.accelerator_type or "")]:
        if len(word) > LONGEST_FEATURE:
            raise InvalidInput(
                f"partition {one.name}: {name} has {word[:20]!r}… of {len(word)} characters",
                hint=f"at most {LONGEST_FEATURE}, or leave it out",
                field=name,
            )


def note(step: Step) -> int:
    """Write down what changed of each partition's capacity since the last look; how much did.

    A partition that is gone, drained or silent has none; silence is counted from this hub's start
    at the earliest. Two queries where nothing changed.
    """
    last = {(row.site_id, row.partition): row for row in store.last_capacities(step)}
    new = []
    for row in store.capacity_facts(step):
        units, charged_type = _now(row, step.now_s, step.started_s)
        known = last.get((row.site_id, row.name))
        if known is None or (known.units, known.charged_type) != (units, charged_type):
            new.append(
                {
                    "site_id": row.site_id,
                    "partition": row.name,
                    "at_ms": step.now_ms,
                    "units": units,
                    "charged_type": charged_type,
                }
            )
    # never before what is known: a clock that was set back waits until it has caught up
    later = [r for r in new if not _is_later(last.get((r["site_id"], r["partition"])), r)]
    step.add_new(store.capacities, later)
    return len(later)


def _is_later(known: sa.Row[Any] | None, row: dict[str, Any]) -> bool:
    return known is not None and known.at_ms >= row["at_ms"]


def _now(row: sa.Row[Any], now_s: int, hub_start_s: int) -> tuple[int, str]:
    part = as_partition(row.spec)
    away = silent_since(row.last_heard_ms, now_s, SILENT_AFTER_S, hub_start_s)
    closed = row.gone_ms is not None or row.closed_ms is not None
    takes = not (closed or row.drained_reason is not None or row.not_now or away is not None)
    each = part.accelerators_per_node or part.cores_per_node
    return (usable_nodes(row) * each if takes else 0), part.charged_type


def usable_nodes(row: sa.Row[Any]) -> int:
    """How many nodes of a partition take work now, by its `spec` and `shortage`."""
    nodes = int(row.spec["nodes"])
    return min(nodes, row.shortage["usable_nodes"]) if row.shortage else nodes


def silent_since(
    last_heard_ms: int | None, now_s: int, silent_after_s: int, hub_start_s: int
) -> int | None:
    """Since when a site's agent has been silent; None while it is not."""
    since = max((last_heard_ms or 0) // 1000, hub_start_s)
    return since if now_s - since > silent_after_s else None


def as_partition(spec: Any) -> Partition:
    """A partition from the column that keeps it."""
    return Partition(**{**spec, "features": tuple(spec.get("features", ()))})
