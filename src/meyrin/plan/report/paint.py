"""Colours, measures and axes that figures share; whose they are, says `figures`."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import altair as alt

BLUE, ORANGE, GREEN, SKY, PURPLE = "#0072b2", "#d55e00", "#009e73", "#56b4e9", "#cc79a7"
TODAY = "today"
HOURS = (
    "datum.value == 0 ? '0' : abs(datum.value) < 1/60 ? format(datum.value * 3600, '.2~g') + ' s'"
    " : abs(datum.value) < 1 ? format(datum.value * 60, '.2~g') + ' min'"
    " : abs(datum.value) < 240 ? format(datum.value, '.3~g') + ' h'"
    " : format(datum.value / 24, '.3~g') + ' d'"
)
_SECONDS = (1, 2, 5, 10, 15, 20, 30)
_HOURS = (1, 2, 3, 4, 6, 12, 24, 48, 120, 240, 480, 1200, 2400, 4800)
STEPS = (*(s / 3600 for s in _SECONDS), *(m / 60 for m in _SECONDS), *map(float, _HOURS))
FAR = 3.0  # times as large as what comes next: such a value would squeeze all others


@dataclass(frozen=True, slots=True)
class Room:
    """How much room a figure has, in points: `plot` beside labels, `wide` without, `ticks` along
    `plot`."""

    name: str
    plot: int
    labels: int
    wide: int
    ticks: int


DESK = Room("desk", plot=400, labels=170, wide=560, ticks=6)
PHONE = Room("phone", plot=160, labels=135, wide=330, ticks=3)


def in_lines(names: Iterable[str], letters: int, ends: str = "") -> Any:
    """An expression that breaks an axis' names into lines of about so many letters, and at
    `ends`."""
    lines = {
        name: [line for part in (name.split(ends) if ends else [name])
               for line in textwrap.wrap(part, letters, break_long_words=False)]
        for name in names
    }  # fmt: skip
    return f"({json.dumps(lines)})[datum.value]"


def hour_ticks(low: float, high: float, most: int) -> list[float]:
    """At most so many round times from `low` to `high`, in hours, zero among them if inside."""
    for step in STEPS:
        first, last = -(-low // step), high // step
        if last - first < most:
            return [step * number for number in range(int(first), int(last) + 1)]
    return [0.0]


def hour_axis(low: float, high: float, most: int) -> Any:
    return alt.Axis(labelExpr=HOURS, values=hour_ticks(low, high, most), labelFlush=False)


def span(values: Iterable[float], room: float = 0.04) -> tuple[float, float]:
    """From the least to the largest, zero within, with a little room where something ends."""
    all_values = [0.0, *values]
    low, high = min(all_values), max(all_values)
    more = room * (high - low or 1.0)
    return low - more if low < 0 else 0.0, high + more


def kept(values: Iterable[float]) -> float:
    """The largest size to draw in full: a few that are far larger than the others are cut off."""
    sizes = sorted(abs(value) for value in values if value == value)  # noqa: PLR0124 - NaN
    for far in range(max(1, len(sizes) // 8), 0, -1):
        if len(sizes) > far + 1 and sizes[-far] > FAR * sizes[-far - 1] > 0:
            return sizes[-far - 1]
    return sizes[-1] if sizes else 0.0
