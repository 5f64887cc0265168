"""The seam to Slurm: what the adapter asks, and the records that it gets, in our own terms.

A transport carries one question and one answer; it decides nothing, remembers nothing and tries
nothing again. Slurm's own words for states and reasons are kept as they came. A number that
Slurm does not give, or gives as unset or infinite, is None: never 0. Moments are seconds since
1970 (UTC).

Every call either answers completely or raises:

    NotAccepted    Slurm said no to a submission, in words: no job was made
    Unreachable    anything else. It may have been done, or not: the caller is in doubt. With the
                   fact `unclear` it was an answer, in words that we do not know; where the
                   fact `sent` is False, it surely was not done: nobody took the question
"""

from __future__ import annotations

import getpass
import os
import pwd
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from meyrin.domain.job import WarnSignal


class NotAccepted(Exception):
    """Slurm's own no to a submission. `later`: the same may be accepted at another time; with
    `unsure` the same words may mean that it never is. `denied`: so it is where its partition lets
    no job of ours in, and else it is a no."""

    def __init__(
        self, why: str, *, later: bool = False, unsure: bool = False, denied: bool = False
    ) -> None:
        super().__init__(why)
        self.why = why
        self.later = later
        self.unsure = unsure
        self.denied = denied


def own_name() -> str:
    """Whose jobs ours are: Slurm goes by the process's user, not by what USER or LOGNAME say."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a user without an entry
        return getpass.getuser()


@dataclass(frozen=True, slots=True)
class Gres:
    """So many of a generic resource on one node: `gpu:h100:8` is ("gpu", "h100", 8)."""

    name: str
    type: str | None
    count: int


@dataclass(frozen=True, slots=True)
class Submission:
    """One batch job to hand over. `name` holds the attempt's UUID and is found by later.

    Amounts are for each node, but `nodes` and `tasks`. `environment` is what the batch script
    starts with, beside what Slurm adds by itself; it never holds the agent's own. `stdout` takes
    both streams of the batch script.
    """

    name: str
    script: str
    partition: str
    workdir: str
    stdout: str
    nodes: int = 1
    tasks: int = 1
    tasks_per_node: int | None = None
    cores_per_task: int = 1
    cores_per_node: int | None = None
    memory_mb: int | None = None
    gres: tuple[Gres, ...] = ()
    exclusive: bool = False
    walltime_s: int | None = None
    account: str | None = None
    qos: str | None = None
    reservation: str | None = None
    features: str | None = None
    requeue: bool = False
    signal: WarnSignal | None = None
    comment: str = ""
    environment: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class QueueRow:
    """One job as the controller sees it now; ended ones stay for a while (MinJobAge).

    `batch_job` is Slurm's id (`17`, an array's element `17_3`, what waits of an array `17_[3-9]`).
    `accelerators` and `memory_mb` count the whole job. `restarts` is how often it was requeued.
    `start_s` is None while it waits, even where Slurm guesses it.
    """

    batch_job: str
    name: str
    user: str
    partition: str
    state: str
    reason: str = ""
    account: str | None = None
    qos: str | None = None
    submit_s: int | None = None
    start_s: int | None = None
    end_s: int | None = None
    elapsed_s: int | None = None
    walltime_s: int | None = None
    nodes: int | None = None
    cores: int | None = None
    memory_mb: int | None = None
    accelerators: int | None = None
    priority: int | None = None
    exit_code: int | None = None
    signal: int | None = None
    restarts: int | None = None
    node_list: str = ""


@dataclass(frozen=True, slots=True)
class AccountingRow:
    """One run of a job in accounting. A requeued job has several rows of the same id.

    `tres` is what Slurm says it held, as it says it (`cpu=4,gres/gpu=2,node=1`). `start_s` is
    None when it never began. `max_rss_kb` is the largest of its steps, `cpu_ms` their sum.
    """

    batch_job: str
    name: str
    user: str
    partition: str
    state: str
    account: str | None = None
    reason: str = ""
    exit_code: int | None = None
    signal: int | None = None
    submit_s: int | None = None
    start_s: int | None = None
    end_s: int | None = None
    elapsed_s: int | None = None
    nodes: int | None = None
    cores: int | None = None
    accelerators: int | None = None
    tres: str = ""
    cpu_ms: int | None = None
    max_rss_kb: int | None = None
    energy_j: int | None = None
    node_list: str = ""

    @property
    def unnamed(self) -> bool:
        """Slurm tells accounting the name of a job some seconds after it began; the row of one
        that has ended before is whole but for its name and partition."""
        return self.name in ("", "allocation") and not self.partition


@dataclass(frozen=True, slots=True)
class Health:
    """`accounting` is None where the site has none. `words` say what does not answer."""

    controller: bool
    accounting: bool | None
    words: str = ""


@dataclass(frozen=True, slots=True)
class PartitionFacts:
    """A partition as Slurm describes it; None: no limit, or not said. Empty lists: all may."""

    name: str
    state: str
    default: bool = False
    nodes: int | None = None
    max_walltime_s: int | None = None
    default_walltime_s: int | None = None
    max_nodes_per_job: int | None = None
    default_memory_mb_per_core: int | None = None
    whole_node: bool = False
    allow_accounts: tuple[str, ...] = ()
    deny_accounts: tuple[str, ...] = ()
    allow_qos: tuple[str, ...] = ()
    qos: str | None = None
    root_only: bool = False
    needs_reservation: bool = False


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """A node as Slurm describes it. `state` is its word, such as `IDLE+DRAIN`; `address` is what
    the controller reaches it by, `reason` why an operator took it out."""

    name: str
    state: str
    cores: int
    memory_mb: int
    gres: tuple[Gres, ...] = ()
    features: tuple[str, ...] = ()
    partitions: tuple[str, ...] = ()
    address: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class AssociationFacts:
    """What one account lets the agent's user do; `partition` "" means in all."""

    account: str
    partition: str = ""
    qos: tuple[str, ...] = ()
    default_qos: str | None = None
    max_jobs: int | None = None
    max_submit_jobs: int | None = None
    max_walltime_s: int | None = None
    max_tres: str = ""
    max_tres_minutes: str = ""


