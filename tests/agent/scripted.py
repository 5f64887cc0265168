"""An agent between a hub and a batch system that are only stories, with crashes at any call."""

from __future__ import annotations

import shutil
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from meyrin.agent.config import AgentConfig
from meyrin.agent.journal import Journal
from meyrin.agent.loop import Agent
from meyrin.agent.within import Opener
from meyrin.domain.job import JobRequest
from meyrin.domain.site import Partition
from meyrin.testing.batch import FakeBatch
from meyrin.wire.agents import HelloReply, LeaseReply, Report, SelfReply, Work
from meyrin.wire.jobs import FileView
from meyrin.wire.limits import LimitsReply

CPU = Partition("cpu", 4, 8, 32_000)
NOW_MS = 1_800_000_000_000


class Clock:
    def __init__(self) -> None:
        self.now_ms = NOW_MS

    def __call__(self) -> int:
        return self.now_ms

    def pass_s(self, seconds: float) -> None:
        self.now_ms += int(seconds * 1000)


class StoryHub:
    """What an agent may ask of a hub. Gives work until it was spoken of, as the real one does."""

    def __init__(self) -> None:
        self.work: dict[str, Work] = {}
        self.requests: dict[int, JobRequest] = {}
        self.to_cancel: list[str] = []
        self.reports: dict[str, list[Report]] = {}
        self.stale: set[str] = set()
        self.printed: dict[tuple[str, str], bytes] = {}
        self.limit = 2**20
        self.files: dict[str, bytes] = {}
        self.left: dict[str, tuple[str, list[FileView]]] = {}
        self.uploads: Counter[str] = Counter()
        self.heard: list[tuple[Any, Any]] = []
        self.not_now: list[str] = []

    def who(self) -> SelfReply:
        return SelfReply(
            site="alps",
            title="Alps",
            now_ms=NOW_MS,
            incarnation="one",
            answers=True,
            drained=None,
            lent=[],
            offers=[],
        )

    def limits(self) -> LimitsReply:
        return LimitsReply(at_ms=NOW_MS, projects=[])

    def add(self, request: JobRequest | None = None, **known: Any) -> Work:
        number = len(self.work) + 1
        request = request or JobRequest(script="#!/bin/sh\n")
        self.requests[number] = request
        fields: dict[str, Any] = {
            "attempt": str(uuid.UUID(int=number)),
            "epoch": 1,
            "job": 100 + number,
            "array_job": None,
            "task": None,
            "task_count": 0,
            "person": "ada",
            "project": "lab",
            "partition": "cpu",
            "nodes": 1,
            "cores": 1,
            "memory_mb": 100,
            "accelerators": 0,
            "tasks": 1,
            "walltime_s": 600,
            "request_id": number,
        }
        work = Work(**(fields | known))
        self.work[work.attempt] = work
        return work

    def ends(self, work: Work) -> list[Report]:
        """Different ends that were told of an attempt: one, if all is well."""
        told = [each for each in self.reports.get(work.attempt, ()) if each.phase in _LAST]
        return list({each.model_dump_json(): each for each in told}.values())

    # --- what agents call

    def hello(self, _kind: str, partitions: Any, about: Any = None) -> HelloReply:
        self.heard.append((partitions, about))
        return HelloReply(site="alps", now_ms=0)

    def lease(
        self, _wait_s: float, not_now: str = "", *, partitions: Any = None, about: Any = None
    ) -> LeaseReply:
        self.not_now.append(not_now)
        if about is not None:
            self.heard.append((partitions, about))
        given = [work for work in self.work.values() if work.attempt not in self.reports]
        wanted = {work.request_id: self.requests[work.request_id] for work in given}
        return LeaseReply(work=given, requests=wanted, cancel=list(self.to_cancel))

    def report(self, reports: list[Report]) -> list[str]:
        for each in reports:
            self.reports.setdefault(each.attempt, []).append(each)
        return [each.attempt for each in reports if each.attempt in self.stale]

    def output(self, chunks: list[Any]) -> dict[str, int]:
        sizes = {}
        for each in chunks:
            key = (each.attempt, each.stream)
            known = self.printed.get(key, b"")
            if each.offset <= len(known):
                known += each.data[len(known) - each.offset :]
            self.printed[key] = known[: self.limit]
            sizes["/".join(key)] = -1 if len(known) > self.limit else len(known)
        return sizes

    def results(self, attempt: str, _epoch: int, state: str, files: list[FileView]) -> None:
        self.left[attempt] = (state, files)

    def upload(self, path: Path, opener: Opener) -> FileView:
        import hashlib

        with open(path, "rb", opener=opener) as file:
            data = file.read()
        digest = hashlib.sha256(data).hexdigest()
        self.files[digest] = data
        self.uploads[digest] += 1
        return FileView(name=path.name, sha256=digest, size=len(data))

    def fetch_input(self, _attempt: str, file: FileView, target: Path) -> None:
        target.write_bytes(self.files[file.sha256])


