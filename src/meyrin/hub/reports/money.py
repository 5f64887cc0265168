"""What the pages show of projects' hours: balances, statements and entries."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from meyrin.domain.ledger import AccountKind, Balance, EntryKind, month_bounds_ms
from meyrin.hub.calls import pace
from meyrin.hub.calls.modes.file import Mode
from meyrin.hub.identity import service as identity
from meyrin.hub.ledger import service as ledger
from meyrin.hub.plumbing.authz import Actor, Call
from meyrin.hub.plumbing.database import Step
from meyrin.hub.plumbing.paging import cut
from meyrin.hub.reports import show, store, suite_runs
from meyrin.hub.reports.suite_runs import NoEvidence
from meyrin.hub.usage import service as usage
from meyrin.wire.ledger import EnergyView

PAGE = 50
ALLOCATIONS = 20
MONTHS = 36
_END_OF_TIME_MS = 2**62
_CSV_PAGE = 500
_COLUMNS = ("entry", "time_utc", "kind", "from", "to", "accelerator_seconds", "type", "job")
_NOT_KNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class TypeBalance:
    charged_type: str
    balance: Balance
    promised_s: int


@dataclass(frozen=True, slots=True)
class ProjectLine:
    """A project as lists show it."""

    name: str
    title: str
    role: str
    closed: bool
    balances: tuple[TypeBalance, ...]


@dataclass(frozen=True, slots=True)
class EntryLine:
    """One entry in words; `job` is the label of the job that it is about."""

    id: int
    at_ms: int
    kind: str
    debit: str
    credit: str
    amount_s: int
    charged_type: str
    job: str
    reason: str


@dataclass(frozen=True, slots=True)
class ProjectPage:
    """A project's statement for a month, or for all time where `month` is empty."""

    line: ProjectLine
    month: str
    months: tuple[str, ...]
    statement: ledger.Statement
    energy: dict[str, EnergyView]
    places: dict[str, str]
    allocations: tuple[pace.Line, ...]
    more_allocations: bool
    entries: tuple[EntryLine, ...]
    next: str
    no_evidence: NoEvidence | None


def project_lines(
    step: Step, actor: Actor, after: str, limit: int
) -> tuple[list[ProjectLine], str]:
    """A page of the projects that `actor` may see, with their balances. Two queries."""
    found, following = identity.visible_projects(step, actor, after, limit)
    known = _balances(step, [each.id for each in found])
    return [_project_line(actor, each, known) for each in found], following


def project_page(
    step: Step, actor: Actor, name: str, month: str, before: int | None, modes: Sequence[Mode]
) -> ProjectPage:
    """The statement of a project. A fixed number of queries."""
    project = identity.project_by_name(step, actor, name)
    from_ms, until_ms = bounds(month)
    rows = store.entries_page(
        step, project.id, from_ms=from_ms, until_ms=until_ms, before=before, limit=PAGE
    )
    rows, following = cut(rows, PAGE, "id")
    found = ledger.statement(step, project.id, month or None)
    granted, more = pace.of_project(step, project, modes, ALLOCATIONS)
    named = {line.offer_id for each in found.types for line in each.delivered}
    named |= show.offers_named([a for r in rows for a in (r.debit_account, r.credit_account)])
    places = store.offer_places(step, named - {""})
    without, untested = suite_runs.newest(step, project.id, 1)
    return ProjectPage(
        line=_project_line(actor, project, _balances(step, [project.id])),
        month=month,
        months=_months(store.first_entry_ms(step, project.id), step.now_ms),
        statement=found,
        energy=energy(step, project.id, month),
        places=places,
        allocations=tuple(granted),
        more_allocations=bool(more),
        entries=tuple(_entry(row, places) for row in rows),
        next=following,
        no_evidence=without[0] if untested else None,
    )


def energy(step: Step, project_id: str, month: str) -> dict[str, EnergyView]:
    """The energy of what ended in a month, or ever, by charged type. One query."""
    return {
        row.charged_type: EnergyView(
            energy_j=int(row.energy_j) if row.known else None, known=row.known, unknown=row.unknown
        )
        for row in store.energy(step, project_id, *bounds(month))
    }


def bounds(month: str) -> tuple[int, int]:
    """Milliseconds of a month, or of all time for an empty word."""
    return month_bounds_ms(month) if month else (0, _END_OF_TIME_MS)


