"""How much each account has used; it fades by half-lives. What that is worth is not known here.

Counted by periods, as Slurm does (classic_fair_share.html of its manual); a period's use is kept
apart until the period is over.
"""

from __future__ import annotations

from numpy import float64
from numpy.typing import NDArray

from meyrin.engine.cluster.model import Whole
from meyrin.engine.cluster.world import (
    ABOVE,
    ACCOUNT,
    CHARGE,
    CURRENT,
    MULTIFACTOR,
    PERIOD,
    RATE,
    SINCE,
    USED,
    Play,
    World,
)
from meyrin.engine.compiled import inner, lean


@lean
def roll(rules: Play, world: World, one: int, period: int) -> None:
    """Bring an account's usage to the beginning of that period; the periods before it fade."""
    accounts = world.accounts
    if accounts[one, PERIOD] < period:
        roll_by(accounts, world.usage, one, period, rules.calc_period, fading(rules))


@lean
def fading(rules: Play) -> float:
    """D: how much of a period's use counts in the next."""
    return float(0.5 ** (rules.calc_period / rules.half_life)) if rules.half_life else 1.0


@inner
def roll_by(
    accounts: Whole, usage: NDArray[float64], one: int, period: int, length: int, fade: float
) -> None:
    """The same, where the length of a period and D are known.

    U(k + 1) = D U(k) + what was used in period k; in closed form over periods of equal use.
    """
    behind = period - accounts[one, PERIOD]
    if behind <= 0:
        return
    rate = float(accounts[one, RATE])
    rest = (accounts[one, PERIOD] + 1) * length - accounts[one, SINCE]
    used = usage[one, USED] * fade + usage[one, CURRENT] + rate * rest
    if behind > 1 and fade == 1.0:
        used += rate * length * (behind - 1)
    elif behind > 1:
        faded = fade ** (behind - 1)
        used = used * faded + rate * length * (1.0 - faded) / (1.0 - fade)
    usage[one, USED], usage[one, CURRENT] = used, 0.0
    accounts[one, PERIOD], accounts[one, SINCE] = period, period * length


@lean
def charge(rules: Play, world: World, job: int, now: int, sign: int) -> None:
    """From `now` on a job is charged (1) or no more (-1), to its account and all above it."""
    if rules.order != MULTIFACTOR or rules.weight_fair_share == 0:
        return
    accounts, one = world.accounts, world.jobs[job, ACCOUNT]
    while one >= 0:
        roll(rules, world, one, now // rules.calc_period)
        world.usage[one, CURRENT] += float(accounts[one, RATE]) * (now - accounts[one, SINCE])
        accounts[one, SINCE] = now
        accounts[one, RATE] += sign * world.jobs[job, CHARGE]
        one = accounts[one, ABOVE]
