"""Queries over everyone's tables, for pages and monitors. Reads only; a fixed number each.

What a person may see is an argument here (`projects`, None for everything) and never guessed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

import sqlalchemy as sa

from meyrin.hub.evaluations.store import evidence, gate_runs
from meyrin.hub.identity.store import people, projects
from meyrin.hub.jobs.service import SPEC, request_of
from meyrin.hub.jobs.store import attempts, chunks, jobs, requests, scripts, streams
from meyrin.hub.jobs.submit import REQUEST
from meyrin.hub.ledger.store import accounts, entries
from meyrin.hub.plumbing.database import Step
from meyrin.hub.sites.store import offers, partitions, sites
from meyrin.hub.usage.store import usage_records

Projects = Collection[str] | None

# written as their indexes are: only so does SQLite use a partial index
_LIVE = sa.text("attempts.state NOT IN ('ended', 'refused')")
_WAITING = sa.text("jobs.state IN ('submitted', 'admitted')")

_SHOWN = (
    jobs.c.id, jobs.c.family, jobs.c.task, jobs.c.name, jobs.c.state, jobs.c.site_word,
    jobs.c.reason, jobs.c.site, jobs.c.partition, jobs.c.submit_ms, jobs.c.start_ms,
    jobs.c.end_ms, jobs.c.exit_code, jobs.c.project_id,
    people.c.name.label("person"), projects.c.name.label("project"),
)  # fmt: skip


def _jobs_with_names() -> sa.Select[Any]:
    return (
        sa.select(*_SHOWN)
        .join(people, people.c.id == jobs.c.person_id)
        .join(projects, projects.c.id == jobs.c.project_id)
    )


def _seen(statement: sa.Select[Any], visible: Projects) -> sa.Select[Any]:
    return statement if visible is None else statement.where(jobs.c.project_id.in_(sorted(visible)))


# --- sites


def places(step: Step, name: str | None = None) -> list[sa.Row[Any]]:
    """Every open site with each of its partitions (one row without, where it has none yet)."""
    lent = sa.and_(
        offers.c.site_id == partitions.c.site_id,
        offers.c.partition == partitions.c.name,
        offers.c.start_s <= step.now_s,
        sa.or_(offers.c.end_s.is_(None), offers.c.end_s > step.now_s),
    )
    there = sa.and_(partitions.c.site_id == sites.c.id, partitions.c.gone_ms.is_(None))
    statement = (
        sa.select(
            sites,
            partitions.c.spec,
            partitions.c.shortage,
            partitions.c.others,
            sa.exists().where(lent).label("offered"),
        )
        .outerjoin(partitions, there)
        .where(sites.c.closed_ms.is_(None))
        .order_by(sites.c.name, partitions.c.name)
    )
    return step.rows(statement if name is None else statement.where(sites.c.name == name))


def occupancy(step: Step, site_id: str | None = None) -> list[sa.Row[Any]]:
    """What Meyrin's attempts take of each partition: running, and sent but not running yet."""
    a = attempts.c
    # no parameter: PostgreSQL would take it for another expression where it groups
    running = (a.state == sa.literal_column("'running'")).label("running")
    statement = (
        sa.select(
            a.site_id,
            a.partition,
            running,
            sa.func.count().label("attempts"),
            sa.func.sum(a.nodes).label("nodes"),
            sa.func.sum(a.nodes * a.cores).label("cores"),
            sa.func.sum(a.nodes * a.accelerators).label("accelerators"),
        )
        .where(_LIVE, a.end_ms.is_(None))  # of one whose script is over others have the room
        .group_by(a.site_id, a.partition, running)
    )
    return step.rows(statement if site_id is None else statement.where(a.site_id == site_id))


