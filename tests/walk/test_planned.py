"""A site added in a scenario and the same site enrolled in a live hub: the same placements.

The hub is `meyrin up`, a process of its own; sites are let in by `meyrin site enrol` and join with
the line that it prints. Their agents are the real ones, over HTTP, with journals on disk; only
their batch systems are stories. The hub's wall clock is set from outside, by testbed/clock: it
stands still until the test moves it, and the hub has no door for that.
"""

from __future__ import annotations

import heapq
import io
import mmap
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from tests.walk.facility import FAR_S, Facility, facility, wait_for

from meyrin import Client
from meyrin.agent import config as settings
from meyrin.agent import join
from meyrin.agent.hub import Hub
from meyrin.agent.journal import Journal
from meyrin.agent.loop import Agent
from meyrin.agent.propose import Found
from meyrin.client.connection import Connection
from meyrin.domain.job import JobRequest, Resources
from meyrin.domain.site import Partition
from meyrin.domain.states import WAITING
from meyrin.plan import outcome
from meyrin.plan.scenario import load_scenario
from meyrin.plan.study import points, run_point
from meyrin.testing.batch import FakeBatch
from meyrin.wire.ledger import NewAward

NODE, KIND = 4, "h100"
HOMES = {"alps": 8, "bern": 5}  # nodes
NEW = {"como": 6}
BEGIN_S = 1_800_000_000
END_S = 40 * 3600

QUANTITY = 'source = "assumption: for this test"'
SITE = """
[[{table}]]
name = "{name}"
country = "CH"
accelerator = "h100"
accelerators = {{ value = {count}, unit = "accelerators", {q} }}
node = {{ value = 4, unit = "accelerators/node", {q} }}
price = {{ value = 100, unit = "EUR/MWh", {q} }}
carbon = {{ value = 40, unit = "gCO2/kWh", {q} }}
temperature = {{ value = 10, unit = "degC", {q} }}
link = {{ value = 100, unit = "Gbit/s", {q} }}
owners = [{{ owner = "union", share = {{ value = 1, unit = "1", {q} }} }}]
"""
FACILITY = """
name = "for this test"
[[accelerator]]
name = "h100"
speed = { value = 1, unit = "H100e/accelerator", Q }
draw = { value = 1000, unit = "W/accelerator", Q }
price = { value = 30, unit = "kEUR/accelerator", Q }
[climate]
pue_base = { value = 1.1, unit = "1", Q }
pue_from = { value = 5, unit = "degC", Q }
pue_slope = { value = 0, unit = "1/degC", Q }
season = { value = 0, unit = "degC", Q }
day = { value = 0, unit = "degC", Q }
idle = { value = 0, unit = "1", Q }
[money]
life = { value = 5, unit = "a", Q }
upkeep = { value = 0, unit = "%/a", Q }
building = { value = 9, unit = "MEUR", Q }
building_life = { value = 20, unit = "a", Q }
"""
SCENARIO = """
name = "a new site"
facility = "facility.toml"
begin = 2026-01-05
length = { value = 40, unit = "h", Q }
warm_up = { value = 0, unit = "s", Q }
promise = { value = 1, unit = "h", Q }
seeds = [3]
sizes = ["recorded"]
[rules]
whole_nodes = true
[failures]
rate = { value = 0, unit = "1/(accelerator.d)", Q }
repair = { value = 0, unit = "s", Q }
checkpoint = { value = 0, unit = "s", Q }
restart = { value = 0, unit = "s", Q }
[transfer]
data = { value = 0, unit = "GB/accelerator-h", Q }
use = { value = 1, unit = "1", Q }
[[group]]
name = "all"
share = { value = 1, unit = "1", Q }
[[demand]]
country = "CH"
weight = { value = 1, unit = "1", Q }
[[workload]]
name = "work"
generator = "batch"
median = { value = 5, unit = "h", Q }
spread = { value = 0.8, unit = "1", Q }
largest = { value = 16, unit = "accelerators", Q }
small = { value = 0.9, unit = "1", Q }
overstated = { value = 1.5, unit = "1", Q }
load = { value = 1.2, unit = "1", Q }
[[option]]
name = "new site"
one_queue = true
"""


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenario")
    sites = "".join(
        SITE.format(table="site", name=name, count=NODE * nodes, q=QUANTITY)
        for name, nodes in HOMES.items()
    )
    new = "".join(
        SITE.format(table="option.site", name=name, count=NODE * nodes, q=QUANTITY)
        for name, nodes in NEW.items()
    )
    (folder / "facility.toml").write_text(FACILITY.replace("Q }", QUANTITY + " }") + sites)
    (folder / "scenario.toml").write_text(SCENARIO.replace("Q }", QUANTITY + " }") + new)
    point = points(load_scenario(folder / "scenario.toml"))[1]
    files = run_point(point)
    return pq.read_table(io.BytesIO(files[outcome.JOBS_FILE])).to_pandas()


