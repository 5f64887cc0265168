"""Waits of a step that fails: they double, they are shaken, they are not told each time."""

from __future__ import annotations

from meyrin.agent.patience import FIRST_S, LONGEST_S, Patience


def test_waits_double_up_to_half_a_minute():
    patience = Patience(lambda: 1.0)
    waits = [patience.failed("lease")[0] for _ in range(40)]
    assert waits[:4] == [FIRST_S, 2 * FIRST_S, 4 * FIRST_S, 8 * FIRST_S]
    assert waits[-1] == LONGEST_S
    assert waits == sorted(waits)
    assert min(Patience(lambda: 0.0).failed("x")[0] for _ in range(9)) == FIRST_S / 2


def test_a_day_without_a_hub_is_few_calls_and_few_lines():
    patience = Patience(lambda: 0.5)
    now, calls, lines = 0.0, 0, 0
    while now < 86_400:
        wait_s, said = patience.failed("lease")
        now, calls, lines = now + wait_s, calls + 1, lines + said
    assert calls < 4000
    assert 10 < lines < 20


def test_an_answer_ends_it_and_is_told_once():
    patience = Patience(lambda: 1.0)
    assert patience.worked("lease") is False
    patience.failed("lease")
    patience.failed("send")
    assert patience.worked("lease") is True
    assert patience.worked("lease") is False
    assert patience.failed("lease") == (FIRST_S, True)
    assert patience.failed("send")[0] == 2 * FIRST_S  # each step on its own
