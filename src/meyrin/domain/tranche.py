"""What can become of a tranche, and how much of it is released then."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    WAITING = "waiting"  # for its gate
    DUE = "due"  # nothing but its date, or an earlier tranche, is waited for
    RELEASED = "released"
    STOPPED = "stopped"


class Action(StrEnum):
    """What a gate's decision does with the next tranche."""

    STOP = "stop"  # it and all later ones are taken back
    HOLD = "hold"  # it goes on waiting
    SHRINK = "shrink"  # a part is released, the rest taken back
    RELEASE = "release"
    DOUBLE = "double"  # as much again comes from the same share


def given_s(amount_s: int, action: Action, shrink_percent: int) -> int:
    """How much of `amount_s` the action releases: whole seconds, rounded down, at least one."""
    if action is Action.SHRINK:
        return max(1, amount_s * shrink_percent // 100)
    return {Action.RELEASE: amount_s, Action.DOUBLE: 2 * amount_s}.get(action, 0)