class Clock:
    """The hub's wall clock: a file that it has mapped."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(8))
        with path.open("r+b") as file:
            self._ns = mmap.mmap(file.fileno(), 8)
        self.set(0)

    def set(self, now_s: int) -> None:
        self.now_s = now_s
        self._ns[:] = ((BEGIN_S + now_s) * 10**9).to_bytes(8, "little")

    def __call__(self) -> int:
        return (BEGIN_S + self.now_s) * 1000


@dataclass
class Site:
    """A real agent, with a batch system that is a story; attempts by the job's name."""

    agent: Agent
    batch: FakeBatch
    connection: Connection
    attempts: dict[int, str] = field(default_factory=dict)

    def take(self) -> list[int]:
        """Take what the hub has for this site and start it at once; the jobs."""
        self.agent.lease_once(0.0)
        new = {int(self.batch.start_of(one).name): one for one in self.batch.waiting()}
        for attempt in new.values():
            self.batch.begin(attempt)
        self.attempts |= new
        if new:
            self.tell()
        return list(new)

    def end(self, job: int) -> None:
        self.batch.end(self.attempts[job])
        self.tell()

    def tell(self) -> None:
        self.agent.watch_once(0.0)
        self.agent.send_once()


@dataclass
class Play:
    """Jobs by their clock: ends, then arrivals, then all that the hub starts at that time."""

    clock: Clock
    client: Client
    sites: dict[str, Site]
    jobs: pd.DataFrame
    waiting: dict[int, int] = field(default_factory=dict)
    ending: list[tuple[int, int, str]] = field(default_factory=list)
    placed: dict[int, tuple[str, int, int]] = field(default_factory=dict)

    def run(self) -> None:
        arrivals = {at: list(jobs) for at, jobs in groupby(
            self.jobs.itertuples(), key=lambda job: int(job.submit_s)
        )}  # fmt: skip
        coming = sorted(arrivals, reverse=True)
        while coming or self.ending:
            ends_s = self.ending[0][0] if self.ending else FAR_S
            now_s = min(coming[-1] if coming else FAR_S, ends_s)
            if now_s >= END_S:
                return
            self.clock.set(now_s)
            for site in self.sites.values():
                assert site.take() == []  # it answers; nothing starts because time passes
            ended = [heapq.heappop(self.ending) for _ in range(self.due(now_s))]
            arrived = arrivals[coming.pop()] if coming and coming[-1] == now_s else []
            # a hub decides between two pieces of news; the planner hears all of a second first
            assert len(ended) + bool(arrived) == 1, f"two things happen at {now_s} s"
            for _, job, name in ended:
                self.sites[name].end(job)
            if arrived:
                made = self.client.submit_many(
                    (request(job), f"planned-{job.job}") for job in arrived
                )
                self.waiting |= {
                    int(job.job): one.job for job, one in zip(arrived, made, strict=True)
                }
            wait_for(self.settled, f"the hub to start what can start at {now_s} s")

    def due(self, now_s: int) -> int:
        return sum(end_s == now_s for end_s, _, _ in self.ending)

    def settled(self) -> bool:
        """Whether the sites started all that the hub gave, and it says that nothing more can."""
        new = [(name, job) for name, site in self.sites.items() for job in site.take()]
        for name, job in new:
            del self.waiting[job]
            end_s = self.clock.now_s + int(self.jobs.run_s[job])
            self.placed[job] = (name, self.clock.now_s, end_s)
            heapq.heappush(self.ending, (end_s, job, name))
        return not new and not any(self.may_start(number) for number in self.waiting.values())

    def may_start(self, number: int) -> bool:
        said = self.client.explain(number)
        now_s = BEGIN_S + self.clock.now_s
        placed = said.state not in {str(state) for state in WAITING}
        return placed or (said.where is not None and said.where.expected_start_s <= now_s)


