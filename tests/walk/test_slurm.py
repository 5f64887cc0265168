"""Mixed jobs over two real Slurm clusters while controllers, agents and hub are killed.

Every job ends once, as it must; its script ran once; it is charged once, the seconds that sacct
says. MEYRIN_SLURM_JOBS sets how many jobs (the whole show is 200), MEYRIN_SEED which.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.components import Slurm
from tests.walk.books import Books, charges, check_balances, check_histories
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
from tests.walk.slurm_ends import CLUSTERS, check_ended_by_slurm, check_requeued, tend
from tests.walk.slurm_site import Said, accounted, site, way
from tests.walk.test_kill import seed

from meyrin import Client
from meyrin.agent import config as settings
from meyrin.agent import late
from meyrin.agent.hub import Hub
from meyrin.agent.slurm.batch import SlurmBatch
from meyrin.agent.slurm.command import CommandTransport, runner
from meyrin.client.connection import Connection
from meyrin.domain.job import ArraySpec, JobRequest, Resources

JOBS = int(os.environ.get("MEYRIN_SLURM_JOBS", "40"))
# of 40
KINDS = {
    "single": 9, "multi": 4, "array": 2, "gres": 6, "bad": 5, "overtime": 2, "cancelled": 4,
    "requeued": 2,
}  # fmt: skip
ELEMENTS, AT_ONCE = 4, 2
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
        base = replace(base, resources=wanted, walltime_s=600, requeue=kind == "requeued")
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

    def strike(self) -> None:
        what = self.chance.choice(["controller", "agent", "hub", "controller and agent", "all"])
        cluster, agent = self.chance.choice(CLUSTERS), self.chance.choice(self.agents)
        self.kills[what] += 1
        time.sleep(self.chance.uniform(0, 1.0))  # the random moment
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
            finish(books, slurm)
            check_histories(books)
            check_balances(books)
            check_runs(books, load)
            catch_up(slurm, agents, books)
            print(check_charged_as_accounted(books, named(slurm, books)))
            states = Counter(row.state for row in books.rows("SELECT state FROM jobs"))
        finally:
            books.close()
        check_kinds(place, load, slurm)
        check_arrays(load)
        print(check_late_records(slurm, agents[0], url))
    print(f"{dict(states)} after {dict(killer.kills)}, jobs ran as {way().user}")


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


def finish(books: Books, slurm: Slurm) -> None:
    """Until every job has ended."""

    begun = time.monotonic()

    def look() -> object:
        tend(slurm, resume=time.monotonic() > begun + 60)
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
        for cluster in CLUSTERS:  # what Slurm itself says of them
            print(slurm.command(cluster, "scontrol", "-o", "show", "job"))
            print(slurm.command(cluster, "scontrol", "-o", "show", "node"))
        raise


def check_runs(books: Books, load: Load) -> None:
    """No script came twice to its end, and those that had to came once."""
    lines = load.lines()
    assert set(lines.values()) <= {1}, lines
    for row in books.rows("SELECT id, state FROM jobs"):
        if row.state == "completed":
            assert lines.get(row.id) == 1, tuple(row)


def named(slurm: Slurm, books: Books) -> dict[str, Said]:
    """What the clusters' accounting says, once it has all that it was asked about: Slurm tells a
    job's name up to five seconds after it began. A controller that was killed never does: those
    are left out here, and counted by who asks."""
    found: dict[str, Said] = {}

    def look() -> object:
        rows = books.rows(
            "SELECT DISTINCT a.id, a.site, a.batch_job, a.end_ms FROM usage_records u"
            " JOIN attempts a ON a.id = u.attempt WHERE u.source = 'batch'"
        )
        nameless = {(row.site, row.batch_job, moment(row.end_ms)): row.id for row in rows}
        found.clear()
        found.update(accounted(slurm, *CLUSTERS, nameless=nameless))
        return not {row.id for row in rows} - set(found) or "names in accounting"

    with suppress(Missing):
        wait_for(look, "accounting to name every job", 30)
    return found


def catch_up(slurm: Slurm, agents: list[Agent], books: Books) -> None:
    """Where a controller that was killed has changed its accounting since, the agents' second
    look tells it; it would come after hours: here, by a clock that is ahead."""
    said = named(slurm, books)
    rows = books.rows(
        "SELECT u.attempt, u.elapsed_s, a.site FROM usage_records u"
        " JOIN attempts a ON a.id = u.attempt WHERE u.source = 'batch' ORDER BY u.version"
    )
    latest = {row.attempt: row for row in rows}
    changed = {
        row.site
        for row in latest.values()
        if row.attempt in said and row.elapsed_s != said[row.attempt].elapsed_s
    }
    for agent in agents:
        if agent.name in changed:
            agent.kill()
            config = settings.load(agent.folder / "agent.toml")
            with second_look(slurm, config, agent.name) as (batch, hub):
                print(f"{agent.name}: accounting changed, {late.tell(batch, hub)} told again")
            agent.start()


def moment(at_ms: int | None) -> str:
    """As Slurm prints it."""
    return "" if at_ms is None else time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at_ms // 1000))


def check_charged_as_accounted(books: Books, said: dict[str, Said]) -> str:
    """One charge an attempt, of the seconds that the clusters' own accounting has for it."""
    charged = charges(books)
    rows = books.rows(
        "SELECT u.attempt, u.elapsed_s, u.used_s, u.source, u.version, a.rate_num, a.rate_den"
        " FROM usage_records u JOIN attempts a ON a.id = u.attempt ORDER BY u.version"
    )
    # in a long run accounting is asked again: the latest record of each attempt counts
    rows = list({row.attempt: row for row in rows}.values())
    sources, ours, theirs, lost = Counter(row.source for row in rows), 0, 0, 0
    for row in rows:
        rate = Fraction(row.rate_num, row.rate_den)
        assert row.used_s == charged.get(row.attempt, 0) == -(-rate * row.elapsed_s // 1)
        known = said.get(row.attempt)
        if row.source == "batch" and (known is None or known.elapsed_s == 0 < row.elapsed_s):
            lost += 1  # a controller that was killed never told its name, or emptied it since
        elif row.source == "batch":
            assert row.elapsed_s == said[row.attempt].elapsed_s, (tuple(row), said[row.attempt])
            assert row.used_s == said[row.attempt].gpu_s, (tuple(row), said[row.attempt])
            ours, theirs = ours + row.used_s, theirs + said[row.attempt].gpu_s
    unsaid = set(charged) - {row.attempt for row in rows}
    assert not unsaid
    assert lost <= len(rows) // 20, f"{lost} of {len(rows)} are in accounting no longer"
    again = sum(each.runs > 1 for each in said.values())
    return (
        f"{len(rows)} attempts measured, {dict(sources)}, {lost} lost by sacct,"
        f" {ours} accelerator-seconds charged, {theirs} in sacct; requeued runs: {again}"
    )


def check_late_records(slurm: Slurm, agent: Agent, url: str) -> str:
    """The site's statement is Meyrin's. Then accounting is mended in its database, as it comes in
    practice: they differ in just that job, until the agent's second look has told it."""
    found = compared(agent)
    assert found["differ"] == 0, found
    assert found["site_s"] == found["meyrin_s"] > 0
    by_rest = over_rest(slurm, agent)
    assert compared(agent, by_rest) == found, "slurmrestd tells the same"
    agent.kill()  # its turn to look again comes after ten minutes: here, by a clock that is ahead
    config = settings.load(agent.folder / "agent.toml")
    books = Books(url)
    try:
        (one,) = books.rows(
            "SELECT a.id, u.elapsed_s, u.batch_job FROM attempts a JOIN usage_records u"
            " ON u.attempt = a.id JOIN jobs j ON j.attempt = a.id WHERE a.site = 'alpha'"
            " AND j.state = 'completed' AND u.source = 'batch' AND j.task IS NULL"
            " AND NOT EXISTS (SELECT 1 FROM usage_records n WHERE n.attempt = a.id"
            " AND n.version > 0) AND 1 = (SELECT COUNT(*) FROM attempts b"
            " WHERE b.site = a.site AND b.batch_job = u.batch_job)"  # of ids given twice, none
            f" AND a.id IN ({', '.join(map(repr, accounted(slurm, 'alpha')))})"
            " ORDER BY a.id LIMIT 1"
        )
        where = f"WHERE job_name = 'meyrin-{one.id}' AND id_job = {one.batch_job}"
        slurm.sql(
            "alpha",
            f"UPDATE alpha_job_table SET time_end = time_end + 7 {where}"
            " AND time_end = (SELECT t FROM (SELECT MAX(time_end) t FROM alpha_job_table"
            f" {where}) x)",
        )
        assert accounted(slurm, "alpha")[one.id].elapsed_s == one.elapsed_s + 7
        found = compared(agent, differ=True)
        assert [(line["attempt"], line["what"]) for line in found["lines"] if line["bad"]] == [
            (one.id, "seconds differ")
        ]
        assert compared(agent, by_rest, differ=True) == found
        assert found["site_s"] - found["meyrin_s"] == 7
        with second_look(slurm, config) as (batch, hub):
            assert late.tell(batch, hub) == 1
            assert late.tell(batch, hub) == 0, "told once"
        found = compared(agent)
        assert found["differ"] == 0, found
        told = books.rows(
            f"SELECT version, elapsed_s FROM usage_records WHERE attempt = '{one.id}'"
            " ORDER BY version"
        )
        assert [tuple(row) for row in told] == [(0, one.elapsed_s), (1, one.elapsed_s + 7)]
        check_balances(books)
    finally:
        books.close()
    return f"{found['attempts']} attempts compared, one mended by 7 s in the database and followed"


@contextmanager
def second_look(
    slurm: Slurm, config: settings.AgentConfig, cluster: str = "alpha"
) -> Iterator[tuple[SlurmBatch, Hub]]:
    """The agent's own memory and its way to hub and cluster, two hours on."""
    by = CommandTransport(runner(60), conf=slurm.conf(cluster), user=way().user)
    made = SlurmBatch(config.dir / "slurm", by, clock_s=lambda: time.time() + 7200)
    connection = Connection(config.hub, config.credential)
    try:
        made.partitions()
        yield made, Hub(connection, "")
    finally:
        connection.close()
        made.leave()


def over_rest(slurm: Slurm, agent: Agent) -> Path:
    """The same agent's settings, with slurmrestd as the way to its cluster."""
    chosen, path = way(), agent.folder / "rest.toml"
    token = agent.folder / "token"
    token.write_text(slurm.token(agent.name, chosen.user))
    more = f'transport = "rest"\nrest_url = "{slurm.rest(agent.name)}"\nrest_token_file = "token"\n'
    text = (agent.folder / "agent.toml").read_text()
    path.write_text(text.replace("[slurm]\n", f"[slurm]\n{more}"))
    token.chmod(0o600)
    for each in (token, path):
        shutil.chown(each, chosen.user)
    return path


def compared(agent: Agent, config: Path | None = None, *, differ: bool = False) -> dict[str, Any]:
    """What `meyrin agent compare` says, run as the agent is; its exit code is right."""
    chosen = way()
    done = subprocess.run(
        [chosen.python, "-m", "meyrin", "agent", "compare", "--json",
         "--config", str(config or agent.folder / "agent.toml")],
        env=agent.environ, preexec_fn=chosen.preexec(), capture_output=True, text=True,
        cwd="/", check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == int(differ), done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def check_arrays(load: Load) -> None:
    """Elements know which they are, and no more of them run at once than was asked."""
    said = [tuple(map(int, line.split())) for line in load.arrays.read_text().splitlines()]
    for job in load.jobs["array"]:
        ours = sorted(each for each in said if each[0] == job)
        assert [each[1:3] for each in ours] == [(n, ELEMENTS) for n in range(ELEMENTS)], ours
        for *_, came, _ in ours:
            assert sum(begin <= came < end for *_, begin, end in ours) <= AT_ONCE, ours


def check_kinds(place: Facility, load: Load, slurm: Slurm) -> None:
    with place.hub.client() as client:
        found = {each.job: each for each in client.each_job(limit=500)}
        good = [job for kind in ("single", "multi", "gres") for job in load.jobs[kind]]
        good += [job + n for job in load.jobs["array"] for n in range(ELEMENTS)]
        for job in good:
            if found[job].state != "completed":
                check_ended_by_slurm(client.job(job), slurm)
    for job in load.jobs["bad"]:
        assert (found[job].state, found[job].exit_code) == ("failed", 3), found[job]
    for job in load.jobs["overtime"]:
        assert (found[job].state, found[job].reason) == ("failed", "wall time was over")
    for job in load.jobs["cancelled"]:
        assert found[job].state == "cancelled", found[job]
    with place.hub.client() as client:
        for job in load.jobs["requeued"]:
            check_requeued(client.job(job), slurm)
