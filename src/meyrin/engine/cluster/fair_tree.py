"""Slurm's Fair Tree: everyone's rank among all, from shares and usage. It counts no usage.

https://slurm.schedmd.com/fair_tree.html; docs/explanation/cluster-model.md has what it makes of
ties, of no shares and of no usage.
"""

from __future__ import annotations

import math

from numpy import float64
from numpy.typing import NDArray

from meyrin.engine.cluster.model import Index, Whole
from meyrin.engine.cluster.usage import roll_by
from meyrin.engine.cluster.world import (
    ABOVE,
    BATCH_END,
    BATCH_LEFT,
    BATCH_TIED,
    BENEATH,
    FAIR,
    FIRST_BENEATH,
    LAST_BENEATH,
    PERSON,
    PERSONS,
    RANKED,
    SHARES,
    SIBLINGS,
    USED,
)
from meyrin.engine.compiled import compiled, inner

Floats = NDArray[float64]
EQUAL = 1 - 1e-9  # two that floating point tells apart by less are equal


@compiled
def rank(
    accounts: Whole,
    usage: Floats,
    tree: Index,
    level: Floats,
    period: int,
    length: int,
    fade: float,
) -> None:
    """Write everyone's factor at the beginning of a period, rank / persons, to FAIR.

    A batch is what stands beneath one account, or beneath several that are tied, in order of
    `level`. The persons of a batch and beneath it have the ranks from BATCH_LEFT down; its first
    ones have BATCH_TIED, where that is not 0, as they are tied with somebody above.
    """
    root = len(accounts) - 1
    roll_by(accounts, usage, root, period, length, fade)
    for one in range(root):  # whoever is above it is up to date
        roll_by(accounts, usage, one, period, length, fade)
        level[one] = _level(accounts, usage, one)
    ranked, persons = tree[RANKED], tree[PERSONS, root]
    filled, batch, batches, at = _descend(tree, level, root, 0), 0, 1, 0
    tree[BATCH_END, 0], tree[BATCH_LEFT, 0], tree[BATCH_TIED, 0] = filled, persons, 0
    while batch < batches:
        end, left, tied = tree[BATCH_END, batch], tree[BATCH_LEFT, batch], tree[BATCH_TIED, batch]
        while at < end:
            least, place = level[ranked[at]] * EQUAL, tied or left
            factor, begin = place / persons, filled
            here = beneath = above = 0
            while at < end and level[ranked[at]] >= least:
                one = ranked[at]
                if tree[PERSON, one]:
                    usage[one, FAIR] = factor
                    here += 1
                beneath += tree[PERSONS, one]
                if tree[LAST_BENEATH, one] > tree[FIRST_BENEATH, one]:
                    filled = _descend(tree, level, one, filled)
                    above += 1
                at += 1
            if above > 1:
                _settle(ranked, level, begin, filled)
            if above:
                tree[BATCH_END, batches], tree[BATCH_LEFT, batches] = filled, left - here
                tree[BATCH_TIED, batches] = place if here else tied
                batches += 1
            left -= beneath
            tied = 0
        batch += 1


@inner
def _level(accounts: Whole, usage: Floats, one: int) -> float:
    """Its part of its siblings' shares over its part of the usage of the account above."""
    if accounts[one, SHARES] == 0:
        return 0.0
    if usage[one, USED] <= 0.0:
        return math.inf
    share = accounts[one, SHARES] / accounts[one, SIBLINGS]
    return float(share * (usage[accounts[one, ABOVE], USED] / usage[one, USED]))


@inner
def _descend(tree: Index, level: Floats, one: int, filled: int) -> int:
    """Append to RANKED who stands right beneath an account, in order; where it ends then."""
    first, last = tree[FIRST_BENEATH, one], tree[LAST_BENEATH, one]
    _settle(tree[BENEATH], level, first, last)
    for at in range(first, last):
        tree[RANKED, filled] = tree[BENEATH, at]
        filled += 1
    return filled


@inner
def _settle(names: Index, level: Floats, first: int, last: int) -> None:
    """Put a part of a list in order, highest level first: quick where little has changed."""
    for at in range(first + 1, last):
        one = names[at]
        mine, free = level[one], at
        while free > first and level[names[free - 1]] < mine:
            names[free] = names[free - 1]
            free -= 1
        names[free] = one
