"""Slurm's Fair Tree: everyone's rank among all, from shares and usage. It counts no usage.

https://slurm.schedmd.com/fair_tree.html; docs/explanation/cluster-model.md has what it makes of
ties, of no shares and of no usage.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from meyrin.engine.cluster.model import Whole
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
    LEVEL,
    PERSON,
    PERSONS,
    RANKED,
    SHARES,
    SIBLINGS,
    USED,
)
from meyrin.engine.compiled import compiled, inner

EQUAL = 1 - 1e-9  # two that floating point tells apart by less are equal


@compiled
def rank(
    accounts: Whole, usage: NDArray[np.float64], period: int, length: int, fade: float
) -> None:
    """Write everyone's factor at the beginning of a period, rank / persons, to FAIR.

    A batch is what stands beneath one account, or beneath several that are tied, in order of
    LEVEL. The persons of a batch and beneath it have the ranks from BATCH_LEFT down; its first
    ones have BATCH_TIED, where that is not 0, as they are tied with somebody above.
    """
    root = len(accounts) - 1
    roll_by(accounts, usage, root, period, length, fade)
    for one in range(root):  # whoever is above it is up to date
        roll_by(accounts, usage, one, period, length, fade)
        usage[one, LEVEL] = _level(accounts, usage, one)
    persons = accounts[root, PERSONS]
    filled, batch, batches, at = _descend(accounts, usage, root, 0), 0, 1, 0
    accounts[0, BATCH_END], accounts[0, BATCH_LEFT], accounts[0, BATCH_TIED] = filled, persons, 0
    while batch < batches:
        end, left = accounts[batch, BATCH_END], accounts[batch, BATCH_LEFT]
        tied = accounts[batch, BATCH_TIED]
        _settle(accounts, usage, RANKED, at, end)
        while at < end:
            least = usage[accounts[at, RANKED], LEVEL] * EQUAL
            place, next_ = tied or left, filled
            here = beneath = 0
            while at < end and usage[accounts[at, RANKED], LEVEL] >= least:
                one = accounts[at, RANKED]
                if accounts[one, PERSON]:
                    usage[one, FAIR] = place / persons
                    here += 1
                filled = _descend(accounts, usage, one, filled)
                beneath += accounts[one, PERSONS]
                at += 1
            if filled > next_:
                accounts[batches, BATCH_END], accounts[batches, BATCH_LEFT] = filled, left - here
                accounts[batches, BATCH_TIED] = place if here else tied
                batches += 1
            left -= beneath
            tied = 0
        batch += 1


@inner
def _level(accounts: Whole, usage: NDArray[np.float64], one: int) -> float:
    """Its part of its siblings' shares over its part of the usage of the account above."""
    if accounts[one, SHARES] == 0:
        return 0.0
    if usage[one, USED] <= 0.0:
        return math.inf
    share = accounts[one, SHARES] / accounts[one, SIBLINGS]
    return float(share * (usage[accounts[one, ABOVE], USED] / usage[one, USED]))


@inner
def _descend(accounts: Whole, usage: NDArray[np.float64], one: int, filled: int) -> int:
    """Append to RANKED who stands right beneath an account; where the list ends then."""
    first, last = accounts[one, FIRST_BENEATH], accounts[one, LAST_BENEATH]
    _settle(accounts, usage, BENEATH, first, last)
    for at in range(first, last):
        accounts[filled, RANKED] = accounts[at, BENEATH]
        filled += 1
    return filled


@inner
def _settle(
    accounts: Whole, usage: NDArray[np.float64], column: int, first: int, last: int
) -> None:
    """Put a part of a list in order, highest LEVEL first: quick where little has changed."""
    for at in range(first + 1, last):
        one = accounts[at, column]
        level, free = usage[one, LEVEL], at
        while free > first and usage[accounts[free - 1, column], LEVEL] < level:
            accounts[free, column] = accounts[free - 1, column]
            free -= 1
        accounts[free, column] = one
