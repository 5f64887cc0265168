"""The seam to a site's batch system: one small protocol, one file per batch system beside it.

A batch system never decides who may run: the hub placed the job and the site's rules let it in.
Every call takes many attempts at once, because asking a batch system is what costs.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from meyrin.domain.job import WarnSignal
from meyrin.domain.site import Partition
from meyrin.domain.units import NodeShape, show_count

if TYPE_CHECKING:
    from meyrin.agent.config import AgentConfig
    from meyrin.wire.queue import Others
    from meyrin.wire.sites import Shortage


@dataclass(frozen=True, slots=True)
class Start:
    """One attempt to start. `attempt` (a UUID) is its identity everywhere.

    `workdir` is absolute; `stdout` and `stderr` are absolute paths or None for the batch
    system's own file, and equal when both streams share one file; `patterns.NODE` in them stands
    for the node, where `prepare` can't know it. `environment` is complete. `cores_per_task` is
    what was asked (0: as many as `asked` has room for); `exclusive`: the nodes are for this job
    alone. `again`: an earlier start of the agent took it, and where its folder came back from a
    backup, or was copied, it may have been handed over since.
    """

    attempt: str
    job: int
    name: str
    partition: str
    nodes: int
    asked: NodeShape
    tasks: int
    walltime_s: int
    script: str
    arguments: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    workdir: str = ""
    create_workdir: bool = False
    stdin: str | None = None
    stdout: str | None = None
    stderr: str | None = None
    append_output: bool = False
    warn_signal: WarnSignal | None = None
    project: str = ""
    requeue: bool = False
    cores_per_task: int = 0
    exclusive: bool = False
    again: bool = False


def unfit(start: Start, part: Partition) -> str:
    """Why no node of the partition can ever run it; empty when one can."""
    most = min(part.nodes, part.max_nodes_per_job or part.nodes)
    if start.nodes > most:
        return f"asks {show_count(start.nodes, 'node')}, {part.name} gives {most} to a job"
    if part.max_walltime_s is not None and start.walltime_s > part.max_walltime_s:
        return f"asks {start.walltime_s} s of wall time, {part.name} gives {part.max_walltime_s}"
    if start.asked.fits_in(part.node):
        return ""
    asked = start.asked
    for words, wants, has in (
        (show_count(asked.cores, "core"), asked.cores, part.cores_per_node),
        (f"{asked.memory_mb:,} MiB of memory", asked.memory_mb, part.memory_mb_per_node),
        (
            show_count(asked.accelerators, "accelerator"),
            asked.accelerators,
            part.accelerators_per_node,
        ),
    ):
        if wants > has:
            return f"asks {words} of a node, {part.name} has {has:,}"
    return ""


class Phase(StrEnum):
    """What the batch system positively knows. There is no value for "can't find it". HELD: it was
    accepted here and is still to be handed over; `why` says what it waits for."""

    HELD = "held"
    QUEUED = "queued"
    RUNNING = "running"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Usage:
    """Measured use of one attempt. `elapsed_s` is charged; None elsewhere means not measured.

    `source` is who measured: `batch` the batch system's accounting, `wrapper` our own program on
    the node, `queue` the controller's own times, where neither of them has the last run's end.
    """

    elapsed_s: int
    cpu_ms: int | None = None
    max_rss_kb: int | None = None
    energy_j: int | None = None
    source: str = "batch"


@dataclass(frozen=True, slots=True)
class BatchJob:
    """The batch system's word on one attempt.

    `end` is set when phase is ENDED: `exit` (exit_code counts), `signal` (signal counts),
    `timeout`, `cancelled`, `lost` (it no longer runs and its exit code can't be known), or
    `not_started` (it never ran; `why` says why). `run` counts how often the batch system took it
    back into its queue after it had run (preemption, requeue): each time it may run again.
    RUNNING with an `end_ms`: the script is over, and the batch system still counts it up.
    `queued_ms` is when the batch system took it, where that may be later than `submit`.
    """

    attempt: str
    batch_job: str
    phase: Phase
    start_ms: int | None = None
    end_ms: int | None = None
    end: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    why: str = ""
    usage: Usage | None = None
    site_word: str | None = None
    run: int = 0
    queued_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Output:
    """Where the streams of an attempt are: absolute paths; one path twice when they share."""

    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True)
class Changes:
    """What changed since a cursor, and the cursor to ask with next. `idle`: no job is left here
    that could change, as far as the batch system can say that for nothing."""

    cursor: str
    jobs: tuple[BatchJob, ...] = field(default=())
    idle: bool = False


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """One record of a site's whole queue, anybody's; None is what the site does not say.

    `count` is how many equal elements of an array it stands for; amounts are of one of them.
    `state` and `reason` are the batch system's words.
    """

    batch_job: str
    user: str
    account: str | None
    partition: str
    waits: bool
    state: str
    reason: str = ""
    count: int = 1
    nodes: int | None = None
    cores: int | None = None
    memory_mb: int | None = None
    accelerators: int | None = None
    walltime_s: int | None = None
    submit_s: int | None = None
    start_s: int | None = None
    priority: int | None = None


@dataclass(frozen=True, slots=True)
class WholeQueue:
    """All that waits and runs, and of it what `others` have, or wait for, on our partitions."""

    entries: tuple[QueueEntry, ...]
    others: tuple[Others, ...] = ()


@runtime_checkable
class ShowsQueue(Protocol):
    """A batch system that others use too, and that can show all that waits and runs in it."""

    def whole_queue(self) -> WholeQueue:
        """Everybody's, as far as the agent's user may see it."""
        ...


@dataclass(frozen=True, slots=True)
class Late:
    """What an attempt used, by accounting, where that is not what was told when it ended.

    `revision` rises with each such word on the attempt.
    """

    attempt: str
    batch_job: str
    usage: Usage
    revision: int


@runtime_checkable
class LooksAgain(Protocol):
    """A batch system whose accounting may know better after an end was told and forgotten."""

    def late(self) -> tuple[Late, ...]:
        """What the hub does not have yet; looks at accounting when that is due."""
        ...

    def late_told(self, taken: Collection[Late], unknown: Collection[Late]) -> None:
        """The hub has those that it took; of the unknown it knows no end."""
        ...


@runtime_checkable
class MayBeSilent(Protocol):
    """A batch system that may not answer for a while, although its jobs go on."""

    def silence(self, at_least_s: int) -> str:
        """Since when, in words; empty while it answers, or if it has been silent for less."""
        ...


@runtime_checkable
class MayRefuse(Protocol):
    """A batch system that may refuse jobs for what its operators can mend; they wait."""

    def refusals(self) -> str:
        """What it refuses, in words for the operator; empty: nothing that jobs wait for."""
        ...

    def partition_refused(self) -> bool:
        """Whether it refused a job for its partition since this was asked last."""
        ...


@runtime_checkable
class HasShortages(Protocol):
    """A batch system whose operators may close partitions, or take nodes out."""

    def shortages(self) -> tuple[Shortage, ...]:
        """Which partitions take less than they have, as they were when `partitions` asked last."""
        ...


@runtime_checkable
class TakesSettings(Protocol):
    """A batch system some of whose settings may change while jobs run."""

    def wrong(self, config: AgentConfig) -> dict[str, str]:
        """What these settings name that the site does not have, and the way out. Unreachable
        when it does not answer."""
        ...

    def use(self, config: AgentConfig) -> None:
        """Go on with these."""
        ...


class BatchSystem(Protocol):
    """What an agent needs of a batch system. Implementations raise Unreachable when unsure."""

    kind: str
    gather_s: float
    """How long what comes one by one is gathered, work as well as news, after some has come."""

    def partitions(self) -> tuple[Partition, ...]:
        """What there is, as the batch system itself sees it."""
        ...

    def submit(self, starts: tuple[Start, ...]) -> None:
        """Accept all, durably, before returning. An attempt seen before is not started again.

        A start that can never run is accepted and ends as `not_started` with the reason.
        Unreachable means doubtful: the caller looks the attempts up before trying again.
        """
        ...

    def look_up(self, attempts: tuple[str, ...]) -> dict[str, BatchJob]:
        """Those of `attempts` that the batch system knows, live or ended."""
        ...

    def changes(self, cursor: str, wait_s: float) -> Changes:
        """Changes after `cursor` ("" for all that is known); waits up to `wait_s` for one."""
        ...

    def cancel(self, attempts: tuple[str, ...]) -> None:
        """Ask for their end (TERM, then KILL after the site's grace). Idempotent."""
        ...

    def output(self, attempt: str) -> Output | None:
        """Where its output is written; None when the attempt is not known."""
        ...

    def forget(self, attempts: tuple[str, ...]) -> None:
        """Drop what is kept about ended attempts; the hub has acknowledged their end."""
        ...

    def leave(self) -> None:
        """The agent stops. Jobs go on; what only serves the agent may end."""
        ...
