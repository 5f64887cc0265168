"""How much each account has used, and what that makes of a job's turn. It starts nothing.

Slurm's multifactor priority (priority_multifactor.html of its manual), classic fair share in a
tree of accounts with usage that fades by half-lives (classic_fair_share.html), and the dominant
share of DRF (Ghodsi et al., NSDI 2011). docs/explanation/cluster-model.md has the formulas.
"""

from __future__ import annotations

import math

from meyrin.engine.cluster.queue import sort_line
from meyrin.engine.cluster.world import (
    ABOVE,
    ACCOUNT,
    ASKED,
    BEST_CLASS,
    BEST_PARTITION,
    CHARGE,
    CURRENT,
    EFFECTIVE,
    ELIGIBLE,
    FACTOR,
    FACTOR_TICK,
    FAIR,
    LINE,
    MACHINE,
    MULTIFACTOR,
    NICE,
    NODES,
    ON_LINE,
    PARTITION,
    PERIOD,
    PRIORITY,
    RANK,
    RATE,
    SHARE,
    SHARES,
    SIBLINGS,
    SINCE,
    SIZES,
    TAKEN,
    TICK,
    USED,
    WHOLE,
    Play,
    World,
)
from meyrin.engine.compiled import inner, lean

ROUNDING = 1e-6  # a whole number that floating point misses by a hair is that number


@lean
def roll(rules: Play, world: World, one: int, period: int) -> None:
    """Bring an account's usage to the beginning of that period; the periods before it fade.

    U(k + 1) = D U(k) + what was used in period k; in closed form over periods of equal use.
    """
    accounts, usage, length = world.accounts, world.usage, rules.calc_period
    behind = period - accounts[one, PERIOD]
    if behind <= 0:
        return
    rate = float(accounts[one, RATE])
    fade = 0.5 ** (length / rules.half_life) if rules.half_life else 1.0
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


@lean
def fair_share(rules: Play, world: World, account: int, tick: int) -> float:
    """The fair-share factor of an account at a tick: 2 ** (-effective usage / share / d)."""
    accounts, usage = world.accounts, world.usage
    period, root = tick // rules.calc_period, len(accounts) - 1
    depth, one = 0, account
    while one != root and accounts[one, FACTOR_TICK] != tick:
        accounts[depth, ON_LINE] = one
        depth += 1
        one = accounts[one, ABOVE]
    if depth:
        roll(rules, world, root, period)
    for at in range(depth - 1, -1, -1):
        one = accounts[at, ON_LINE]
        above = accounts[one, ABOVE]
        roll(rules, world, one, period)
        whole = usage[root, USED]
        used = usage[one, USED] / whole if whole > 0.0 else 0.0
        share = accounts[one, SHARES] / accounts[one, SIBLINGS]
        if above != root:
            used += (usage[above, EFFECTIVE] - used) * share
            share *= usage[above, SHARE]
        usage[one, FAIR] = 2.0 ** (-used / share / rules.dampening)
        usage[one, EFFECTIVE], usage[one, SHARE] = used, share
        accounts[one, FACTOR_TICK] = tick
    return float(usage[account, FAIR])


@lean
def priority(rules: Play, world: World, job: int, tick: int) -> int:
    """Slurm's priority of a waiting job at a tick: the sum of weight times factor, less nice."""
    jobs, now = world.jobs, world.now
    asked, total = jobs[job, NODES], len(world.nodes)
    if total == 1:  # a pool: by processors
        part = 0 if now[MACHINE] else 1
        total = now[MACHINE + part]
        asked = total if jobs[job, WHOLE] else jobs[job, ASKED + part]
    size = (total - asked + 1) / total if rules.favor_small else asked / total
    value = rules.weight_age * min(1.0, max(0, tick - jobs[job, ELIGIBLE]) / rules.max_age)
    if rules.weight_fair_share:
        fair = fair_share(rules, world, jobs[job, ACCOUNT], tick)
        value += rules.weight_fair_share * fair
    value += rules.weight_job_size * size
    if now[BEST_PARTITION]:
        factor = world.partitions[jobs[job, PARTITION], FACTOR] / now[BEST_PARTITION]
        value += rules.weight_partition * factor
    if now[BEST_CLASS]:
        value += rules.weight_qos * (jobs[job, RANK] / now[BEST_CLASS])
    return int(math.floor(value + ROUNDING) - jobs[job, NICE])


@inner
def prioritise(rules: Play, world: World, time: int) -> None:
    """Give every waiting job the priority of the last tick, if there was one since."""
    tick = time // rules.calc_period * rules.calc_period
    if rules.order != MULTIFACTOR or tick == world.now[TICK] or world.now[SIZES + LINE] < 2:
        return  # one alone needs no order; once there is another, both get theirs
    world.now[TICK] = tick
    for at in range(world.now[SIZES + LINE]):
        job = world.lists[LINE, at]
        world.jobs[job, PRIORITY] = priority(rules, world, job, tick)
    sort_line(rules, world)


@lean
def dominant_share(world: World, account: int) -> float:
    """The largest part of the machine, over resources, that an account holds, by its shares."""
    largest = 0.0
    for part in range(3):
        whole = world.now[MACHINE + part]
        if whole:
            largest = max(largest, world.accounts[account, TAKEN + part] / whole)
    return float(largest / world.accounts[account, SHARES])
