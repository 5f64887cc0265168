"""The laws bite: each bug that is planted breaks one within a few worlds."""

from __future__ import annotations

import pytest
from tests.world.lives import replay_command, shrink
from tests.world.planted import BUGS, planted
from tests.world.settings import draw

MOST = 100  # seeds until the last bug must have been noticed


def first_failure(place, bug):
    for seed in (bug.first, *range(bug.first), *range(bug.first + 1, MOST)):
        outcome = place.live(draw(seed))
        if " " in outcome.law:  # a law's name; a mere crash is not enough
            return outcome
    pytest.fail(f"{bug.name}: {MOST} worlds, and no law was broken")


@pytest.mark.slow
@pytest.mark.timeout(1200)  # all of MOST worlds, on a busy machine
@pytest.mark.parametrize("bug", BUGS, ids=[bug.name.replace(" ", "_") for bug in BUGS])
def test_a_planted_bug_is_noticed(place, bug):
    with planted(bug):
        outcome = first_failure(place, bug)
    print(f"{bug.name}: seed {outcome.seed}, {outcome.law}")
    assert place.live(draw(outcome.seed)).good, "without the bug that world is well"


@pytest.mark.timeout(1200)
def test_a_failing_world_shrinks_and_fails_again(place):
    bug = next(bug for bug in BUGS if bug.name == "holds stay")
    with planted(bug):
        failed = draw(first_failure(place, bug).seed)
        smaller, outcome = shrink(place, failed, tries=12)
        again = place.live(smaller)
    assert not outcome.good
    assert again.trace == outcome.trace
    assert replay_command(smaller).startswith(f"make world SEED={failed.seed}")
    assert (smaller.requests, smaller.steps, sum(map(bool, smaller.faults.values()))) < (
        failed.requests,
        failed.steps,
        sum(map(bool, failed.faults.values())),
    )
