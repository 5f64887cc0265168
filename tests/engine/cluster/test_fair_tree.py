"""Slurm's Fair Tree: numbers of Slurm's own test, each rule for ties, and random trees."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from fractions import Fraction

import numpy as np
import pytest
from tests.oracles import fair_tree
from tests.oracles.cluster_cases import random_facility, random_jobs, random_rules

from meyrin.engine.cluster import Cluster, facility, jobs
from meyrin.engine.cluster.fair_tree import rank
from meyrin.engine.cluster.world import FAIR, USED, new, play
from meyrin.engine.rules import Rules

Tree = Mapping[str, tuple[str, int, float]]  # name: the account above, shares, usage

# What Slurm's own test of Fair Tree sets up (testsuite/expect/test24.4.prog.c) and expects of it.
# Two persons of the account D and what they share of the parent are left out of the model; two
# that have used nothing stand for them here, as they too go before the rest of that account.
SLURMS_TEST: Tree = {
    "A": ("", 40, 45), "AA": ("A", 30, 20), "uAA1": ("AA", 1, 20),
    "AB": ("A", 10, 25), "uAB1": ("AB", 1, 25), "uAB2": ("AB", 1, 0),
    "B": ("", 60, 25), "BA": ("B", 25, 25), "uBA1": ("BA", 1, 25),
    "BB": ("B", 35, 0), "uBB1": ("BB", 1, 0),
    "C": ("", 0, 30), "uC1": ("C", 0, 30),
    "D": ("", 50, 110), "uD1": ("D", 1, 0), "uDA1": ("D", 1, 0), "uDA2": ("D", 30, 10),
    "uDA3": ("D", 50, 25), "uD2": ("D", 40, 20), "uD3": ("D", 50, 25),
    "E": ("", 10, 0), "uE1": ("E", 10, 0), "uE2": ("E", 10, 0),
    "u1": ("", 10, 0), "F": ("", 20, 0), "uF1": ("F", 10, 0), "uF2": ("F", 20, 0),
    "G": ("", 8, 20), "uG1": ("G", 10, 10), "GA": ("G", 10, 10),
    "uGA1": ("GA", 20, 4), "uGA2": ("GA", 20, 6), "u2": ("", 10, 10),
}  # fmt: skip
SLURMS_LEVELS = {
    "u2": 1.153846, "A": 1.025641, "AA": 1.687500, "uAA1": 1.0, "AB": 0.45, "uAB1": 0.5,
    "B": 2.769231, "BA": 0.416667, "C": 0.0, "D": 0.524476, "G": 0.461538, "GA": 1.0,
    "uGA1": 1.25, "uGA2": 0.833333,
}  # fmt: skip
SLURMS_FACTORS = {
    "u1": 1.0, "uE1": 1.0, "uE2": 1.0, "uF1": 1.0, "uF2": 1.0, "uBB1": 0.761905, "uBA1": 0.714286,
    "u2": 0.666667, "uAA1": 0.619048, "uAB2": 0.571429, "uAB1": 0.523810, "uD1": 0.476190,
    "uDA1": 0.476190, "uDA2": 0.380952, "uD3": 0.333333, "uDA3": 0.333333, "uG1": 0.190476,
    "uGA1": 0.190476, "uGA2": 0.095238, "uC1": 0.047619,
}  # fmt: skip


def _ranked(
    parent: Sequence[int],
    shares: Sequence[int],
    used: Sequence[float],
    everything: float,
    persons: Collection[int],
) -> tuple[list[float], list[float]]:
    """Level fairshare and factor of each account by the kernel."""
    place = facility([[0, 4, 0]], account_parent=parent, account_shares=shares)
    who = sorted(persons)
    work = jobs(place, [0] * len(who), [[0, 1, 0]] * len(who), 1, 1, account=who)
    world = new(play(Rules(order="multifactor")), place, work)
    world.usage[:, USED] = [*used, everything]
    rank(world.accounts, world.usage, world.tree, world.level, 0, 300, 1.0)
    return world.level[:-1].tolist(), world.usage[:-1, FAIR].tolist()


def _named(tree: Tree) -> tuple[dict[str, float], dict[str, float]]:
    """The same by name, for everyone whose name begins with u."""
    number = {"": -1} | {name: one for one, name in enumerate(tree)}
    above = [number[row[0]] for row in tree.values()]
    used = [row[2] for row in tree.values()]
    everything = sum(amount for amount, one in zip(used, above, strict=True) if one < 0)
    levels, factors = _ranked(
        above,
        [row[1] for row in tree.values()],
        used,
        everything,
        [number[name] for name in tree if name.startswith("u")],
    )
    return (
        dict(zip(tree, levels, strict=True)),
        {name: factors[number[name]] for name in tree if name.startswith("u")},
    )


def test_the_numbers_of_slurms_own_test() -> None:
    levels, factors = _named(SLURMS_TEST)
    assert {name: levels[name] for name in SLURMS_LEVELS} == pytest.approx(SLURMS_LEVELS, abs=1e-6)
    assert {name: factors[name] for name in SLURMS_FACTORS} == pytest.approx(
        SLURMS_FACTORS, abs=1e-6
    )


def test_what_is_equal_but_for_rounding_is_tied() -> None:
    """40/170 over 20/110 and 50/170 over 25/110 are one number, and so two persons have one rank.
    Slurm's own test lets the rounding of its floating point part them: 0.333333 and 0.238095."""
    _, factors = _named(SLURMS_TEST)
    assert factors["uD2"] == factors["uD3"] == factors["uDA3"] == pytest.approx(7 / 21)