def csv_lines(call: Call, name: str, month: str) -> Iterator[str]:
    """A statement's entries as CSV, newest first, piece by piece; the first piece checks all."""
    from_ms, until_ms = bounds(month)
    with call.read() as step:
        project = identity.project_by_name(step, call.actor, name)
    yield _csv([(*_COLUMNS, "reason", "energy_j")])
    before: int | None = None
    while True:
        with call.read() as step:
            rows = store.entries_page(
                step, project.id, from_ms=from_ms, until_ms=until_ms, before=before, limit=_CSV_PAGE
            )
            rows, following = cut(rows, _CSV_PAGE, "id")
            named = show.offers_named(
                [a for r in rows for a in (r.debit_account, r.credit_account)]
            )
            places = store.offer_places(step, named)
            charged = [row.attempt for row in rows if row.kind == EntryKind.SETTLE]
            known = usage.known(step, charged)
        yield _csv(_csv_row(_entry(row, places), _energy_j(row, known)) for row in rows)
        if not following:
            return
        before = int(following)


def _energy_j(row: Any, known: Mapping[str, usage.Known]) -> object:
    """Beside what was charged, all that the attempt took; nothing beside other entries."""
    if row.kind != EntryKind.SETTLE:
        return ""
    measured = known.get(row.attempt)
    return _NOT_KNOWN if measured is None or measured.energy_j is None else measured.energy_j


def _csv_row(line: EntryLine, energy_j: object) -> tuple[object, ...]:
    return (
        line.id,
        show.iso(line.at_ms),
        line.kind,
        line.debit,
        line.credit,
        line.amount_s,
        line.charged_type,
        _harmless(line.job),
        _harmless(line.reason),
        energy_j,
    )


def _harmless(text: str) -> str:
    """A spreadsheet takes a cell that begins like this for a formula, whoever wrote it."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _csv(rows: Iterable[tuple[object, ...]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerows(rows)
    return out.getvalue()


def _entry(row: Any, places: dict[str, str]) -> EntryLine:
    job = "" if row.family is None else str(row.family)
    return EntryLine(
        id=row.id,
        at_ms=row.at_ms,
        kind=row.kind,
        debit=show.account(row.debit_account, places),
        credit=show.account(row.credit_account, places),
        amount_s=row.amount_s,
        charged_type=row.charged_type,
        job=job if row.task is None else f"{job}_{row.task}",
        reason=row.reason,
    )


def _months(first_ms: int | None, now_ms: int) -> tuple[str, ...]:
    """The months from the first entry to now, newest first."""
    if first_ms is None:
        return ()
    first = datetime.fromtimestamp(first_ms // 1000, UTC)
    last = datetime.fromtimestamp(now_ms // 1000, UTC)
    start, end = first.year * 12 + first.month - 1, last.year * 12 + last.month - 1
    return tuple(f"{n // 12}-{n % 12 + 1:02d}" for n in range(end, start - 1, -1))[:MONTHS]


_Known = dict[str, list[TypeBalance]]


def _balances(step: Step, project_ids: list[str]) -> _Known:
    sums: defaultdict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for row in store.balances(step, project_ids):
        sums[row.project_id, row.charged_type][row.kind] = int(row.amount_s)
    found: defaultdict[str, list[TypeBalance]] = defaultdict(list)
    for (project_id, charged_type), parts in sorted(sums.items()):
        promised_s = parts.pop(AccountKind.TRANCHE, 0)
        balance = Balance(
            granted_s=sum(parts.values()),
            free_s=parts.get(AccountKind.ALLOCATION, 0),
            held_s=parts.get(AccountKind.HOLD, 0),
            used_s=parts.get(AccountKind.DELIVERED, 0),
            expired_s=parts.get(AccountKind.EXPIRED, 0),
        )
        found[project_id].append(TypeBalance(charged_type, balance, promised_s))
    return found


def _project_line(actor: Actor, project: identity.Project, known: _Known) -> ProjectLine:
    return ProjectLine(
        name=project.name,
        title=project.title,
        role=actor.projects.get(project.id, ""),
        closed=project.closed_ms is not None,
        balances=tuple(known.get(project.id, ())),
    )
