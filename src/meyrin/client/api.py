"""The SDK: the hub's HTTP API as typed methods. What comes back are the wire models.

    from meyrin import Client
    with Client.from_environment() as hub:
        job = hub.submit(request)
        for event in hub.follow(str(job.job)): ...

Errors are those of `meyrin.domain.errors`, whether they happened here or at the hub.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from pydantic import RootModel

from meyrin.client import transfer
from meyrin.client.connection import PATIENCE, Connection, body, read
from meyrin.client.follow import Change, Output, Printed, Stream, exit_status, follow
from meyrin.client.place import check_token, check_url, find_hub
from meyrin.client.results import ENDED_WORDS, bring
from meyrin.client.ways import naming_key
from meyrin.domain.errors import Failed, InvalidInput, Unreachable
from meyrin.domain.job import InputFile, JobRequest, checked_key
from meyrin.wire.jobs import (
    Accepted,
    Body,
    CancelReply,
    ExplainView,
    JobDetail,
    JobList,
    JobView,
    Submission,
    SubmitBody,
    SubmitReply,
)

if TYPE_CHECKING:
    from meyrin.client.admin import Ledger, People, Plans, Projects, Sites, Store
    from meyrin.client.allocations import Allocations
    from meyrin.client.calls import Calls
    from meyrin.client.gates import Gates
    from meyrin.client.owners import Owners
    from meyrin.wire.ledger import StatementView, VerifyReply

Model = TypeVar("Model", bound=Body)
SHORTEST_LOOK_S = 0.1
LONGEST_LOOK_S = 2.0
RESULT_LOOKS = 100  # about three minutes
BEYOND_OUTPUT = 2**53  # following from here on brings changes of state only


def new_key() -> str:
    """A fresh idempotency key: one for each intention, the same for its repetitions."""
    return uuid.uuid4().hex


class Client:
    """A person's connection to one hub. May be used by several threads; close it when done."""

    def __init__(self, url: str, token: str, **options: Any) -> None:
        """`options` go to the connection: `transport`, `pause`, `chance`, `tries`, `on_silence`."""
        address, secret = check_url(url, "url"), check_token(token, "token")
        self.connection = Connection(address, secret, **options)

    @classmethod
    def from_environment(
        cls,
        environ: Mapping[str, str] = os.environ,
        *,
        folder: str | Path | None = None,
        url: str | None = None,
        token_file: str | Path | None = None,
        **options: Any,
    ) -> Self:
        """A client of the hub that `MEYRIN_HUB` or the one-machine folder names.

        Raises Unreachable when none is named, NotLoggedIn when there is no token for it.
        """
        place = find_hub(environ, folder=folder, url=url, token_file=token_file)
        path = place.renewable
        if path is None:
            return cls(place.url, place.token, **options)

        def renew() -> str:
            from meyrin.client.device import renewed  # noqa: PLC0415 - seldom

            with closing(Connection(place.url, "", **options)) as hub:
                return renewed(path, hub, int(time.time())).token

        return cls(place.url, renew(), renew=renew, **options)

    # administration by noun; loaded when first used, for most calls are about jobs

    @cached_property
    def sites(self) -> Sites:
        from meyrin.client.admin import Sites  # noqa: PLC0415

        return Sites(self.connection)

    @cached_property
    def projects(self) -> Projects:
        from meyrin.client.admin import Projects  # noqa: PLC0415

        return Projects(self.connection)

    @cached_property
    def people(self) -> People:
        from meyrin.client.admin import People  # noqa: PLC0415

        return People(self.connection)

    @cached_property
    def calls(self) -> Calls:
        from meyrin.client.calls import Calls  # noqa: PLC0415

        return Calls(self.connection)

    @cached_property
    def allocations(self) -> Allocations:
        from meyrin.client.allocations import Allocations  # noqa: PLC0415

        return Allocations(self.connection)

    @cached_property
    def ledger(self) -> Ledger:
        from meyrin.client.admin import Ledger  # noqa: PLC0415

        return Ledger(self.connection)

    @cached_property
    def owners(self) -> Owners:
        from meyrin.client.owners import Owners  # noqa: PLC0415

        return Owners(self.connection)

    @cached_property
    def plans(self) -> Plans:
        from meyrin.client.admin import Plans  # noqa: PLC0415

        return Plans(self.connection)

    @cached_property
    def store(self) -> Store:
        from meyrin.client.admin import Store  # noqa: PLC0415

        return Store(self.connection)

    @cached_property
    def gates(self) -> Gates:
        from meyrin.client.gates import Gates  # noqa: PLC0415

        return Gates(self.connection)

    @property
    def url(self) -> str:
        return self.connection.url

    def close(self) -> None:
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # --- submitting

    def submit(self, request: JobRequest, idempotency_key: str | None = None) -> Accepted:
        """Hand in one request; lost replies are bridged, the job exists once.

        Give the same key again to ask whether an earlier call got through; where none was given,
        an error of doubtful outcome names the one that was used.
        """
        if idempotency_key is None:
            key = new_key()
            with naming_key(key, f'call with idempotency_key="{key}"'):
                return self.submit(request, key)
        return self.submit_many([(request, idempotency_key)])[0]

    def submit_many(self, submissions: Iterable[tuple[JobRequest, str]]) -> list[Accepted]:
        """Hand in requests with their keys in one call: all are kept, or none."""
        asked = [
            Submission(request=request, idempotency_key=checked_key(key))
            for request, key in submissions
        ]
        said = body(SubmitBody(submissions=asked))
        answer = self.connection.call("POST", "/jobs", repeatable=True, **said)
        return read(SubmitReply, answer.content).jobs

    def forecast(self, request: JobRequest) -> ExplainView:
        """Where and when this request would start, and why; nothing is kept."""
        said = body(RootModel[JobRequest](request))
        answer = self.connection.call("POST", "/forecast", repeatable=True, **said)
        return read(ExplainView, answer.content)

    # --- looking

    def jobs(
        self,
        *,
        mine: bool = True,
        project: str | None = None,
        states: Sequence[str] = (),
        site: str | None = None,
        after: str = "",
        limit: int = 50,
    ) -> JobList:
        """One page of jobs, newest first; `next` of the reply is `after` of the next page."""
        _refuse_text(states, "states")
        asked: dict[str, Any] = {"limit": limit}
        asked |= {"mine": "true"} if mine else {}
        given = {"project": project, "state": list(states), "site": site, "after": after}
        asked |= {name: value for name, value in given.items() if value}
        return self._get(JobList, "/jobs", asked)

    def each_job(self, **which: Any) -> Iterator[JobView]:
        """All jobs that `jobs(**which)` pages through."""
        following = str(which.pop("after", ""))
        while True:
            page = self.jobs(after=following, **which)
            yield from page.jobs
            following = page.next
            if not following:
                return

    def job(self, label: str | int) -> JobDetail:
        return self._get(JobDetail, _job(label))

    def explain(self, label: str | int) -> ExplainView:
        """Why a job waits, where else it could go, and what would help."""
        return self._get(ExplainView, _job(label, "/explain"))

    def output(self, label: str | int, stream: Stream = "stdout", offset: int = 0) -> bytes:
        """What the job has written so far, from byte `offset` on."""
        return self.printed(label, stream, offset).data

    def printed(self, label: str | int, stream: Stream = "stdout", offset: int = 0) -> Printed:
        """As `output`, and whether the job wrote more than the hub keeps."""
        pieces = bytearray()
        while True:
            asked = {"stream": stream, "offset": offset + len(pieces)}
            path = _job(label, "/output")
            answer = self.connection.call("GET", path, repeatable=True, params=asked)
            if not answer.content:
                cut = answer.headers.get("x-meyrin-cut")
                return Printed(bytes(pieces), None if cut is None else int(cut))
            pieces += answer.content

    def follow(
        self, label: str | int, stream: Stream = "stdout", offset: int = 0
    ) -> Iterator[Output | Change]:
        """Output as it comes and changes of state, every byte once, until the job has ended."""
        return follow(self.connection, _label(label), stream, offset)

    def wait(self, label: str | int, timeout_s: float | None = None) -> JobDetail:
        """Return when the job, or every element of the array, has ended.

        A hub that is away meanwhile is waited for, a minute and a half. Raises TimeoutError when
        the end has not come after `timeout_s`.
        """
        end_s = None if timeout_s is None else time.monotonic() + timeout_s
        found = self._patiently(label, end_s)
        if end_s is None and not found.array and found.job.state not in ENDED_WORDS:
            for _ in follow(self.connection, _label(label), "stdout", BEYOND_OUTPUT):
                pass
            return self._patiently(label)
        looks = self._looks(label, end_s)
        while not set(found.array or [found.job.state]) <= ENDED_WORDS:
            if end_s is not None and time.monotonic() >= end_s:
                raise TimeoutError(f"job {label} has not ended after {timeout_s} s")
            found = next(looks)
        return found

    def _patiently(self, label: str | int, end_s: float | None = None) -> JobDetail:
        """The job, also where the hub is away for a while, or until `end_s`."""
        if end_s is None:
            return self._get(JobDetail, _job(label), tries=PATIENCE + 1)
        while True:
            try:
                return self._get(JobDetail, _job(label), tries=1)
            except Unreachable as error:
                if time.monotonic() >= end_s:
                    raise TimeoutError(f"no hub tells of job {label}: {error.message}") from error
            self.connection.pause(LONGEST_LOOK_S)

    def results(self, label: str | int) -> JobDetail:
        """Return when the results of an ended job have arrived at the hub, or won't."""
        found, looks = self.job(label), self._looks(label)
        for _ in range(RESULT_LOOKS):
            if found.results != "pending":
                return found
            found = next(looks)
        raise Unreachable(
            f"the results of job {label} have not come from {found.job.site} yet",
            hint="is its agent running? `meyrin site list` shows when it was heard last",
        )

    def _looks(self, label: str | int, end_s: float | None = None) -> Iterator[JobDetail]:
        """The job again and again, after pauses that grow."""
        pause_s = SHORTEST_LOOK_S
        while True:
            self.connection.pause(pause_s)
            pause_s = min(pause_s * 1.3, LONGEST_LOOK_S)
            yield self._patiently(label, end_s)

    def exit_status(self, ended: JobDetail) -> int:
        """What a shell would see of an ended job; of an array the largest of its elements."""
        job = ended.job
        if not ended.array:
            return exit_status(job.state, job.exit_code, job.signal)
        if set(ended.array) == {"completed"}:
            return 0
        unwell = sorted(ENDED_WORDS - {"completed"})
        worst = 0
        for each in self.each_job(mine=False, states=unwell, limit=500):
            if each.array_job == job.array_job:
                worst = max(worst, exit_status(each.state, each.exit_code, each.signal))
            if each.job < job.job:
                break
        return worst or 1

    # --- changing

    def cancel(self, label: str | int) -> CancelReply:
        """End a job or all elements of an array. What has ended already stays as it is."""
        answer = self.connection.call("POST", _job(label, "/cancel"), repeatable=True)
        return read(CancelReply, answer.content)

    def release(self, label: str | int) -> list[int]:
        """Let a held job go; returns its number or those of the array's elements.

        Raises Refused when it is not held.
        """
        answer = self.connection.call("POST", _job(label, "/release"), repeatable=False)
        return read(RootModel[list[int]], answer.content).root

    # --- what it cost

    def statement(self, project: str, month: str | None = None) -> StatementView:
        """A project's balances and what happened to them; see `ledger` for more."""
        return self.ledger.statement(project, month)

    def verify(self) -> VerifyReply:
        """Whether the ledger adds up; no findings is good."""
        return self.ledger.verify()

    # --- files

    def upload(
        self,
        path: str | Path,
        name: str | None = None,
        progress: transfer.OnProgress = transfer.ignore,
    ) -> InputFile:
        """Make sure that the hub has this file; the result goes into `JobRequest.inputs`."""
        return transfer.upload(self.connection, Path(path), name, progress)

    def fetch(
        self,
        label: str | int,
        into: str | Path,
        names: Sequence[str] = (),
        progress: transfer.OnProgress = transfer.ignore,
    ) -> list[Path]:
        """Bring a job's results, or those in `names`, into a folder; returns where they are.

        Those of an array go into one folder for each element. Raises Failed when the job, or an
        element, has not ended or kept not all; what there is was brought then.
        """
        _refuse_text(names, "names")
        brought, trouble = bring(self, _label(label), Path(into), names, progress)
        if trouble:
            raise Failed("; ".join(trouble), hint=f"what could be brought is in {into}")
        return [each.path for each in brought]

    def _get(
        self,
        model: type[Model],
        path: str,
        asked: Mapping[str, Any] | None = None,
        tries: int | None = None,
    ) -> Model:
        answer = self.connection.call("GET", path, repeatable=True, tries=tries, params=asked)
        return read(model, answer.content)


def _job(label: str | int, rest: str = "") -> str:
    return f"/jobs/{_label(label)}{rest}"


def _label(label: str | int) -> str:
    """`17` or `17_3`; nothing else may become part of an address."""
    text = str(label).strip()
    number, _, task = text.partition("_")
    if not (number.isdecimal() and text.isascii() and (task.isdecimal() or "_" not in text)):
        raise InvalidInput(
            f"{text!r} is no job", hint="write its number, such as 17, or 17_3 in an array"
        )
    return text


def _refuse_text(words: Sequence[str], field: str) -> None:
    """Text is a sequence of letters, and never meant as one."""
    if isinstance(words, str):
        raise InvalidInput(f"{field} is a list", hint=f'write ["{words}"]', field=field)