def request(job: Any) -> JobRequest:
    nodes = -(-int(job.accelerators) // NODE)
    resources = Resources(
        nodes_min=nodes,
        nodes_max=nodes,
        memory_mb=10,
        accelerators=NODE,
        accelerators_per="node",
    )
    return JobRequest(
        script="#!/bin/sh\ntrue\n",
        name=str(job.job),
        resources=resources,
        walltime_s=int(job.requested_s),
    )


def joined(town: Facility, clock: Clock, name: str, nodes: int) -> Site:
    """Let in by the administrator's command; joined by the operator with the line it prints."""
    told = town.meyrin("site", "enrol", name, "--lend", env=town.hub.environ)
    assert told.returncode == 0, told.stderr
    (line,) = (each for each in told.stdout.splitlines() if join.ENROLMENT in each)
    enrolment = dict([line.split()[0].split("=", 1)])
    at = join.place(name, town.hub.url, town.root / name)
    join.take_enrolment(at, enrolment, clock())
    part = Partition("gpu", nodes, 8, 1000, NODE, KIND, whole_node=True)
    join.write_settings(at, Found((part,)), "UTC")
    chosen = settings.load(at.config)
    chosen.dir.mkdir(mode=0o700)
    journal = Journal(chosen.dir / "journal.sqlite")
    connection = Connection(chosen.hub, chosen.credential)
    hub = Hub(connection, journal.name_start("the-only-start", 1))
    batch = FakeBatch(chosen.dir, (part,), clock)
    agent = Agent(chosen, batch, hub, journal, clock)
    agent.hello()
    return Site(agent, batch, connection)


@pytest.fixture
def town(tmp_path: Path, test_clock: Path) -> Iterator[tuple[Facility, Clock]]:
    """A running hub and its clock."""
    file = tmp_path / "clock"
    clock = Clock(file)
    with facility(tmp_path) as made:
        made.hub.environ |= {"LD_PRELOAD": str(test_clock), "TEST_CLOCK": str(file)}
        made.hub.start()
        yield made, clock


def csv(rows) -> bytes:
    return "".join(",".join(map(str, row)) + "\n" for row in rows).encode()


@pytest.mark.slow
def test_the_scenario_and_the_hub_place_every_job_alike(planned, town):
    """Byte for byte, with jobs at every site, the new one too, and some that had to wait."""
    made, clock = town
    sites = {name: joined(made, clock, name, nodes) for name, nodes in (HOMES | NEW).items()}
    with ExitStack() as stack, made.hub.client() as client:
        for site in sites.values():
            stack.callback(site.connection.close)
            stack.callback(site.agent.journal.close)
        client.ledger.award(
            NewAward(
                project="home",
                charged_type=KIND,
                amount_s=10**13,
                end_s=FAR_S,
                reason="for the test",
                key="the-only-award",
            )
        )
        client.connection.call("PUT", "/policy", repeatable=True, json={"reserve_depth": 1})
        play = Play(clock, client, sites, planned)
        play.run()
        assert client.verify().findings == []
    live = csv((job, *play.placed.get(job, ("", -1, -1))) for job in planned.job)
    columns = (planned.job, planned.site.astype(str), planned.start_s, planned.end_s)
    assert live == csv(zip(*columns, strict=True))
    assert {*HOMES, *NEW} <= set(planned.site)
    assert (planned.start_s > planned.submit_s).sum() > 5
    assert len(planned) > 60
