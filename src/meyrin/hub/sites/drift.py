"""How a site's own accounts and limits differ from projects and balances: the latest pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from meyrin.hub.plumbing.authz import Actor
from meyrin.hub.plumbing.database import Step
from meyrin.hub.plumbing.paging import number
from meyrin.hub.sites import service, store
from meyrin.wire.limits import DriftLine


@dataclass(frozen=True, slots=True)
class Drift:
    """`lines` are one page; `following` is the `after` of the next."""

    at_ms: int | None = None
    mode: str = ""
    words: str = ""
    lines: tuple[DriftLine, ...] = ()
    following: str = ""


def keep(
    step: Step, site_id: str, at_ms: int, mode: str, words: str, lines: Sequence[DriftLine]
) -> None:
    """Replace the site's report; an earlier one that comes late is dropped."""
    told = [each.model_dump(mode="json") for each in lines]
    row = {
        "site_id": site_id,
        "at_ms": min(at_ms, step.now_ms),
        "report": {"mode": mode, "words": words, "lines": told},
    }
    store.put_latest(step, store.site_drifts, row)


def latest(step: Step, actor: Actor, name: str, after: str, limit: int) -> Drift:
    """The latest report, a page at a time. For the site's operators. Two queries."""
    site = service.operated(step, actor, name)
    row = store.latest(step, store.site_drifts, site)
    if row is None:
        return Drift()
    start = number(after) or 0
    lines = row.report["lines"]
    return Drift(
        at_ms=row.at_ms,
        mode=row.report["mode"],
        words=row.report["words"],
        lines=tuple(DriftLine.model_validate(each) for each in lines[start : start + limit]),
        following=str(start + limit) if start + limit < len(lines) else "",
    )
