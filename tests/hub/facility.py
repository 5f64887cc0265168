"""A whole hub in this process, on a clock that the test moves, and agents that are only scripts.

A scripted agent speaks the wire like a real one and has no batch system: the test says what
happened at the site.
"""

from __future__ import annotations

import copy
import random
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.datastructures import State

from meyrin.domain.job import JobRequest, Resources
from meyrin.domain.site import OwnerShare, Partition
from meyrin.hub import app
from meyrin.hub.broker import explaining
from meyrin.hub.broker import service as broker
from meyrin.hub.calls import service as calls
from meyrin.hub.calls.public_clocks import Board
from meyrin.hub.identity import roles
from meyrin.hub.identity import service as identity
from meyrin.hub.jobs import service as jobs
from meyrin.hub.ledger import service as ledger
from meyrin.hub.plumbing.authz import Actor
from meyrin.hub.plumbing.bell import Bell
from meyrin.hub.plumbing.blobs import Blobs
from meyrin.hub.plumbing.database import Database
from meyrin.hub.plumbing.settings import HubSettings
from meyrin.hub.sites import service as sites
from meyrin.wire.agents import (
    Chunk,
    HelloBody,
    LeaseReply,
    OutputBody,
    Report,
    ReportsBody,
    UsageBody,
    Work,
)
from meyrin.wire.jobs import Accepted, JobDetail, Submission
from meyrin.wire.sites import About

T = TypeVar("T")
NOW_MS = 1_800_000_000_000
CPU = Partition("cpu", 4, 8, 32_000, max_walltime_s=86_400, default_walltime_s=600)
GPU = Partition("gpu", 2, 32, 256_000, 4, "gh200", max_walltime_s=86_400, default_walltime_s=600)
ONE_CORE = Resources(tasks=1, memory_mb=100)
SCRIPT = "#!/bin/sh\ntrue\n"


@dataclass
class Clock:
    now_ms: int = NOW_MS

    def __call__(self) -> int:
        return self.now_ms

    def pass_s(self, seconds: float) -> None:
        self.now_ms += int(seconds * 1000)

    @property
    def now_s(self) -> int:
        return self.now_ms // 1000


@dataclass
class Who:
    """A person with a token, or an agent of a site."""

    name: str
    id: str
    secret: str