@dataclass(frozen=True, slots=True)
class QosFacts:
    name: str
    priority: int | None = None
    max_walltime_s: int | None = None
    max_submit_jobs_per_user: int | None = None
    max_tres_per_user: str = ""
    max_tres_per_job: str = ""
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """What there is. `associations` and `qos` are empty where there is no accounting;
    `enforces_qos` None: it is not said whether a QoS must be one that the association allows."""

    version: str
    cluster: str
    user: str
    partitions: tuple[PartitionFacts, ...]
    nodes: tuple[NodeFacts, ...]
    associations: tuple[AssociationFacts, ...] = ()
    qos: tuple[QosFacts, ...] = ()
    accounting: bool = False
    enforces_qos: bool | None = None
    message_timeout_s: int = 10
    kill_wait_s: int = 30
    min_job_age_s: int = 300
    max_job_count: int | None = None


class Transport(Protocol):
    """Questions to one Slurm cluster. May be called from several threads at once.

    `at_once` is how many jobs accounting should be asked of in one call: where that takes a
    question for each, one that is not answered makes the whole call fail.
    """

    @property
    def at_once(self) -> int: ...

    def submit(self, submission: Submission) -> str:
        """Hand over one job; Slurm's id of it. NotAccepted: a no. Unreachable: in doubt."""
        ...

    def queue(self, names: Sequence[str] | None = None) -> list[QueueRow]:
        """All jobs of the agent's own user, or those with one of `names`; ended ones that the
        controller still knows included. One question, however many jobs."""
        ...

    def whole_queue(self) -> list[QueueRow]:
        """What waits and runs, of everybody, as far as this user may see it; names are left
        out ("")."""
        ...

    def accounting(
        self, names: Sequence[str], since_s: int, batch_jobs: Sequence[str] = ()
    ) -> list[AccountingRow]:
        """What accounting says of the own jobs with these names that were there after
        `since_s`, every run of each. `batch_jobs` narrows the search where the ids are known:
        rows of other names that have these ids are not returned, but those that have no name yet
        are (`unnamed`). No names: all own jobs."""
        ...

    def cancel(self, batch_jobs: Sequence[str]) -> None:
        """Ask for their end. Ids that are not known are no error."""
        ...

    def describe(self) -> ClusterFacts:
        """Partitions, nodes, limits, accounts, QoS, version."""
        ...

    def health(self) -> Health:
        """Whether the controller and accounting answer; never raises."""
        ...

    def close(self) -> None:
        """Give back what is held open."""
        ...
