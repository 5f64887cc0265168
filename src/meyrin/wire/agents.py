"""Between an agent and the hub. The agent always calls; the hub only ever answers.

join     an enrolment token, for the credential that the agent drew itself
credential   the one that follows
self     who the hub takes the caller for
hello    what the site is and which attempts the agent still knows
lease    work to do: starts and cancels; waits for some when there is none
reports  what became of attempts; may be repeated, each carries the attempt's epoch
usage    what accounting says late, or otherwise than before; and what the hub has counted
output   pieces of output files, by offset; may be repeated
results  the files that a job left and that were asked for
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Base64Bytes, Field

from meyrin.domain.job import JobRequest
from meyrin.domain.site import OwnerShare, Partition
from meyrin.domain.units import LAST_S
from meyrin.wire.jobs import Body, FileView, Milli, Words
from meyrin.wire.sites import About

Phase = Literal["held", "queued", "running", "ended", "refused"]
AttemptId = Annotated[str, Field(pattern=r"^[!-~]{1,64}$")]
Small = Annotated[int, Field(ge=-(2**31), lt=2**31)]

Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]

LONGEST_REASON = 500  # why a site takes nothing new
MOST_CHUNKS = 1000  # in one call
MOST_RUNS = 100_000  # of one attempt


class JoinBody(Body):
    """`digest` is the SHA-256 of the secret that the agent drew; may be repeated. With `site`, the
    enrolment is used only if it is for that one."""

    enrolment: Annotated[str, Field(max_length=200)]
    digest: Digest
    site: Annotated[str, Field(max_length=200)] | None = None


class FollowBody(Body):
    """The SHA-256 of the next secret, already kept on the agent's disk; may be repeated."""

    digest: Digest


class JoinReply(Body):
    site: str
    title: str
    now_ms: int


class LentOffer(Body):
    """What is lent of a partition, to whom and when (`end_s` None: on and on)."""

    id: str
    partition: str
    owners: list[OwnerShare]
    start_s: int
    end_s: int | None


class SelfReply(Body):
    """The site of the credential, and how things stand. `answers` says that an agent of it
    said hello and was heard in the last minute; `lent` are the partitions lent now, `offers` all
    that have not ended (None: an older hub)."""

    site: str
    title: str
    now_ms: int
    incarnation: str
    answers: bool
    drained: str | None
    lent: list[str]
    offers: list[LentOffer] | None = None


class HelloBody(Body):
    """`incarnation` is new at each start of the agent; `version` is Meyrin's."""

    incarnation: str
    version: Words
    batch_kind: str
    partitions: Annotated[list[Partition], Field(max_length=1000)]
    about: About | None = None


class HelloReply(Body):
    site: str
    now_ms: int


class LeaseBody(Body):
    """`not_now` is why the site takes nothing new at present; empty when it does. `partitions`
    and `about` go together and are there when they are no longer what hello said."""

    incarnation: str
    partitions: Annotated[list[Partition], Field(max_length=1000)] | None = None
    about: About | None = None
    not_now: Annotated[Words, Field(max_length=LONGEST_REASON)] = ""
    most: Annotated[int, Field(ge=1, le=2000)] = 500
    wait_s: Annotated[float, Field(ge=0, le=60)] = 25


class Work(Body):
    """One attempt to start; `request_id` finds what was asked in the reply's `requests`."""

    attempt: str
    epoch: int
    job: int
    array_job: int | None
    task: int | None
    task_count: int
    person: str
    project: str
    partition: str
    nodes: int
    cores: int
    memory_mb: int
    accelerators: int
    tasks: int
    walltime_s: int
    request_id: int


class LeaseReply(Body):
    """`requests` are shared by the work items that name them; `cancel` are attempts to end."""

    work: list[Work]
    requests: dict[int, JobRequest]
    cancel: list[str]


class UsageBody(Body):
    """Measured use; `source` says by whom (`batch` the batch system, `wrapper` our wrapper,
    `queue` the times of the batch system's queue, where neither has the end of the last run).
    None is what was not measured: unknown, and never nothing."""

    elapsed_s: Annotated[int, Field(ge=0, le=LAST_S)]
    cpu_ms: Annotated[int, Field(ge=0, lt=2**62)] | None = None
    max_rss_kb: Annotated[int, Field(ge=0, lt=2**62)] | None = None
    energy_j: Annotated[int, Field(ge=0, lt=2**62)] | None = None
    source: Words = "batch"


class Report(Body):
    """What became of an attempt, complete in itself: a later phase holds the earlier times.

    Refused `for_now`: the site says no today, not to this job; it may be asked again. Else it is
    a no under the rules of `rules_mark`, and may be asked again when they are others.
    Held: the agent has it and waits to hand it to the batch system; `why` says what for.
    `run` counts how often its batch system took it back into the queue after it had run.
    Running with an `end_ms`: its script is over, its site still counts it up, and what it had is
    free for others.
    """

    attempt: AttemptId
    epoch: int
    phase: Phase
    at_ms: Milli
    batch_job: Words | None = None
    start_ms: Milli | None = None
    end_ms: Milli | None = None
    end: Words | None = None
    exit_code: Small | None = None
    signal: Small | None = None
    why: Words = ""
    site_word: Words | None = None
    usage: UsageBody | None = None
    results_follow: bool = False
    for_now: bool = False
    rules_mark: Annotated[str, Field(pattern="^[0-9a-f]{0,64}$")] = ""
    run: Annotated[int, Field(ge=0, le=MOST_RUNS)] = 0


class ReportsBody(Body):
    reports: Annotated[list[Report], Field(max_length=5000)]


class ReportsReply(Body):
    """`stale` attempts are no longer the current ones of their jobs: end them, forget them."""

    stale: list[str]


class CorrectionBody(Body):
    """What an ended attempt used, where accounting says it late or otherwise than before.

    `revision` rises with each word on the attempt (its end was 0): one that is behind is left out.
    """

    attempt: AttemptId
    batch_job: Words
    usage: UsageBody
    revision: Annotated[int, Field(ge=1, lt=2**31)]


class CorrectionsBody(Body):
    corrections: Annotated[list[CorrectionBody], Field(max_length=1000)]


class CorrectionsReply(Body):
    """`taken` are known to the hub now; of `unknown` ones it knows no end at this site."""

    taken: list[str]
    unknown: list[str]


class CountedView(Body):
    """What the hub counted of an attempt that ended at the site. Without `measured_by` nothing
    was measured; `corrections` counts its records after the first."""

    attempt: str
    job: str
    batch_job: str | None
    placed_ms: int
    start_ms: int | None
    end_ms: int | None
    charged_type: str
    elapsed_s: int | None
    used_s: int
    energy_j: int | None
    measured_by: str | None
    corrections: int


class CountedList(Body):
    counted: list[CountedView]
    next: str


class Chunk(Body):
    attempt: AttemptId
    stream: Literal["stdout", "stderr"]
    offset: Annotated[int, Field(ge=0)]
    data: Base64Bytes


class OutputBody(Body):
    chunks: Annotated[list[Chunk], Field(max_length=MOST_CHUNKS)]


class OutputReply(Body):
    """How much the hub has of each `attempt/stream`; where to go on. -1: it wants no more."""

    sizes: dict[str, int]


class ResultsBody(Body):
    """`state` is `complete`, or words that say why some files could not be brought."""

    attempt: AttemptId
    epoch: int
    state: Words
    files: list[FileView]
