"""Clocks that jump hours forward and back: leases, turns, silence and charges stay right.

Hub and agent run in this process, on clocks that the test moves; keeper and jobs are real.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.walk.books import Books, check_balances, check_charges, check_histories, check_runs
from tests.walk.facility import FAR_S, MARK, PARTITION, facility, request, wait_for

from meyrin import Client
from meyrin.agent.config import AgentConfig
from meyrin.agent.hub import Hub
from meyrin.agent.journal import Journal
from meyrin.agent.local import LocalBatch
from meyrin.agent.loop import Agent
from meyrin.cli.machine import Machine
from meyrin.client.connection import Connection
from meyrin.client.place import find_hub
from meyrin.domain.site import OwnerShare, Partition
from meyrin.hub.plumbing import turns
from meyrin.hub.plumbing.settings import HubSettings
from meyrin.wire.ledger import NewAward

HOUR_MS = 3_600_000
PART = Partition(**PARTITION)  # type: ignore[arg-type]
BOTH_WAYS = [(5, -10), (-10, 5)]


def jumping(*ways: tuple[int, int]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("jumps_h", ways, ids=lambda way: f"{way[0]:+d}h{way[1]:+d}h")


@dataclass
class Clock:
    """The wall clock, until somebody sets it."""

    ahead_ms: int = 0

    def __call__(self) -> int:
        return time.time_ns() // 1_000_000 + self.ahead_ms

    def jump(self, hours: float) -> None:
        self.ahead_ms += int(hours * HOUR_MS)


@dataclass
class Town:
    """A hub in this process, with one site whose credential is at hand."""

    root: Path
    mark: str
    machine: Machine
    client: Client
    credential: str
    clock: Clock = field(default_factory=Clock)
    agents_clock: Clock = field(default_factory=Clock)

    def hub(self, incarnation: str) -> Hub:
        return Hub(Connection(self.machine.url, self.credential), incarnation)

    @contextmanager
    def agent(self) -> Iterator[Agent]:
        """The site's agent, working in a thread."""
        file = self.root / "credential"
        config = AgentConfig(
            hub=self.machine.url, credential_file=file, dir=self.root / "site", partition=(PART,),
            grace_s=1,
        )  # fmt: skip
        journal = Journal(config.dir / "journal.sqlite")
        batch = LocalBatch(config.dir / "batch", config.partition, grace_s=1)
        hub = self.hub("the-only-start")
        agent = Agent(config, batch, hub, journal, self.agents_clock)
        thread = threading.Thread(target=agent.run, daemon=True)
        thread.start()
        try:
            yield agent
        finally:
            agent.stop()
            self.machine.database.bell.close()  # lets go of a lease that waits
            thread.join(30)
            batch.stop(cancel=True)
            batch.close()
            hub.connection.close()
            journal.close()


@pytest.fixture
def town(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Town]:
    with facility(tmp_path) as place:
        monkeypatch.setenv(MARK, place.mark)  # keeper and jobs inherit it
        clock = Clock()
        folder = tmp_path / "hub"
        settings = HubSettings(dir=folder, db_url=database_url, port=0, lease_s=30)
        machine = Machine(settings)
        machine.database.clock_ms = clock
        machine.start()
        found = find_hub({}, folder=folder)
        client = Client(found.url, found.token)
        secret = client.sites.enrol("alps").agent_secret
        client.sites.offer("alps", "main", [OwnerShare("ours", 1)], start_s=0)
        client.ledger.award(
            NewAward(key="the first", project="home", charged_type="core", amount_s=10**6,
                     start_s=0, end_s=FAR_S, reason="for the test")
        )  # fmt: skip
        town = Town(tmp_path, place.mark, machine, client, secret, clock)
        try:
            yield town
        finally:
            client.close()
            machine.stop()


def state_of(town: Town, job: int) -> Callable[[], str]:
    return lambda: town.client.job(job).job.state


