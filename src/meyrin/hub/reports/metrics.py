"""What monitors ask: numbers in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from meyrin import __version__
from meyrin.domain.states import JobState
from meyrin.hub.plumbing import world
from meyrin.hub.plumbing.database import Step
from meyrin.hub.reports import store
from meyrin.hub.reports.service import SiteUse, site_uses

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_Sample = tuple[Mapping[str, str], int]


def text(step: Step) -> str:
    """Everything that is measured, now. A fixed number of queries."""
    found = site_uses(step)
    counts = store.all_counts(step)
    placed, measured = store.placements(step), store.measured(step)
    families = [
        _family(
            "meyrin_build_info", "gauge", "Constant 1; the version is a label.",
            [({"version": __version__}, 1)],
        ),
        _family(
            "meyrin_jobs", "gauge", "Jobs by state.",
            [({"state": str(state)}, counts.get(state, 0)) for state in JobState],
        ),
        _family(
            "meyrin_site_answers", "gauge", "Whether the agent of a site answers.",
            [({"site": each.name}, int(each.state in ("answers", "drained"))) for each in found],
        ),
        _family(
            "meyrin_site_drained", "gauge", "Whether a site takes no new jobs.",
            [({"site": each.name}, int(bool(each.drained_reason))) for each in found],
        ),
        _family(
            "meyrin_site_capacity", "gauge",
            "Accelerators (or cores) lent, by site, type and whether they are free.",
            list(_capacity(found)),
        ),
        _family(
            "meyrin_placements_total", "counter", "Attempts ever placed, by site.",
            [({"site": row.site}, int(row.n)) for row in placed],
        ),
        _family(
            "meyrin_energy_joules", "gauge", "Energy of attempts, as sites recorded it, by site.",
            [({"site": row.site}, int(row.energy_j)) for row in measured if row.known],
        ),
        _family(
            "meyrin_usage_records", "gauge",
            "Attempts whose use was measured, by site and whether their energy is known.",
            list(_records(measured)),
        ),
        _family(
            "meyrin_world_version", "counter", "How often a rule or a capacity changed.",
            [({}, world.version(step))],
        ),
    ]  # fmt: skip
    return "".join(families)


def _capacity(found: Iterable[SiteUse]) -> Iterable[_Sample]:
    for site in found:
        for use in site.uses:
            labels = {"site": site.name, "type": use.charged_type}
            yield {**labels, "use": "free"}, use.free
            yield {**labels, "use": "running"}, use.running
            yield {**labels, "use": "coming"}, use.coming
            yield {**labels, "use": "others"}, use.others


def _records(measured: Iterable[Any]) -> Iterable[_Sample]:
    for row in measured:
        yield {"site": row.site, "energy": "known"}, int(row.known)
        yield {"site": row.site, "energy": "unknown"}, int(row.unknown)


def _family(name: str, kind: str, about: str, samples: Iterable[_Sample]) -> str:
    lines = [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]
    for labels, value in samples:
        inside = ",".join(f'{key}="{_escaped(each)}"' for key, each in labels.items())
        lines.append(f"{name}{{{inside}}} {value}" if inside else f"{name} {value}")
    return "\n".join(lines) + "\n"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
