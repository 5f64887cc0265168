"""`kill -9` of hub, agent, both and keeper, at moments that a seed decides.

In the end every accepted job has ended once, its script ran once, and it was charged once.
Set MEYRIN_SEED to play a run again.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from tests.walk.books import Books, check_balances, check_charges, check_histories, check_runs
from tests.walk.facility import (
    PATIENCE_S,
    Agent,
    Facility,
    facility,
    parent_of,
    request,
    wait_for,
)

from meyrin import Client
from meyrin.domain.job import ArraySpec, Dependency, DependencyKind, JobRequest, Resources

GRANT_S = 1_000_000
KINDS = {
    "good": 60,
    "bad": 30,
    "array": 8,
    "loud": 20,
    "overtime": 8,
    "cancelled": 20,
    "misplaced": 10,
    "after_good": 10,
    "after_bad": 10,
}
TOTAL = sum(KINDS.values()) + 4 * KINDS["array"]
LOUD = b"".join(b"%d " % n for n in range(1, 3001)) + b"\n"


def seed() -> int:
    return int(os.environ.get("MEYRIN_SEED") or random.SystemRandom().randrange(10**6))


@dataclass
class Load:
    """What is submitted and cancelled, in an order that the seed decides."""

    place: Facility
    chance: random.Random
    marks: Path
    kinds: dict[str, int]
    jobs: dict[str, list[int]] = field(default_factory=dict)
    done: int = 0
    broken: BaseException | None = None

    def plan(self) -> list[Callable[[Client], None]]:
        """Submissions, shuffled; each cancellation somewhere after its submission."""
        names = [kind for kind, count in self.kinds.items() for _ in range(count)]
        self.chance.shuffle(names)
        late = [name for name in names if name.startswith("after_")]
        names = [name for name in names if name not in late]
        for name in late:  # what depends on another comes when there is one
            first = names.index(name.removeprefix("after_")) + 1
            where = self.chance.randrange(max(first, len(names) // 2), len(names) + 1)
            names.insert(where, name)
        actions: list[Callable[[Client], None]] = [
            lambda client, kind=kind: self._submit(client, kind) for kind in names
        ]
        for number in range(self.kinds["cancelled"]):
            # by when the first half is in, there is one to cancel
            where = self.chance.randrange(len(actions) // 2, len(actions) + 1)
            actions.insert(where, lambda client, number=number: self._cancel(client, number))
        actions += [lambda client: self._cancel(client, -1)]
        return actions

    def run(self) -> None:
        """Do all of it, whatever dies meanwhile; for a thread."""
        try:
            with self.place.hub.client() as client:
                for action in self.plan():
                    action(client)
                    self.done += 1
        except BaseException as error:  # noqa: BLE001 - told by the test's own thread
            self.broken = error

    def _submit(self, client: Client, kind: str) -> None:
        key = f"{kind}-{self.chance.getrandbits(64):016x}"
        accepted = client.submit(self._request(kind), key)
        self.jobs.setdefault(kind, []).append(accepted.job)

    def _cancel(self, client: Client, number: int) -> None:
        jobs = self.jobs.get("cancelled", [])
        for job in jobs if number < 0 else jobs[number : number + 1]:
            client.cancel(job)

    def _request(self, kind: str) -> JobRequest:
        mark = f'echo ran >> "{self.marks}/$SLURM_JOB_ID"\n'
        base = request(self.place.mark, mark, name=kind)
        cores = self.chance.choice([1, 1, 1, 2, 3])
        base = replace(base, resources=Resources(cores_per_task=cores, memory_mb=10))
        limit, which = self.chance.choice([0, 2]), self.chance.random()
        goes_on = {
            "bad": "exit 3\n",
            "loud": "seq -s ' ' 1 3000 | sed 's/$/ /'\n",
            "overtime": "exec sleep 600\n",
            "cancelled": "exec sleep 600\n",
        }
        base = replace(base, script=base.script + goes_on.get(kind, "exit 0\n"))
        if kind == "array":
            return replace(base, array=ArraySpec(tuple(range(5)), limit))
        if kind == "overtime":
            return replace(base, walltime_s=1)
        if kind == "cancelled":  # not over before a cancel can get through
            return replace(base, walltime_s=900)
        if kind == "misplaced":
            return replace(base, chdir="/nowhere/at/all")
        if kind.startswith("after_"):
            parents = self.jobs[kind.removeprefix("after_")]
            ok = kind == "after_good" or which < 0.5
            wanted = DependencyKind.AFTER_OK if ok else DependencyKind.AFTER_NOT_OK
            return replace(base, dependencies=(Dependency(wanted, self.chance.choice(parents)),))
        return base

    def lines(self) -> dict[int, int]:
        """How often each script wrote its mark."""
        return {int(p.name): len(p.read_text().splitlines()) for p in self.marks.iterdir()}


@dataclass
class Killer:
    """Kills and starts again; which, and after how long, the seed decides."""

    place: Facility
    agents: Sequence[Agent]
    chance: random.Random
    kills: Counter[str] = field(default_factory=Counter)

    def strike(self) -> None:
        hub, agent = self.place.hub, self.chance.choice(self.agents)
        what = self.chance.choice(["hub", "agent", "both", "hub twice"])
        time.sleep(self.chance.uniform(0, 0.8))  # the random moment
        self.kills[what] += 1
        if what in {"agent", "both"}:
            agent.kill()
        if what != "agent":
            hub.kill()
        if what == "hub twice":  # dies again while it starts
            hub.launch()
            time.sleep(self.chance.uniform(0, 2.0))
            hub.kill()
        if what != "agent":
            hub.start()
        if what in {"agent", "both"}:
            agent.start()

    def strike_keeper(self) -> None:
        agent = self.chance.choice(self.agents)
        keeper = agent.keeper()
        time.sleep(self.chance.uniform(0, 0.5))
        if keeper is None:
            return
        with suppress(ProcessLookupError, FileNotFoundError):
            guard = parent_of(keeper)
            both = self.chance.random() < 0.5
            os.kill(keeper, signal.SIGKILL)
            if both:
                os.kill(guard, signal.SIGKILL)
            self.kills["keeper and guard" if both else "keeper"] += 1


def start(place: Facility, sites: int) -> list[Agent]:
    place.hub.environ["MEYRIN_HUB_LEASE_S"] = "2"
    place.hub.start()
    place.grant(GRANT_S)
    agents = [place.agent(f"site{number}") for number in range(sites)]
    for agent in agents:
        agent.start()
    place.joined(*(agent.name for agent in agents))
    return agents


def strike_through(load: Load, strikes: Sequence[Callable[[], None]]) -> None:
    """Strike, spread over the load: each when so much of it is in."""
    worker = threading.Thread(target=load.run, daemon=True)
    worker.start()
    whole = sum(load.kinds.values()) + load.kinds["cancelled"] + 1
    for number, strike in enumerate(strikes):
        due = whole * number // len(strikes)
        wait_for(lambda due=due: load.done >= due or load.broken, f"{due} of {whole} submissions")
        strike()
    worker.join(PATIENCE_S)
    assert load.broken is None, load.broken
    assert not worker.is_alive(), f"only {load.done} of {whole} submissions came through"


def check_all(place: Facility, books: Books, load: Load, *, lost: bool = False) -> None:
    check_histories(books)
    charged = check_charges(books)
    check_balances(books)
    ran = check_runs(books, load.lines(), lost=lost)
    with place.hub.client() as client:
        assert client.verify().findings == []
        for job in load.jobs.get("loud", []):
            found = client.job(job)
            if found.job.state == "completed":
                assert client.output(job) == LOUD, f"the output of job {job} is not whole"
    print(f"{ran} scripts ran, {charged} attempts were charged")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_at_any_moment_every_job_ends_once_and_is_charged_once(
    tmp_path: Path, database_url: str
) -> None:
    number = seed()
    print(f"MEYRIN_SEED={number}")
    began = time.monotonic()
    (tmp_path / "marks").mkdir()
    with facility(tmp_path, database_url) as place:
        agents = start(place, 2)
        chance = random.Random(number)
        load = Load(place, random.Random(chance.random()), tmp_path / "marks", KINDS)
        killer = Killer(place, agents, chance)
        strike_through(load, [killer.strike] * 10)
        books = Books(database_url)
        try:
            books.wait_for_all()
            check_all(place, books, load)
            states = Counter(row.state for row in books.rows("SELECT state FROM jobs"))
        finally:
            books.close()
        check_kinds(place, load)
    assert sum(states.values()) == TOTAL >= 200
    print(f"{dict(states)} after {dict(killer.kills)} in {time.monotonic() - began:.0f} s")


def check_kinds(place: Facility, load: Load) -> None:
    """Each kind of job ended as it must, killed processes or not."""
    with place.hub.client() as client:
        found = {each.job: each for each in client.each_job(limit=500)}
    for job in load.jobs["good"] + load.jobs["loud"]:
        assert found[job].state == "completed", found[job]
    for job in load.jobs["bad"]:
        assert (found[job].state, found[job].exit_code) == ("failed", 3), found[job]
    for job in load.jobs["array"]:
        assert {found[job + n].state for n in range(5)} == {"completed"}
    for job in load.jobs["overtime"]:
        assert (found[job].state, found[job].reason) == ("failed", "wall time was over")
    for job in load.jobs["cancelled"]:
        assert found[job].state == "cancelled", found[job]
    for job in load.jobs["misplaced"]:
        assert found[job].state == "failed", found[job]
        assert "/nowhere/at/all" in found[job].reason
    for job in load.jobs["after_good"]:
        assert found[job].state == "completed", found[job]
    for job in load.jobs["after_bad"]:
        assert found[job].state in {"completed", "cancelled"}, found[job]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_keepers_run_nothing_twice(tmp_path: Path, database_url: str) -> None:
    number = seed()
    print(f"MEYRIN_SEED={number}")
    (tmp_path / "marks").mkdir()
    kinds = {kind: max(1, count // 4) for kind, count in KINDS.items()}
    with facility(tmp_path, database_url) as place:
        agents = start(place, 1)
        chance = random.Random(number)
        load = Load(place, random.Random(chance.random()), tmp_path / "marks", kinds)
        killer = Killer(place, agents, chance)
        strikes = [killer.strike_keeper, killer.strike_keeper, killer.strike] * 3
        strike_through(load, strikes)
        books = Books(database_url)
        try:
            books.wait_for_all()
            check_all(place, books, load, lost=True)
        finally:
            books.close()
    print(f"after {dict(killer.kills)}")
