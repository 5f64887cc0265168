"""A whole hub in this process, with sites and jobs in every state, served on a free port."""

from __future__ import annotations

import base64
import hashlib
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import sqlalchemy.dialects.postgresql  # plumbing.database expects it to be loaded
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient
from tests import components, tables
from tests.hub.evaluations import rows as gate_rows

from meyrin.domain.job import ArraySpec, JobRequest, Resources
from meyrin.domain.site import OwnerShare, Partition
from meyrin.domain.states import JobState
from meyrin.hub.agents import service as agents
from meyrin.hub.app import create
from meyrin.hub.broker import service as broker
from meyrin.hub.calls import service as calls
from meyrin.hub.identity import roles
from meyrin.hub.identity import service as identity
from meyrin.hub.jobs import change, files, output
from meyrin.hub.jobs import service as jobs
from meyrin.hub.owners import service as owners
from meyrin.hub.plumbing.authz import Actor
from meyrin.hub.plumbing.bell import Bell
from meyrin.hub.plumbing.blobs import Blobs
from meyrin.hub.plumbing.database import Database
from meyrin.hub.plumbing.settings import HubSettings
from meyrin.hub.plumbing.world import world
from meyrin.hub.sites import presence
from meyrin.hub.sites import service as sites
from meyrin.suites import handed
from meyrin.wire.agents import Chunk, Report, ResultsBody, UsageBody
from meyrin.wire.jobs import FileView, Submission

NOW_MS = 1_800_000_000_000
HOUR = 3600
ALL = ["alpha", "beta", "gamma", "delta", "epsilon"]
HOSTILE = [
    "<script>window.hacked=1</script>",
    '"><img src=x onerror=window.hacked=1>',
    "{{7*7}} ${7*7} <b>bold</b>",
    "обучение 训练 تدريب 🦋",
]
SCRIPT = "#!/bin/bash\necho '</pre><script>window.hacked=1</script>'\n"
NO_EVIDENCE = (
    b"suite safety 1.0.0, seed 1, at alpha\n"
    b"no evidence: shard 1 ended with 1: ValueError: <script>window.hacked=1</script>\n"
    + handed.AGAIN.encode()
    + b"\n"
)

ABOUT = {
    "version": "1.2.3",
    "scheduler": "slurm 22.05.8",
    "transport": "Slurm's commands",
    "rules": ["at most 20 jobs at once", "quiet hours: <b>Mon</b> 08:00-18:00 (UTC)"],
}


@dataclass
class Clock:
    now_ms: int = NOW_MS

    def __call__(self) -> int:
        return self.now_ms

    def pass_s(self, seconds: float) -> None:
        self.now_ms += int(seconds * 1000)