def jobs_at(step: Step, site_id: str, visible: Projects, limit: int) -> list[sa.Row[Any]]:
    """Jobs that are at a site now and that the caller may see, newest first; one row more."""
    statement = _jobs_with_names().join(attempts, attempts.c.id == jobs.c.attempt)
    statement = statement.where(_LIVE, attempts.c.site_id == site_id)
    statement = _seen(statement, visible).order_by(jobs.c.id.desc()).limit(limit + 1)
    return step.rows(statement)


def site_names(step: Step) -> list[str]:
    statement = sa.select(sites.c.name).where(sites.c.closed_ms.is_(None)).order_by(sites.c.name)
    return [row.name for row in step.rows(statement.limit(200))]


def offer_places(step: Step, offer_ids: Iterable[str]) -> dict[str, str]:
    """`site/partition` by offer."""
    wanted = sorted(set(offer_ids))
    statement = (
        sa.select(offers.c.id, sites.c.name, offers.c.partition)
        .join(sites, sites.c.id == offers.c.site_id)
        .where(offers.c.id.in_(wanted))
    )
    return {row.id: f"{row.name}/{row.partition}" for row in step.rows(statement)}


# --- jobs


def live_counts(step: Step, visible: Projects) -> dict[str, int]:
    """Jobs that have not ended, by state. Both halves run on partial indexes."""
    waiting = _seen(sa.select(jobs.c.state, sa.func.count().label("n")).where(_WAITING), visible)
    placed = (
        sa.select(jobs.c.state, sa.func.count())
        .select_from(attempts.join(jobs, jobs.c.attempt == attempts.c.id))
        .where(_LIVE)
    )
    placed = _seen(placed, visible).group_by(jobs.c.state)
    both = sa.union_all(waiting.group_by(jobs.c.state), placed)
    return {row.state: int(row.n) for row in step.rows(both)}


def all_counts(step: Step) -> dict[str, int]:
    """All jobs by state."""
    statement = sa.select(jobs.c.state, sa.func.count().label("n")).group_by(jobs.c.state)
    return {row.state: int(row.n) for row in step.rows(statement)}


def placements(step: Step) -> list[sa.Row[Any]]:
    """How many attempts were ever placed, by site."""
    return step.rows(
        sa.select(attempts.c.site, sa.func.count().label("n"))
        .group_by(attempts.c.site)
        .order_by(attempts.c.site)
    )


def measured(step: Step) -> list[sa.Row[Any]]:
    """By site: attempts whose energy its accounting recorded, those where it did not, and the
    joules. Of an attempt, the latest record counts."""
    return step.rows(
        sa.select(sites.c.name.label("site"), *_energy_sums())
        .join(sites, sites.c.id == usage_records.c.site_id)
        .where(~_superseded())
        .group_by(sites.c.name)
        .order_by(sites.c.name)
    )


def energy(step: Step, project_id: str, from_ms: int, until_ms: int) -> list[sa.Row[Any]]:
    """By charged type: a project's attempts that ended in a time and whose energy is known, those
    where it is not, and the joules. Of an attempt, the latest record counts."""
    a = attempts.c
    return step.rows(
        sa.select(
            usage_records.c.charged_type,
            *_energy_sums(),
        )
        .select_from(usage_records)
        .join(attempts, a.id == usage_records.c.attempt)
        .join(jobs, jobs.c.id == a.job_id)
        .where(
            jobs.c.project_id == project_id,
            a.end_ms >= from_ms,
            a.end_ms < until_ms,
            ~_superseded(),
        )
        .group_by(usage_records.c.charged_type)
    )


def _energy_sums() -> tuple[sa.ColumnElement[Any], ...]:
    u = usage_records.c
    return (
        sa.func.count(u.energy_j).label("known"),
        (sa.func.count() - sa.func.count(u.energy_j)).label("unknown"),
        sa.func.coalesce(sa.func.sum(u.energy_j), 0).label("energy_j"),
    )


def _superseded() -> sa.ColumnElement[bool]:
    """Whether a usage record has a later one of the same attempt."""
    u, later = usage_records.c, usage_records.alias("later")
    return sa.exists().where(later.c.attempt == u.attempt, later.c.version > u.version)


