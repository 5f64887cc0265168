"""A cluster's accounts and limits by Slurm's own commands (sacctmgr, sshare).

Reading needs nothing; changing needs an operator of Slurm's accounting, or a coordinator of the
parent account. A look that comes back empty is no look: it raises.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from meyrin.agent.slurm import words
from meyrin.agent.slurm.command import Run
from meyrin.agent.slurm.limits import Change, Seen, in_words
from meyrin.domain.errors import Failed, Unreachable

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,62}")
_CLUSTER = re.compile(r"^ClusterName\s*=\s*(\S+)", re.MULTILINE)
_AT_ONCE = 1000  # accounts in one command: a longer word is none that Linux starts
_FIELDS = "Account,User,ParentName,GrpTRESMins,GrpSubmit,Partition"
_NOTHING_NEW = ("nothing new added", "nothing modified", "nothing deleted")


class Accounts(Protocol):
    """What a pass needs of a site's accounting. Every call answers or raises."""

    def look(self) -> Mapping[str, Seen]:
        """All accounts of the cluster by name. Unreachable when there is no answer, or none in it:
        a cluster has at least the account `root`."""
        ...

    def resources(self) -> frozenset[str]:
        """What the site counts (`gres/gpu:h100`, `cpu`): only that can be limited."""
        ...

    def mend(self, change: Change, parent: str) -> None:
        """Make it so; doing it twice does what doing it once does. Failed: Slurm said no."""
        ...


class CommandAccounts:
    """`Accounts` over the commands; `environment` is what they run with."""

    def __init__(
        self, run: Run, environment: Mapping[str, str], bin_folder: Path | None = None
    ) -> None:
        self._run = run
        self._environment = environment
        self._bin = bin_folder
        self._known_cluster = ""

    @property
    def _cluster(self) -> str:
        """The name of the cluster here; asked once."""
        if not self._known_cluster:
            done = self._run([self._path("scontrol"), "show", "config"], "", self._environment)
            found = _CLUSTER.search(done.out)
            if found is None:
                raise Unreachable(f"scontrol: {_last_line(done.err) or 'no name of a cluster'}")
            self._known_cluster = found[1]
        return self._known_cluster

    def _path(self, command: str) -> str:
        return str(self._bin / command) if self._bin else command

    def look(self) -> Mapping[str, Seen]:
        where = ["show", "assoc", "where", f"cluster={self._cluster}", f"format={_FIELDS}"]
        rows = self._rows("sacctmgr", ["--noheader", "--parsable2", *where], 6)
        if not any(row[0] == "root" for row in rows):
            raise Unreachable("sacctmgr shows no account of this cluster, not even root")
        heads = [row for row in rows if not row[1]]
        users: defaultdict[str, set[str]] = defaultdict(set)
        for account, user, *_ in rows:
            if user:
                users[account].add(user)
        used = self._used([row[0] for row in heads])
        return {
            row[0]: Seen(
                parent=row[2],
                users=frozenset(users[row[0]]),
                limits_min=_minutes(row[3]),
                used_min=used.get(row[0], {}),
                closed=row[4] == "0",
            )
            for row in heads
        }

    def _used(self, accounts: Sequence[str]) -> dict[str, dict[str, int]]:
        """Minutes that count against the limits, decayed as Slurm decays them."""
        found: dict[str, dict[str, int]] = {}
        for first in range(0, len(accounts), _AT_ONCE):
            asked = ",".join({"root": 0} | dict.fromkeys(accounts[first : first + _AT_ONCE]))
            rows = self._rows(
                "sshare",
                ["--noheader", "--parsable2", f"--accounts={asked}",
                 "--format=Account,User,GrpTRESRaw"],
                3,
            )  # fmt: skip
            part = {row[0].strip(): _minutes(row[2]) for row in rows if not row[1].strip()}
            if "root" not in part:
                raise Unreachable("sshare shows no use of this cluster")
            found |= part
        return found

    def resources(self) -> frozenset[str]:
        rows = self._rows(
            "sacctmgr", ["--noheader", "--parsable2", "show", "tres", "format=Type,Name"], 2
        )
        return frozenset(f"{kind}/{name}" if name else kind for kind, name in rows)

    def mend(self, change: Change, parent: str) -> None:
        for name in filter(None, (change.account, change.user, parent)):
            if not _NAME.fullmatch(name):
                raise Failed(f"{name!r} can't be a name of Slurm's")
        command = self._words(change, parent)
        done = self._run([self._path("sacctmgr"), "--immediate", *command], "", self._environment)
        said = f"{done.out}\n{done.err}".strip()
        if done.code and not any(each in said.lower() for each in _NOTHING_NEW):
            raise Failed(_last_line(said) or f"sacctmgr ended with {done.code}")

    def _words(self, change: Change, parent: str) -> list[str]:
        here = f"cluster={self._cluster}"
        account, user = change.account, change.user
        if change.kind == "account":
            about = ["description=meyrin", "organization=meyrin"]
            if account == parent:
                return ["add", "account", account, here, "parent=root", *about]
            # closed until it has users and limits
            closed = "GrpSubmitJobs=0"
            return ["add", "account", account, here, f"parent={parent}", closed, *about]
        if change.kind == "user":
            return ["add", "user", user, f"account={account}", here]
        if change.kind == "remove":
            return ["remove", "user", "where", f"name={user}", f"account={account}", here]
        modify = ["modify", "account", "where", f"name={account}", here, "set"]
        if change.kind == "limit":
            return [*modify, f"GrpTRESMins={in_words(change.limits_min)}"]
        return [*modify, f"GrpSubmitJobs={0 if change.kind == 'close' else -1}"]

    def _rows(self, command: str, options: Sequence[str], fields: int) -> list[list[str]]:
        done = self._run([self._path(command), *options], "", self._environment)
        if done.code:
            raise Unreachable(f"{command}: {_last_line(done.err) or done.code}")
        rows = [line.split("|") for line in done.out.splitlines() if line.strip()]
        odd = next((row for row in rows if len(row) != fields), None)
        if odd is not None:
            raise Unreachable(f"{command} answers in {len(odd)} fields, not {fields}")
        return rows


def _minutes(word: str) -> dict[str, int]:
    pairs: Iterable[tuple[str, str]] = words.tres(word).items()
    return {name: int(value) for name, value in pairs if value.isdigit()}


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else ""
