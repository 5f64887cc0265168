"""Three questions lead to a mode: who asks, what for, and how much for how long.

Each mode answers with the reasons why it does not fit, or with the moment by which it promises a
decision; the earliest promise comes first. Nothing is kept and nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from meyrin.domain.units import NodeShape, Unit, per_node
from meyrin.hub.calls.modes.clock import Due, due, shown
from meyrin.hub.calls.modes.file import KINDS, PURPOSES, Kind, Mode, Purpose


@dataclass(frozen=True, slots=True)
class Answers:
    """What an applicant says. `node` is the shape of the nodes meant; None: not said."""

    kind: Kind
    purpose: Purpose
    amount_h: int
    unit: Unit
    months: int
    node: NodeShape | None = None


@dataclass(frozen=True, slots=True)
class Objection:
    """Why a mode does not fit: which answer, what was said, what there is, and in words."""

    field: str
    said: str
    allowed: str
    words: str


@dataclass(frozen=True, slots=True)
class Fit:
    """One mode's answer: objections, or the promise when there is none."""

    mode: Mode
    objections: tuple[Objection, ...]
    promise: Due | None = None
    pays: bool = False

    @property
    def fits(self) -> bool:
        return not self.objections


def route(modes: Iterable[Mode], answers: Answers, now_s: int) -> tuple[Fit, ...]:
    """Every mode's answer: those that fit first, by their promise; then the nearest misses."""
    return tuple(sorted((_fit(mode, answers, now_s) for mode in modes), key=_order))


def _order(fit: Fit) -> tuple[int, int, int, str]:
    due_s = fit.promise.due_s if fit.promise and fit.promise.due_s is not None else 2**62
    return (len(fit.objections), due_s, fit.mode.size.most_h, fit.mode.name)


def _fit(mode: Mode, answers: Answers, now_s: int) -> Fit:
    objections = [
        each
        for each in (
            _who(mode, answers),
            _purpose(mode, answers),
            _size(mode, answers),
            _length(mode, answers),
        )
        if each is not None
    ]
    promise = due(mode.clock, now_s)
    if promise is None:
        last = mode.clock.cutoffs[-1]
        words = f"its last cut-off was {last:%Y-%m-%d %H:%M} {mode.clock.time_zone}"
        objections.append(
            Objection("date", shown(now_s, mode.clock.time_zone), f"{last:%Y-%m-%d}", words)
        )
    pays = answers.kind in mode.pays
    return Fit(mode, tuple(objections), None if objections else promise, pays)


def _who(mode: Mode, answers: Answers) -> Objection | None:
    if answers.kind in mode.who:
        return None
    allowed = ", ".join(KINDS[kind] for kind in mode.who)
    words = f"it is for {allowed}, not for {KINDS[answers.kind]}"
    return Objection("kind", answers.kind, ", ".join(mode.who), words)


def _purpose(mode: Mode, answers: Answers) -> Objection | None:
    if answers.purpose in mode.purposes:
        return None
    allowed = ", or to ".join(PURPOSES[purpose] for purpose in mode.purposes)
    words = f"it is there to {allowed}, not to {PURPOSES[answers.purpose]}"
    return Objection("purpose", answers.purpose, ", ".join(mode.purposes), words)


def _size(mode: Mode, answers: Answers) -> Objection | None:
    unit, least, most = mode.size.unit, mode.size.least_h, mode.size.most_h
    said = f"{answers.amount_h:,} {answers.unit}-h"
    allowed = f"{least:,} to {most:,} {unit}-h"
    amount = Fraction(answers.amount_h)
    if answers.unit is not unit:
        if answers.node is None:
            words = f"it counts {unit}-h: say which nodes you mean, so that {said} can be converted"
            return Objection("node", said, allowed, words)
        amount *= Fraction(per_node(unit, answers.node), per_node(answers.unit, answers.node))
        said += f" ({float(amount):,.0f} {unit}-h)"
    if amount < least:
        return Objection("amount", said, allowed, f"{said} is less than its {least:,} {unit}-h")
    if amount > most:
        return Objection("amount", said, allowed, f"{said} is more than its {most:,} {unit}-h")
    return None


def _length(mode: Mode, answers: Answers) -> Objection | None:
    if answers.months in mode.months:
        return None
    allowed = ", ".join(str(months) for months in sorted(mode.months))
    words = f"its length in months is {allowed}, not {answers.months}"
    return Objection("months", str(answers.months), allowed, words)
