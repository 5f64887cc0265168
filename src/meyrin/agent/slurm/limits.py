"""What differs between projects and a site's own accounts and limits, and in which order to mend.

Pure: it compares two pictures. Only accounts below one parent of ours are touched. An account
comes before its users, its users before its limits, and it is closed until it has both, so that
nothing runs that nothing limits; each step stands on what was really seen. What would be taken
away (a user removed, an account closed, a limit cut to nothing or nearly) is counted, and no
pass takes away more than a set share. What goes for good comes before cuts, and the largest cut
first: where Slurm lets use decay, a balance that ended is cut again in each pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum


class Stage(IntEnum):
    """The order of a pass."""

    ACCOUNTS = 0
    USERS = 1
    REMOVALS = 2
    LIMITS = 3
    OPENING = 4


@dataclass(frozen=True, slots=True)
class Wanted:
    """One account as it should be. `left_s` is per trackable resource (`gres/gpu:h100`);
    `submitter` is the user that has to be there before anything runs."""

    account: str
    users: frozenset[str]
    left_s: Mapping[str, int]
    submitter: str


@dataclass(frozen=True, slots=True)
class Seen:
    """One account as it is: `limits_min` is GrpTRESMins, `used_min` what counts against it."""

    parent: str
    users: frozenset[str] = frozenset()
    limits_min: Mapping[str, int] = field(default_factory=dict)
    used_min: Mapping[str, int] = field(default_factory=dict)
    closed: bool = False

    def spelt(self, user: str) -> str:
        """The user as accounting spells it, which by itself keeps names without capitals; empty:
        it may not use the account."""
        return next((each for each in self.users if each.lower() == user.lower()), "")


@dataclass(frozen=True, slots=True)
class Change:
    """One difference and how to mend it. `takes_away`: counted against the share. `cut_min`:
    the most that a limit loses. `waits`: for what it can't be mended yet."""

    stage: Stage
    kind: str
    account: str
    user: str = ""
    limits_min: Mapping[str, int] = field(default_factory=dict)
    wanted: str = ""
    found: str = ""
    takes_away: bool = False
    cut_min: int = 0
    waits: str = ""


@dataclass(frozen=True, slots=True)
class Manner:
    """How a site wants it done. `tolerance_percent`: how far a limit may be off and stay."""

    parent: str = "meyrin"
    most_removed_percent: int = 10
    tolerance_percent: int = 5


def differences(
    wanted: Iterable[Wanted], seen: Mapping[str, Seen], manner: Manner
) -> tuple[Change, ...]:
    """All of them, in the order of a pass."""
    asked = {each.account: each for each in wanted}
    found: list[Change] = []
    if manner.parent not in seen:
        found.append(Change(Stage.ACCOUNTS, "account", manner.parent, wanted="parent of ours"))
    for name in sorted(asked):
        there = seen.get(name)
        if there is None:
            found.append(Change(Stage.ACCOUNTS, "account", name, wanted=f"below {manner.parent}"))
            found += _missing_users(asked[name], Seen(manner.parent))
        elif there.parent != manner.parent:
            parent = there.parent or "no account"
            found.append(Change(Stage.REMOVALS, "foreign", name, found=f"below {parent}"))
        else:
            found += _missing_users(asked[name], there)
            limits = _limits(asked[name], there, manner)
            found += limits + _opening(asked[name], there, limits)
    found += _surplus(asked, seen, manner)
    return tuple(sorted(found, key=lambda each: (each.stage, -each.cut_min)))


def most_removals(seen: Mapping[str, Seen], manner: Manner) -> int:
    """How much one pass may take away: a share of what there is of ours, at least one."""
    if manner.most_removed_percent <= 0:
        return 0
    ours = [each for each in seen.values() if each.parent == manner.parent]
    there = len(ours) + sum(len(each.users) for each in ours)
    return max(1, there * manner.most_removed_percent // 100)


def _missing_users(wanted: Wanted, there: Seen) -> list[Change]:
    return [
        Change(Stage.USERS, "user", wanted.account, user, wanted="may use it")
        for user in sorted(wanted.users)
        if not there.spelt(user)
    ]


def _limits(wanted: Wanted, there: Seen, manner: Manner) -> list[Change]:
    found = []
    off: dict[str, int] = {}
    takes_away, cut_min = False, 0
    for tres in sorted(set(wanted.left_s) | set(there.limits_min)):
        if tres not in wanted.left_s:
            continue  # a limit of the site's own
        target = limit_min(wanted.left_s[tres], there.used_min.get(tres, 0))
        now = there.limits_min.get(tres)
        if now is None or _is_off(target, now, wanted.left_s[tres], manner):
            off[tres] = target
            used = there.used_min.get(tres, 0)
            takes_away |= _cuts(wanted.left_s[tres], None if now is None else now - used)
            cut_min = max(cut_min, 0 if now is None else now - target)
    if off:
        before = {name: there.limits_min[name] for name in off if name in there.limits_min}
        found.append(
            Change(
                Stage.LIMITS, "limit", wanted.account, limits_min=off, wanted=in_words(off),
                found=in_words(before) or "none", takes_away=takes_away, cut_min=cut_min,
            )
        )  # fmt: skip
    return found


def _opening(wanted: Wanted, there: Seen, limits: list[Change]) -> list[Change]:
    """A closed account opens when whoever submits may use it and its limits are in place."""
    if not there.closed:
        return []
    waits = "its limits are not in place yet" if limits else ""
    if not there.spelt(wanted.submitter):
        waits = "its user is not there yet"
    return [
        Change(Stage.OPENING, "open", wanted.account, wanted="open", found="closed", waits=waits)
    ]


def limit_min(left_s: int, used_min: int) -> int:
    """The limit that leaves `left_s`: Slurm's counts all use so far against it."""
    return used_min + math.ceil(left_s / 60)


def _cuts(left_s: int, before_min: int | None) -> bool:
    """Whether what a limit leaves comes to less than a job of a minute needs, or to less than a
    tenth of what it left before (None: there was no limit)."""
    if before_min is None:
        return left_s < 60
    return before_min > 0 and (left_s < 60 or left_s < before_min * 60 // 10)


def _is_off(target: int, now: int, left_s: int, manner: Manner) -> bool:
    """Whether to change it. To the end of a balance it is exact; else small steps are spared."""
    if left_s == 0:
        return now != target
    return abs(target - now) * 100 > max(math.ceil(left_s / 60), 1) * manner.tolerance_percent


def _surplus(asked: Mapping[str, Wanted], seen: Mapping[str, Seen], manner: Manner) -> list[Change]:
    found = []
    for name in sorted(seen):
        there = seen[name]
        if there.parent != manner.parent:
            continue
        if name not in asked:
            if not there.closed:
                found.append(
                    Change(
                        Stage.REMOVALS, "close", name, wanted="closed", found="open",
                        takes_away=True,
                    )
                )  # fmt: skip
            continue
        stay = {user.lower() for user in asked[name].users}
        found += [
            Change(
                Stage.REMOVALS, "remove", name, user, wanted="not in the project",
                found="may use it", takes_away=True,
            )
            for user in sorted(there.users)
            if user.lower() not in stay
        ]  # fmt: skip
    return found


def in_words(limits_min: Mapping[str, int]) -> str:
    return ",".join(f"{name}={limits_min[name]}" for name in sorted(limits_min))