_LAST = ("ended", "refused")


class Now:
    """Runs at once what a pool would run in a thread."""

    def submit(self, work: Callable[..., None], *arguments: Any) -> None:
        work(*arguments)

    def shutdown(self, **_: Any) -> None:
        pass


class Crash(BaseException):
    """The process died here."""


class Fuse:
    """Counts the calls of its parties and crashes before or after the `at`-th."""

    def __init__(self, at: int = 0, *, after: bool = False, error: BaseException | None = None):
        self.at = at
        self.after = after
        self.error = error or Crash()
        self.calls = 0
        self.name = ""

    def around(self, party: Any) -> Any:
        return _Fused(party, self)

    def pass_on(self, name: str, work: Callable[[], Any]) -> Any:
        self.calls += 1
        blown = self.calls == self.at
        if blown:
            self.name = name
        if blown and not self.after:
            raise self.error
        answer = work()
        if blown:
            raise self.error
        return answer


class _Fused:
    def __init__(self, party: Any, fuse: Fuse) -> None:
        self._party = party
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._party, name)
        if not callable(found):
            return found

        def call(*arguments: Any, **named: Any) -> Any:
            return self._fuse.pass_on(name, lambda: found(*arguments, **named))

        return call


class Site:
    """A journal on disk, a batch system and a hub; agents come and go."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.clock = Clock()
        self.hub = StoryHub()
        self.batch = FakeBatch(folder, (CPU,), self.clock, forgetful=True)
        self.config = AgentConfig.model_validate(
            {"hub": "http://hub.test", "credential_file": "credential", "dir": folder} | settings
        )
        self.journal: Journal | None = None

    def agent(self, fuse: Fuse | None = None) -> Agent:
        """A new start of the agent on the same journal."""
        if self.journal is not None:
            self.journal.close()
        self.journal = Journal(self.folder / "journal.sqlite")
        self.journal._db.execute("PRAGMA synchronous=OFF")  # processes die here, no machines
        fuse = fuse or Fuse()
        parties = (self.batch, self.hub, self.journal)
        batch, hub, journal = (fuse.around(each) for each in parties)
        agent = Agent(self.config, batch, hub, journal, self.clock)
        agent._staged.shutdown()
        agent.results.begin = lambda work: work()
        agent._staged = Now()  # type: ignore[assignment]
        return agent

    def cycle(self, agent: Agent) -> None:
        """Each thing that an agent does, once."""
        agent.lease_once(0)
        agent.recover_once()
        agent.watch_once(0)
        agent.send_once()
        agent.results_once()

    def go_on(self) -> None:
        """The batch system's next step: what runs ends, what waits begins."""
        self.clock.pass_s(3)
        for attempt in self.batch.running():
            self.batch.say(attempt, b"done\n")
            workdir = Path(self.batch.start_of(attempt).workdir)
            (workdir / "result.txt").write_text("42\n")
            self.batch.end(attempt)
        for attempt in self.batch.waiting():
            self.batch.begin(attempt)
            self.batch.say(attempt, b"hello\n")

    def close(self) -> None:
        if self.journal is not None:
            self.journal.close()
        shutil.rmtree(self.folder, ignore_errors=True)
