"""A site's whole queue as its agent tells it: sizes, limits, states, ages, priorities.

Nobody is named: jobs, users and accounts are keyed by a secret that never leaves the site, so
that the same one looks the same in every snapshot and nobody else's words are told.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from meyrin.wire.jobs import Body, Milli, Second, Words

MOST_JOBS = 10_000
MOST_OTHERS = 200  # of one partition
Pseudonym = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
Count = Annotated[int, Field(ge=0, le=2**53)]
Small = Annotated[int, Field(ge=0, le=10**9)]


class QueuedJob(Body):
    """One record of the site's queue. `count` is how many equal elements of an array it stands
    for; amounts are of one of them, for all its nodes. None is what the site does not say."""

    key: Pseudonym
    user: Pseudonym
    account: Pseudonym | None
    partition: Annotated[Words, Field(max_length=200)]
    waits: bool
    state: Annotated[Words, Field(max_length=40)]
    reason: Annotated[Words, Field(max_length=40)] = ""
    count: Annotated[int, Field(ge=1, le=10**7)] = 1
    nodes: Count | None = None
    cores: Count | None = None
    memory_mb: Count | None = None
    accelerators: Count | None = None
    walltime_s: Count | None = None
    submit_s: Second | None = None
    start_s: Second | None = None
    priority: Count | None = None


class OthersJob(Body):
    """What others have of a partition, as one job: amounts of each of its nodes. `end_s` is when
    its wall time ends; None: it waits, for `walltime_s`."""

    nodes: Annotated[int, Field(ge=1, le=10**6)]
    cores: Small
    memory_mb: Small
    accelerators: Small
    walltime_s: Annotated[int, Field(ge=0, le=2**31)]
    end_s: Second | None = None


class Others(Body):
    """What is on one of our partitions and was not sent by this facility; jobs that wait are
    told one by one, in their order. `nodes`: so many of the site's take work there, for whomever.
    """

    partition: Annotated[Words, Field(max_length=200)]
    nodes: Annotated[int, Field(ge=0, le=10**6)]
    jobs: Annotated[list[OthersJob], Field(max_length=MOST_OTHERS)]


class QueueBody(Body):
    """`left_out` counts what did not fit, those of lowest priority first. `others` is the same
    queue as the placement counts it, less what this facility sent."""

    incarnation: str
    at_ms: Milli
    jobs: Annotated[list[QueuedJob], Field(max_length=MOST_JOBS)]
    left_out: Count = 0
    others: Annotated[tuple[Others, ...], Field(max_length=1000)] = ()


class ForgetQueueBody(Body):
    """The site shares its queue no longer: what is kept of it goes."""

    incarnation: str


class PartitionQueue(Body):
    """What waits and runs in one partition. `oldest_s`: since when the longest waiting waits;
    amounts that a site does not say are not in the sums."""

    partition: str
    waiting: int
    running: int
    waiting_nodes: int
    waiting_accelerators: int
    oldest_s: int | None


class SiteQueue(Body):
    """The latest snapshot, a page of its jobs at a time, in the order of their priority.

    `at_ms` None: the site shares no queue.
    """

    site: str
    at_ms: int | None
    left_out: int
    partitions: list[PartitionQueue]
    jobs: list[QueuedJob]
    next: str