@dataclass
class Facility:
    """The hub, and short ways to people, projects, sites, jobs and time."""

    database: Database
    clock: Clock
    folder: Path
    settings: HubSettings
    blobs: Blobs
    statements: list[str] = field(default_factory=list)
    people: dict[str, Who] = field(default_factory=dict)
    projects: dict[str, str] = field(default_factory=dict)
    agents: dict[str, ScriptedAgent] = field(default_factory=dict)
    others: list[Database] = field(default_factory=list)
    keys: int = 0

    def __post_init__(self) -> None:
        self.app = _app(self.settings, self.database, self.blobs)
        self.listen(self.database)

    # --- the database

    def read(self):
        return self.database.read()

    def write(self):
        return self.database.write()

    def listen(self, database: Database) -> None:
        def note(_conn, _cursor, statement, _parameters, _context, _many):
            if not statement.startswith("BEGIN"):
                self.statements.append(statement)

        sa.event.listen(database.engine, "before_cursor_execute", note)

    @contextmanager
    def counting(self) -> Iterator[list[str]]:
        """The SQL statements that run inside, transactions' own apart."""
        self.statements.clear()
        yield self.statements

    def second_hub(self) -> Database:
        """An equal hub on the same database, with a bell of its own."""
        other = Database(self.database.url, clock_ms=self.clock, entropy=_entropy(99), bell=Bell())
        self.others.append(other)
        return other

    def close(self) -> None:
        for database in (self.database, *self.others):
            database.close()

    # --- people and projects

    def person(self, name: str, *, admin: bool = False, officer: bool | None = None) -> Who:
        """An administrator is a programme officer too, as the first one is, unless said."""
        with self.write() as step:
            found = identity.new_person(step, name, admin=admin)
            if admin if officer is None else officer:
                roles.give(step, "facility", "", "programme-officer", by="test", person=found)
            secret = identity.new_token(step, found.id, "test")[1]
        self.people[name] = Who(name, found.id, secret)
        return self.people[name]

    def project(self, name: str, lead: str, *members: str) -> str:
        root = Actor(person="root", admin=True)
        with self.write() as step:
            made = identity.new_project(step, name, lead=self.people[lead].id)
            for member in members:
                identity.add_member(step, root, name, member, "member")
        self.projects[name] = made.id
        return made.id

    def award(
        self, project: str, charged_type: str = "core", hours: float = 1000, days: int = 365
    ) -> str:
        with self.write() as step:
            return calls.award(
                step,
                self.projects[project],
                charged_type,
                int(hours * 3600),
                start_s=step.now_s,
                end_s=step.now_s + days * 86_400,
                reason="for the test",
            ).id

    def actor(self, name: str) -> Actor:
        with self.read() as step:
            return identity.authenticate(step, self.people[name].secret, identity.PERSON_KINDS)

    def client(self, name: str | None = None, secret: str | None = None) -> TestClient:
        """A client with the token of a person, of a site's agent, or of nobody."""
        if name in self.people:
            secret = self.people[name].secret
        elif name is not None:
            secret = self.agents[name].secret
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        return TestClient(
            self.app,
            base_url="http://hub.test",
            headers=headers,
            follow_redirects=False,
            raise_server_exceptions=False,
        )

    # --- sites

    def site(self, name: str, *partitions: Partition, lend: bool = True) -> ScriptedAgent:
        with self.write() as step:
            site, secret = sites.enrol(step, name)
            if lend:
                for partition in partitions:
                    owners = (OwnerShare(f"{name}-owner", 1),)
                    sites.lend(step, name, partition.name, owners, start_s=step.now_s)
        agent = ScriptedAgent(self, name, site.id, secret, partitions)
        agent.hello()
        self.agents[name] = agent
        return agent

    def drain(self, site: str, reason: str = "floor is wet") -> None:
        with self.write() as step:
            sites.drain(step, Actor(person="root", name="root", admin=True), site, reason)

    # --- jobs

    def key(self) -> str:
        self.keys += 1
        return f"key-{self.keys:06d}"

    def ask(self, script: str = SCRIPT, **wanted: Any) -> JobRequest:
        wanted.setdefault("resources", ONE_CORE)
        wanted.setdefault("project", "lab")
        return JobRequest(script=script, **wanted)

    def submit(self, *requests: JobRequest, by: str = "ada", **wanted: Any) -> int:
        """Submit; the number of the first job."""
        if not requests:
            requests = (self.ask(**wanted),)
        sent = [Submission(request=one, idempotency_key=self.key()) for one in requests]
        return self.submit_all(sent, by=by)[0].job

    def submit_all(self, submissions: list[Submission], by: str = "ada") -> list[Accepted]:
        actor = self.actor(by)
        with self.write() as step:
            return jobs.submit(step, actor, submissions)

    def step(self, database: Database | None = None) -> int:
        """One broker step; how many jobs were placed."""
        return broker.step_once(database or self.database)

    def steps(self) -> int:
        """Broker steps until nothing more is placed; how many jobs were."""
        total = 0
        while placed := self.step():
            total += placed
        return total

    def detail(self, label: object, by: str = "root") -> JobDetail:
        actor = self.actor(by)
        with self.read() as step:
            return jobs.detail(step, actor, str(label))

    def state(self, label: object) -> str:
        return self.detail(label).job.state

    def states(self, *labels: object) -> list[str]:
        return [self.state(label) for label in labels]

    def cancel(self, label: object, by: str = "ada") -> Any:
        actor = self.actor(by)
        with self.write() as step:
            return jobs.cancel(step, actor, str(label))

    def explain(self, label: object, by: str = "ada") -> Any:
        actor = self.actor(by)
        with self.read() as step:
            return explaining.explain(step, actor, str(label))

    def balance(self, allocation: str) -> ledger.Balance:
        with self.read() as step:
            return ledger.balances(step, [allocation])[allocation]

    def books_balance(self) -> None:
        """The ledger adds up."""
        with self.read() as step:
            found = ledger.verify(step)
        assert not found, found

    def everything(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every table: to see that nothing changed."""
        from meyrin.hub.plumbing.database import metadata

        with self.read() as step:
            return {
                table.name: sorted(map(tuple, step.rows(sa.select(table))), key=repr)
                for table in metadata.sorted_tables
            }


@dataclass
class ScriptedAgent:
    """The agent of a site, over the wire. The test plays its batch system."""

    hub: Facility
    name: str
    site_id: str
    secret: str
    partitions: tuple[Partition, ...]
    incarnation: str = "first"
    rules_mark: str = ""

    def post(self, path: str, body: Any) -> Any:
        client = self.hub.client(secret=self.secret)
        headers = {"content-type": "application/json"}
        return client.post(f"/api/v1/agent/{path}", content=body.model_dump_json(), headers=headers)

    def hello(self, incarnation: str = "first") -> None:
        self.incarnation = incarnation
        body = HelloBody(
            incarnation=incarnation,
            version="1",
            batch_kind="scripted",
            partitions=list(self.partitions),
            about=About(rules_mark=self.rules_mark) if self.rules_mark else None,
        )
        assert self.post("hello", body).status_code == 200

    def lease_raw(self, most: int = 500, wait_s: float = 0) -> Any:
        return self.hub.client(secret=self.secret).post(
            "/api/v1/agent/lease",
            json={"incarnation": self.incarnation, "most": most, "wait_s": wait_s},
        )

    def lease(self, most: int = 500) -> LeaseReply:
        answer = self.lease_raw(most)
        assert answer.status_code == 200, answer.text
        return LeaseReply.model_validate_json(answer.content)

    def report(self, *reports: Report) -> list[str]:
        """Tell the hub; the attempts that it calls stale."""
        answer = self.post("reports", ReportsBody(reports=list(reports)))
        assert answer.status_code == 200, answer.text
        stale: list[str] = answer.json()["stale"]
        return stale

    def said(self, work: Work, phase: str, **known: Any) -> Report:
        known = {
            "at_ms": self.hub.clock(),
            "epoch": work.epoch,
            "batch_job": f"b{work.job}",
        } | known
        return Report.model_validate({"attempt": work.attempt, "phase": phase, **known})

    def held(self, work: Work, why: str) -> Report:
        return self.said(work, "held", why=why, batch_job=None)

    def queued(self, work: Work, **known: Any) -> Report:
        return self.said(work, "queued", **known)

    def running(self, work: Work, **known: Any) -> Report:
        return self.said(work, "running", **({"start_ms": self.hub.clock()} | known))

    def refused(self, work: Work, why: str = "house rule") -> Report:
        return self.said(work, "refused", why=why, batch_job=None, rules_mark=self.rules_mark)

    def ended(self, work: Work, exit_code: int = 0, elapsed_s: int = 10, **known: Any) -> Report:
        end_ms = self.hub.clock()
        measured = {
            "start_ms": end_ms - elapsed_s * 1000,
            "end_ms": end_ms,
            "end": "exit",
            "exit_code": exit_code,
            "usage": UsageBody(elapsed_s=elapsed_s),
        }
        return self.said(work, "ended", **(measured | known))

    def cancelled(self, work: Work) -> Report:
        """It never started."""
        return self.said(work, "ended", end="cancelled", end_ms=self.hub.clock())

    def finish(self, work: Work, exit_code: int = 0, elapsed_s: int = 10) -> None:
        assert self.report(self.ended(work, exit_code, elapsed_s)) == []

    def print(self, *chunks: Chunk) -> dict[str, int]:
        answer = self.post("output", OutputBody(chunks=list(chunks)))
        assert answer.status_code == 200, answer.text
        sizes: dict[str, int] = answer.json()["sizes"]
        return sizes


def chunk(work: Work | str, data: bytes, offset: int = 0, stream: str = "stdout") -> Chunk:
    """As it is on the wire."""
    import base64

    attempt = work if isinstance(work, str) else work.attempt
    return Chunk.model_validate(
        {"attempt": attempt, "stream": stream, "offset": offset, "data": base64.b64encode(data)}
    )


def at_once(count: int, work: Callable[[int], T]) -> list[T]:
    """Run `work(0)`, `work(1)`, … in threads that all begin together."""
    begin = threading.Barrier(count)

    def one(number: int) -> T:
        begin.wait(30)
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return [each.result(60) for each in [pool.submit(one, n) for n in range(count)]]


def _app(settings: HubSettings, database: Database, blobs: Blobs) -> FastAPI:
    """`hub.app.create`, but the routes are put together once: that is most of a test's time."""
    if not _first:
        _first.append(app.create(settings, database, blobs))
    made = copy.copy(_first[0])
    own = {"settings": settings, "database": database, "blobs": blobs, "clocks": Board(database)}
    made.state = State(dict(made.state._state) | own)
    made.middleware_stack = None
    return made


_first: list[FastAPI] = []


def _entropy(seed: int) -> Callable[[], bytes]:
    chance = random.Random(seed)
    return lambda: chance.randbytes(16)


def make(url: str, folder: Path, blobs_url: str = "", **settings: Any) -> Facility:
    """A hub on a database that is migrated already: an administrator, a project, two people."""
    clock = Clock()
    database = Database(url, clock_ms=clock, entropy=_entropy(7), bell=Bell())
    known = HubSettings(dir=folder, db_url=url, blobs_url=blobs_url, **settings)
    hub = Facility(database, clock, folder, known, Blobs(known.store_url))
    hub.person("root", admin=True)
    hub.person("ada")
    hub.person("bob")
    hub.project("lab", "ada", "bob")
    return hub


def copy_sqlite(template: Path, target: Path) -> str:
    shutil.copyfile(template, target)
    return f"sqlite:///{target}"
