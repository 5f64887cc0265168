"""The TOML file of a cluster: nodes, partitions over them, accounts, classes, and what is out when.

Only what the file says, checked; `on_cluster` brings it together with a trace.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from meyrin.sim.toml_file import Table, read_toml

NODES_MOST = 200_000
_PLACE = re.compile(r"([A-Za-z0-9_.-]+)(?:\[(\d{1,6})(?:-(\d{1,6}))?\])?")

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
Amount = Annotated[int, Field(ge=0, le=2**31 - 1)]
Moment = Annotated[int, Field(ge=0, le=2**42)]
Names = Annotated[tuple[str, ...], Field(strict=False)]


class Nodes(Table):
    """A group of equal nodes."""

    name: Name = Field(description="how partitions and outages call the group")
    count: Annotated[int, Field(ge=1, le=NODES_MOST)] = Field(default=1, description="how many")
    cores: Amount = Field(default=0, description="cores of each")
    accelerators: Amount = Field(default=0, description="accelerators of each")
    memory_mb: Amount = Field(default=0, description="memory of each in MiB; 0: not counted")


class Partition(Table):
    """Nodes under one set of rules."""

    name: Name = Field(description="its name")
    nodes: Names = Field(description='groups, or parts of them: "gpu", "gpu[0-7]", "gpu[3]"')
    whole: bool = Field(default=False, description="jobs get whole nodes")
    priority: Amount = Field(default=0, description="PriorityJobFactor of the partition")
    queues: Names = Field(
        default=(),
        description="partitions or queues of the log whose jobs go here; empty: the rest",
    )


class Account(Table):
    """Who shares; the persons of the log are leaves under them."""

    name: Name = Field(description="its name")
    parent: str = Field(
        default="", description="the account above, defined before; empty: the root"
    )
    shares: Annotated[int, Field(ge=0, le=2**31 - 1)] = Field(
        default=1, description="against the accounts beside it; 0: after all of them"
    )
    groups: Names = Field(default=(), description="groups of the log that belong to it")


class Class(Table):
    """A class of jobs; with preemption a higher one puts off a lower one."""

    name: Name = Field(description="its name")
    priority: Amount = Field(description="higher goes first")
    queues: Names = Field(
        default=(), description="partitions or queues of the log; empty: the rest"
    )


class Reservation(Table):
    """Nodes that no job may have for a time: maintenance, or somebody's own."""

    nodes: Names = Field(description="as in a partition")
    begin_s: Moment = Field(description="in the log's own seconds")
    end_s: Moment = Field(description="in the log's own seconds")


class Outage(Table):
    """A node that fails, and when it is repaired."""

    node: str = Field(description='one node: "gpu[3]"')
    begin_s: Moment = Field(description="in the log's own seconds")
    end_s: Moment | None = Field(default=None, description="absent: never repaired")


class ClusterFile(Table):
    """A whole cluster. ValueError, as validators raise it, for names that don't fit together."""

    name: str = Field(default="cluster", max_length=80, description="how the outcome calls it")
    nodes: Annotated[tuple[Nodes, ...], Field(strict=False, min_length=1)]
    partition: Annotated[tuple[Partition, ...], Field(strict=False, min_length=1)]
    account: Annotated[tuple[Account, ...], Field(strict=False)] = ()
    job_class: Annotated[tuple[Class, ...], Field(strict=False, alias="class")] = ()
    reservation: Annotated[tuple[Reservation, ...], Field(strict=False)] = ()
    outage: Annotated[tuple[Outage, ...], Field(strict=False)] = ()
    dependencies: bool = Field(
        default=False, description="a job waits for the end of the one that the log says it follows"
    )

    @model_validator(mode="after")
    def _fitting(self) -> ClusterFile:
        for kind in ("nodes", "partition", "account", "job_class"):
            names = [one.name for one in getattr(self, kind)]
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise ValueError(f"{kind.removeprefix('job_')}: {twice!r} is there twice")
        if sum(group.count for group in self.nodes) > NODES_MOST:
            raise ValueError(f"nodes: more than {NODES_MOST:,} in all")
        for group in self.nodes:
            if not group.cores and not group.accelerators:
                raise ValueError(f"nodes {group.name!r}: neither cores nor accelerators")
        for part in self.partition:
            self.places(part.nodes)
        self._check_times()
        self._check_accounts()
        return self

    def _check_times(self) -> None:
        for gap in self.reservation:
            self.places(gap.nodes)
            if gap.begin_s >= gap.end_s:
                raise ValueError(f"reservation: end_s is {gap.end_s}, begin_s {gap.begin_s}")
        for fault in self.outage:
            if len(self.places((fault.node,))) != 1:
                raise ValueError(f'outage: {fault.node!r} is no single node; write "group[number]"')
            if fault.end_s is not None and fault.begin_s >= fault.end_s:
                raise ValueError(f"outage: end_s is {fault.end_s}, begin_s {fault.begin_s}")

    def _check_accounts(self) -> None:
        above = {""}
        for account in self.account:
            if account.parent not in above:
                raise ValueError(
                    f"account {account.name!r}: its parent {account.parent!r} is none before it"
                )
            above.add(account.name)

    def places(self, words: tuple[str, ...]) -> list[int]:
        """Numbers of the nodes that `words` name. ValueError for one that there is not."""
        first: dict[str, tuple[int, int]] = {}
        start = 0
        for group in self.nodes:
            first[group.name] = (start, group.count)
            start += group.count
        found: list[int] = []
        for word in words:
            match = _PLACE.fullmatch(word)
            if match is None or match[1] not in first:
                known = ", ".join(first)
                raise ValueError(f"{word!r} names no nodes; groups: {known}")
            begin, count = first[match[1]]
            low = int(match[2]) if match[2] else 0
            high = int(match[3] or match[2] or count - 1)
            if not low <= high < count:
                raise ValueError(f"{word!r}: {match[1]} has nodes 0 to {count - 1}")
            found += range(begin + low, begin + high + 1)
        return found


def load_cluster(path: Path) -> tuple[ClusterFile, str]:
    """The file and its text. NotFound or InvalidInput say what is wrong."""
    return read_toml(path, ClusterFile)
