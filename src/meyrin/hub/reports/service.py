"""What the pages show of sites and jobs, as values. Reads everyone's tables, writes nothing.

Each function needs a fixed number of queries, whatever the number of rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from meyrin.domain.errors import NotFound
from meyrin.domain.site import Partition
from meyrin.domain.states import WAITING, JobState, shown
from meyrin.domain.units import CORE
from meyrin.hub.identity import service as identity
from meyrin.hub.plumbing.authz import Actor
from meyrin.hub.plumbing.database import Step
from meyrin.hub.plumbing.paging import cut
from meyrin.hub.reports import store
from meyrin.hub.sites import capacity, others
from meyrin.hub.sites import service as sites
from meyrin.wire.sites import About

NEWEST = 10
AT_SITE = 50


@dataclass(frozen=True, slots=True)
class Use:
    """How much there is of one charged type, what Meyrin's jobs take of it, and what runs of
    others there, as far as the site tells."""

    charged_type: str
    total: int
    running: int
    coming: int
    others: int = 0

    @property
    def free(self) -> int:
        return max(0, self.total - self.running - self.coming - self.others)

    @property
    def noun(self) -> str:
        return "cores" if self.charged_type == CORE else f"{self.charged_type} accelerators"


@dataclass(frozen=True, slots=True)
class PartitionUse:
    partition: Partition
    offered: bool
    use: Use
    jobs: int


@dataclass(frozen=True, slots=True)
class SiteUse:
    """A site now. `state` is answers, drained, silent or new (its agent was never heard)."""

    id: str
    name: str
    title: str
    batch_kind: str
    state: str
    drained_reason: str
    last_heard_ms: int | None
    about: About
    partitions: tuple[PartitionUse, ...]

    @property
    def open(self) -> bool:
        return self.state == "answers"

    @property
    def uses(self) -> list[Use]:
        """Over all partitions that are lent, by type; accelerators before cores."""
        sums: dict[str, list[int]] = {}
        for each in self.partitions:
            if each.offered:
                use = each.use
                known = sums.setdefault(use.charged_type, [0, 0, 0, 0])
                for i, amount in enumerate((use.total, use.running, use.coming, use.others)):
                    known[i] += amount
        ordered = sorted(sums, key=lambda name: (name == CORE, name))
        return [Use(name, *sums[name]) for name in ordered]


@dataclass(frozen=True, slots=True)
class Line:
    """A job, or a whole array, as lists show it. `counts` are an array's elements by state."""

    label: str
    name: str
    project: str
    person: str
    state: str
    shown: str
    reason: str
    site: str | None
    partition: str | None
    submit_ms: int
    start_ms: int | None
    end_ms: int | None
    counts: tuple[tuple[str, int], ...] = ()

    @property
    def total(self) -> int:
        return sum(n for _, n in self.counts)


@dataclass(frozen=True, slots=True)
class Filters:
    """What a list of jobs is narrowed to; empty words do not narrow."""

    state: str = ""
    site: str = ""
    project: str = ""

    @property
    def states(self) -> tuple[str, ...]:
        if self.state == "waiting":
            return tuple(sorted(WAITING))
        return (self.state,) if self.state else ()


def visible(actor: Actor) -> Collection[str] | None:
    """The projects whose jobs `actor` sees; None sees all."""
    return None if actor.admin else tuple(actor.projects)


# --- sites


def site_uses(step: Step, name: str | None = None) -> list[SiteUse]:
    """Every open site with what is free and busy there. Two queries."""
    rows = store.places(step, name)
    only = rows[0].id if name is not None and rows else None
    taken = _taken(store.occupancy(step, only))
    grouped: defaultdict[str, list[sa.Row[Any]]] = defaultdict(list)
    for row in rows:
        grouped[row.id].append(row)
    return [_site_use(step, group, taken) for group in grouped.values()]


def site_use(step: Step, name: str) -> SiteUse:
    found = site_uses(step, name)
    if not found:
        raise NotFound(f"there is no site {name!r}", hint="the page of sites lists them")
    return found[0]


def credential_ms(step: Step, site_id: str) -> int | None:
    """When the credential was made that the site's agent has now. One query."""
    return identity.credential_made_ms(step, site_id)


def site_offers(step: Step, site_id: str) -> list[sites.Offer]:
    """What a site lends, now and later. Three queries."""
    return sites.offers_of(step, sites.site(step, site_id))


def jobs_at(step: Step, actor: Actor, site_id: str) -> tuple[list[Line], bool]:
    """The newest jobs at a site that `actor` may see, and whether there are more. One query."""
    rows = store.jobs_at(step, site_id, visible(actor), AT_SITE)
    return [_line(row) for row in rows[:AT_SITE]], len(rows) > AT_SITE


