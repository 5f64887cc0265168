"""One pass that brings a site's accounts and limits into step with projects and balances.

Nothing is done when either side has nothing to say. Each stage looks again before it acts, so
that it stands on what is there, not on what was asked for.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import structlog

from meyrin.agent.config import AgentConfig, LimitsConfig
from meyrin.agent.limits import Pass
from meyrin.agent.slurm.accounts import Accounts, CommandAccounts
from meyrin.agent.slurm.command import runner
from meyrin.agent.slurm.limits import (
    Change,
    Manner,
    Seen,
    Stage,
    Wanted,
    differences,
    most_removals,
)
from meyrin.agent.slurm.transport import own_name
from meyrin.domain.errors import InvalidInput, MeyrinError
from meyrin.domain.units import CORE
from meyrin.wire.limits import MOST_LINES, DriftLine, Left, ProjectLimits, Revoked

log = structlog.get_logger("meyrin.limits")

_NOBODY_STAYS = "the hub names nobody who stays at this site: nobody is taken out of an account"


class Reconciler:
    """Keeps one cluster. `user` is who the agent submits as: it may use every account."""

    def __init__(
        self,
        accounts: Accounts,
        config: LimitsConfig,
        mapped: Mapping[str, str],
        user: str,
    ) -> None:
        self._accounts = accounts
        self._config = config
        self._mapped = mapped
        self._user = user
        self._manner = Manner(config.parent, config.most_removed_percent, config.tolerance_percent)

    def once(self, projects: Sequence[ProjectLimits]) -> Pass:
        """Compare, and where the settings let it, mend. Raises when the site does not answer."""
        if not projects:
            return Pass(words="the hub names no project for this site: nothing was compared")
        counted = self._accounts.resources()
        wanted = self._wanted(projects, counted)
        unlimited = self._unlimited(projects, counted)
        seen = self._accounts.look()
        if self._config.mode == "report":
            found = differences(wanted, seen, self._manner)
            lines = [_line(each, "reported") for each in found]
        else:
            lines = self._mend(wanted, seen)
        return Pass((*unlimited, *lines)[:MOST_LINES])

    def revoke(
        self, left: Sequence[Left], projects: Sequence[ProjectLimits]
    ) -> tuple[Revoked, ...]:
        """As the seam says. It only looks where the settings let it do no more, and where the hub
        names nobody who stays and not the project either: they may be in another one that shares
        the account. A project that is named without people is one where nobody stays. Accounts
        that stand elsewhere are the site's own, and are left to it."""
        stay = {
            account: {user.lower() for user in users}
            for account, users in self._users(projects).items()
        }
        known = {project.project for project in projects}
        named = any(project.people for project in projects)
        seen = self._accounts.look()
        troubles: dict[str, str] = {}
        for each in left:
            account, user = self._place(each)
            there = _spelt(seen, account, user)
            if not there or self._foreign(seen[account]) or self._stays(there, account, stay):
                continue
            if self._config.mode == "report":
                troubles[each.departure] = "limits.mode is report: nothing is changed here"
                continue
            if not named and each.project not in known:
                troubles[each.departure] = _NOBODY_STAYS
                continue
            change = Change(Stage.REMOVALS, "remove", account, there)
            try:
                self._accounts.mend(change, self._manner.parent)
            except MeyrinError as error:
                troubles[each.departure] = error.message
        seen = self._accounts.look()
        found = tuple(self._found(each, seen, stay, troubles) for each in left)
        log.info("limits.revoked", left=len(left), failed=len(troubles))
        return found

    def _found(
        self,
        each: Left,
        seen: Mapping[str, Seen],
        stay: Mapping[str, set[str]],
        troubles: Mapping[str, str],
    ) -> Revoked:
        """What is there of one person who left, as it was seen last."""
        account, user = self._place(each)
        if not user:
            outcome, words = "no-user", "they have no user at this site"
        elif not _spelt(seen, account, user):
            outcome, words = "revoked", f"{user} is not in {account}"
        elif why := self._foreign(seen[account]):
            outcome, words = "unkept", f"{user} is in {account}, which is {why}"
        elif self._stays(user, account, stay):
            outcome, words = "failed", f"{user} is in {account} for another reason, and stays"
        else:
            outcome, words = "failed", troubles.get(each.departure) or f"{user} is in {account}"
        said = {"departure": each.departure, "outcome": outcome, "words": words[:300]}
        return Revoked.model_validate(said)

    def _foreign(self, there: Seen) -> str:
        """Why an account is not ours to change; empty: it is."""
        parent = self._manner.parent
        return "" if there.parent == parent else f"not below {parent}: not ours to change"

    def _stays(self, user: str, account: str, stay: Mapping[str, set[str]]) -> bool:
        """Whether they may use it for another reason; where the hub names no project that does,
        only our own user."""
        return user.lower() in stay.get(account, {self._user.lower()})

    def _place(self, each: Left) -> tuple[str, str]:
        """The account of the project and the user of the person; no user where none is named."""
        account = self._mapped.get(each.project, self._config.prefix + each.project)
        return account, self._config.people.get(each.person, "")

    def _users(self, projects: Sequence[ProjectLimits]) -> dict[str, set[str]]:
        """Who may use each account; projects that share one are put together."""
        users: dict[str, set[str]] = {}
        known = self._config.people
        for project in projects:
            people = {known[each] for each in project.people if each in known}
            users.setdefault(self._account(project), {self._user}).update(people)
        return users

    def _mend(self, wanted: Sequence[Wanted], seen: Mapping[str, Seen]) -> list[DriftLine]:
        room = most_removals(seen, self._manner)
        lines: list[DriftLine] = []
        for stage in Stage:
            changes = [
                each for each in differences(wanted, seen, self._manner) if each.stage is stage
            ]
            for change in changes:
                if change.takes_away and room <= 0:
                    share = f"more than {self._manner.most_removed_percent} % in one pass"
                    lines.append(_line(change, "later", share))
                    continue
                line = self._do(change, seen)
                room -= change.takes_away and line.outcome == "done"
                lines.append(line)
            if changes and stage is not Stage.OPENING:
                seen = self._accounts.look()
        told = [each for each in lines if each.outcome != "done"]
        log.info("limits.pass", mended=len(lines) - len(told), left=len(told))
        return lines

    def _do(self, change: Change, seen: Mapping[str, Seen]) -> DriftLine:
        """Mend one thing, if what it stands on is there."""
        if change.kind == "foreign":
            return _line(change, "reported", self._foreign(seen[change.account]))
        if change.stage is not Stage.ACCOUNTS and change.account not in seen:
            return _line(change, "later", "its account is not there yet")
        if change.waits:
            return _line(change, "later", change.waits)
        try:
            self._accounts.mend(change, self._manner.parent)
        except MeyrinError as error:
            log.warning("limits.failed", account=change.account, error=error.message)
            return _line(change, "failed", error.message)
        return _line(change, "done")

    def _wanted(
        self, projects: Sequence[ProjectLimits], counted: frozenset[str]
    ) -> tuple[Wanted, ...]:
        """Accounts as they should be; projects that share one are added up."""
        users = self._users(projects)
        left: dict[str, dict[str, int]] = {}
        for project in projects:
            sums = left.setdefault(self._account(project), {})
            for kind, seconds in project.left_s.items():
                tres = self._tres(kind)
                if not self._why_not(project, kind, counted):
                    sums[tres] = sums.get(tres, 0) + seconds
        return tuple(
            Wanted(name, frozenset(users[name]), left[name], self._user) for name in sorted(users)
        )

    def _unlimited(
        self, projects: Sequence[ProjectLimits], counted: frozenset[str]
    ) -> list[DriftLine]:
        """What can't be limited, with the reason."""
        found = {
            (self._account(project), self._tres(kind), why)
            for project in projects
            for kind in project.left_s
            if (why := self._why_not(project, kind, counted))
        }
        return [
            _line(Change(Stage.LIMITS, "limit", account, wanted=tres), "reported", why)
            for account, tres, why in sorted(found)
        ]

    def _why_not(self, project: ProjectLimits, kind: str, counted: frozenset[str]) -> str:
        """Why there is no limit of this type on the project's account; empty: there is."""
        if self._tres(kind) not in counted:
            return "the site does not count this (AccountingStorageTRES): nothing can limit it"
        if kind == CORE and kind not in self._config.tres and len(project.left_s) > 1:
            return "jobs that are charged by accelerators use cores too: not limited"
        return ""

    def _account(self, project: ProjectLimits) -> str:
        return self._mapped.get(project.project, self._config.prefix + project.project)

    def _tres(self, kind: str) -> str:
        return self._config.tres.get(kind) or ("cpu" if kind == CORE else f"gres/gpu:{kind}")