@dataclass
class Hub:
    """The application with its database, and short ways to bring about what pages show."""

    app: FastAPI
    database: Database
    blobs: Blobs
    clock: Clock
    url: str = ""
    statements: list[str] = field(default_factory=list)
    site_ids: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)

    # --- people

    def person(self, name: str, *projects: str, admin: bool = False) -> Actor:
        """A new person, lead of these projects, which are made where they are missing."""
        with self.database.write() as step:
            who = identity.new_person(step, name, admin=admin)
            if admin:  # as the first administrator of a hub is
                roles.give(step, "facility", "", "programme-officer", by=name, person=who)
            root = Actor(person=who.id, name=name, admin=True)
            for project in projects:
                known = {each.name for each in identity.all_projects(step, "", 100)[0]}
                if project not in known:
                    identity.new_project(step, project, f"The {project} project", lead=who.id)
                else:
                    identity.add_member(step, root, project, name, "member")
        return self.actor(name)

    def actor(self, name: str) -> Actor:
        with self.database.write() as step:
            who = identity.person_by_name(step, name)
            secret = identity.new_token(step, who.id, "test")[1]
            return identity.authenticate(step, secret, identity.PERSON_KINDS)

    def link(self, name: str) -> str:
        """The secret of a log-in link of a person."""
        with self.database.write() as step:
            return identity.login_link(step, identity.person_by_name(step, name).id)

    def cookie(self, name: str) -> str:
        """A browser's session of a person."""
        link = self.link(name)
        with self.database.write() as step:
            return identity.use_login_link(step, link)

    def client(self, name: str | None = None) -> TestClient:
        client = TestClient(
            self.app,
            base_url="http://hub.test",
            headers={"accept": "text/html,*/*"},
            follow_redirects=False,
        )
        if name is not None:
            client.cookies.set(identity.SESSION_COOKIE, self.cookie(name))
        return client

    def award(self, project: str, charged_type: str, hours: int) -> None:
        with self.database.write() as step:
            found = next(p for p in identity.all_projects(step, "", 100)[0] if p.name == project)
            now = step.now_s
            calls.award(
                step,
                found.id,
                charged_type,
                hours * HOUR,
                start_s=now,
                end_s=now + 90 * 24 * HOUR,
                reason="for the <b>tests</b>",
            )

    # --- sites

    def site(self, name: str, title: str, *partitions: Partition) -> str:
        """A site whose agent says hello, with an offer of each partition by two owners."""
        with self.database.write() as step:
            made, _ = sites.enrol(step, name, title)
            self.site_ids[name] = made.id
            if partitions:
                sites.announce(step, made.id, "slurm", partitions, "first", ABOUT)
            for each in partitions:
                owners = [OwnerShare("cern", 2), OwnerShare("uni-x", 1)]
                sites.lend(step, name, each.name, owners, start_s=step.now_s)
        return made.id

    def hear(self, *names: str) -> None:
        for name in names:
            with self.database.write() as step:
                presence.heard(step, self.site_ids[name])

    # --- jobs

    def submit(self, actor: Actor, request: JobRequest) -> int:
        key = secrets.token_hex(8)
        with self.database.write() as step:
            submission = Submission(request=request, idempotency_key=key)
            return jobs.submit(step, actor, [submission])[0].job

    def place(self) -> None:
        broker.step_once(self.database)

    def lease(self, name: str) -> None:
        with self.database.write() as step:
            agents.lease(step, self.site_ids[name], "first", 500, 30)

    def attempt(self, job: int) -> Any:
        with self.database.read() as step:
            statement = sa.text(
                "select j.attempt, j.epoch, a.site_id from jobs j join attempts a "
                "on a.id = j.attempt where j.id = :job"
            )
            found = step.one(statement, job=job)
        assert found is not None, f"job {job} was not placed"
        return found

    def report(self, job: int, phase: str, **more: Any) -> None:
        found = self.attempt(job)
        with self.database.write() as step:
            body = {"attempt": found.attempt, "epoch": found.epoch, "at_ms": step.now_ms}
            stale = agents.report(
                step, found.site_id, [Report.model_validate({**body, "phase": phase, **more})]
            )
        assert not stale

    def start(self, job: int) -> None:
        self.report(job, "running", start_ms=self.clock.now_ms, batch_job=str(40000 + job))

    def end(self, job: int, exit_code: int = 0, elapsed_s: int = 60, **more: Any) -> None:
        self.report(
            job,
            "ended",
            start_ms=self.clock.now_ms - elapsed_s * 1000,
            end_ms=self.clock.now_ms,
            batch_job=str(40000 + job),
            end="exit",
            exit_code=exit_code,
            usage=UsageBody(elapsed_s=elapsed_s),
            **more,
        )

    def say(self, job: int, text: bytes, stream: str = "stdout", *, most: int = 2**26) -> None:
        """The job prints; so many bytes of it are kept."""
        found = self.attempt(job)
        with self.database.write() as step:
            row = step.one(
                sa.text("select size from streams where attempt = :a and stream = :s"),
                a=found.attempt,
                s=stream,
            )
            piece = {
                "attempt": found.attempt,
                "stream": stream,
                "offset": row.size if row else 0,
                "data": base64.b64encode(text),
            }
            output.take(step, found.site_id, [Chunk.model_validate(piece)], most)

    def leave(self, job: int, *names: str) -> None:
        """The job left these files."""
        found = self.attempt(job)
        data = b"result" * 1000
        digest = hashlib.sha256(data).hexdigest()
        files.upload(self.database, self.blobs, found.site_id, digest, 0, len(data), data)
        left = [FileView(name=name, sha256=digest, size=len(data)) for name in names]
        with self.database.write() as step:
            body = ResultsBody(
                attempt=found.attempt, epoch=found.epoch, state="complete", files=left
            )
            agents.results(step, found.site_id, body)

    def tested(self, job: int) -> None:
        """The hub received evidence of what the job tested."""
        with self.database.write() as step:
            gate_rows.receive(step, self.attempt(job).attempt)

    def move(self, job: int, *states: JobState) -> None:
        with self.database.write() as step:
            row = change.locked(step, [job])[job]
            change.apply(
                step,
                [change.Move(row, tuple((state, step.now_ms) for state in states), row.attempt)],
            )

    @contextmanager
    def counted(self) -> Iterator[list[str]]:
        self.statements.clear()
        yield self.statements


