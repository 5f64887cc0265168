"""The eight modes of 2026 and the starter, on applicants whose answers were read from the table.

The promises are computed a second time here, day by day, from a list of holidays written by hand.
"""

from __future__ import annotations

import csv
import itertools
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from tests.components import ROOT

from meyrin.cli.call import _shape
from meyrin.domain.units import Unit
from meyrin.hub.calls.modes.file import Mode, read_modes
from meyrin.hub.calls.modes.route import Answers, Fit, route

APPLICANTS = Path(__file__).parent.parent / "data" / "applicants.csv"
ROWS = list(csv.DictReader(APPLICANTS.read_text(encoding="utf-8").splitlines()))
LUXEMBOURG = ZoneInfo("Europe/Luxembourg")
# public holidays in Luxembourg, 2026 and the first of 2027 (its labour code, L. 232-2)
FREE = {
    date(2026, month, day)
    for month, day in (
        (1, 1), (4, 6), (5, 1), (5, 9), (5, 14), (5, 25), (6, 23), (8, 15), (11, 1), (12, 25),
        (12, 26),
    )
} | {date(2027, 1, 1)}  # fmt: skip
# what the table says, once more: days after the cut-off or the submission
PROMISES = {
    "starter": ("seconds", 60),
    "playground": ("work", 2),
    "fast-lane": ("work", 4),
    "large-scale": ("work", 10),
    "ai-for-science": ("months", 1),
    "benchmark": ("weeks", 2),
    "development": ("weeks", 2),
    "regular": ("months", 4),
    "extreme-scale": ("months", 6),
}


@pytest.fixture(scope="module")
def modes() -> tuple[Mode, ...]:
    return read_modes(ROOT / "examples" / "modes")


def answers_of(row: dict[str, str]) -> tuple[Answers, int]:
    submitted = datetime.fromisoformat(row["submitted_utc"]).replace(tzinfo=UTC)
    answers = Answers(
        row["kind"],  # type: ignore[arg-type]
        row["purpose"],  # type: ignore[arg-type]
        int(row["amount_h"]),
        Unit(row["unit"]),
        int(row["months"]),
        _shape(row["node"] or None),
    )
    return answers, int(submitted.timestamp())


def plain_due(fit: Fit, submitted_s: int) -> datetime:
    """The promise of a mode, counted on fingers."""
    begun = datetime.fromtimestamp(submitted_s, LUXEMBOURG)
    if fit.mode.clock.cutoffs:
        local = begun.replace(tzinfo=None)
        begun = min(c for c in fit.mode.clock.cutoffs if c >= local).replace(tzinfo=LUXEMBOURG)
    counts, number = PROMISES[fit.mode.name]
    if counts == "seconds":
        return begun + timedelta(seconds=number)
    day = begun.date()
    if counts == "weeks":
        day += timedelta(days=7 * number)
    elif counts == "months":
        month = day.month + number
        day = date(day.year + (month - 1) // 12, (month - 1) % 12 + 1, day.day)
    else:
        while number:
            day += timedelta(days=1)
            number -= day.isoweekday() <= 5 and day not in FREE
    day += timedelta(days=1)
    return datetime(day.year, day.month, day.day, tzinfo=LUXEMBOURG)


def test_there_are_enough_applicants_and_every_mode_is_met() -> None:
    assert len(ROWS) >= 60
    assert {row["mode"] for row in ROWS} == {*PROMISES, ""}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['kind']}-{row['amount_h']}")
def test_an_applicant_is_led_to_the_mode_of_the_table(
    row: dict[str, str], modes: tuple[Mode, ...]
) -> None:
    answers, submitted_s = answers_of(row)
    fits = route(modes, answers, submitted_s)
    first = fits[0]
    assert (first.mode.name if first.fits else "") == row["mode"], row["why"]
    if first.fits:
        assert first.promise is not None
        assert first.promise.due_s == int(plain_due(first, submitted_s).timestamp())
        industrial = first.mode.name in {"fast-lane", "large-scale"}
        assert first.pays == (answers.kind == "industry" and industrial)
    for fit in fits:
        assert fit.fits or all(each.words and each.allowed for each in fit.objections)


def test_the_answer_does_not_hang_on_the_order_of_the_files(modes: tuple[Mode, ...]) -> None:
    for row in ROWS:
        answers, submitted_s = answers_of(row)
        assert route(modes, answers, submitted_s) == route(modes[::-1], answers, submitted_s)


def test_the_worst_cases_are_those_of_the_table(modes: tuple[Mode, ...]) -> None:
    """A second too late for one cut-off: days until the answer to the next one."""
    worst = {}
    for mode in modes:
        cutoffs = mode.clock.cutoffs
        spans = []
        for before, after in itertools.pairwise(cutoffs):
            late_s = int(before.replace(tzinfo=LUXEMBOURG).timestamp()) + 1
            fit = Fit(mode, ())
            answered = plain_due(fit, late_s)
            assert after.date() > before.date()
            spans.append((answered.date() - before.date()).days - 1)
        worst[mode.name] = max(spans, default=0)
    # the table's own days; the national day falls into the ten after 15 June
    assert worst["large-scale"] == 47 + 1
    assert worst["ai-for-science"] == 92
    assert worst["benchmark"] == worst["development"] == 45
    assert worst["regular"] == pytest.approx(280, abs=1)
    assert worst["extreme-scale"] == pytest.approx(350, abs=1)
