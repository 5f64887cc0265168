"""Idle hours go back by rule: announced, answered or not, done once.

A mode's steps say: after so much of the time less than so much was used, then so much of the
unused goes back to who gave it. Each step of each allocation is one row, and its entry in the
ledger is written in the same transaction that settles the row: a hub that dies in between has
done neither. What is paused, or has an answer that waits for an officer, waits too.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from meyrin.domain.errors import Conflict
from meyrin.domain.ledger import Balance
from meyrin.domain.units import show_hours
from meyrin.hub.calls import changes_store as store
from meyrin.hub.calls import giving_back, notices, service
from meyrin.hub.calls import store as allocations_store
from meyrin.hub.calls.modes.file import Mode
from meyrin.hub.calls.service import Allocation
from meyrin.hub.identity import service as identity
from meyrin.hub.ledger import service as ledger
from meyrin.hub.plumbing import audit
from meyrin.hub.plumbing.authz import Actor
from meyrin.hub.plumbing.database import Step
from meyrin.hub.plumbing.paging import cut
from meyrin.wire.allocations import ReclaimView

DAY_S = 86_400
COMES, ANNOUNCED, DONE, EXEMPT, NOTHING = "comes", "announced", "done", "exempt", "nothing"
CLOCK = "the hub's clock"


@dataclass(frozen=True, slots=True)
class Rule:
    """One step of a mode, as it was announced: a mode file that changes later changes nothing."""

    after_percent: int
    used_percent: int
    take_percent: int
    notice_days: int

    @property
    def words(self) -> str:
        return (
            f"less than {self.used_percent} % used after {self.after_percent} % of the time: "
            f"{self.take_percent} % of what is unused goes back"
        )

    def at_s(self, allocation: Allocation) -> int:
        """When so much of its time has passed."""
        length_s = allocation.end_s - allocation.start_s
        return allocation.start_s + length_s * self.after_percent // 100

    def idle(self, balance: Balance) -> bool:
        """What jobs hold counts as used; what has expired as never given."""
        used_s = balance.used_s + balance.held_s
        return used_s * 100 < self.used_percent * (balance.granted_s - balance.expired_s)

    def takes_s(self, balance: Balance) -> int:
        """How much goes back if it happened now: whole seconds, rounded down."""
        return max(0, balance.free_s) * self.take_percent // 100 if self.idle(balance) else 0


# --- the hub's clock


def run(step: Step, by: str) -> list[ReclaimView]:
    """Do every announced step that is due, each once, whoever else does the same just now.

    In a transaction of its own: whoever waits here for another hub holds nothing that it needs.
    """
    rows = store.reclaims_due(step)
    waits = _waits(step, rows)
    done = [_do(step, row, by) for row in rows if not waits.get(row.allocation_id)]
    return [each for each in done if each is not None]


def announce(step: Step, modes: Sequence[Mode], visited: Sequence[Allocation]) -> None:
    """Tell people what idle allocations among the `visited` will lose, and when."""
    by_name = {mode.name: _rules(mode) for mode in modes if mode.reclaim}
    mine = [each for each in visited if each.mode in by_name and each.paused is None]
    balances = ledger.balances(step, [each.id for each in mine])
    known = store.reclaims_of(step, [each.id for each in mine])
    for each in mine:
        for number, rule in enumerate(by_name[each.mode], start=1):
            row = known.get((each.id, number))
            if row is not None:
                if row.state == ANNOUNCED:
                    break  # the next step waits for this one
                continue
            if step.now_s < rule.at_s(each) - rule.notice_days * DAY_S:
                break
            idle, balance = rule.idle(balances[each.id]), balances[each.id]
            due_s = max(rule.at_s(each), step.now_s + rule.notice_days * DAY_S)
            if idle and due_s < each.end_s and balance.free_s > 0:
                _tell(step, each, number, rule, due_s, balance)
            elif step.now_s >= rule.at_s(each):
                _keep(step, each, number, rule, NOTHING, step.now_s, "enough was used in time")
                continue
            break


def _tell(
    step: Step, each: Allocation, number: int, rule: Rule, due_s: int, balance: Balance
) -> None:
    if _keep(step, each, number, rule, ANNOUNCED, due_s, ""):
        takes = show_hours(rule.takes_s(balance))
        words = (
            f"{each.id}: {takes} {each.charged_type} hours go back on {_day(due_s)}, {rule.words}; "
            f"use more, or answer: `meyrin project answer {each.id} --reason ...`"
        )
        notices.tell(step, each, f"reclaim {number}", words)


def _keep(
    step: Step, each: Allocation, number: int, rule: Rule, state: str, due_s: int, reason: str
) -> bool:
    row = {
        "allocation_id": each.id,
        "number": number,
        "state": state,
        "rule": json.dumps(asdict(rule), sort_keys=True),
        "announced_ms": step.now_ms,
        "due_s": due_s,
        "amount_s": 0,
        "decided_ms": None if state == ANNOUNCED else step.now_ms,
        "decided_by": "" if state == ANNOUNCED else CLOCK,
        "reason": reason,
    }
    return bool(step.add_new(store.reclaims, [row]))


def _do(step: Step, row: sa.Row[Any], by: str) -> ReclaimView | None:
    """Settle one announced step and take its hours, or neither. None where another hub has, or
    where its time comes later than was announced."""
    allocation = service.allocation(step, row.allocation_id)
    rule = Rule(**json.loads(row.rule))
    if rule.at_s(allocation) > step.now_s:  # it was extended since: its time comes later
        store.settle_reclaim(step, allocation.id, row.number, due_s=rule.at_s(allocation))
        return None
    balance = ledger.balances(step, [allocation.id])[allocation.id]
    takes_s = 0 if allocation.over_s <= step.now_s else rule.takes_s(balance)
    state = DONE if takes_s else NOTHING
    reason = f"step {row.number}: {rule.words}" if takes_s else _why_nothing(step, allocation)
    said = {"amount_s": takes_s, "decided_ms": step.now_ms, "decided_by": by, "reason": reason}
    if not store.settle_reclaim(step, allocation.id, row.number, state=state, **said):
        return None
    if takes_s:
        parts = giving_back.parts_of(step, allocation.id, takes_s)
        ledger.reclaim(step, allocation.id, parts, reason)
        audit.note(step, by, "allocation.reclaim", allocation.id, amount_s=takes_s,
                   number=row.number)  # fmt: skip
        words = f"{allocation.id}: {show_hours(takes_s)} hours went back: {rule.words}"
        notices.tell(step, allocation, f"reclaimed {row.number}", words)
        allocations_store.watch_again(step, [allocation.id])
    project = identity.project_names(step, {allocation.project_id})[allocation.project_id]
    return _of(allocation, project, row.number, rule, state, row.due_s, takes_s, "", reason)


def _why_nothing(step: Step, allocation: Allocation) -> str:
    return "it is over" if allocation.over_s <= step.now_s else "enough was used in time"


# --- looking, and answering


def listed(
    step: Step,
    actor: Actor,
    project: str | None,
    modes: Sequence[Mode],
    after: str,
    limit: int,
) -> tuple[list[ReclaimView], str]:
    """A page of running allocations under such a rule: the step that comes, and what it would
    take if it happened now. Changes nothing; a fixed number of queries."""
    project_ids = service.seen_projects(step, actor, project)
    by_name = {mode.name: _rules(mode) for mode in modes if mode.reclaim}
    rows = allocations_store.running(step, by_name, project_ids, after, limit)
    rows, following = cut(rows, limit, "id")
    found = [service.of_row(row) for row in rows]
    ids = [each.id for each in found]
    balances, known = ledger.balances(step, ids), store.reclaims_of(step, ids)
    waits = store.answers_wait(step, ids)
    names = identity.project_names(step, {each.project_id for each in found})
    return [
        _next(
            each, names[each.project_id], by_name[each.mode], balances[each.id], known,
            _held_up(each, waits), step.now_s,
        )
        for each in found
    ], following  # fmt: skip


def _next(
    each: Allocation,
    project: str,
    rules: Sequence[Rule],
    balance: Balance,
    known: dict[tuple[str, int], sa.Row[Any]],
    waits: str,
    now_s: int,
) -> ReclaimView:
    """The first step that is not settled; the last one where all are."""
    for number, now in enumerate(rules, start=1):
        row = known.get((each.id, number))
        if row is None:
            due_s = max(now.at_s(each), now_s + now.notice_days * DAY_S)
            return _of(each, project, number, now, COMES, due_s, now.takes_s(balance), waits, "")
        said = Rule(**json.loads(row.rule))
        if row.state == ANNOUNCED or number == len(rules):
            takes_s = said.takes_s(balance) if row.state == ANNOUNCED else row.amount_s
            held_up = waits if row.state == ANNOUNCED else ""
            due_s = max(row.due_s, said.at_s(each)) if row.state == ANNOUNCED else row.due_s
            return _of(each, project, number, said, row.state, due_s, takes_s, held_up, row.reason)
    raise AssertionError("a mode under this rule has a step")


def exempt(step: Step, actor: Actor, allocation_id: str, modes: Sequence[Mode], reason: str) -> int:
    """Settle the step that was announced, or the one that comes, without taking anything.

    Returns its number, 0 where none is left; Conflict where it was settled just now.
    `hub.calls.changing` keeps who answered and why.
    """
    each = service.allocation(step, allocation_id)
    rules = next((_rules(mode) for mode in modes if mode.name == each.mode), ())
    known = store.reclaims_of(step, [allocation_id])
    for number, rule in enumerate(rules, start=1):
        row = known.get((allocation_id, number))
        if row is None:
            kept = _keep(step, each, number, rule, EXEMPT, rule.at_s(each), reason)
        elif row.state == ANNOUNCED:
            said = {"decided_ms": step.now_ms, "decided_by": actor.name, "reason": reason}
            kept = store.settle_reclaim(step, allocation_id, number, state=EXEMPT, **said)
        else:
            continue
        if not kept:  # by the hub's clock, which may have taken the hours
            raise Conflict(
                f"step {number} of {allocation_id} was settled meanwhile",
                hint="`meyrin project reclaim --dry-run` says how",
            )
        return number
    return 0


# --- inside


def _waits(step: Step, rows: Sequence[sa.Row[Any]]) -> dict[str, str]:
    ids = [row.allocation_id for row in rows]
    answers = store.answers_wait(step, ids)
    found = [service.of_row(row) for row in allocations_store.by_ids(step, ids)]
    return {each.id: _held_up(each, answers) for each in found}


def _held_up(each: Allocation, answers: Collection[str]) -> str:
    if each.id in answers:
        return "an answer waits for an officer"
    return "it is paused" if each.paused else ""


def _rules(mode: Mode) -> tuple[Rule, ...]:
    return tuple(
        Rule(each.after_percent, each.used_percent, each.take_percent, each.notice_days)
        for each in mode.reclaim
    )


def _of(
    each: Allocation,
    project: str,
    number: int,
    rule: Rule,
    state: str,
    due_s: int,
    takes_s: int,
    waits: str,
    reason: str,
) -> ReclaimView:
    return ReclaimView(
        allocation_id=each.id, project=project, charged_type=each.charged_type, number=number,
        state=state, rule=rule.words, due_s=due_s, takes_s=takes_s, waits=waits, reason=reason,
    )  # fmt: skip


def _day(at_s: int) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%d}"