def build(folder: Path, db_url: str = "") -> Hub:
    # the broker remembers requests by number for its process, and here are several hubs in one
    getattr(broker, "_asked", {}).clear()
    clock = Clock()
    settings = HubSettings(dir=folder, db_url=db_url)
    database = Database(
        settings.database_url, clock_ms=clock, entropy=lambda: secrets.token_bytes(16), bell=Bell()
    )
    blobs = Blobs(settings.store_url)
    app = create(settings, database, blobs)
    tables.create(database.engine)
    with database.write() as step:
        step.add(world, [{"one": 1, "version": 1}])
    made = Hub(app, database, blobs, clock)

    def note(_conn, _cursor, statement, _parameters, _context, _many):
        if not statement.startswith("BEGIN"):
            made.statements.append(statement)

    sa.event.listen(database.engine, "before_cursor_execute", note)
    return made


def fill(made: Hub) -> None:
    """Five sites, three people, jobs in every state; names that try to break pages."""
    ana = made.person("ana", "climate", "genome")
    eve = made.person("eve", "secret")
    made.person("root", admin=True)
    made.person("newcomer")
    for project in ("climate", "secret"):
        made.award(project, "h100", 400)
        made.award(project, "core", 20000)
    h100 = Partition("gpu", 4, 64, 512_000, 4, "h100", max_walltime_s=24 * HOUR)
    cpu = Partition("cpu", 4, 32, 128_000, default_walltime_s=HOUR, features=("avx512", "ssd"))
    made.site("alpha", "Alpha computing <script>window.hacked=1</script>", h100, cpu)
    made.site("beta", "Институт Бета", Partition("big", 40, 64, 512_000, 4, "h100"))
    made.site("gamma", "gamma", Partition("gpu", 2, 64, 512_000, 4, "a100"))
    made.site("delta", "Delta", Partition("cpu", 2, 16, 64_000, whole_node=True))
    made.site("epsilon", "Epsilon, not yet here")
    with made.database.write() as step:
        root = Actor(person="x", name="root", admin=True)
        sites.drain(step, root, "delta", "new <b>cooling</b> until Friday")
        gate_rows.add(step, identity.project_by_name(step, root, "climate").id, "seventeen")
    _first_hours(made, ana)
    made.clock.pass_s(120)
    made.hear("alpha", "beta", "delta")
    _now(made, ana)
    with made.database.write() as step:
        owners.speak(step, Actor(person="x", name="root", admin=True), "state", "ana")
    made.numbers["secret"] = made.submit(eve, gpu("not for ana", 1, project="secret"))
    made.place()


