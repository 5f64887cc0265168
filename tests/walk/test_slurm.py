"""Mixed jobs over two real Slurm clusters while controllers, agents and hub are killed.

Every job ends once, as it must; its script ran once; it is charged once, the seconds that sacct
says. MEYRIN_SLURM_JOBS sets how many jobs (the whole show is 200), MEYRIN_SEED which.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.components import Slurm
from tests.walk.books import Books, check_balances, check_histories
from tests.walk.facility import (
    PATIENCE_S,
    Agent,
    Facility,
    Missing,
    facility,
    request,
    wait_for,
)
from tests.walk.first_job import MOST_CLICKS, MOST_TYPED, ended_well, first_job, place_for
from tests.walk.slurm_books import (
    Outage,
    check_charged_as_accounted,
    check_late_records,
    settle,
)
from tests.walk.slurm_ends import (
    CLUSTERS,
    check_ended_by_slurm,
    check_requeued,
    endings,
    heal,
    show,
    tend,
)
from tests.walk.slurm_site import USER, site, way
from tests.walk.test_kill import seed

from meyrin import Client
from meyrin.domain.job import ArraySpec, JobRequest, Resources
from meyrin.wire.jobs import JobDetail

JOBS = int(os.environ.get("MEYRIN_SLURM_JOBS", "40"))
# of 40
KINDS = {
    "single": 9, "multi": 4, "array": 2, "gres": 6, "bad": 5, "overtime": 2, "cancelled": 4,
    "requeued": 2,
}  # fmt: skip
ELEMENTS, AT_ONCE = 4, 2
GPUS = 16  # of a cluster: two nodes of eight
if TYPE_CHECKING:
    from playwright.sync_api import Page

_ELEMENT = """came=$(date +%s%N); sleep 1
echo "$SLURM_ARRAY_JOB_ID $SLURM_ARRAY_TASK_ID $SLURM_ARRAY_TASK_COUNT $came $(date +%s%N)" \\
    >> {file}
"""
_AGAIN = """if [ -z "$SLURM_RESTART_COUNT" ]; then
    scontrol requeue "$SLURM_JOB_ID"; exec sleep 600