def site_state(step: Step, row: Any) -> str:
    """Answers, drained, silent or new; silence comes first, for nothing else is known then.

    As for the broker, silence is counted from the hub's start at the earliest: nobody could call
    while it was away.
    """
    if row.last_heard_ms is None:
        return "new"
    if step.now_s - max(row.last_heard_ms // 1000, step.started_s) > capacity.SILENT_AFTER_S:
        return "silent"
    closed = row.drained_reason is not None or row.not_now is not None
    return "drained" if closed else "answers"


_Taken = Mapping[tuple[str, str], Mapping[bool, Any]]


def _taken(rows: Iterable[sa.Row[Any]]) -> _Taken:
    found: defaultdict[tuple[str, str], dict[bool, Any]] = defaultdict(dict)
    for row in rows:
        found[row.site_id, row.partition][bool(row.running)] = row
    return found


def _site_use(step: Step, rows: list[sa.Row[Any]], taken: _Taken) -> SiteUse:
    first = rows[0]
    return SiteUse(
        id=first.id,
        name=first.name,
        title=first.title,
        batch_kind=first.batch_kind,
        state=site_state(step, first),
        drained_reason=first.drained_reason or first.not_now or "",
        last_heard_ms=first.last_heard_ms,
        about=About.model_validate(first.about or {}),
        partitions=tuple(
            _partition_use(row, taken, step.now_s) for row in rows if row.spec is not None
        ),
    )


def _partition_use(row: sa.Row[Any], taken: _Taken, now_s: int) -> PartitionUse:
    spec = row.spec
    partition = Partition(**(spec | {"features": tuple(spec["features"])}))
    here = taken.get((row.id, partition.name), {})
    per_node = partition.accelerators_per_node or partition.cores_per_node

    def amount(running: bool) -> int:
        found = here.get(running)
        if found is None:
            return 0
        if partition.whole_node:
            return int(found.nodes) * per_node
        return int(found.accelerators if partition.accelerators_per_node else found.cores)

    usable = capacity.usable_nodes(row)
    total, running, coming = usable * per_node, amount(True), amount(False)
    # what is not lent is theirs first
    theirs = others.running(row.others, partition, now_s)
    theirs -= max(0, others.taking(row.others) - usable) * per_node
    theirs = min(max(0, theirs), max(0, total - running - coming))
    use = Use(partition.charged_type, total, running, coming, theirs)
    jobs = sum(int(found.attempts) for found in here.values())
    return PartitionUse(partition, bool(row.offered), use, jobs)


# --- jobs


def live_counts(step: Step, actor: Actor) -> dict[str, int]:
    """Jobs that have not ended and that `actor` may see: waiting, sent and running. One query."""
    counts = store.live_counts(step, visible(actor))
    running = counts.pop(str(JobState.RUNNING), 0)
    waiting = sum(counts.pop(str(state), 0) for state in WAITING)
    return {"running": running, "sent": sum(counts.values()), "waiting": waiting}


def job_lines(
    step: Step, actor: Actor, filters: Filters, before: int | None, limit: int
) -> tuple[list[Line], str]:
    """A page of jobs, arrays as one line each, newest first. Three queries."""
    found = store.families(
        step,
        visible(actor),
        states=filters.states,
        site=filters.site,
        project=filters.project,
        before=before,
        limit=limit,
    )
    found, following = cut(found, limit, "family")
    counted: defaultdict[int, list[sa.Row[Any]]] = defaultdict(list)
    for row in store.family_counts(step, [each.family for each in found]):
        counted[row.family].append(row)
    rows = {row.family: row for row in store.some_jobs(step, [each.first for each in found])}
    lines = []
    for each in found:
        counts = counted[each.family]
        is_array = any(row.tasks for row in counts)
        lines.append(_line(rows[each.family], by_state(counts) if is_array else ()))
    return lines, following


def by_state(rows: Iterable[Any]) -> tuple[tuple[str, int], ...]:
    """(state, number) in the order in which a job goes through its states."""
    numbers = {row.state: int(row.n) for row in rows}
    return tuple((str(state), numbers[state]) for state in JobState if numbers.get(state))


def _line(row: Any, counts: tuple[tuple[str, int], ...] = ()) -> Line:
    return Line(
        label=str(row.family) if counts else label_of(row),
        name=row.name,
        project=row.project,
        person=row.person,
        state=row.state,
        shown=shown(JobState(row.state), row.site_word),
        reason=row.reason,
        site=row.site,
        partition=row.partition,
        submit_ms=row.submit_ms,
        start_ms=row.start_ms,
        end_ms=row.end_ms,
        counts=counts,
    )


def label_of(row: Any) -> str:
    """What people type for this job: `17`, or `17_3` in an array."""
    return str(row.id) if row.task is None else f"{row.family}_{row.task}"


def line_of(row: Any) -> Line:
    """One job as lists show it."""
    return _line(row)


def site_names(step: Step) -> list[str]:
    return store.site_names(step)