def families(
    step: Step,
    visible: Projects,
    *,
    states: Collection[str] = (),
    site: str = "",
    project: str = "",
    before: int | None = None,
    limit: int,
) -> list[sa.Row[Any]]:
    """Arrays and single jobs with at least one element that fits, newest first; one row more."""
    statement: sa.Select[Any] = sa.select(jobs.c.family, sa.func.min(jobs.c.id).label("first"))
    statement = _seen(statement, visible)
    if states:
        statement = statement.where(jobs.c.state.in_(sorted(states)))
    if site:
        statement = statement.where(jobs.c.site == site)
    if project:
        named = sa.select(projects.c.id).where(projects.c.name == project).scalar_subquery()
        statement = statement.where(jobs.c.project_id == named)
    if before is not None:
        statement = statement.where(jobs.c.family < before)
    return step.rows(
        statement.group_by(jobs.c.family).order_by(jobs.c.family.desc()).limit(limit + 1)
    )


def family_counts(step: Step, numbers: Collection[int]) -> list[sa.Row[Any]]:
    """(family, state, n, is_array) of whole families."""
    statement = (
        sa.select(
            jobs.c.family,
            jobs.c.state,
            sa.func.count().label("n"),
            sa.func.count(jobs.c.task).label("tasks"),
        )
        .where(jobs.c.family.in_(sorted(numbers)))
        .group_by(jobs.c.family, jobs.c.state)
    )
    return step.rows(statement)


def some_jobs(step: Step, numbers: Collection[int]) -> list[sa.Row[Any]]:
    return step.rows(_jobs_with_names().where(jobs.c.id.in_(sorted(numbers))))


def job_where(step: Step, number: int, task: int | None) -> sa.Row[Any] | None:
    """The job that a label means; the first element for the number of an array."""
    if task is not None:
        where = sa.and_(jobs.c.family == number, jobs.c.task == task)
    else:
        where = sa.or_(jobs.c.id == number, jobs.c.family == number)
    return step.one(_jobs_with_names().where(where).order_by(jobs.c.id).limit(1))


def elements(step: Step, family: int, after: int, limit: int) -> list[sa.Row[Any]]:
    """Elements of an array after a task number, in order; one row more."""
    return step.rows(
        sa.select(jobs.c.task, jobs.c.state, jobs.c.site_word, jobs.c.site)
        .where(jobs.c.family == family, jobs.c.task > after)
        .order_by(jobs.c.task)
        .limit(limit + 1)
    )


class Asked(NamedTuple):
    """What was asked for a job: every field of the request, and the script's text."""

    spec: dict[str, Any]
    text: str


def asked(step: Step, job: int) -> Asked | None:
    row = step.one(
        sa.select(SPEC, scripts.c.text)
        .join(jobs, jobs.c.request_id == requests.c.id)
        .join(scripts, scripts.c.sha256 == requests.c.script_sha256)
        .where(jobs.c.id == job)
    )
    if row is None:
        return None
    request = request_of(row.spec, row.text)
    return Asked(REQUEST.dump_python(request, mode="json"), row.text)


# --- hours


def evidence_with_run(step: Step, project_id: str, attempt: str) -> sa.Row[Any] | None:
    """What the hub has countersigned of this attempt, with the project's run that stands on it;
    of the same run that came twice, the first is kept."""
    r = gate_runs.c
    kept = sa.and_(r.bundle == evidence.c.bundle, r.project_id == project_id)
    return step.one(
        sa.select(evidence.c.bundle, r.digest, r.family)
        .outerjoin(gate_runs, kept)
        .where(evidence.c.attempt == attempt)
        .limit(1)
    )


