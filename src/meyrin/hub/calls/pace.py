"""Whether allocations are used at the pace that their length asks for, and when they run out.

`look` is what pages and commands show: balance, tranches and pace of a project's allocations.
The watch visits each running allocation once a day and after each change, so an officer's list
of all that are off pace costs one query of those alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from meyrin.domain import pace as rules
from meyrin.domain.ledger import Balance
from meyrin.domain.pace import Forecast, Part, Rule, Verdict
from meyrin.domain.tranche import State
from meyrin.domain.units import show_count, show_hours
from meyrin.hub.calls import notices, service, store, tranches
from meyrin.hub.calls.modes.file import Mode
from meyrin.hub.calls.service import Allocation
from meyrin.hub.calls.tranches import Tranche
from meyrin.hub.identity import service as identity
from meyrin.hub.ledger import service as ledger
from meyrin.hub.plumbing.authz import Actor
from meyrin.hub.plumbing.database import Step
from meyrin.hub.plumbing.paging import cut

DAY_S = 86_400
_OFF = (str(Verdict.SLOW), str(Verdict.FAST))


@dataclass(frozen=True, slots=True)
class Pace:
    """`used_s` is what was charged and what jobs hold; `expected_s` what is expected by the end
    of the last whole week. `weeks` are the charges of each whole week since the start."""

    verdict: Verdict
    used_s: int
    expected_s: int
    left_s: int
    weeks: tuple[int, ...]
    forecast: Forecast | None
    words: str


@dataclass(frozen=True, slots=True)
class Line:
    """One allocation as people follow it. `following` is its next tranche, if any is to come."""

    allocation: Allocation
    project: str
    balance: Balance
    promised_s: int
    tranches: tuple[Tranche, ...]
    following: Tranche | None
    pace: Pace


def look(
    step: Step, actor: Actor, project: str | None, modes: Sequence[Mode], after: str, limit: int
) -> tuple[list[Line], str]:
    """A page of the allocations that `actor` may see, with balance, tranches and pace.

    A fixed number of queries.
    """
    found, names, following = service.visible(step, actor, project, after, limit)
    return _lines(step, found, names, modes), following


def of_project(
    step: Step, project: identity.Project, modes: Sequence[Mode], limit: int
) -> tuple[list[Line], str]:
    """The first allocations of a project that the caller has found, as `look` gives them."""
    rows, following = cut(store.listed(step, [project.id], "", limit), limit, "id")
    found = [service.of_row(row) for row in rows]
    return _lines(step, found, {each.id: project.name for each in found}, modes), following


def off_pace(step: Step, modes: Sequence[Mode], after: str, limit: int) -> tuple[list[Line], str]:
    """A page of everybody's running allocations that the watch last found off pace, by id.

    For officers. Each is shown as it is now; one that has caught up since is shown as on pace.
    """
    rows, following = cut(store.off_pace(step, _OFF, after, limit), limit, "id")
    found = [service.of_row(row) for row in rows]
    projects = identity.project_names(step, {each.project_id for each in found})
    names = {each.id: projects[each.project_id] for each in found}
    return _lines(step, found, names, modes), following


def watch(step: Step, modes: Sequence[Mode], most: int = 500) -> list[Allocation]:
    """Visit what is due: keep what its pace is, and tell its people once when it gets off pace.

    A periodic step; returns whom it visited.
    """
    found = [service.of_row(row) for row in store.to_watch(step, most)]
    before = store.paces(step, [each.id for each in found])
    lines = _lines(step, found, {}, modes)
    for line in lines:
        verdict, allocation = line.pace.verdict, line.allocation
        if str(verdict) in _OFF and before[allocation.id] != str(verdict):
            week = (step.now_s - allocation.start_s) // rules.WEEK_S
            words = f"{allocation.id}: {line.pace.words}"
            notices.tell(step, allocation, f"pace {verdict} {week}", words)
    rows = [
        {"id": line.allocation.id, "pace": str(line.pace.verdict), "watch_s": step.now_s + DAY_S}
        for line in lines
    ]
    step.set_rows(store.allocations, "id", rows)
    return found


# --- inside


def _lines(
    step: Step, found: Sequence[Allocation], names: Mapping[str, str], modes: Sequence[Mode]
) -> list[Line]:
    if not found:
        return []
    ids = [each.id for each in found]
    balances = ledger.balances(step, ids)
    parts = tranches.of(step, ids)
    days = ledger.used_by_day(step, ids, {each.project_id for each in found})
    by_name = {mode.name: mode for mode in modes}
    lines = []
    for each in found:
        mine = tuple(parts.get(each.id, ()))
        pace = _pace(
            each, balances[each.id], mine, days.get(each.id, {}), by_name.get(each.mode), step.now_s
        )
        promised_s = sum(part.promised_s for part in mine)
        following = tranches.upcoming(mine)
        lines.append(
            Line(each, names.get(each.id, ""), balances[each.id], promised_s, mine, following, pace)
        )
    return lines


def _pace(
    allocation: Allocation,
    balance: Balance,
    parts: Sequence[Tranche],
    days: Mapping[int, int],
    mode: Mode | None,
    now_s: int,
) -> Pace:
    usable = _usable(allocation, balance, parts)
    used_s = balance.used_s + balance.held_s
    start_s, end_s = allocation.start_s, allocation.over_s
    verdict = rules.judge(_rule(mode), usable, used_s, start_s, end_s, now_s)
    expected_s = rules.expected_s(usable, end_s, min(now_s, end_s), begun_week=False)
    weeks = _weeks(days, start_s, min(now_s, end_s))
    left_s = max(0, balance.free_s) + balance.held_s
    forecast = None if verdict is Verdict.OVER else rules.forecast(weeks, left_s, now_s)
    words = _words(verdict, used_s, expected_s, forecast, end_s)
    return Pace(verdict, used_s, expected_s, left_s, weeks, forecast, words)


def _usable(allocation: Allocation, balance: Balance, parts: Sequence[Tranche]) -> list[Part]:
    """What became usable and when: tranches as they were released, the rest from the start."""
    later = [
        Part(part.given_s, max(allocation.start_s, (part.decided_ms or 0) // 1000))
        for part in parts
        if part.state is State.RELEASED and part.given_s
    ]
    first_s = balance.granted_s - balance.expired_s - sum(part.amount_s for part in later)
    return [Part(first_s, allocation.start_s), *later]


def _weeks(days: Mapping[int, int], start_s: int, now_s: int) -> tuple[int, ...]:
    """Charges of each whole week since the day of the start."""
    first, today = start_s // DAY_S, now_s // DAY_S
    weeks = [0] * max(0, (today - first) // 7)
    for day, used_s in days.items():
        week = (day - first) // 7
        if 0 <= week < len(weeks):
            weeks[week] += used_s
    return tuple(weeks)


def _rule(mode: Mode | None) -> Rule:
    if mode is None:
        return Rule()
    said = mode.pace
    return Rule(said.after_percent, said.low_percent, said.high_percent)


def _words(
    verdict: Verdict, used_s: int, expected_s: int, forecast: Forecast | None, end_s: int
) -> str:
    """One line: where it stands, and what to do about it."""
    stands = f"{show_hours(used_s)} hours used, {show_hours(expected_s)} expected by now"
    said = {
        Verdict.OVER: "it is over",
        Verdict.EARLY: "too early to say",
        Verdict.ON: f"on pace: {stands}",
        Verdict.SLOW: f"too little is used: {stands}; start more jobs, or give hours back",
        Verdict.FAST: f"too much is used: {stands}; slow down, or ask for more in time",
    }[verdict]
    if forecast is not None and forecast.ends_s < end_s and verdict in (Verdict.ON, Verdict.FAST):
        days = (end_s - forecast.ends_s) // DAY_S
        said += f"; used up about {show_count(days, 'day')} before its end if it goes on so"
    return said


def as_data(line: Line) -> dict[str, Any]:
    """Pace as the wire has it."""
    pace, forecast = line.pace, line.pace.forecast
    return {
        "verdict": str(pace.verdict),
        "used_s": pace.used_s,
        "expected_s": pace.expected_s,
        "left_s": pace.left_s,
        "weeks": list(pace.weeks),
        "ends_s": forecast.ends_s if forecast else None,
        "earliest_s": forecast.earliest_s if forecast else None,
        "latest_s": forecast.latest_s if forecast else None,
        "words": pace.words,
    }
