"""The agent's way to the hub: every call may be repeated, so every call is until it is answered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from meyrin import __version__
from meyrin.agent.within import Opener
from meyrin.client import transfer
from meyrin.client.connection import Connection, read
from meyrin.domain.site import Partition
from meyrin.wire.agents import (
    LONGEST_REASON,
    Chunk,
    CorrectionBody,
    CorrectionsBody,
    CorrectionsReply,
    CountedList,
    FollowBody,
    HelloBody,
    HelloReply,
    JoinBody,
    JoinReply,
    LeaseBody,
    LeaseReply,
    OutputBody,
    OutputReply,
    Report,
    ReportsBody,
    ReportsReply,
    ResultsBody,
    SelfReply,
)
from meyrin.wire.jobs import Body, FileView
from meyrin.wire.limits import DriftBody, DriftLine, LimitsReply, Revoked, RevokedBody
from meyrin.wire.queue import ForgetQueueBody, Others, QueueBody, QueuedJob
from meyrin.wire.sites import About


class Hub:
    """The hub as one start of an agent (`incarnation`) sees it. Raises Unreachable when away."""

    def __init__(self, connection: Connection, incarnation: str) -> None:
        self.connection = connection
        self.incarnation = incarnation

    def _post(self, path: str, body: Body) -> bytes:
        return self.connection.call(
            "POST",
            f"/agent/{path}",
            repeatable=True,
            content=body.model_dump_json(),
            headers={"content-type": "application/json"},
        ).content

    def join(self, enrolment: str, digest: str, site: str) -> JoinReply:
        """Take the enrolment of a site for a credential that is known here by its SHA-256."""
        body = JoinBody(enrolment=enrolment, digest=digest, site=site)
        return read(JoinReply, self._post("join", body))

    def follow(self, digest: str) -> None:
        """Tell the SHA-256 of the next credential."""
        self._post("credential", FollowBody(digest=digest))

    def who(self) -> SelfReply:
        """The site of our credential, and how it stands. NotLoggedIn: it does not count."""
        answer = self.connection.call("GET", "/agent/self", repeatable=True)
        return read(SelfReply, answer.content)

    def hello(
        self, kind: str, partitions: Sequence[Partition], about: About | None = None
    ) -> HelloReply:
        body = HelloBody(
            incarnation=self.incarnation,
            version=__version__,
            batch_kind=kind,
            partitions=list(partitions),
            about=about,
        )
        return read(HelloReply, self._post("hello", body))

    def lease(
        self,
        wait_s: float,
        not_now: str = "",
        *,
        partitions: Sequence[Partition] | None = None,
        about: About | None = None,
    ) -> LeaseReply:
        """Work to do; waits at the hub for some. StaleEpoch: another start took over.

        `partitions` and `about` go together: what hello said and is no longer so.
        """
        body = LeaseBody(
            incarnation=self.incarnation,
            wait_s=wait_s,
            not_now=not_now[:LONGEST_REASON],
            partitions=None if partitions is None else list(partitions),
            about=about,
        )
        return read(LeaseReply, self._post("lease", body))

    def report(self, reports: list[Report]) -> list[str]:
        """Tell what became of attempts; returns those that are no longer current."""
        reply = self._post("reports", ReportsBody(reports=reports))
        return read(ReportsReply, reply).stale

    def output(self, chunks: list[Chunk]) -> dict[str, int]:
        """Send pieces of output; returns how much the hub has of each stream (-1: no more)."""
        reply = self._post("output", OutputBody.model_construct(chunks=chunks))
        return read(OutputReply, reply).sizes

    def correct(self, corrections: list[CorrectionBody]) -> CorrectionsReply:
        """Tell what ended attempts used, where that is not what was told before."""
        body = CorrectionsBody(corrections=corrections)
        return read(CorrectionsReply, self._post("usage", body))

    def counted(self, from_ms: int, until_ms: int, after: str = "") -> CountedList:
        """A page of what the hub counted for attempts that ended here in a time."""
        answer = self.connection.call(
            "GET",
            "/agent/usage",
            repeatable=True,
            params={"from_ms": from_ms, "until_ms": until_ms, "after": after, "limit": 500},
        )
        return read(CountedList, answer.content)

    def queue(
        self, jobs: list[QueuedJob], left_out: int, others: Sequence[Others], at_ms: int
    ) -> None:
        """The site's whole queue now, in place of the one before."""
        body = QueueBody(
            incarnation=self.incarnation,
            at_ms=at_ms,
            jobs=jobs,
            left_out=left_out,
            others=tuple(others),
        )
        self._post("queue", body)

    def forget_queue(self) -> None:
        """The site shares its queue no longer."""
        self._post("queue/forget", ForgetQueueBody(incarnation=self.incarnation))

    def limits(self) -> LimitsReply:
        """What the site's own accounts and limits should be, now."""
        answer = self.connection.call("GET", "/agent/limits", repeatable=True)
        return read(LimitsReply, answer.content)

    def drift(
        self, mode: Literal["report", "apply"], words: str, lines: Sequence[DriftLine], at_ms: int
    ) -> None:
        """How they differ from that, and what became of it."""
        body = DriftBody(
            incarnation=self.incarnation, at_ms=at_ms, mode=mode, words=words, lines=list(lines)
        )
        self._post("drift", body)

    def revoked(self, said: Sequence[Revoked]) -> None:
        """What the site found of people who left a project."""
        self._post("revoked", RevokedBody(incarnation=self.incarnation, said=list(said)))

    def results(self, attempt: str, epoch: int, state: str, files: list[FileView]) -> None:
        self._post("results", ResultsBody(attempt=attempt, epoch=epoch, state=state, files=files))

    def upload(self, path: Path, opener: Opener) -> FileView:
        """Bring a file to the content store; goes on where an earlier try stopped."""
        sent = transfer.upload(self.connection, path, opener=opener)
        return FileView(name=path.name, sha256=sent.sha256, size=sent.size)

    def fetch_input(self, attempt: str, file: FileView, target: Path) -> None:
        """Bring an input of an attempt to `target`; its digest is checked."""
        transfer.fetch_file(
            self.connection,
            f"/agent/attempts/{attempt}/inputs/{quote(file.name)}",
            file,
            target,
            transfer.part_of(target, file.sha256),
            told=lambda _: None,
        )
