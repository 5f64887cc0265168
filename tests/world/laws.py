"""The laws of the house, looked at after every step of a world.

They read the committed rows and what truly happened at the sites, and nothing that the house
says of itself: balances, states and charges are counted here once more, from the ground up.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from tests.world.errors import LawBroken
from tests.world.grounds import Run, fits

from meyrin.domain.states import ENDED, LEGAL, JobState
from meyrin.domain.units import charge_s

if TYPE_CHECKING:
    import httpx2
    from tests.world.simulation import World
    from tests.world.sites import Site

_OVER = frozenset(str(state) for state in ENDED)
_LEGAL = {str(a): frozenset(str(b) for b in after) for a, after in LEGAL.items()}
_DONE = ("ended", "refused")
_JOBS = "SELECT id, state, attempt, epoch, exit_code, family, task, request_id FROM jobs"
_ATTEMPTS = (
    "SELECT id, job_id, epoch, state, site, partition, nodes, cores, accelerators, rate_num, "
    "rate_den, results, start_ms, end_ms, cancel_ms, placed_ms, expected_start_s FROM attempts"
)
_EVENTS = "SELECT id, job_id, state FROM events WHERE id > {} ORDER BY id"
_ENTRIES = (
    "SELECT id, kind, debit_account, credit_account, amount_s, charged_type, attempt "
    "FROM entries WHERE id > {} ORDER BY id"
)
_USAGE = (
    "SELECT id, attempt, version, elapsed_s, energy_j FROM usage_records WHERE id > {} ORDER BY id"
)


@dataclass(frozen=True, slots=True)
class Job:
    id: int
    state: str
    attempt: str | None
    epoch: int
    exit_code: int | None
    family: int
    task: int | None
    request_id: int


@dataclass(frozen=True, slots=True)
class Attempt:
    id: str
    job_id: int
    epoch: int
    state: str
    site: str
    partition: str
    nodes: int
    cores: int
    accelerators: int
    rate_num: int
    rate_den: int
    results: str
    start_ms: int | None
    end_ms: int | None
    cancel_ms: int | None
    placed_ms: int
    expected_start_s: int

    def charge_s(self, elapsed_s: int) -> int:
        return charge_s(Fraction(self.rate_num, self.rate_den), elapsed_s)


class Rows:
    """Committed rows, read past the hub: by a connection of the laws' own."""

    def __init__(self, url: str) -> None:
        self.is_sqlite = url.startswith("sqlite")
        if self.is_sqlite:
            self._db: Any = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        else:
            import psycopg

            where = url.replace("postgresql+psycopg://", "postgresql://", 1)
            self._db = psycopg.connect(where, autocommit=True)
        self._seen = -1

    def moved(self) -> bool:
        """Whether anything was committed since this was asked last."""
        if not self.is_sqlite:
            return True
        ((version,),) = self.all("PRAGMA data_version")
        before, self._seen = self._seen, version
        return bool(before != version)

    def all(self, statement: str) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = self._db.execute(statement).fetchall()
        return found

    def close(self) -> None:
        self._db.close()