@pytest.mark.parametrize(
    ("tree", "ranks"),
    [
        # persons side by side: one rank, and the next comes after both
        ({"u1": ("", 1, 5), "u2": ("", 1, 5), "u3": ("", 1, 9)}, [3, 3, 1]),
        # a person beside a tied account: the rank of whoever goes first there
        ({"u1": ("", 1, 4), "A": ("", 1, 4), "u2": ("A", 1, 3), "u3": ("A", 1, 1)}, [3, 1, 3]),
        # and of whoever goes first beneath a tied account in it
        (
            {"u1": ("", 1, 4), "A": ("", 1, 4), "B": ("A", 1, 4), "u2": ("B", 1, 3),
             "u3": ("B", 1, 1), "u4": ("", 1, 5)},
            [4, 2, 4, 1],
        ),
        # tied accounts: who is beneath them is one list
        (
            {"A": ("", 2, 4), "u1": ("A", 1, 3), "u2": ("A", 1, 1),
             "B": ("", 2, 4), "u3": ("B", 1, 2), "u4": ("B", 1, 2)},
            [1, 4, 3, 3],
        ),
        # accounts that are not tied are not mixed, however little who is beneath has used
        (
            {"A": ("", 1, 9), "u1": ("A", 1, 0), "u2": ("A", 1, 9),
             "B": ("", 1, 1), "u3": ("B", 1, 1)},
            [2, 1, 3],
        ),
        # no shares: after everyone, even after those who used more, and even without use
        ({"u1": ("", 0, 0), "u2": ("", 1, 90), "u3": ("", 0, 5)}, [2, 3, 2]),
        # accounts without persons have no ranks; their shares count
        ({"A": ("", 5, 0), "B": ("A", 1, 0), "u1": ("", 1, 2), "u2": ("", 1, 1)}, [1, 2]),
        # jobs charged to an account above others: as of a person beside it
        (
            {"uA": ("", 1, 6), "u1": ("uA", 1, 1), "u2": ("uA", 1, 3), "u3": ("", 1, 5)},
            [3, 3, 1, 4],
        ),
    ],
    ids=["persons", "person-account", "deeper", "accounts", "apart", "none", "empty", "inner"],
)  # fmt: skip
def test_ranks_by_hand(tree: Tree, ranks: list[int]) -> None:
    _, factors = _named(tree)
    expected = [one / len(ranks) for one in ranks]
    assert list(factors.values()) == pytest.approx(expected, abs=1e-12)


