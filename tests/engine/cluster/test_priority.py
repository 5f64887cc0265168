"""Numbers of Slurm's manual, worked by hand."""

from __future__ import annotations

import pytest

from meyrin.engine.cluster import Facility, facility, jobs, pool
from meyrin.engine.cluster.fairness import dominant_share, fair_share, priority
from meyrin.engine.cluster.usage import charge, roll
from meyrin.engine.cluster.world import (
    ELIGIBLE,
    TAKEN,
    USED,
    Play,
    World,
    new,
    play,
)
from meyrin.engine.rules import Rules


def _world(place: Facility, asked: int = 1, **settings: object) -> tuple[Play, World]:
    rules = play(Rules(order="multifactor", **settings))
    world = new(rules, place, jobs(place, [0], [[0, asked, 0]], 10, 10))
    world.jobs[0, ELIGIBLE] = 0
    return rules, world


@pytest.mark.parametrize(
    ("waited", "expected"),
    [(0, 0), (302400, 500), (604800, 1000), (700000, 1000)],  # half of 7 days is half the weight
)
def test_age_grows_to_its_weight(waited: int, expected: int) -> None:
    rules, world = _world(pool(4), priority_weight_age=1000)
    assert priority(rules, world, 0, waited) == expected


@pytest.mark.parametrize(
    ("asked", "small", "expected"),
    [(240, False, 1000), (60, False, 250), (1, True, 1000), (240, True, 4), (61, True, 750)],
)
def test_size_counts_by_its_part_of_the_machine(asked: int, small: bool, expected: int) -> None:
    settings = {"priority_weight_job_size": 1000, "priority_favor_small": small}
    rules, world = _world(pool(240), asked, **settings)
    assert priority(rules, world, 0, 0) == expected


def test_nice_partition_and_class_are_added() -> None:
    place = facility([[0, 4, 0]], [[0], [0]], partition_priority=[10, 40], class_priority=[20, 80])
    rules = play(
        Rules(order="multifactor", priority_weight_partition=1000, priority_weight_qos=400)
    )
    work = jobs(place, [0], [[0, 1, 0]], 10, 10, partition=0, job_class=1, nice=30)
    world = new(rules, place, work)
    world.jobs[0, ELIGIBLE] = 0
    assert priority(rules, world, 0, 0) == 1000 * 10 // 40 + 400 * 80 // 80 - 30


def test_usage_halves_in_a_half_life() -> None:
    rules, world = _world(pool(8), 2, priority_weight_fair_share=1, priority_decay_half_life=600)
    charge(rules, world, 0, 0, 1)
    charge(rules, world, 0, 300, -1)
    roll(rules, world, 0, 1)
    assert world.usage[0, USED] == pytest.approx(2 * 300)
    roll(rules, world, 0, 3)  # two periods of 300 seconds later
    assert world.usage[0, USED] == pytest.approx(300)


def test_usage_of_a_long_job_is_the_sum_over_periods() -> None:
    """U = u + D u + D² u …, each period's use less by D for each period that has passed."""
    rules, world = _world(pool(8), 3, priority_weight_fair_share=1, priority_decay_half_life=900)
    charge(rules, world, 0, 0, 1)
    roll(rules, world, 0, 5)
    fade = 0.5 ** (300 / 900)
    assert world.usage[0, USED] == pytest.approx(sum(3 * 300 * fade**age for age in range(5)))


def test_the_example_tree_of_the_manual() -> None:
    """classic_fair_share.html: accounts A to F, users 1 to 5, of which 1, 2 and 4 have run."""
    #            A   D   B   C   E   F  u1 u2 u3 u4 u5
    parent = [-1, -1, 0, 0, 1, 1, 2, 3, 3, 4, 5]
    shares = [40, 60, 30, 10, 25, 35, 1, 1, 1, 1, 1]
    place = facility([[0, 100, 0]], account_parent=parent, account_shares=shares)
    rules, world = _world(
        place, fair_share="classic", priority_weight_fair_share=1, priority_decay_half_life=0
    )
    used = {0: 45, 1: 25, 2: 20, 3: 25, 4: 25, 6: 20, 7: 25, 9: 25, 11: 100}  # 30 by others
    for account, amount in used.items():
        world.usage[account, USED] = amount
    factors = [fair_share(rules, world, user, 0) for user in (6, 7, 8, 9, 10)]
    expected = [0.408479, 0.022097, 0.125000, 0.500000, 0.749154]
    assert factors == pytest.approx(expected, abs=1e-4)


def test_the_dominant_share_is_the_largest_part() -> None:
    """Ghodsi et al. 2011: 9 processors and 18 GB; 3 tasks of (1, 4) hold 2/3 of the memory."""
    place = facility([[0, 9, 18]], account_parent=[-1, -1], account_shares=[1, 2])
    _, world = _world(place)
    world.accounts[0, TAKEN : TAKEN + 3] = (0, 3, 12)
    world.accounts[1, TAKEN : TAKEN + 3] = (0, 6, 2)
    assert dominant_share(world, 0) == pytest.approx(12 / 18)
    assert dominant_share(world, 1) == pytest.approx(6 / 9 / 2)