fi
"""


@dataclass
class Load:
    """What is submitted; `marks` gets a line from each script that comes to its end."""

    place: Facility
    chance: random.Random
    marks: Path
    jobs: dict[str, list[int]] = field(default_factory=dict)
    done: int = 0
    broken: BaseException | None = None

    def kinds(self) -> list[str]:
        names = [kind for kind, count in KINDS.items() for _ in range(max(1, count * JOBS // 40))]
        self.chance.shuffle(names)
        return names

    def run(self) -> None:
        try:
            with self.place.hub.client() as client:
                for kind in self.kinds():
                    self._submit(client, kind)
                    self.done += 1
                    time.sleep(self.chance.uniform(0, 0.5))  # longer than Slurm goes unsaved
                for job in self.jobs["cancelled"]:
                    client.cancel(job)
        except BaseException as error:  # noqa: BLE001 - told by the test's own thread
            self.broken = error

    def _submit(self, client: Client, kind: str) -> None:
        accepted = client.submit(self._request(kind), f"{kind}-{self.chance.getrandbits(64):016x}")
        self.jobs.setdefault(kind, []).append(accepted.job)
        if kind == "cancelled" and self.chance.random() < 0.5:
            client.cancel(accepted.job)

    def _request(self, kind: str) -> JobRequest:
        mark = f'echo ran >> "{self.marks}/$MEYRIN_JOB_ID"\n'
        gpus = self.chance.choice([1, 1, 2, 4])
        seconds = self.chance.choice([0, 0, 1, 2])
        before = _AGAIN if kind == "requeued" else ""
        then = {"bad": "exit 3\n", "overtime": "exec sleep 600\n", "cancelled": "exec sleep 600\n"}
        base = request(
            self.place.mark, f"{before}{mark}sleep {seconds}\n{then.get(kind, '')}", name=kind
        )
        wanted = Resources(
            cores_per_task=1, memory_mb=100, accelerators=gpus, accelerators_per="node",
            accelerator_type="h100" if kind == "gres" else None,
            nodes_min=2 if kind == "multi" else None, tasks=2 if kind == "multi" else None,
        )  # fmt: skip
        base = replace(base, resources=wanted, walltime_s=300, requeue=kind == "requeued")
        if kind == "array":
            script = base.script + _ELEMENT.format(file=self.arrays)
            return replace(base, script=script, array=ArraySpec(tuple(range(ELEMENTS)), AT_ONCE))
        return replace(base, walltime_s=2) if kind == "overtime" else base

    @property
    def arrays(self) -> Path:
        """Where each element says which it is, and when it ran."""
        return self.marks.parent / "arrays"

    def lines(self) -> dict[int, int]:
        return {int(p.name): len(p.read_text().splitlines()) for p in self.marks.iterdir()}


@dataclass
class Killer:
    """Kills controllers, agents and hub, and starts them again; the seed decides which."""

    place: Facility
    slurm: Slurm
    agents: list[Agent]
    chance: random.Random
    kills: Counter[str] = field(default_factory=Counter)
    outages: list[Outage] = field(default_factory=list)

    def strike(self) -> None:
        what = self.chance.choice(["controller", "agent", "hub", "controller and agent", "all"])
        cluster, agent = self.chance.choice(CLUSTERS), self.chance.choice(self.agents)
        self.kills[what] += 1
        time.sleep(self.chance.uniform(0, 1.0))  # the random moment
        killed_s = time.time()
        if what in {"controller", "controller and agent", "all"}:
            self.slurm.kill_controller(cluster)
        if what in {"agent", "controller and agent", "all"}:
            agent.kill()
        if what in {"hub", "all"}:
            self.place.hub.kill()
            self.place.hub.start()
        time.sleep(self.chance.uniform(0, 2.0))
        if what in {"agent", "controller and agent", "all"}:
            agent.start()
        if what in {"controller", "controller and agent", "all"}:
            self.slurm.start_controller(cluster)
            self.outages.append(Outage(cluster, killed_s, time.time()))


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_two_clusters_through_kills_every_job_ends_once_and_is_charged_as_sacct_says(
    slurm: Slurm, tmp_path: Path, folder: Path
) -> None:
    number = seed()
    print(f"MEYRIN_SEED={number}")
    chance = random.Random(number)
    marks = folder / "marks"
    marks.mkdir()
    marks.chmod(0o777)
    (folder / "arrays").touch()
    (folder / "arrays").chmod(0o666)
    url = f"sqlite:///{tmp_path / 'hub.sqlite'}"
    with facility(tmp_path, url) as place:
        place.hub.environ["MEYRIN_HUB_LEASE_S"] = "2"
        place.hub.start()
        place.grant(10_000_000, charged_type="h100")
        agents = [site(place, slurm, name, folder) for name in CLUSTERS]
        for agent in agents:
            agent.start()
        place.joined(*CLUSTERS)
        load = Load(place, random.Random(chance.random()), marks)
        killer = Killer(place, slurm, agents, chance)
        play(load, [killer.strike] * (3 if JOBS < 100 else 10))
        books = Books(url)
        try:
            finish(books, slurm, place)
            check_histories(books)
            check_balances(books)
            check_runs(books, load)
            said, excused = settle(slurm, agents, books, killer.outages)
            print(check_charged_as_accounted(slurm, books, said, excused))
            states = {row.id: row.state for row in books.rows("SELECT id, state FROM jobs")}
        finally:
            books.close()
            heal(slurm)
        check_kinds(place, load, slurm)
        check_arrays(load, {job for job, state in states.items() if state == "completed"})
        print(check_late_records(slurm, place, agents[0], url, excused))
    print(f"{dict(Counter(states.values()))} after {dict(killer.kills)}, jobs ran as {way().user}")


@pytest.mark.timeout(600)
def test_a_job_goes_to_the_cluster_that_others_leave_room(
    slurm: Slurm, tmp_path: Path, folder: Path
) -> None:
    """Others fill one of two equal clusters by plain sbatch, then the other too."""
    fill = ("sbatch", "--parsable", "--output=/dev/null", "--partition=gpu", "--nodes=2",
            "--exclusive", "--gres=gpu:8", "--wrap=sleep 600")  # fmt: skip
    filled: list[tuple[str, str]] = []
    for name in CLUSTERS:
        clear(slurm, name)
    with facility(tmp_path) as place:
        place.hub.start()
        place.grant(10_000_000, charged_type="h100")
        for name in CLUSTERS:
            site(place, slurm, name, folder).start()
        place.joined(*CLUSTERS)
        one = Resources(cores_per_task=1, memory_mb=100, accelerators=1, accelerators_per="node")
        with place.hub.client() as client:

            def fill_up(name: str, minutes: int) -> None:
                number = slurm.command(name, *fill, f"--time={minutes}").strip()
                filled.append((name, number))
                wait_for(lambda: told(name), f"the agent of {name} to tell it", 150)

            def told(name: str) -> bool | str:
                page = place.hub.page(f"/sites/{name}")
                return f"0 of {GPUS} h100 accelerators free" in page or page[:1500]

            def went(hours: int) -> JobDetail:
                asked = replace(request(place.mark, "true", resources=one), walltime_s=hours * 3600)
                job = client.submit(asked, f"{len(filled)}-{hours}-of-the-walk").job
                wait_for(lambda: bool(client.job(job).job.site), f"job {job} to go somewhere")
                return client.job(job)

            try:
                fill_up("alpha", 9)
                assert [went(1).job.site for _ in range(3)] == ["beta"] * 3
                fill_up("beta", 5)
                last = went(1)
                (attempt,) = last.attempts
                assert attempt.site == "beta", "it is to end before alpha's"
                assert (
                    60 < attempt.expected_start_s - attempt.placed_ms // 1000 <= 400
                )  # rounded up
                said = client.explain(last.job.job).summary
                assert said.startswith("went to beta/gpu, where it was to start in about 00:0")
            finally:
                for name, number in filled:
                    slurm.command(name, "scancel", number)
            wait_for(lambda: client.job(last.job.job).job.state == "completed", "the last job")


@pytest.mark.timeout(600)
def test_a_new_person_runs_a_first_job(
    slurm: Slurm, tmp_path: Path, folder: Path, page: Page
) -> None:
    """The whole way in a real browser; `make bench-first-job` takes its time, twenty times."""
    with place_for(["newcomer"], slurm, tmp_path, folder) as place:
        walked = first_job(page, place, "newcomer")
        print(f"{walked.running_s:.1f} s; {walked.clicks} clicks, typed {walked.typed}")
        assert walked.clicks <= MOST_CLICKS
        assert len(walked.typed) <= MOST_TYPED
        ended_well(page, place, walked)


def clear(slurm: Slurm, name: str) -> None:
    """What other tests left on a cluster is gone."""
    for user in {USER, "root"}:
        slurm.command(name, "scancel", f"--user={user}")
    wait_for(lambda: not slurm.command(name, "squeue", "--noheader").strip(), f"{name} to be empty")


def play(load: Load, strikes: list[Callable[[], None]]) -> None:
    worker = threading.Thread(target=load.run, daemon=True)
    worker.start()
    whole = len(load.kinds())
    for number, strike in enumerate(strikes):
        due = whole * (number + 1) // (len(strikes) + 1)
        wait_for(lambda due=due: load.done >= due or load.broken, f"{due} of {whole} submissions")
        strike()
    worker.join(PATIENCE_S)
    assert load.broken is None, load.broken
    assert not worker.is_alive(), f"only {load.done} of {whole} submissions came through"


def finish(books: Books, slurm: Slurm, place: Facility) -> None:
    """Until every job has ended. What a controller forgot while it ran is unknown till its wall
    time is long over: after a while its person cancels it."""

    begun = time.monotonic()

    def look() -> object:
        tend(slurm, resume=time.monotonic() > begun + 60)
        if time.monotonic() > begun + 90:
            with place.hub.client() as client:
                for row in books.rows(
                    "SELECT id FROM jobs WHERE state = 'running' AND site_word = 'not in the queue'"
                ):
                    client.cancel(row.id)
        time.sleep(1)
        left = books.unfinished()
        if not left:
            return True
        rows = books.rows(
            "SELECT j.id, j.state, j.reason, j.site_word, a.state AS attempt, a.id AS uuid, a.site,"
            " a.batch_job FROM jobs j LEFT JOIN attempts a ON a.id = j.attempt"
            " WHERE j.state NOT IN ('completed', 'failed', 'cancelled', 'expired') LIMIT 5"
        )
        return f"{dict(left)} {[tuple(row) for row in rows]}"

    try:
        wait_for(look, "every job to end", 600)
    except Missing:
        show(slurm)
        raise


def check_runs(books: Books, load: Load) -> None:
    """No script came twice to its end, and those that had to came once."""
    lines = load.lines()
    assert set(lines.values()) <= {1}, lines
    for row in books.rows("SELECT id, state FROM jobs"):
        if row.state == "completed":
            assert lines.get(row.id) == 1, tuple(row)


def check_arrays(load: Load, completed: set[int]) -> None:
    """Elements know which they are, and no more of them run at once than was asked."""
    said = [tuple(map(int, line.split())) for line in load.arrays.read_text().splitlines()]
    for job in load.jobs["array"]:
        ours = sorted(each for each in said if each[0] == job)
        ran = [n for n in range(ELEMENTS) if job + n in completed]
        assert [each[1:3] for each in ours] == [(n, ELEMENTS) for n in ran], ours
        for *_, came, _ in ours:
            assert sum(begin <= came < end for *_, begin, end in ours) <= AT_ONCE, ours


def check_kinds(place: Facility, load: Load, slurm: Slurm) -> None:
    with place.hub.client() as client:
        found = {each.job: each for each in client.each_job(limit=500)}
        came = load.lines()
        must = {job: ("completed", 0) for kind in ("single", "multi", "gres")
                for job in load.jobs[kind]}  # fmt: skip
        must |= {job + n: ("completed", 0) for job in load.jobs["array"] for n in range(ELEMENTS)}
        must |= dict.fromkeys(load.jobs["bad"], ("failed", 3))
        for job, ended in must.items():
            if (found[job].state, found[job].exit_code) != ended:
                check_ended_by_slurm(client.job(job), slurm, ran=job in came)
        for job in load.jobs["overtime"]:
            if (found[job].state, found[job].reason) != ("failed", "wall time was over"):
                check_ended_by_slurm(client.job(job), slurm, ran=job in came)
    with place.hub.client() as client:
        for job in load.jobs["cancelled"]:
            detail = client.job(job)
            (attempt,) = detail.attempts or (None,)
            said = attempt and endings(slurm, attempt.site, attempt.attempt)
            assert found[job].state == "cancelled", (detail, said)
        for job in load.jobs["requeued"]:
            check_requeued(client.job(job), slurm)