def jobs_of_bundles(
    step: Step, project_id: str, bundles: Collection[str]
) -> dict[str, sa.Row[Any]]:
    """Which job of the project left each of these bundles of evidence."""
    if not bundles:
        return {}
    rows = step.rows(
        sa.select(evidence.c.bundle, jobs.c.id, jobs.c.family, jobs.c.task)
        .join(attempts, attempts.c.id == evidence.c.attempt)
        .join(jobs, jobs.c.id == attempts.c.job_id)
        .where(evidence.c.bundle.in_(bundles), jobs.c.project_id == project_id)
    )
    return {row.bundle: row for row in rows}


def suite_jobs(
    step: Step, project_id: str, script_sha256: str, among: int, limit: int
) -> list[sa.Row[Any]]:
    """The newest jobs with this script among so many of a project, with their evidence."""
    newest = sa.select(jobs).where(jobs.c.project_id == project_id)
    new = newest.order_by(jobs.c.id.desc()).limit(among).subquery()
    return step.rows(
        sa.select(
            new.c.id, new.c.family, new.c.task, new.c.name, new.c.state, new.c.reason,
            new.c.submit_ms, new.c.end_ms, new.c.attempt, attempts.c.results, evidence.c.bundle,
        )
        .join(requests, requests.c.id == new.c.request_id)
        .outerjoin(attempts, attempts.c.id == new.c.attempt)
        .outerjoin(evidence, evidence.c.attempt == new.c.attempt)
        .where(requests.c.script_sha256 == script_sha256)
        .order_by(new.c.id.desc())
        .limit(limit)
    )  # fmt: skip


def last_words(step: Step, attempt_ids: Collection[str], most: int) -> list[sa.Row[Any]]:
    """The pieces that hold the last so many bytes of each stream, each cut to that, in order."""
    if not attempt_ids:
        return []
    c = chunks.c
    length = sa.func.length(c.data)
    cut = sa.func.substr(c.data, sa.case((length > most, length - most + 1), else_=1))
    return step.rows(
        sa.select(c.attempt, c.stream, cut.label("data"))
        .join(
            streams, sa.and_(streams.c.attempt == c.attempt, streams.c.stream == c.stream)
        )
        .where(step.among(c.attempt, attempt_ids), c.offset + length > streams.c.size - most)
        .order_by(c.attempt, c.stream, c.offset)
    )  # fmt: skip


def balances(step: Step, project_ids: Collection[str]) -> list[sa.Row[Any]]:
    """What projects' accounts hold now, by project, charged type and kind of account."""
    a = accounts.c
    return step.rows(
        sa.select(a.project_id, a.charged_type, a.kind, sa.func.sum(a.balance_s).label("amount_s"))
        .where(a.project_id.in_(sorted(project_ids)))
        .group_by(a.project_id, a.charged_type, a.kind)
        .order_by(a.project_id, a.charged_type)
    )


def entries_of(step: Step, attempt_ids: Collection[str]) -> list[sa.Row[Any]]:
    """The entries of attempts, in the order in which they were written."""
    return step.rows(
        sa.select(entries).where(entries.c.attempt.in_(sorted(attempt_ids))).order_by(entries.c.id)
    )


def entries_page(
    step: Step,
    project_id: str,
    *,
    from_ms: int,
    until_ms: int,
    before: int | None,
    limit: int,
) -> list[sa.Row[Any]]:
    """A project's entries of a time, newest first, with the job's number; one row more."""
    e = entries.c
    statement = (
        sa.select(entries, jobs.c.family, jobs.c.task)
        .outerjoin(attempts, attempts.c.id == e.attempt)
        .outerjoin(jobs, jobs.c.id == attempts.c.job_id)
        .where(e.project_id == project_id, e.at_ms >= from_ms, e.at_ms < until_ms)
    )
    if before is not None:
        statement = statement.where(e.id < before)
    return step.rows(statement.order_by(e.id.desc()).limit(limit + 1))


def first_entry_ms(step: Step, project_id: str) -> int | None:
    row = step.one(
        sa.select(entries.c.at_ms)
        .where(entries.c.project_id == project_id)
        .order_by(entries.c.id)
        .limit(1)
    )
    return None if row is None else int(row.at_ms)
