"""Slurm's Fair Tree without a walk through any tree: everyone's rank from paths alone.

A path is the level fairshares from the root down to somebody. Whoever's path is the greater, as
words in a dictionary, goes first. A person whose path goes on beneath a tied account has the rank
of whoever goes first there: the greatest of all paths that begin as the person's own.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import inf

Level = tuple[int, ...]


def level_fairshares(
    parent: Sequence[int], shares: Sequence[int], used: Sequence[float], everything: float
) -> list[float]:
    """S / U of each account, with whatever kind of number is given. `used` is with all beneath."""
    found = []
    for one, above in enumerate(parent):
        beside = sum(share for other, share in enumerate(shares) if parent[other] == above)
        if not shares[one]:
            found.append(0)
        elif not used[one]:
            found.append(inf)
        else:
            whole = everything if above < 0 else used[above]
            found.append(shares[one] * whole / (beside * used[one]))
    return found


def numbered(levels: Sequence[float]) -> list[int]:
    """The place of each value among all, from the smallest up; a hair's breadth is none."""
    places: dict[float, int] = {}
    first = None
    for value in sorted(set(levels), reverse=True):
        if first is None or not value >= first * (1 - 1e-9):
            first = value
            for known in places:
                places[known] += 1
        places[value] = 0
    return [places[value] for value in levels]


def factors(
    parent: Sequence[int], persons: Collection[int], levels: Sequence[float]
) -> dict[int, float]:
    """Everyone's factor: 1.0 for whoever goes first."""
    place = numbered(levels)

    def path(one: int) -> Level:
        return () if one < 0 else (*path(parent[one]), place[one])

    paths = {person: path(person) for person in persons}
    first = {
        person: max(other for other in paths.values() if other[: len(mine)] == mine)
        for person, mine in paths.items()
    }
    return {
        person: (len(persons) - sum(other > mine for other in first.values())) / len(persons)
        for person, mine in first.items()
    }
