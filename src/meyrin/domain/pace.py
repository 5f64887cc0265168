"""Whether hours are used at the pace that their length asks for, and when they will be used up.

Counted in whole weeks, because people work in weeks: what was expected by the end of the last
whole week is the least that is asked for, what is expected by the end of this one is the most.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

WEEK_S = 604_800
_FEWEST_WEEKS = 3  # below this nothing is foretold
_MOST_WEEKS = 12  # what was longer ago says little about now
_FAR_WEEKS = 5200  # a century: nobody waits for that
# Student's t, nine tenths below it, by degrees of freedom: two sides make an interval of 80 %
_T90 = (0.0, 3.078, 1.886, 1.638, 1.533, 1.476, 1.440, 1.415, 1.397, 1.383, 1.372, 1.363)


class Verdict(StrEnum):
    EARLY = "early"  # too soon to say, or not begun
    ON = "on"
    SLOW = "slow"
    FAST = "fast"
    OVER = "over"


@dataclass(frozen=True, slots=True)
class Rule:
    """When something is said: below `low_percent` or above `high_percent` of what is expected,
    once `after_percent` of the time has passed."""

    after_percent: int = 10
    low_percent: int = 50
    high_percent: int = 150


@dataclass(frozen=True, slots=True)
class Part:
    """Hours that became usable at `from_s`; each part is expected to be used evenly to the end."""

    amount_s: int
    from_s: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """When the hours are used up if things go on so; a bound is None where that is never.

    About eight times of ten it is between `earliest_s` and `latest_s`, if weeks to come are like
    those that were; less often where few and very uneven weeks are known.
    """

    ends_s: int
    earliest_s: int
    latest_s: int | None


def expected_s(parts: Sequence[Part], end_s: int, now_s: int, *, begun_week: bool) -> int:
    """What should have been used by the end of the last whole week, or of the one that runs."""
    total = 0
    for part in parts:
        length_s = end_s - part.from_s
        if now_s <= part.from_s or length_s <= 0:
            continue
        weeks, rest = divmod(now_s - part.from_s, WEEK_S)
        weeks += begun_week and rest > 0
        total += part.amount_s * min(weeks * WEEK_S, length_s) // length_s
    return total


def judge(
    rule: Rule, parts: Sequence[Part], used_s: int, start_s: int, end_s: int, now_s: int
) -> Verdict:
    """`used_s` is what was charged and what jobs hold."""
    if now_s >= end_s:
        return Verdict.OVER
    if (now_s - start_s) * 100 < rule.after_percent * (end_s - start_s):
        return Verdict.EARLY
    least = expected_s(parts, end_s, now_s, begun_week=False)
    most = expected_s(parts, end_s, now_s, begun_week=True)
    if used_s * 100 < rule.low_percent * least:
        return Verdict.SLOW
    if used_s * 100 > rule.high_percent * most:
        return Verdict.FAST
    return Verdict.ON


def forecast(weeks: Sequence[int], left_s: int, now_s: int) -> Forecast | None:
    """When `left_s` are used up, from what whole weeks used; None where too little is known.

    None too where nothing is used, or the end is out of sight. With mean m and deviation s over
    n weeks, w more weeks use w m, give or take t s sqrt(w + w*w/n): weeks differ, and the mean is
    not known exactly.
    """
    recent = weeks[-_MOST_WEEKS:]
    count = len(recent)
    if count < _FEWEST_WEEKS:
        return None
    mean = math.fsum(recent) / count
    if mean <= 0:
        return None
    if left_s <= 0:
        return Forecast(now_s, now_s, now_s)
    spread = math.sqrt(math.fsum((week - mean) ** 2 for week in recent) / (count - 1))
    wide = _T90[count - 1] * spread

    def used_after(sign: int) -> Callable[[float], float]:
        return lambda w: w * mean + sign * wide * math.sqrt(w + w * w / count)

    middle = left_s / mean
    if middle > _FAR_WEEKS:
        return None
    late = mean - wide / math.sqrt(count)  # what a week brings in the long run, at worst
    latest = None
    if late > 0 and left_s / late < _FAR_WEEKS:
        latest = now_s + _whole(_reaches(used_after(-1), left_s, 4 * left_s / late + 4 * count))
    earliest = now_s + _whole(_reaches(used_after(1), left_s, middle))
    return Forecast(now_s + _whole(middle), earliest, latest)


def _reaches(used: Callable[[float], float], left: float, most: float) -> float:
    """The first number of weeks, `most` at most, from which on so much is used."""
    while used(most) < left:  # where weeks differ widely, the curve first dips
        most *= 2
    low, high = 0.0, most
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (low, middle) if used(middle) >= left else (middle, high)
    return high


def _whole(weeks: float) -> int:
    return math.ceil(weeks * WEEK_S)