def _spelt(seen: Mapping[str, Seen], account: str, user: str) -> str:
    return seen[account].spelt(user) if account in seen else ""


def keeper(config: AgentConfig) -> Reconciler | None:
    """What keeps the limits of these settings; None when they are not kept."""
    if config.limits.mode == "off":
        return None
    if config.batch != "slurm":
        raise InvalidInput(
            f"the batch system {config.batch!r} has no accounts and limits",
            hint='leave out [limits], or write mode = "off"',
            field="limits.mode",
        )
    how = config.slurm
    names = ("PATH", "HOME", "USER", "LOGNAME", "SLURM_CONF")
    environment = {name: os.environ[name] for name in names if name in os.environ}
    environment.setdefault("PATH", "/usr/local/bin:/usr/bin:/bin")
    if how.conf is not None:
        environment["SLURM_CONF"] = str(how.conf)
    accounts = CommandAccounts(runner(how.command_timeout_s), environment, how.bin)
    submitter = how.rest_user if how.transport == "rest" else None
    return Reconciler(accounts, config.limits, how.accounts, submitter or own_name())


def _line(change: Change, outcome: str, why: str = "") -> DriftLine:
    return DriftLine.model_validate(
        {
            "kind": change.kind,
            "account": change.account[:300],
            "user": change.user[:300],
            "wanted": change.wanted[:300],
            "found": change.found[:300],
            "outcome": outcome,
            "why": why[:300],
        }
    )
