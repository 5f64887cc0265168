"""Jobs on the wire: what a client sends to submit, and how a job is shown."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from meyrin.domain.errors import InvalidInput
from meyrin.domain.job import MAX_KEY, MIN_KEY, InputFile, JobRequest, Resources, WarnSignal
from meyrin.domain.refusal import Reason
from meyrin.domain.units import LAST_S

Key = Annotated[str, Field(min_length=MIN_KEY, max_length=MAX_KEY)]


def _counted(value: Any) -> Any:
    if isinstance(value, bool):
        raise PydanticCustomError("int_type", "Input should be a valid integer")
    return value


Number = Annotated[int, BeforeValidator(_counted)]
"""A number that somebody writes: `true` is none, though Python takes it for 1."""
Second = Annotated[Number, Field(ge=0, le=LAST_S)]  # since 1970
Milli = Annotated[int, Field(ge=0, le=LAST_S * 1000 + 999)]

# what no column of a database takes: NUL, and halves of characters
_NOT_KEPT = re.compile("[\0\ud800-\udfff]")


def _kept(value: Any) -> Any:
    return _NOT_KEPT.sub("\ufffd", value) if isinstance(value, str) else value


Words = Annotated[str, BeforeValidator(_kept)]
"""What a site's programs say, whatever that is: one odd word must not stop all reports."""


_SWITCHES = frozenset(
    each.name
    for kind in (JobRequest, Resources, InputFile, WarnSignal)
    for each in fields(kind)
    if each.type == "bool"
)


def _written(request: Any) -> Any:
    """The same of a whole request, whose fields are plain values of the domain."""
    left = [("request", request)]
    while left:
        name, value = left.pop()
        if isinstance(value, bool) and name not in _SWITCHES:
            raise InvalidInput(f"{name} can't be {value}", hint="write a number", field=name)
        if isinstance(value, dict):
            left += value.items()
        elif isinstance(value, list) and not {int, str, list}.issuperset(map(type, value)):
            left += [(name, each) for each in value]
    return request


Asked = Annotated[JobRequest, BeforeValidator(_written)]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Submission(Body):
    """One request with the key that makes it count once: same key, same job."""

    request: Asked
    idempotency_key: Key


class SubmitBody(Body):
    """Many submissions in one call, all kept or none."""

    submissions: Annotated[list[Submission], Field(min_length=1, max_length=1000)]


class Accepted(Body):
    """The job's number; of an array the first of `elements` rising ones, which may have gaps."""

    job: int
    elements: int
    again: bool = False


class SubmitReply(Body):
    jobs: list[Accepted]


class PlaceView(Body):
    site: str
    partition: str
    expected_start_s: int


class AttemptView(Body):
    """One try at a site. Times are milliseconds since the epoch; None: not yet, or unknown.

    `elapsed_s`, `energy_j` and `measured_by` are of its latest usage record: `batch` is the
    site's own accounting, `wrapper` our wrapper, `queue` the times in the site's queue.
    """

    attempt: str
    number: int
    site: str
    partition: str
    nodes: int
    cores_per_node: int
    memory_mb_per_node: int
    accelerators_per_node: int
    charged_type: str
    hold_s: int
    placed_ms: int
    expected_start_s: int
    start_ms: int | None
    end_ms: int | None
    batch_job: str | None
    end: str | None
    why: str
    others: list[PlaceView]
    elapsed_s: int | None = None
    energy_j: int | None = None
    measured_by: str | None = None


class EventView(Body):
    state: str
    at_ms: int
    detail: str
    attempt: str | None


class JobView(Body):
    """A job as lists show it. `label` is what people type: `17`, or `17_3` in an array."""

    job: int
    label: str
    array_job: int | None
    task: int | None
    name: str
    project: str
    person: str
    state: str
    shown: str
    reason: str
    site: str | None
    partition: str | None
    walltime_s: int | None
    submit_ms: int
    start_ms: int | None
    end_ms: int | None
    exit_code: int | None
    signal: int | None


class JobList(Body):
    jobs: list[JobView]
    next: str


class FileView(Body):
    name: str
    sha256: str
    size: int


class StreamView(Body):
    """What the hub keeps of a stream; `cut` when the job printed more than `size`. `file` is where
    the job had all of it written: a path at the site, if that shares the folder, or a name in
    the job's own folder; empty when nobody named one."""

    stream: Literal["stdout", "stderr"]
    size: int
    cut: bool
    file: str = ""


class CostView(Body):
    """What is held and what was charged, in seconds of one charged type."""

    charged_type: str
    held_s: int
    used_s: int


class JobDetail(Body):
    """One job with its timeline, its attempts and what it cost.

    For the number of an array: its first element; `array` counts all elements by state, and
    `array_costs` sums what all of them cost. `energy_j` is of all its attempts that used
    anything, and None where a site did not record that of one of them. `unheard` says so where
    the site that has the job tells nothing of it at present.
    """

    job: JobView
    comment: str
    array: dict[str, int]
    array_costs: list[CostView] = []
    attempts: list[AttemptView]
    events: list[EventView]
    held_s: int
    used_s: int
    charged_type: str | None
    results: str
    files: list[FileView]
    energy_j: int | None = None
    output: list[StreamView] = []
    unheard: str = ""


class RefusalView(Body):
    reason: Reason | Literal["terms_missing"]
    site: str
    partition: str
    asked: int | str | None
    limit: int | str | None
    words: str


class ExplainView(Body):
    """Why a job waits or where it would go, as data and in one sentence. `waits` is what it waits
    for at the site that has it: in the site's words, or that it is late where the site gave
    none. `unheard` is as that of JobDetail."""

    job: int
    state: str
    summary: str
    refusals: list[RefusalView]
    where: PlaceView | None
    others: list[PlaceView]
    helps: list[str]
    waits: str = ""
    unheard: str = ""


class CancelReply(Body):
    """What cancelling did: jobs ended at once, and jobs whose site is asked to end them.

    Of those, `unreached` are at sites that can't be asked until they are heard again; `unheard`
    says why not, and the way out, once a site.
    """

    ended: list[int]
    asked: list[int]
    already: list[int]
    unreached: list[int] = []
    unheard: list[str] = []


class HeldFiles(Body):
    """How many files and bytes of the content store one kind of thing holds."""

    by: str
    words: str
    files: int
    size: int


class StoreView(Body):
    """What the content store holds; `files` and `size` without what is not whole yet."""

    held: list[HeldFiles]
    files: int
    size: int
    unused_days: int


class UploadState(Body):
    """How much of a file the hub has; continue from `offset`. `complete` when it is whole."""

    sha256: str
    offset: int
    complete: bool
