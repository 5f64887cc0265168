"""Whose job goes first, by what accounts have used and hold. It starts nothing.

Slurm's multifactor priority (priority_multifactor.html of its manual), its classic fair share in a
tree of accounts (classic_fair_share.html; the other formula is in fair_tree), and the dominant
share of DRF (Ghodsi et al., NSDI 2011). docs/explanation/cluster-model.md has the formulas.
"""

from __future__ import annotations

import math

from meyrin.engine.cluster.fair_tree import rank
from meyrin.engine.cluster.queue import sort_line
from meyrin.engine.cluster.usage import fading, roll
from meyrin.engine.cluster.world import (
    ABOVE,
    ACCOUNT,
    ASKED,
    BEST_CLASS,
    BEST_PARTITION,
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
    PRIORITY,
    RANK,
    SHARE,
    SHARES,
    SIBLINGS,
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
def fair_share(rules: Play, world: World, account: int, tick: int) -> float:
    """The fair-share factor of an account at a tick."""
    accounts, root = world.accounts, len(world.accounts) - 1
    if not rules.fair_tree:
        _classic(rules, world, account, tick)
    elif accounts[root, FACTOR_TICK] != tick:
        period, length = tick // rules.calc_period, rules.calc_period
        rank(accounts, world.usage, world.tree, world.level, period, length, fading(rules))
        accounts[root, FACTOR_TICK] = tick
    return float(world.usage[account, FAIR])


@inner
def _classic(rules: Play, world: World, account: int, tick: int) -> None:
    """Write to FAIR 2 ** (-effective usage / share / d), of the account and all above it."""
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
        share = accounts[one, SHARES] / accounts[one, SIBLINGS] if accounts[one, SHARES] else 0.0
        if above != root:
            used += (usage[above, EFFECTIVE] - used) * share
            share *= usage[above, SHARE]
        usage[one, FAIR] = 2.0 ** (-used / share / rules.dampening) if share > 0.0 else 0.0
        usage[one, EFFECTIVE], usage[one, SHARE] = used, share
        accounts[one, FACTOR_TICK] = tick


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
    shares = world.accounts[account, SHARES]
    return float(largest / shares) if shares else math.inf
