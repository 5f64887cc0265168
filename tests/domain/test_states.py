from __future__ import annotations

from pathlib import Path

import pytest

from meyrin.domain.errors import IllegalChange
from meyrin.domain.states import (
    AT_SITE,
    ENDED,
    HOLDS_HOURS,
    LEGAL,
    MEANING,
    WAITING,
    JobState,
    check_change,
    may_follow,
    shown,
)


def golden():
    lines = Path(__file__).with_name("states.txt").read_text().splitlines()
    rows = [line.split() for line in lines if line and not line.startswith("#")]
    columns = rows[0]
    assert [row[0] for row in rows[1:]] == columns
    for row in rows[1:]:
        for after, word in zip(columns, row[1:], strict=True):
            yield JobState(row[0]), JobState(after), word == "yes"


GOLDEN = list(golden())


def test_the_golden_table_has_every_pair():
    assert {(a, b) for a, b, _ in GOLDEN} == {(a, b) for a in JobState for b in JobState}


@pytest.mark.parametrize(("before", "after", "legal"), GOLDEN)
def test_a_change_is_as_the_table_says(before, after, legal):
    assert may_follow(before, after) is legal
    if legal:
        check_change(before, after)
        return
    with pytest.raises(IllegalChange) as raised:
        check_change(before, after)
    assert str(before) in raised.value.message
    assert str(after) in raised.value.message
    assert raised.value.hint


def test_every_state_can_end_and_can_be_reached():
    for state in JobState:
        assert (reachable(state) & ENDED) or state in ENDED
    assert reachable(JobState.SUBMITTED) | {JobState.SUBMITTED} == set(JobState)


def test_the_sets_of_states_agree():
    assert set(LEGAL) == set(MEANING) == set(JobState)
    assert {"completed", "failed", "cancelled", "expired"} == ENDED
    assert not WAITING & HOLDS_HOURS
    assert set(JobState) == WAITING | HOLDS_HOURS | ENDED
    assert {JobState.PLACED} == HOLDS_HOURS - AT_SITE


def test_a_word_of_the_site_is_kept():
    assert shown(JobState.RUNNING, None) == "running"
    assert shown(JobState.RUNNING, "SPECIAL_EXIT") == "unknown (SPECIAL_EXIT)"
    assert shown(JobState.FAILED, "SPECIAL_EXIT") == "failed"


def reachable(state):
    seen, todo = set(), [state]
    while todo:
        for after in LEGAL[todo.pop()]:
            if after not in seen:
                seen.add(after)
                todo.append(after)
    return seen