class Laws:
    """What was seen so far; `check` looks at what is new and raises LawBroken."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.rows = Rows(world.url)
        self.jobs: dict[int, Job] = {}
        self.attempts: dict[str, Attempt] = {}
        self.of_job: defaultdict[int, list[Attempt]] = defaultdict(list)
        self.were_over: set[str] = set()  # their scripts, once; a site may queue them again
        self.history: defaultdict[int, list[str]] = defaultdict(lambda: ["submitted"])
        self.balances: Counter[str] = Counter()
        self.held: Counter[str] = Counter()
        self.holds: Counter[str] = Counter()
        self.used: Counter[str] = Counter()
        self.records: defaultdict[str, list[int]] = defaultdict(list)
        self.energy_j: dict[str, int | None] = {}
        self.last_event = self.last_entry = self.last_usage = 0
        self.checks = 0

    def check(self) -> None:
        """All laws that hold at every moment."""
        if not self.rows.moved():
            self._truth()
            return
        self.checks += 1
        self._read()
        self._states()
        self._ledger()
        self._charges()
        self._capacity()
        self._truth()

    def _read(self) -> None:
        before = self.jobs
        self.jobs = {row[0]: Job(*row) for row in self.rows.all(_JOBS)}
        self.attempts = {row[0]: Attempt(*row) for row in self.rows.all(_ATTEMPTS)}
        self.of_job.clear()
        for attempt in self.attempts.values():
            self.of_job[attempt.job_id].append(attempt)
            if attempt.end_ms is not None:
                self.were_over.add(attempt.id)
        for job in before.values():
            now = self.jobs.get(job.id)
            if now is None:
                raise LawBroken("jobs stay", f"job {job.id} is gone")
            if now.epoch < job.epoch:
                raise LawBroken("epochs rise", f"job {job.id}: {job.epoch}, then {now.epoch}")

    # --- states

    def _states(self) -> None:
        for number, job_id, state in self.rows.all(_EVENTS.format(self.last_event)):
            self.last_event = number
            if state == "submitted" and len(self.history[job_id]) == 1:
                continue
            last = self.history[job_id][-1]
            if last in _OVER:
                raise LawBroken("one end per job", f"job {job_id} was {last}, then {state}")
            if state not in _LEGAL[last]:
                raise LawBroken("legal states", f"job {job_id} was {last}, then {state}")
            self.history[job_id].append(state)
        for job in self.jobs.values():
            if self.history[job.id][-1] != job.state:
                told = ", ".join(self.history[job.id])
                raise LawBroken("states have events", f"job {job.id} is {job.state} after {told}")
            self._one_at_a_time(job, self.of_job[job.id])

    def _one_at_a_time(self, job: Job, tried: list[Attempt]) -> None:
        alive = [a for a in tried if a.state not in _DONE]
        if len(alive) > 1 or (alive and alive[0].id != job.attempt):
            raise LawBroken("one attempt at a time", f"job {job.id} has {len(alive)} alive")
        if alive and job.state in _OVER:
            raise LawBroken("ended is ended", f"job {job.id} is {job.state}, {alive[0].id} lives")
        epochs = sorted(a.epoch for a in tried)
        if epochs != list(range(1, len(epochs) + 1)):
            raise LawBroken("epochs count attempts", f"job {job.id} has {epochs}")

    # --- hours

    def _ledger(self) -> None:
        for row in self.rows.all(_ENTRIES.format(self.last_entry)):
            number, kind, debit, credit, amount_s, _, attempt = row
            self.last_entry = number
            self.balances[debit] -= amount_s
            self.balances[credit] += amount_s
            if attempt is None:
                continue
            self.holds[attempt] += kind == "hold"
            for account, signed in ((debit, -amount_s), (credit, amount_s)):
                if account.startswith("hold:"):
                    self.held[attempt] += signed
                elif account.startswith("delivered:"):
                    self.used[attempt] += signed
        self._balances()
        for attempt, count in self.holds.items():
            if count != 1:
                raise LawBroken("one hold per attempt", f"{attempt} was held {count} times")
            if self.held[attempt] < 0:
                raise LawBroken("no hold below zero", attempt)

    def _balances(self) -> None:
        sums: Counter[str] = Counter()
        for name, kind, charged, balance in self.rows.all(
            "SELECT id, kind, charged_type, balance_s FROM accounts"
        ):
            sums[charged] += balance
            if balance != self.balances[name]:
                raise LawBroken(
                    "balances follow entries", f"{name}: {balance}, not {self.balances[name]}"
                )
            if balance < 0 and kind not in ("share", "allocation"):
                raise LawBroken("no account below zero", f"{name} has {balance}")
        for charged, total in sums.items():
            if total:
                raise LawBroken("sums are zero", f"{charged} sums to {total}")

    def _charges(self) -> None:
        """One charge per attempt: what its runs used, as its site's accounting says it or said it
        before a correction, and nothing before it ended."""
        for row in self.rows.all(_USAGE.format(self.last_usage)):
            number, attempt, version, elapsed_s, energy_j = row
            self.last_usage, self.energy_j[attempt] = number, energy_j
            self.records[attempt].append(elapsed_s)
            if version != len(self.records[attempt]) - 1:
                raise LawBroken("one record per use", f"{attempt}: version {version}")
        for attempt in self.attempts.values():
            used = self.used[attempt.id]
            self._charged_right(attempt, used)
            live = attempt.state not in _DONE
            if live and self.held[attempt.id] <= 0:
                raise LawBroken("alive means held", f"{attempt.id} is {attempt.state}")
            if not live and self.held[attempt.id] != 0:
                raise LawBroken("holds are released", f"{attempt.id} is {attempt.state}")

    def _charged_right(self, attempt: Attempt, used: int) -> None:
        runs = self.world.truth_of(attempt)
        over = [run for run in runs if run.end_ms is not None]
        if used and not over:
            raise LawBroken("charged for what ran", f"{attempt.id}: {used} s, and nothing ended")
        wanted = {attempt.charge_s(sum(run.elapsed_s for run in over))}
        wanted |= {attempt.charge_s(said) for said in self.world.said_of(attempt)}
        if used and used not in wanted:
            raise LawBroken("one charge per attempt", f"{attempt.id}: {used} s, not {wanted}")

    # --- room

    def _capacity(self) -> None:
        """What is placed fits, at every partition, by cores, accelerators and nodes: but for what
        was sent ahead of room, and for what is over, or was until its site queued it again."""
        used: defaultdict[tuple[str, str], list[Attempt]] = defaultdict(list)
        for attempt in self.attempts.values():
            ahead = attempt.expected_start_s * 1000 > attempt.placed_ms
            if not (attempt.state in _DONE or attempt.id in self.were_over or ahead):
                used[attempt.site, attempt.partition].append(attempt)
        for (site, name), live in used.items():
            part = self.world.partition(site, name)
            cores = sum(a.nodes * a.cores for a in live)
            accelerators = sum(a.nodes * a.accelerators for a in live)
            nodes = sum(a.nodes for a in live) if part.whole_node else 0
            if (
                nodes > part.nodes
                or cores > part.nodes * part.cores_per_node
                or accelerators > part.nodes * part.accelerators_per_node
            ):
                raise LawBroken(
                    "nothing oversubscribed",
                    f"{site}/{name}: {nodes} nodes, {cores} cores, {accelerators} accelerators "
                    f"of {part.nodes} nodes",
                )

    def began(self, site: Site, run: Run) -> None:
        """A payload begins: nobody was told that it would not, and there is room for it beside
        what its site did not queue again (the double of Slurm starts those at any time)."""
        self.check()
        attempt = self.attempts.get(run.attempt)
        if attempt is None:
            raise LawBroken("only what was placed runs", f"{run.attempt} at {site.name}")
        if attempt.site != site.name:
            raise LawBroken("runs where it was placed", f"{run.attempt} at {site.name}")
        before = site.ground.truth.of(run.attempt)[:-1]
        if any(each.how != "taken back" for each in before):
            raise LawBroken("a payload runs once", f"{run.attempt} began again at {site.name}")
        if attempt.state in _DONE:
            raise LawBroken("what has ended never begins", f"{run.attempt} is {attempt.state}")
        part = self.world.partition(site.name, run.partition)
        going_on = [r for r in site.ground.truth.going_on() if r.attempt not in self.were_over]
        same = [r for r in going_on if r.partition == run.partition]
        lacks = fits(same, part.nodes, part.cores_per_node, part.accelerators_per_node)
        if lacks:
            raise LawBroken("nothing oversubscribed", f"{site.name} runs more {lacks} than it has")

    # --- truth

    def _truth(self) -> None:
        """What the hub says of a job is what happened to it."""
        for attempt in self.attempts.values():
            runs = self.world.truth_of(attempt)
            running = any(run.end_ms is None for run in runs)
            if attempt.state == "running" and not runs:
                raise LawBroken("running means it ran", f"{attempt.id} never began")
            if attempt.state in _DONE and running:
                raise LawBroken("ended means it ended", f"{attempt.id} still runs")
        for job in self.jobs.values():
            runs = job.state == JobState.RUNNING
            if runs and not self.world.truth_of(self.attempts[str(job.attempt)]):
                raise LawBroken("running means it ran", f"job {job.id} never began")
            if job.state == JobState.COMPLETED:
                self._completed(job)

    def _completed(self, job: Job) -> None:
        attempt = self.attempts[str(job.attempt)]
        good = [
            run
            for each in self.of_job[job.id]
            for run in self.world.truth_of(each)
            if run.how == "exit" and run.exit_code == 0
        ]
        if len(good) != 1:
            raise LawBroken("completed means it ran once", f"job {job.id} did {len(good)} times")
        if good[0].attempt != attempt.id:
            raise LawBroken("completed means it ran once", f"job {job.id}: another attempt did")

    # --- the fence

    def before_request(self, request: httpx2.Request) -> dict[str, Attempt]:
        """For reports: those attempts in it that are no longer current, as they are now."""
        if not request.url.path.endswith("/agent/reports"):
            return {}
        self.check()
        return {r["attempt"]: a for r in _reports(request) if (a := self._old(r)) is not None}

    def _old(self, report: dict[str, Any]) -> Attempt | None:
        attempt = self.attempts.get(report["attempt"])
        if attempt is None:
            return None
        job = self.jobs[attempt.job_id]
        current = job.attempt == attempt.id and job.epoch == report["epoch"]
        return None if current else attempt

    def after_request(self, before: dict[str, Attempt], status: int, body: bytes) -> None:
        """A report of an attempt that was out of date is refused and changes nothing."""
        if not before or status != 200:
            return
        stale = set(json.loads(body)["stale"])
        self.check()
        for attempt in before.values():
            if attempt.id not in stale:
                raise LawBroken("what is stale is refused", f"{attempt.id} was heard")
            if self.attempts[attempt.id] != attempt:
                raise LawBroken("what is stale is refused", f"{attempt.id} changed")

    # --- the end

    def at_rest(self) -> None:
        """Nothing is under way any more: every job has ended, and all is told and paid."""
        self.check()
        for job in self.jobs.values():
            if job.state not in _OVER:
                raise LawBroken("every job ends", f"job {job.id} is {job.state}")
        for attempt in self.attempts.values():
            runs = self.world.truth_of(attempt)
            wanted = attempt.charge_s(sum(run.elapsed_s for run in runs))
            if self.used[attempt.id] != wanted:
                raise LawBroken(
                    "one charge per attempt",
                    f"{attempt.id}: {self.used[attempt.id]} s, it used {wanted}",
                )
            energy_j = self.world.energy_of(attempt)
            if energy_j is not None and self.energy_j.get(attempt.id) != energy_j:
                raise LawBroken(
                    "energy arrives",
                    f"{attempt.id}: {self.energy_j.get(attempt.id)}, not {energy_j}",
                )
            if attempt.results == "pending":
                raise LawBroken("results arrive", f"{attempt.id} has none")
        for job in self.jobs.values():
            good = sum(
                run.how == "exit" and run.exit_code == 0
                for each in self.of_job[job.id]
                for run in self.world.truth_of(each)
            )
            if good and job.state != JobState.COMPLETED:
                raise LawBroken("a good end is told", f"job {job.id} is {job.state}")
        held = {name: b for name, b in self.balances.items() if b and name.startswith("hold:")}
        if held:
            raise LawBroken("holds are released", f"{held}")

    def close(self) -> None:
        self.rows.close()


def _reports(request: httpx2.Request) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(request.content)["reports"]
    return found
