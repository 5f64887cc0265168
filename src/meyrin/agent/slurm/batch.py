"""The Slurm batch system: jobs of an agent's user on one cluster, over any transport.

What an operator may rely on:
- One attempt is one job of Slurm's, named `meyrin-UUID`; the wrapper's claim in the spool lets
  it run once, whatever is lost or killed on the way (`sender`).
- Only positive words end a job; a controller that is away changes nothing (`watcher`, `judge`).
- Elapsed time is Slurm's own, to the second, from accounting; without it, or where it stays
  silent, the wrapper's, marked so. What accounting says otherwise later is told (`late`).
- A script runs unmodified. `SLURM_*` about the run are Slurm's, the array's are Meyrin's, and
  Meyrin's own number is `MEYRIN_JOB_ID`.
- The agent's `dir` must be on a file system that the nodes share.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import structlog

from meyrin.agent import check
from meyrin.agent.batch import BatchJob, Changes, Late, Output, Phase, Start, WholeQueue
from meyrin.agent.config import AgentConfig, SlurmPartition
from meyrin.agent.keeper_process import base_environment
from meyrin.agent.queue import site_secret
from meyrin.agent.slurm import ask, kinds, late, spool
from meyrin.agent.slurm.ask import Accounts, Place
from meyrin.agent.slurm.book import Book, end
from meyrin.agent.slurm.others import Lies, lies, others
from meyrin.agent.slurm.push import REACHED, Push, seen_from, words_for
from meyrin.agent.slurm.sender import Sender, doubt_again
from meyrin.agent.slurm.silence import Silence
from meyrin.agent.slurm.snapshot import entries
from meyrin.agent.slurm.store import FILE, Job, PutAway, Store
from meyrin.agent.slurm.transport import ClusterFacts, Submission, Transport
from meyrin.agent.slurm.usable import shortages
from meyrin.agent.slurm.watcher import Watcher
from meyrin.domain.errors import MeyrinError, Unreachable
from meyrin.domain.patterns import NODE
from meyrin.domain.site import Partition
from meyrin.wire.sites import Shortage

log = structlog.get_logger("meyrin.slurm")
_TICK_S = 0.2  # between looks at the spool
_TOLD_TICK_S = 1.0  # where nodes tell news at once: only what got lost is found so
_IDLE_S, _LEAST_S = 0.5, 0.05  # between looks at what is to be done


@dataclass(frozen=True, slots=True)
class Hearing:
    """Whether nodes may tell the agent their news at once, and how they reach it: `address` None
    is found out, `port` 0 is any."""

    wanted: bool = True
    address: str | None = None
    port: int = 0


class SlurmBatch:
    """A `BatchSystem` over a `Transport`. Safe to use from several threads at once.

    `places` None: partitions are as the cluster describes them, and asked as `chosen` says; `said`
    are the names of ours that the settings have.
    `second_look` is for how many days accounting is asked again about what ended, and every how
    many hours. `start` begins its own work in the background; without it, whoever holds it calls
    `step` (as tests with a clock of their own do).
    """

    kind = "slurm"
    gather_s = 0.2  # Slurm itself starts what it was given seconds later
    scheduler = ""  # its name and version, once it was asked

    def __init__(
        self,
        folder: Path,
        transport: Transport,
        *,
        places: dict[str, Place] | None = None,
        chosen: Mapping[str, SlurmPartition] = MappingProxyType({}),
        said: frozenset[str] = frozenset(),
        accounts: Accounts | None = None,
        grace_s: int = 30,
        poll_s: tuple[float, float] = (2.0, 30.0),
        doubt_s: float | None = None,
        accounting_wait_s: float = 60.0,
        second_look: tuple[int, int] = (35, 24),
        at_once: int = 2,
        hearing: Hearing = Hearing(),
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        self.transport = transport
        self.spool = spool.Spool(folder / "spool")
        self.store = Store(folder / FILE)
        self.book = Book(self.store)
        self._given, self._chosen, self._accounts = places, chosen, accounts or Accounts()
        self._said, self._told = said, set[str]()
        self._found: dict[str, Place] | None = None
        self._short: tuple[Shortage, ...] = ()
        self._lying: dict[str, Lies] = {}
        self._grace_s, self._given_doubt_s, self._clock_s = grace_s, doubt_s, clock_s
        self._facts: dict[str, int] = json.loads(self.store.recall("facts") or "{}")
        self._silence = Silence(clock_s)
        self.sender = Sender(
            self.book,
            self.spool,
            transport,
            lambda: int(clock_s()),
            doubt_s=self._doubt_s,
            at_once=at_once,
            silence=self._silence,
            renewed=self._renewed,
        )
        self.watcher = Watcher(
            self.book,
            self.spool,
            transport,
            clock_s,
            poll_s=poll_s,
            accounting_wait_s=accounting_wait_s,
            doubt_s=self._doubt_s,
            has_accounting=self._has_accounting,
            silence=self._silence,
        )
        self.second = late.SecondLook(
            self.store,
            transport,
            clock_s,
            days=second_look[0],
            every_h=second_look[1],
            has_accounting=self._has_accounting,
        )
        key = site_secret(folder / "push.key", secrets.token_bytes)
        self._hearing, self._next_news_s = hearing, 0.0
        self.push = Push(
            self.spool, key, folder / REACHED, self._heard, clock_s=clock_s, port=hearing.port
        )
        self._addresses: tuple[str, ...] = ()
        self._stop = threading.Event()
        self._to_send, self._to_cancel, self._to_look = (threading.Event() for _ in range(3))
        self._threads: list[threading.Thread] = []
        self._broken: Exception | None = None  # what ended one of them

    # --- what the cluster is

    def partitions(self) -> tuple[Partition, ...]:
        """As the settings or the cluster say; remembered for when the controller is away."""
        try:
            with self._silence.asked():
                facts = self.transport.describe()
        except Unreachable:
            if not self._facts or (self._given is None and self._last_found() is None):
                raise  # that none are known is not that none are there
        else:
            self._facts = {
                "message_timeout_s": facts.message_timeout_s,
                "accounting": int(facts.accounting),
            }
            self.store.remember("facts", json.dumps(self._facts))
            self.scheduler = f"Slurm {facts.version}".strip()
            own = self._hearing.address
            self._addresses = (own,) if own else seen_from([n.address for n in facts.nodes])
            self._open_push()
            if self._given is None:
                before = kinds.names(self.store.recall)
                self._found = ask.discovered(facts, before, self._said)
                kinds.keep(self.store, self._found)
                self._tell_left_out(facts)
                self.sender.renew()
            known = self._known()
            self._short = shortages(known, facts)
            self._lying = {name: lies(place, facts) for name, place in known.items()}
        return tuple(place.partition for place in self._known().values())

    def _tell_left_out(self, facts: ClusterFacts) -> None:
        """In the log, each once."""
        for words in ask.left_out(facts):
            if words not in self._told:
                log.warning("slurm.left_out", words=words)
                self._told.add(words)

    def shortages(self) -> tuple[Shortage, ...]:
        return self._short

    def _open_push(self) -> None:
        """Whoever drives it by `step` has nobody who listens."""
        if self._threads and self._hearing.wanted:
            self.push.open(self._addresses)

    def places(self) -> dict[str, Place]:
        """Our partitions by name, and how each is asked of Slurm."""
        if self._given is None and self._last_found() is None:
            self.partitions()
        return self._known()

    def _known(self) -> dict[str, Place]:
        """Them as they were known last: nobody is asked."""
        if self._given is not None:
            return self._given
        return ask.as_said(self._last_found() or {}, self._chosen)

    def _known_as(self, name: str) -> Place | None:
        """One of them."""
        if self._given is not None:
            return self._given.get(name)
        place, how = (self._last_found() or {}).get(name), self._chosen.get(name)
        return ask.asked_as(place, how) if place and how else place

    def _last_found(self) -> dict[str, Place] | None:
        """As the cluster described them last; None where it never did."""
        if self._found is None:
            self._found = kinds.places(self.store.recall)
        return self._found

    def wrong(self, config: AgentConfig) -> dict[str, str]:
        facts = self.transport.describe()
        before = kinds.names(self.store.recall)
        known = tuple(each.partition for each in ask.all_of(config, facts, before).values())
        return check.bad(check.site_findings(config, known, facts, before))

    def use(self, config: AgentConfig) -> None:
        how = config.slurm
        self._accounts = ask.Accounts(how.accounts, how.default_account)
        listed = ask.own(config)
        if listed is None and self._given is not None:
            self._found = None
        self._given, self._chosen, self._given_doubt_s = listed, how.partitions, how.doubt_s
        self._said = ask.names_in(config)
        self._grace_s = config.grace_s
        self.sender.use(how.submits_at_once)
        least_s, most_s = how.poll_min_s, how.poll_max_s
        self.watcher.use((least_s, most_s), how.accounting_wait_s)
        self.second.use(how.second_look_days, how.second_look_every_h)
        self.sender.renew()
        self._wake()

    def _has_accounting(self) -> bool:
        return bool(self._facts.get("accounting", 1))

    def _doubt_s(self) -> float:
        if self._given_doubt_s is not None:
            return self._given_doubt_s
        return 3.0 * self._facts.get("message_timeout_s", 10)

    # --- what agents call

    def submit(self, starts: tuple[Start, ...]) -> None:
        self.places()  # asks Slurm if need be, and nobody waits for that
        fresh: dict[str, Start] = {}
        with self.book.changed:
            places = self._known()
            gone = self.store.forgotten([start.attempt for start in starts])
            for start in starts:
                if start.attempt not in gone and start.attempt not in self.book.jobs:
                    fresh.setdefault(start.attempt, start)
            if fresh:
                self.book.add([self._entry(start, places) for start in fresh.values()])
        self._wake()

    def _entry(self, start: Start, places: dict[str, Place]) -> tuple[Job, str, str]:
        environment = spool.environment_of(start)
        own = self.spool.own_output(start.attempt)
        stdout = start.stdout or own
        words = words_for(self.push.key, start.attempt) if self._hearing.wanted else {}
        job = Job(
            submission=ask.submission(
                start,
                places.get(start.partition) or _NOWHERE,
                self._accounts.account(start.project),
                script="",
                workdir=self.spool.folder(start.attempt),
                stdout=f"{self.spool.folder(start.attempt)}/wrapper",
                base=base_environment(),
            ),
            seen=BatchJob(start.attempt, "", Phase.QUEUED),
            stdout=stdout,
            stderr=start.stderr or stdout,
            job=start.job,
            project=start.project,
            place=start.partition,
        )
        why = ask.objection(start, places) or spool.objection(start, environment)
        if why:
            end(job, "not_started", why)
        elif start.again:
            doubt_again(job, int(self._clock_s()))
        return job, start.script, spool.job_file(start, own, self._grace_s, environment, words)

    def _renewed(self, job: Job) -> Submission:
        """As the settings that hold now say that it is asked."""
        if not job.place:  # an earlier version took it and noted no more
            return job.submission
        return ask.renewed(
            job.submission, self._known_as(job.place), self._accounts.account(job.project)
        )

    def look_up(self, attempts: tuple[str, ...]) -> dict[str, BatchJob]:
        return self.book.seen(attempts)

    def changes(self, cursor: str, wait_s: float) -> Changes:
        deadline = time.monotonic() + wait_s
        while True:
            if self._broken is not None:
                raise self._broken
            self._read_news()
            told = self.book.since(cursor)
            left = deadline - time.monotonic()
            if told.jobs or left <= 0 or self._stop.is_set():
                return told
            if self.watcher.due():
                self._to_look.set()
            with self.book.changed:
                if not self.book.since(cursor).jobs and not self.push.waits():
                    self.book.changed.wait(min(self._tick_s(), left))

    def _tick_s(self) -> float:
        return _TOLD_TICK_S if self.push.works else _TICK_S

    def _heard(self) -> None:
        with self.book.changed:
            self.book.changed.notify_all()

    def _read_news(self) -> None:
        """What wrappers told at once, and now and then what they left in the spool. Whoever looks
        wakes where accounting is to be asked earlier than was known."""
        due_s = self.watcher.next_s()
        told = self.push.take()
        if told:
            self.watcher.read_told(told)
        now = time.monotonic()
        if now >= self._next_news_s or not self.push.works:
            self._next_news_s = now + self._tick_s()
            self.push.found(self.watcher.read_news())
        if self.watcher.next_s() < due_s:
            self._to_look.set()

    @property
    def news(self) -> str:
        """How starts and ends come to the agent, in words."""
        return self.push.ledger.known.in_words()

    def cancel(self, attempts: tuple[str, ...]) -> None:
        self.sender.cancel(attempts)
        self._wake()

    def output(self, attempt: str) -> Output | None:
        job = self.book.jobs.get(attempt)
        if job is None:
            return None
        if NODE not in job.stdout + job.stderr:
            return Output(job.stdout, job.stderr)
        runs = self.spool.runs(attempt)
        node = runs[-1].node if runs and runs[-1].node else NODE
        return Output(job.stdout.replace(NODE, node), job.stderr.replace(NODE, node))

    def forget(self, attempts: tuple[str, ...]) -> None:
        now_s = int(self._clock_s())

        def keep(job: Job) -> PutAway | None:
            runs, seconds = self.spool.runs(job.attempt), self.spool.seconds(job.attempt)
            one = late.ended(job, runs, seconds, now_s)
            return None if one is None else self.second.keep(one)

        self.book.forget(attempts, now_s, keep)
        for attempt in attempts:
            if attempt not in self.book.jobs:  # also what an agent that was killed began to forget
                self.spool.forget(attempt)

    def late(self) -> tuple[Late, ...]:
        self.second.look_once()
        return self.second.pending()

    def late_told(self, taken: Collection[Late], unknown: Collection[Late]) -> None:
        self.second.told(taken, unknown)

    def whole_queue(self) -> WholeQueue:
        """What waits and runs on the cluster, anybody's."""
        if not self._lying:  # the agent started while nobody could say where partitions lie
            self.partitions()
        with self._silence.asked():
            rows = self.transport.whole_queue()
        ours = {job.seen.batch_job for job in list(self.book.jobs.values())}
        theirs = [row for row in rows if row.batch_job not in ours]
        return WholeQueue(entries(rows), others(theirs, self._lying, int(self._clock_s())))

    def refusals(self) -> str:
        return self.sender.refusals()

    def partition_refused(self) -> bool:
        return self.sender.partition_refused()

    def silence(self, at_least_s: int) -> str:
        return self._silence.in_words(at_least_s)

    def leave(self) -> None:
        """The agent stops: jobs go on, and the wrapper keeps what there is to tell."""
        self._stop.set()
        self._work()
        self.push.close()
        for thread in self._threads:
            thread.join(10)
        self.sender.close()
        self.spool.close()
        self.transport.close()
        if not any(thread.is_alive() for thread in self._threads):
            self.store.close()

    # --- its own work

    def start(self) -> SlurmBatch:
        """Begin to send and to look, in the background."""
        for name, once, wanted, soon_s in (
            ("send", self._send, self._to_send, lambda: _IDLE_S),
            ("cancel", self._cancel, self._to_cancel, lambda: _IDLE_S),
            ("look", self._look, self._to_look, self.watcher.next_s),
        ):
            thread = threading.Thread(
                target=self._repeat, args=(once, wanted, soon_s), name=f"slurm-{name}", daemon=True
            )
            self._threads.append(thread)
            thread.start()
        self._open_push()
        return self

    def step(self) -> None:
        """All its work once. Raises Unreachable when Slurm does not answer."""
        self._read_news()
        self._send()
        self._cancel()
        self._look()

    def _wake(self) -> None:
        self.watcher.wake()
        self._work()

    def _work(self) -> None:
        for wanted in (self._to_send, self._to_cancel, self._to_look):
            wanted.set()

    def _send(self) -> bool:
        return self.sender.send_once() > 0

    def _cancel(self) -> bool:
        """Beside the others: accounting that hangs keeps no job running."""
        self.sender.cancel_once()
        return False

    def _look(self) -> bool:
        self.sender.resolve_once()
        self.watcher.look_once()
        return False

    def _repeat(
        self, once: Callable[[], bool], wanted: threading.Event, soon_s: Callable[[], float]
    ) -> None:
        while not self._stop.is_set():
            try:
                busy = once()
            except (MeyrinError, OSError) as error:
                log.warning("slurm.waits", error=str(error))
                self._stop.wait(1.0)
                continue
            except Exception as error:  # noqa: BLE001 - a bug ends the agent, by `changes`
                self._broken = error
                self._heard()
                return
            if not busy:
                wanted.wait(min(_IDLE_S, max(_LEAST_S, soon_s())))
                wanted.clear()


_NOWHERE = Place(Partition("nowhere", 1, 1, 1), "nowhere")