@pytest.mark.slow
@jumping(*BOTH_WAYS)
def test_jobs_run_and_are_charged_as_if_no_clock_had_jumped(
    town: Town, database_url: str, jumps_h: tuple[int, int]
) -> None:
    marks = town.root / "marks"
    marks.mkdir()
    script = f'echo ran >> "{marks}/$SLURM_JOB_ID"\n'
    gate = town.root / "gate"
    long = script + f'while [ ! -e "{gate}" ]; do sleep 0.05; done\n'
    with town.agent():
        wait_for(lambda: town.client.sites.show("alps").site.last_heard_ms, "the agent")
        through = town.client.submit(request(town.mark, long)).job
        wait_for(lambda: state_of(town, through)() == "running", "the long job to run")
        for which, hours in enumerate(jumps_h):
            town.clock.jump(hours)
            if which:
                town.agents_clock.jump(-2 * hours)  # and they don't agree
            short = town.client.submit(request(town.mark, script)).job
            wait_for(
                lambda short=short: state_of(town, short)() == "completed",
                f"a job after a jump by {hours} h",
            )
            ended = town.client.submit(request(town.mark, "exec sleep 600\n")).job
            wait_for(lambda ended=ended: state_of(town, ended)() == "running", "one to cancel")
            town.client.cancel(ended)
            wait_for(
                lambda ended=ended: state_of(town, ended)() == "cancelled",
                f"a cancellation after a jump by {hours} h",
            )
            assert state_of(town, through)() == "running"
        gate.touch()
        wait_for(lambda: state_of(town, through)() == "completed", "the long job to end")
    books = Books(database_url)
    try:
        check_histories(books)
        assert check_charges(books) == 5
        check_balances(books)
        lines = {int(p.name): len(p.read_text().splitlines()) for p in marks.iterdir()}
        assert check_runs(books, lines) == 3
        (most,) = books.rows("SELECT max(elapsed_s) AS s FROM usage_records")
        assert most.s < 3600, "an hour that a clock jumped was charged"
    finally:
        books.close()
    assert town.client.verify().findings == []


@jumping(*BOTH_WAYS, (5, 5), (-5, -5))
def test_what_got_lost_on_the_way_is_told_again(town: Town, jumps_h: tuple[int, int]) -> None:
    """A lease whose answer was lost, and an order to cancel, come again however clocks jump."""
    hub = town.hub("a-start-that-loses-answers")
    hub.hello("local", [PART])
    job = town.client.submit(request(town.mark, "exit 0\n")).job
    (lost,) = hub.lease(20).work
    assert lost.job == job
    assert hub.lease(0).work == []
    for hours in jumps_h:
        town.clock.jump(hours)
        (again,) = hub.lease(0).work
        assert again == lost
        assert hub.lease(0).work == []
    town.client.cancel(job)
    assert hub.lease(5).cancel == [lost.attempt]
    assert hub.lease(0).cancel == []
    for hours in jumps_h:
        town.clock.jump(hours)
        assert hub.lease(0).cancel == [lost.attempt]
    hub.connection.close()


@jumping(*BOTH_WAYS, (5, 5), (-5, -5))
def test_a_turn_that_a_fast_clock_took_is_over_in_time(
    town: Town, jumps_h: tuple[int, int]
) -> None:
    """Another hub gets the turn within a hundred seconds, whatever the clocks did."""
    database = town.machine.database
    for hours in jumps_h:
        with database.write() as step:
            assert turns.take(step, "some step", "the first", 10_000)
            assert not turns.take(step, "some step", "the second", 10_000)
        town.clock.jump(hours)
        with database.write() as step:
            assert turns.take(step, "some step", "the second", 10_000)
        town.clock.jump(1)
        with database.write() as step:
            assert turns.take(step, "some step", "the first", 10_000)
        town.clock.jump(1)


def test_hours_that_expired_under_a_fast_clock_are_taken_once(
    town: Town, database_url: str
) -> None:
    """What runs is charged from its hold; what was free expires once, and no jump repeats it."""
    client = town.client
    client.projects.create("brief")
    end_s = int(time.time()) + 7200
    told = {"project": "brief", "charged_type": "core", "reason": "two hours"}
    client.ledger.award(NewAward(key="two hours", amount_s=5000, end_s=end_s, **told))
    gate = town.root / "gate"
    script = f'while [ ! -e "{gate}" ]; do sleep 0.05; done\n'
    with town.agent():
        wait_for(lambda: client.sites.show("alps").site.last_heard_ms, "the agent")
        job = client.submit(request(town.mark, script, project="brief")).job
        wait_for(lambda: state_of(town, job)() == "running", "the job to run")

        def expired() -> bool:
            (allocation,) = client.ledger.allocations("brief").allocations
            return allocation.balance.expired_s > 0

        town.clock.jump(5)
        wait_for(expired, "the allocation to expire")
        for hours in (-10, 5, 5):
            town.clock.jump(hours)
        gate.touch()
        wait_for(lambda: state_of(town, job)() == "completed", "the job to end")
    books = Books(database_url)
    try:
        check_histories(books)
        assert check_charges(books) == 1
        check_balances(books)
    finally:
        books.close()
    (allocation,) = client.ledger.allocations("brief").allocations
    assert allocation.balance.granted_s == 5000
    assert allocation.balance.held_s == 0
    assert client.verify().findings == []
