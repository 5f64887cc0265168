"""Awards that were decided elsewhere come in, and all go out, as rows; all of a file or nothing.

An award has a name where it comes from. The same row again changes nothing; another row of the
same name is an error, because what was awarded is changed by changes with reasons.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import sqlalchemy as sa

from meyrin.domain.errors import Conflict, InvalidInput, MeyrinError, NotFound
from meyrin.domain.ledger import Source
from meyrin.hub.calls import changes_store as store
from meyrin.hub.calls import service, tranches
from meyrin.hub.calls.modes.file import Mode
from meyrin.hub.calls.service import Allocation
from meyrin.hub.identity import service as identity
from meyrin.hub.ledger import service as ledger
from meyrin.hub.plumbing import audit
from meyrin.hub.plumbing.authz import Actor
from meyrin.hub.plumbing.database import Step

NEW, KNOWN = "new", "known"
MOST = 5000
_SHOWN = 30  # complaints in one answer


@dataclass(frozen=True, slots=True)
class Award:
    """One award as files have it. `lead` makes a project that is not there yet."""

    award: str
    project: str
    charged_type: str
    amount_s: int
    start_s: int
    end_s: int
    reason: str
    owner: str = "facility"
    offer_id: str = ""
    mode: str = ""
    title: str = ""
    lead: str = ""
    promised_s: int = 0


@dataclass(frozen=True, slots=True)
class Brought:
    """What became of a row, or would become of it."""

    line: int
    award: Award
    state: str
    allocation_id: str
    new_project: bool


def bring(
    step: Step,
    actor: Actor,
    rows: Sequence[tuple[int, Award]],
    modes: Sequence[Mode],
    *,
    dry_run: bool,
) -> list[Brought]:
    """Award every row that is not known yet, or say what would be awarded; for officers.

    Raises InvalidInput with every row that is wrong, and then nothing is kept.
    """
    asked = {award.award for _, award in rows}
    known = _known(step, asked | {_base(name) for name in asked})
    projects: dict[str, str | None] = {}
    wrong: list[tuple[int, MeyrinError]] = []
    plan: list[Brought] = []
    seen: dict[str, int] = {}
    for line, award in rows:
        try:
            if award.award in seen:
                raise InvalidInput(
                    f"the award {award.award!r} is in line {seen[award.award]} already",
                    hint="give each award a name of its own",
                    field="award",
                )
            seen[award.award] = line
            plan.append(_look(step, line, award, known, projects, modes))
        except MeyrinError as error:
            wrong.append((line, error))
    if wrong:
        raise _complaint(wrong)
    if dry_run:
        return plan
    return [_write(step, actor, each, projects) for each in plan]


def going_out(
    step: Step, actor: Actor, project: str | None, after: str, limit: int, *, ended: bool
) -> tuple[list[tuple[Allocation, Award]], str]:
    """A page of the awards that `actor` may see, as `bring` takes them, by allocation.

    Those that are over are left out unless `ended`, so that a page may be short.

    What several shares gave is several rows, named NAME, NAME#2 and so on. Amounts are what was
    given and not moved or taken back since; what waits in tranches is `promised_s`.
    """
    found, names, following = service.visible(step, actor, project, after, limit)
    live = [each for each in found if ended or each.over_s > step.now_s]
    return _rows(step, live, names), following


# --- inside


def _rows(
    step: Step, found: Sequence[Allocation], names: Mapping[str, str]
) -> list[tuple[Allocation, Award]]:
    """These allocations as rows: one for each share that gave."""
    ids = [each.id for each in found]
    given, called = ledger.sources(step, ids), store.imported_names(step, ids)
    parts = tranches.of(step, ids)
    rows = []
    for each in found:
        promised: dict[Source, int] = {}
        for part in parts.get(each.id, ()):
            promised[part.source] = promised.get(part.source, 0) + part.promised_s
        shares = [(source, s) for source, s in given.get(each.id, {}).items() if s > 0]
        for number, (source, amount_s) in enumerate(shares, start=1):
            name = called.get(each.id, each.id) + (f"#{number}" if number > 1 else "")
            waits_s = promised.get(source, 0)
            rows.append((each, _award(each, names[each.id], name, amount_s - waits_s, source,
                                      waits_s)))  # fmt: skip
    return rows


def _look(
    step: Step,
    line: int,
    award: Award,
    known: dict[str, sa.Row[Any]],
    projects: dict[str, str | None],
    modes: Sequence[Mode],
) -> Brought:
    """What one row would do; raises what is wrong with it."""
    there = _there(step, award, known)
    if there:
        return Brought(line, award, KNOWN, there, new_project=False)
    if award.promised_s:
        raise InvalidInput(
            f"{award.promised_s} s wait in tranches, which no file carries",
            hint="award it by hand: `meyrin project grant --tranche`, or set promised_s to 0",
            field="promised_s",
        )
    if award.mode and award.mode not in {mode.name for mode in modes}:
        known_modes = ", ".join(mode.name for mode in modes)
        raise InvalidInput(
            f"there is no mode {award.mode!r}", hint=f"modes are {known_modes}", field="mode"
        )
    service.check_new(award.charged_type, award.amount_s, award.start_s, award.end_s)
    if award.end_s <= step.now_s:
        raise InvalidInput("it is over already", hint="give a later end", field="end")
    fresh = _project(step, award, projects) is None
    return Brought(line, award, NEW, "", new_project=fresh)


def _project(step: Step, award: Award, projects: dict[str, str | None]) -> str | None:
    """The project's id; None where it will be made."""
    if award.project not in projects:
        try:
            projects[award.project] = identity.project_named(step, award.project).id
        except NotFound:
            if not award.lead:
                raise InvalidInput(
                    f"there is no project {award.project!r}",
                    hint="`meyrin project create` it, or name a person as lead in the row",
                    field="project",
                ) from None
            identity.person_by_name(step, award.lead)
            projects[award.project] = None
    return projects[award.project]