def _random_tree(
    chance: random.Random,
) -> tuple[list[int], list[int], list[int], list[int], list[int]]:
    """Parents, shares, what each used itself, and with all beneath it (and everyone), persons;
    few different numbers, so that many are tied."""
    count = chance.choice([2, 4, 8, 20, 60])
    deep = chance.random() < 0.5
    parent = [
        chance.randint(-1, one - 1) if deep else chance.choice([-1, min(one, 4) - 1])
        for one in range(count)
    ]
    inner = set(parent) if chance.random() < 0.8 else set()
    persons = [one for one in range(count) if one not in inner and chance.random() < 0.8]
    persons = persons or [count - 1]
    shares = [chance.choice([0, 1, 1, 1, 2, 3]) for _ in range(count)]
    most = chance.choice([1, 3, 12])
    own = [chance.randint(0, most) if one in persons else 0 for one in range(count)]
    used = [*own, 0]
    for one in range(count - 1, -1, -1):
        used[parent[one]] += used[one]
    return parent, shares, own, used, persons


def test_random_trees_equal_the_oracle() -> None:
    tied = 0
    for seed in range(600):
        parent, shares, _, used, persons = _random_tree(random.Random(f"tree {seed}"))
        exact = [Fraction(amount) for amount in used]
        levels = fair_tree.level_fairshares(parent, shares, exact[:-1], exact[-1])
        expected = fair_tree.factors(parent, persons, levels)
        found_levels, found = _ranked(parent, shares, used[:-1], used[-1], persons)
        assert found_levels == pytest.approx([float(level) for level in levels]), seed
        assert {one: found[one] for one in persons} == pytest.approx(expected), seed
        assert max(expected.values()) == 1.0
        tied += len(set(expected.values())) < len(persons)
    assert tied > 200


def _renumbered(chance: random.Random, parent: Sequence[int]) -> list[int]:
    """Another order of the accounts in which each still comes after the one above it."""
    order: list[int] = []
    while len(order) < len(parent):
        free = [
            one
            for one in range(len(parent))
            if one not in order and (parent[one] < 0 or parent[one] in order)
        ]
        order.append(chance.choice(free))
    return order


@pytest.mark.parametrize("fair_share", ["fair-tree", "classic"])
def test_the_order_of_the_accounts_changes_no_start(fair_share: str) -> None:
    different = 0
    for seed in range(60):
        chance = random.Random(f"order {seed}")
        parent, shares, _, _, persons = _random_tree(chance)
        bare = random_facility(chance)
        work = random_jobs(chance, bare, most=25)
        who = np.array(chance.choices(persons, k=len(work.submit)), np.int32)
        work = work._replace(account=who)
        place = bare._replace(account_parent=np.array(parent), account_shares=np.array(shares))
        rules = random_rules(
            chance, order="multifactor", fair_share=fair_share, priority_weight_fair_share=10_000
        )
        order = _renumbered(chance, parent)
        number = np.argsort(order).astype(np.int32)
        other = place._replace(
            account_parent=np.array(
                [-1 if parent[one] < 0 else number[parent[one]] for one in order], np.int32
            ),
            account_shares=place.account_shares[order],
        )
        different += order != sorted(order)
        moved = work._replace(account=number[work.account])
        one, two = Cluster(rules, place, work), Cluster(rules, other, moved)
        for cluster in (one, two):
            while not cluster.done:
                cluster.advance(1000)
        assert one.start.tolist() == two.start.tolist(), seed
    assert different > 40


def test_everyone_who_has_a_job_is_ranked_from_the_beginning() -> None:
    """Slurm ranks all, active or not: who has not come yet has used nothing and goes first."""
    place = facility([[0, 4, 0]], account_parent=[-1, -1, -1])
    rules = Rules(
        order="multifactor",
        backfill="none",
        priority_weight_fair_share=300,
        priority_calc_period=10,
    )
    rows = [(0, 0, 20), (1, 1, 5), (12, 0, 5), (12, 1, 5), (100, 2, 5)]  # submit, account, duration
    submit, account, duration = zip(*rows, strict=True)
    work = jobs(place, submit, [[0, 4, 0]] * 5, duration, duration, account=account)
    cluster = Cluster(rules, place, work)
    while not cluster.done:
        cluster.advance(1)
    # at 20 only account 0 has used anything; at 25 it still has used more than account 1
    assert cluster.start.tolist() == [0, 20, 30, 25, 100]
