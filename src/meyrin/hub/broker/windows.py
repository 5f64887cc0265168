"""Which waiting jobs a decision looks at: the first ones, then those behind, a window at a time.

A job that is passed over changes nothing for those behind it, unless it waits for room. Of these
as many stay in sight as keep a start, and one more. So no number of jobs that can't run hides
those behind them, and nobody overtakes whom the engine would not let be overtaken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa

from meyrin.domain.refusal import Reason
from meyrin.engine.model import Decision, Policy, State
from meyrin.hub.calls import paying
from meyrin.hub.jobs import attempts
from meyrin.hub.plumbing.database import Step


@dataclass(frozen=True, slots=True)
class Passed:
    """How far the waiting jobs were looked at, those of projects that can only pay apart, at which
    version of the world; which of them stay in sight, and which of these had to wait for room."""

    version: int = -1
    after: attempts.Turn = attempts.FIRST
    paid_after: attempts.Turn = attempts.FIRST
    kept: frozenset[int] = frozenset()
    waited: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Window:
    """The jobs that are looked at together, and how far that is. `more`: there may be more of
    those that do not only pay; `last`: nobody is behind."""

    rows: tuple[sa.Row[Any], ...] = ()
    after: attempts.Turn = attempts.FIRST
    paid_after: attempts.Turn = attempts.FIRST
    more: bool = False
    last: bool = True


def read(step: Step, most: int, passed: Passed) -> Window:
    """The next waiting jobs and whom the ones before left in sight. Those of projects that can
    only pay are read apart: paid work must not hide the others."""
    payers = paying.payers(step)
    others = attempts.waiting(step, most, after=passed.after, but=payers)
    paid = attempts.waiting(step, most, after=passed.paid_after, of=payers) if payers else []
    kept = attempts.still_waiting(step, passed.kept) if passed.kept else []
    return Window(
        tuple({row.id: row for row in (*kept, *others, *paid)}.values()),
        _end(others, passed.after),
        _end(paid, passed.paid_after),
        more=len(others) == most,
        last=max(len(others), len(paid)) < most,
    )


def _end(rows: list[sa.Row[Any]], before: attempts.Turn) -> attempts.Turn:
    return (rows[-1].nice, rows[-1].id) if rows else before


def over(window: Window, state: State, policy: Policy, decision: Decision) -> Passed:
    """This window is passed over: of the jobs that wait for room at a partition stay as many as
    keep their starts there, and one for all without; so do as many that could not be placed."""
    payers = {funds.project for funds in state.funds if funds.paid}
    pays = {job.job for job in state.waiting if job.project in payers}
    stay: Counter[tuple[object, ...]] = Counter()

    def stays(job: int, places: Iterable[tuple[str, str]], *why: bool) -> bool:
        keys = [(place, job in pays, *why) for place in places]
        known = any(stay[key] <= policy.reserve_depth for key in keys)
        stay.update(keys)
        return known

    tried = {p.job for p in decision.placements if stays(p.job, [(p.site, p.partition)], True)}
    waited, behind = set(), set()
    for one in decision.waiting:
        if one.next_start is not None:
            place = (one.next_start.site, one.next_start.partition)
            if stays(one.job, [place]):
                waited.add(one.job)
        elif one.job in pays:
            said = (r for r in one.refusals if r.reason is Reason.PAID_BEHIND)
            if stays(one.job, [(r.site, r.partition) for r in said], False):
                behind.add(one.job)
    return Passed(
        state.version,
        window.after,
        window.paid_after,
        frozenset(tried | waited | behind),
        frozenset(waited),
    )


def in_turn(decision: Decision, passed: Passed) -> Decision:
    """The decision; where room has come for jobs that had waited for it, for these alone: others
    that waited behind them are not in sight, and must not be overtaken."""
    theirs = {(p.site, p.partition) for p in decision.placements if p.job in passed.waited}
    mine = tuple(
        p
        for p in decision.placements
        if p.job in passed.waited or (p.site, p.partition) not in theirs
    )
    return replace(decision, placements=mine) if theirs else decision


# how far the last step came, by database, where it found no end
_far: WeakKeyDictionary[sa.Engine, Passed] = WeakKeyDictionary()


def take_far(engine: sa.Engine) -> Passed:
    """Where the last step stopped; it is asked once, then the next one starts from the top, unless
    this one placed somebody before it came to the end."""
    return _far.pop(engine, Passed())


def stop_at(engine: sa.Engine, passed: Passed) -> None:
    _far[engine] = passed


def go_on(passed: Passed, far: Passed) -> Passed:
    """On from where the last step stopped, if that is further and the world is the same."""
    if far.version != passed.version:
        return passed
    return Passed(
        passed.version,
        max(passed.after, far.after),
        max(passed.paid_after, far.paid_after),
        passed.kept | far.kept,
        passed.waited | far.waited,
    )