def _write(step: Step, actor: Actor, each: Brought, projects: dict[str, str | None]) -> Brought:
    if each.state == KNOWN:
        return each
    award = each.award
    project_id = projects[award.project]
    if project_id is None:
        lead = identity.person_by_name(step, award.lead)
        project_id = identity.new_project(step, award.project, award.title, lead=lead.id).id
        projects[award.project] = project_id
    made = service.award(
        step,
        project_id,
        award.charged_type,
        award.amount_s,
        start_s=award.start_s,
        end_s=award.end_s,
        reason=award.reason,
        source=Source(award.owner, award.offer_id),
        mode=award.mode,
    )
    row = {
        "name": award.award,
        "allocation_id": made.id,
        "sha256": _digest(award),
        "created_ms": step.now_ms,
    }
    if not step.add_new(store.imported, [row]):
        raise Conflict(f"{award.award!r} is being imported just now", hint="send the file again")
    audit.note(step, actor.name, "award.import", made.id, award=award.award,
               project=award.project, amount_s=award.amount_s)  # fmt: skip
    return replace(each, allocation_id=made.id)


def _known(step: Step, names: Collection[str]) -> dict[str, sa.Row[Any]]:
    return {row.name: row for row in store.imported_by_name(step, names)}


def _there(step: Step, award: Award, known: Mapping[str, sa.Row[Any]]) -> str:
    """The allocation that a row is of: as it was imported, or as it would go out now.

    Empty where there is none; InvalidInput where there is one with other facts.
    """
    row = known.get(award.award)
    if row is not None and row.sha256 == _digest(award):
        return str(row.allocation_id)
    row = row or known.get(_base(award.award))
    name = str(row.allocation_id) if row is not None else _base(award.award)
    if row is None and not name.startswith("all_"):
        return ""
    try:
        found = service.allocation(step, name)
    except NotFound:
        return ""
    project = identity.project(step, found.project_id).name
    if _fact(award) in (each for _, each in _rows(step, [found], {found.id: project})):
        return found.id
    raise InvalidInput(
        f"{award.award!r} is here already as {found.id}, with other facts",
        hint="change what was awarded with `meyrin project extend` or `transfer`",
        field="award",
    )


def _base(name: str) -> str:
    """The award of which NAME#2 is the second share."""
    before, mark, number = name.rpartition("#")
    return before if mark and number.isdecimal() else name


def _fact(award: Award) -> Award:
    """Without what only makes a project."""
    return replace(award, title="", lead="")


def _award(
    each: Allocation, project: str, name: str, amount_s: int, source: Source, promised_s: int
) -> Award:
    return Award(
        name, project, each.charged_type, amount_s, each.start_s, each.over_s, each.reason,
        source.owner, source.offer_id, each.mode, promised_s=promised_s,
    )  # fmt: skip


def _digest(award: Award) -> str:
    text = json.dumps(asdict(_fact(award)), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _complaint(wrong: Sequence[tuple[int, MeyrinError]]) -> InvalidInput:
    lines = [
        f"line {line}: {error.facts.get('field', 'row')}: {error.message}"
        + (f" ({error.hint})" if error.hint else "")
        for line, error in wrong[:_SHOWN]
    ]
    if len(wrong) > _SHOWN:
        lines.append(f"and {len(wrong) - _SHOWN} more")
    line, first = wrong[0]
    return InvalidInput(
        "\n".join(lines),
        hint="nothing was awarded: mend these rows and send all again",
        field=first.facts.get("field", ""),
        line=line,
        rows=len(wrong),
    )
