"""The world as the engine sees it, and what it answers. Plain frozen values.

`decide(state, policy, now_s) -> Decision` reads nothing else and changes nothing. Times are
seconds since the epoch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from meyrin.domain.job import Resources
from meyrin.domain.refusal import Refusal
from meyrin.domain.site import Partition
from meyrin.domain.units import NodeShape
from meyrin.engine.amounts import NOTHING_FREED, Freed


@dataclass(frozen=True, slots=True)
class Occupied:
    """A placed, queued or running job on a partition: `nodes` nodes of shape `asked`.

    `end_s` is when its wall time ends at the latest; None while it has not started, then
    `walltime_s` counts from whenever it starts. `paid`: its hours came by the paid door.
    """

    job: int
    nodes: int
    asked: NodeShape
    walltime_s: int
    end_s: int | None
    paid: bool = False


@dataclass(frozen=True, slots=True)
class Others:
    """What else is on a partition, by its site's own queue: work that Meyrin did not send.

    `nodes` of the site take work there, also where fewer are lent. `jobs` run, or wait ahead of
    what comes now; their numbers are none of ours.
    """

    nodes: int
    jobs: tuple[Occupied, ...]


@dataclass(frozen=True, slots=True)
class PartitionState:
    """One partition of one site now. `silent_since_s` is set while its agent does not answer;
    `freed_lately` is what short jobs that just ended had (`engine.ahead`). `usable_nodes` of its
    nodes take work now; None: all. `others` None: there are none, or the site does not say."""

    site: str
    partition: Partition
    offered: bool = True
    drained: bool = False
    silent_since_s: int | None = None
    allowed_projects: tuple[str, ...] | None = None
    occupied: tuple[Occupied, ...] = ()
    freed_lately: Freed = NOTHING_FREED
    usable_nodes: int | None = None
    others: Others | None = None

    @property
    def usable(self) -> Partition:
        """The partition with those of its nodes that take work now."""
        if self.usable_nodes is None:
            return self.partition
        return replace(self.partition, nodes=self.usable_nodes)

    @property
    def shared(self) -> PartitionState:
        """The partition as its site sees it: with all that is on it, whoever sent it."""
        if self.others is None:
            return self
        part = replace(self.partition, nodes=max(self.usable.nodes, self.others.nodes))
        occupied = (*self.occupied, *self.others.jobs)
        return replace(self, partition=part, usable_nodes=None, occupied=occupied, others=None)


@dataclass(frozen=True, slots=True)
class Funds:
    """A project's allocation of one charged type: what is free, what is held, when it ends.

    `next_s` is what its next tranche brings, once what `waits_for` names has come about.
    `paused` says why nothing may be taken from it now; empty where it may. `paid`: its holder
    came by the paid door.
    """

    project: str
    charged_type: str
    free_s: int
    held_s: int
    start_s: int
    end_s: int
    next_s: int = 0
    waits_for: str = ""
    paused: str = ""
    paid: bool = False


@dataclass(frozen=True, slots=True)
class WaitingJob:
    """An admitted job, or a request that asks where it would go.

    `blocked` are reasons found before any partition is looked at (held, begin, dependency,
    array limit). `refused_by` are sites whose own rule or veto said no to it. `near` are sites
    where jobs that it depends on ran.
    """

    job: int
    project: str
    resources: Resources
    walltime_s: int | None
    submit_s: int
    nice: int = 0
    sites: tuple[str, ...] = ()
    partitions: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    refused_by: tuple[str, ...] = ()
    near: tuple[str, ...] = ()
    blocked: tuple[Refusal, ...] = ()


@dataclass(frozen=True, slots=True)
class State:
    """Everything that a decision may depend on, with the version of the world it was read at.

    `more_waiting`: entitled jobs wait that are not among `waiting`.
    """

    version: int
    partitions: tuple[PartitionState, ...]
    funds: tuple[Funds, ...]
    waiting: tuple[WaitingJob, ...]
    more_waiting: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """Scheduling rules as numbers and switches.

    `send_ahead_s`: a job is sent to a site's queue when its expected start is at most this far
    away, else it waits at the hub, where it can still go elsewhere. `queue_ahead` bounds how
    many jobs may wait in the queue of one partition. `pace_ahead_s`: where jobs are short, as much
    as they freed lately in this time is sent ahead, so that nodes do not wait for the word of an
    end to reach the hub. `age_weight` and `nice_weight` make the
    order: highest `age_weight * age_s - nice_weight * nice` first, then the lower job number.
    `reserve_depth` is how many waiting jobs per partition keep their expected start safe from
    jobs behind them. `paid_percent` is how much of a partition paid jobs may hold while they go
    ahead of entitled ones; beyond it they come after all of these.
    """

    send_ahead_s: int = 0
    queue_ahead: int = 0
    pace_ahead_s: int = 2
    age_weight: int = 1
    nice_weight: int = 60
    reserve_depth: int = 32
    paid_percent: int = 0


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a job goes: `nodes` nodes of shape `asked`, with the hours to hold.

    `expected_start_s` is `now_s` when it fits at once; later where it will wait in the site's own
    queue. `others` are the runners-up.
    """

    job: int
    site: str
    partition: str
    nodes: int
    asked: NodeShape
    tasks: int
    walltime_s: int
    charged_type: str
    hold_s: int
    expected_start_s: int
    others: tuple[Candidate, ...] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A partition where the job could go, and when it would start there."""

    site: str
    partition: str
    expected_start_s: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """A job that stays: why, per partition, and where it would start first if anywhere."""

    job: int
    refusals: tuple[Refusal, ...]
    next_start: Candidate | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer, with the version of the world that it stands on."""

    version: int
    placements: tuple[Placement, ...]
    waiting: tuple[Waiting, ...]