def gpu(name: str, count: int, **more: Any) -> JobRequest:
    more = {"walltime_s": HOUR, "script": SCRIPT, "sites": ("alpha",), **more}
    return JobRequest(
        name=name,
        project=more.pop("project", "climate"),
        resources=Resources(accelerators=count, nodes_min=max(1, count // 4)),
        **more,
    )


def _first_hours(made: Hub, ana: Actor) -> None:
    """Jobs that have ended."""
    numbers = made.numbers
    numbers["completed"] = made.submit(
        ana, gpu("train <script>window.hacked=1</script>", 4, output_files=("*.npz",))
    )
    numbers["failed"] = made.submit(ana, gpu(HOSTILE[1], 1))
    numbers["untested"] = made.submit(ana, gpu("suite-safety", 1, **handed_in()))
    numbers["tested"] = made.submit(ana, gpu("suite-safety", 1, **handed_in()))
    numbers["early"] = made.submit(ana, gpu(HOSTILE[2], 1, held=True))
    numbers["late"] = made.submit(
        ana, gpu("too late", 1, held=True, deadline_s=made.clock() // 1000 + 3602)
    )
    made.place()
    made.lease("alpha")
    for name in ("completed", "failed", "untested", "tested"):
        made.report(numbers[name], "queued")
        made.clock.pass_s(3)
        made.start(numbers[name])
    made.say(numbers["completed"], "epoch 1: точность 0.91 ✓\n".encode() * 30)
    made.say(numbers["failed"], b"Traceback: <script>window.hacked=1</script>\n", "stderr")
    made.say(numbers["untested"], NO_EVIDENCE)
    made.clock.pass_s(754)
    made.end(numbers["untested"], exit_code=1, elapsed_s=754)
    made.end(numbers["completed"], elapsed_s=754, results_follow=True)
    made.leave(numbers["completed"], "model 1.npz", "<img src=x onerror=window.hacked=1>.npz")
    made.end(numbers["tested"], elapsed_s=754)
    made.tested(numbers["tested"])
    made.end(numbers["failed"], exit_code=3, elapsed_s=754)
    with made.database.write() as step:
        jobs.cancel(step, ana, str(numbers["early"]))
    made.place()  # the deadline has passed


def handed_in() -> dict[str, Any]:
    """What of a request makes it a run of a suite."""
    return {"script": handed.SCRIPT, "output_files": (handed.FILE,)}


def _now(made: Hub, ana: Actor) -> None:
    """Jobs that are under way."""
    numbers = made.numbers
    order = ("running", "queued", "leased", "preempted", "strange")
    for name in order:
        numbers[name] = made.submit(ana, gpu(f"{name} {HOSTILE[3]}", 1))
    numbers["array"] = made.submit(
        ana,
        JobRequest(
            name="sweep of π",
            project="climate",
            script=SCRIPT,
            walltime_s=HOUR,
            sites=("alpha", "beta"),
            array=ArraySpec(tuple(range(0, 48, 2)), 8),
            resources=Resources(tasks=1, cores_per_task=2),
        ),
    )
    made.place()
    made.lease("alpha")
    made.lease("beta")
    for name in ("running", "preempted", "strange", "queued"):
        made.report(numbers[name], "queued")
    for name in ("running", "preempted"):
        made.start(numbers[name])
    made.move(numbers["preempted"], JobState.PREEMPTED)
    made.report(numbers["strange"], "running", start_ms=made.clock.now_ms, site_word="REVOKED<i>")
    first = numbers["array"]
    for job in range(first, first + 6):
        made.start(job)
    made.clock.pass_s(75)
    for job in range(first, first + 4):
        made.end(job, exit_code=1 if job == first + 2 else 0, elapsed_s=75)
    made.say(numbers["running"], b"begin\n")
    numbers["waiting"] = made.submit(ana, gpu("wants it all", 16, walltime_s=2 * HOUR))
    numbers["held"] = made.submit(ana, gpu("held back", 1, held=True))
    made.place()
    made.lease("alpha")
    numbers["placed"] = made.submit(ana, gpu("on its way", 2))
    made.hear("alpha", "beta", "delta")
    made.place()


# --- fixtures


@contextmanager
def served(made: Hub) -> Iterator[Hub]:
    """The hub on a free port, by a real server in a thread."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        made.app, log_level="error", ws="none", lifespan="off", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="hub")
    thread.start()
    made.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    yield made
    server.should_exit = True
    server.force_exit = True
    thread.join(20)
    assert not thread.is_alive()
    listener.close()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A served hub with a little of everything. Tests of a module share it."""
    made = build(tmp_path_factory.mktemp("hub"))
    fill(made)
    with served(made):
        yield made
    made.database.close()


@pytest.fixture
def empty_hub(tmp_path: Path) -> Iterator[Hub]:
    """A served hub on its first day: one administrator, nothing else."""
    made = build(tmp_path)
    made.person("root", admin=True)
    with served(made):
        yield made
    made.database.close()


@pytest.fixture
def own_hub(tmp_path: Path) -> Iterator[Hub]:
    """A served hub with a little of everything, which this test may change."""
    made = build(tmp_path)
    fill(made)
    with served(made):
        yield made
    made.database.close()


@pytest.fixture
def hub(tmp_path: Path, database_url: str) -> Iterator[Hub]:
    """A hub of this test's own with a little of everything, on either database, not served."""
    made = build(tmp_path, database_url)
    fill(made)
    yield made
    made.database.close()


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.real)])
def shown(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Hub]:
    """As `hub`, but the tests of a module share it: they only look."""
    with ExitStack() as held:
        url = ""
        if request.param == "postgres":
            server = request.getfixturevalue("postgres_url")
            url = held.enter_context(components.postgres_database(server))
        made = build(tmp_path_factory.mktemp("shown"), url)
        held.callback(made.database.close)
        fill(made)
        yield made
