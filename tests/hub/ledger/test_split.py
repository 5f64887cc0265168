"""The rule that splits a use among owners, recomputed in a second way."""

from __future__ import annotations

import hashlib
import uuid
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meyrin.domain.errors import InvalidInput
from meyrin.domain.ledger import split
from meyrin.domain.site import OwnerShare

weights = st.lists(st.integers(0, 1000), min_size=1, max_size=8).filter(any)
attempts = st.uuids(version=4).map(str)


def shares_of(numbers):
    return tuple(OwnerShare(f"owner{i}", weight) for i, weight in enumerate(numbers))


def wheel(attempt, used_s, shares):
    """Floors first; then a wheel with one spoke a unit, turned by the attempt, gives the rest.

    Each owner has an arc as long as its lost fraction; spokes stand at the places of the left-over
    seconds. Written in fractions, to share nothing with the rule's integers.
    """
    total = sum(share.weight for share in shares)
    exact = {s.owner: Fraction(used_s * s.weight, total) for s in shares}
    parts = {owner: int(amount) for owner, amount in exact.items()}
    digest = hashlib.sha256(uuid.UUID(attempt).bytes).hexdigest()
    turn = Fraction(int(digest, 16) % total, total)
    mark = turn
    for owner in sorted(exact):
        passed = mark + exact[owner] - parts[owner]
        if passed >= 1:
            parts[owner] += 1
            passed -= 1
        mark = passed
    assert mark == turn
    return parts


@given(attempts, st.integers(0, 10**12), weights)
def test_the_rule_can_be_recomputed(attempt, used_s, numbers):
    shares = shares_of(numbers)
    parts = split(attempt, used_s, shares)
    assert parts == wheel(attempt, used_s, shares)
    assert sum(parts.values()) == used_s
    for share in shares:
        exact = Fraction(used_s * share.weight, sum(numbers))
        assert int(exact) <= parts[share.owner] < exact + 1
    assert split(attempt, used_s, shares[::-1]) == parts


@given(st.integers(0, 500), st.lists(st.integers(0, 9), min_size=1, max_size=5).filter(any))
def test_nobody_gains_in_the_long_run(used_s, numbers):
    """Over all turns of the wheel, each owner gets exactly its weight's part."""
    total = sum(numbers)
    upto = [0]
    for weight in numbers:
        upto.append(upto[-1] + weight)
    for k, weight in enumerate(numbers):
        given_s = sum(
            (used_s * upto[k + 1] + turn) // total - (used_s * upto[k] + turn) // total
            for turn in range(total)
        )
        assert given_s == used_s * weight


def test_many_attempts_of_one_second_follow_the_weights():
    shares = (OwnerShare("a", 3), OwnerShare("b", 1))
    got = sum(split(str(uuid.UUID(int=n)), 1, shares)["a"] for n in range(4000))
    assert abs(got - 3000) < 140  # five standard deviations


@pytest.mark.parametrize("numbers", [(), (0,), (2, -1)])
def test_unusable_weights_are_refused(numbers):
    with pytest.raises(InvalidInput):
        split(str(uuid.UUID(int=1)), 5, shares_of(numbers))


def test_an_owner_comes_once():
    with pytest.raises(InvalidInput):
        split(str(uuid.UUID(int=1)), 5, (OwnerShare("a", 1), OwnerShare("a", 1)))
