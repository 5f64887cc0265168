"""The agent: takes work, asks the site's rules, hands it to the batch system, tells the hub.

Each `*_once` is one bounded piece of work over three parties (hub, journal, batch system) that
may be interrupted anywhere and done again: whatever was noted is found, nothing is done twice.
`run` only repeats them in threads. Without the hub, the batch system goes on and the journal
keeps what there is to tell.
"""

from __future__ import annotations

import errno
import gc
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import structlog

from meyrin.agent.batch import BatchJob, BatchSystem, Output, Phase, ShowsQueue, Start
from meyrin.agent.config import AgentConfig
from meyrin.agent.hub import Hub
from meyrin.agent.journal import Item, Journal
from meyrin.agent.limits import KeepsLimits, Pass
from meyrin.agent.output import Tail
from meyrin.agent.prepare import folder_of, start_of, stderr_file, unnamed
from meyrin.agent.queue import site_secret, snapshot
from meyrin.agent.results import bring_back
from meyrin.agent.rules import objection
from meyrin.client.connection import Connection
from meyrin.domain.errors import MeyrinError, NotLoggedIn, StaleEpoch, StorageFull, Unreachable
from meyrin.wire.agents import Report, UsageBody

log = structlog.get_logger("meyrin.agent")
_GATHER_S = 0.05  # between batches of news: fewer, larger ones
_TELL_AGAIN_S = 60  # that the queue is shared no longer, where the hub did not hear it
_LOOK_EVERY_S = 0.25  # at files that running jobs write to


class Agent:
    """The agent of one site. `clock_ms` is the wall clock."""

    def __init__(
        self,
        config: AgentConfig,
        batch: BatchSystem,
        hub: Hub,
        journal: Journal,
        clock_ms: Callable[[], int],
        keeper: KeepsLimits | None = None,
    ) -> None:
        self.config = config
        self.keeper = keeper
        self.batch = batch
        self.hub = hub
        self.journal = journal
        self.clock_ms = clock_ms
        self.site = ""
        self.tail = Tail(batch, hub)
        self._items: dict[str, Item] = {}
        self._handed_ms: dict[str, int] = {}
        self._staging: set[str] = set()
        self._handing = threading.Lock()  # what is cancelled is not handed over meanwhile
        self._never: set[str] = set()
        self._news = threading.Event()
        self._stop = threading.Event()
        self._broken: BaseException | None = None
        self._staged = ThreadPoolExecutor(4, thread_name_prefix="stage")

    def hello(self) -> None:
        """Tell the hub what is here, and remember what the journal knows."""
        self.site = self.hub.hello(self.batch.kind, self.batch.partitions()).site
        self._items = {item.work.attempt: item for item in self.journal.everything()}
        untold = self.journal.unsent(len(self._items))
        self._never = {each.attempt for each in untold if each.phase in ("ended", "refused")}
        log.info("agent.hello", site=self.site, attempts=len(self._items))

    def recover_once(self) -> None:
        """Attempts that were taken but may not have arrived: look first, then hand over."""
        with self._handing:  # what is being taken meanwhile is not in doubt
            taken = self.journal.taken()
            doubtful = [item for item in taken if item.work.attempt not in self._staging]
        if doubtful:
            there = self.batch.look_up(tuple(item.work.attempt for item in doubtful))
            self.journal.handed(there)
            self._hand_over([item for item in doubtful if item.work.attempt not in there])

    def lease_once(self, wait_s: float) -> None:
        """Get work from the hub, note it, hand it over; end what is to be ended."""
        reply = self.hub.lease(wait_s)
        with self._handing:
            new = self.journal.take(reply.work, reply.requests)
            self._items |= {item.work.attempt: item for item in new}
            self._staging.update(item.work.attempt for item in new)
        direct = [item for item in new if not item.request.inputs]
        for item in new:
            if item.request.inputs:
                self._staged.submit(self._stage, item)
        try:
            if direct:
                self._hand_over(direct)
        finally:
            self._staging.difference_update(item.work.attempt for item in direct)
        ours = tuple(attempt for attempt in reply.cancel if attempt in self._items)
        if ours:
            self._cancel(ours)
        if reply.work or reply.cancel:
            log.info("agent.leased", starts=len(new), again=len(reply.work) - len(new),
                     cancels=len(ours))  # fmt: skip

    def _stage(self, item: Item) -> None:
        """Bring the inputs of one job, then hand it over; tried again by `recover_once`."""
        try:
            self._hand_over([item])
        except MeyrinError as error:
            log.warning("agent.stage_failed", attempt=item.work.attempt, error=error.message)
        finally:
            self._staging.discard(item.work.attempt)

    def _cancel(self, attempts: tuple[str, ...]) -> None:
        """End what the batch system has; what it does not have yet never starts."""
        with self._handing:
            there = self.batch.look_up(attempts)
            waiting = [a for a in attempts if a not in there and a not in self._staging]
            self.journal.note([self._report(a, "ended", end="cancelled") for a in waiting])
            self._never.update(waiting)
        self.batch.cancel(tuple(there))
        self._news.set()

    def _hand_over(self, items: Sequence[Item]) -> None:
        """Start those that the site's rules let in; say no to the others."""
        starts: list[Start] = []
        answers: list[Report] = []
        for item in items:
            attempt = item.work.attempt
            no = objection(self.config.rules, item.work)
            if no:
                answers.append(self._report(attempt, "refused", why=no))
                continue
            try:
                starts.append(start_of(self.config, self.site, item, self.hub.fetch_input))
            except Unreachable:
                log.info("agent.inputs_wait", attempt=attempt)
            except (OSError, MeyrinError) as error:
                if _no_room(error):
                    log.warning("agent.no_room", attempt=attempt, error=str(error))
                    continue
                why = f"its folder could not be made ready: {error}"
                answers.append(self._report(attempt, "ended", end="not_started", why=why))
        with self._handing:
            starts = [start for start in starts if start.attempt not in self._never]
            answers = [each for each in answers if each.attempt not in self._never]
            for start in starts:
                if start.stdout and start.stderr:
                    self.tail.name(start.attempt, Output(start.stdout, start.stderr))
            if starts:
                # taken now: it may run before the batch system's word of it is here
                self._handed_ms |= dict.fromkeys([s.attempt for s in starts], self.clock_ms())
                self.batch.submit(tuple(starts))
        self.journal.handed([start.attempt for start in starts])
        if answers:
            self.journal.note(answers)
            self._news.set()

    def _report(self, attempt: str, phase: str, **known: object) -> Report:
        return Report.model_validate(
            {
                "attempt": attempt,
                "epoch": self._items[attempt].work.epoch,
                "phase": phase,
                "at_ms": self.clock_ms(),
                **known,
            }
        )

    def watch_once(self, wait_s: float) -> None:
        """Note what changed in the batch system."""
        changes = self.batch.changes(self.journal.cursor(), wait_s)
        ours = [job for job in changes.jobs if job.attempt in self._items]
        self.journal.note([self._of_batch(job) for job in ours], changes.cursor)
        for job in ours:
            if job.phase is Phase.RUNNING:
                self.tail.watch(job.attempt)
        if ours:
            self._news.set()
            self._stop.wait(_GATHER_S)

    def _of_batch(self, job: BatchJob) -> Report:
        wanted = self._items[job.attempt].request.output_files
        now_ms = self.clock_ms()
        handed_ms = self._handed_ms.get(job.attempt, now_ms)
        usage = None
        if job.usage is not None:
            usage = UsageBody(
                elapsed_s=job.usage.elapsed_s,
                cpu_ms=job.usage.cpu_ms,
                max_rss_kb=job.usage.max_rss_kb,
                source=job.usage.source,
            )
        return Report(
            attempt=job.attempt,
            epoch=self._items[job.attempt].work.epoch,
            phase=job.phase.value,
            at_ms=handed_ms if job.phase is Phase.QUEUED else now_ms,
            batch_job=job.batch_job,
            start_ms=job.start_ms,
            end_ms=job.end_ms,
            end=job.end,
            exit_code=job.exit_code,
            signal=job.signal,
            why=job.why,
            site_word=job.site_word,
            usage=usage,
            results_follow=bool(wanted) and job.phase is Phase.ENDED and job.start_ms is not None,
            run=job.run,
        )

    def send_once(self) -> bool:
        """Tell the hub what is noted; output goes before the end that it belongs to.

        Returns whether there may be more to tell.
        """
        reports = self.journal.unsent(1000)
        ended = [each.attempt for each in reports if each.phase == "ended" and each.start_ms]
        self.tail.pump(last=ended)
        if not reports:
            return False
        stale = self.hub.report(reports)
        self.journal.sent(reports)
        if stale:
            log.warning("agent.stale", attempts=len(stale))
            self.batch.cancel(tuple(self.batch.look_up(tuple(stale))))
        return True

    def results_once(self) -> None:
        """Bring back the files that ended jobs left, then forget what is wholly told."""
        for attempt in self.journal.results_due():
            item = self._items[attempt]
            bring_back(self.hub, item, folder_of(self.config, item).path)
            self.journal.results_sent(attempt)
        done = self.journal.forgettable()
        if not done:
            return
        self.batch.forget(tuple(done))
        for attempt in done:
            folder = folder_of(self.config, self._items[attempt])
            if folder.own and folder.path.exists():
                shutil.rmtree(folder.path, ignore_errors=True)
            if unnamed(self._items[attempt].request):
                stderr_file(self.config, attempt).unlink(missing_ok=True)
        self.journal.forget(done)
        for attempt in done:
            self._items.pop(attempt, None)
            self._handed_ms.pop(attempt, None)
            self._never.discard(attempt)
            self.tail.forget(attempt)

    def tell_queue_once(self) -> None:
        """Tell the hub the site's whole queue, or that it is shared no longer."""
        if not isinstance(self.batch, ShowsQueue):
            return
        if not self.config.queue_every_s:
            self.hub.forget_queue()
            return
        secret = site_secret(self.config.dir / "queue.key", secrets.token_bytes)
        jobs, left_out = snapshot(self.batch.whole_queue(), secret)
        self.hub.queue(jobs, left_out, self.clock_ms())

    def keep_limits_once(self) -> None:
        """Bring the site's accounts and limits into step, or only look; tell the hub."""
        mode = self.config.limits.mode
        if self.keeper is None or mode == "off":
            return
        wanted = self.hub.limits()
        try:
            done = self.keeper.once(wanted.projects)
        except MeyrinError as error:
            done = Pass(words=f"nothing was done: {error.message}"[:300])
            log.warning("agent.limits_wait", error=error.message)
        self.hub.drift(mode, done.words, done.lines, self.clock_ms())

    def run(self) -> None:
        """Work until `stop`. Raises what stopped a thread: StaleEpoch when another start of this
        agent took over, or a bug."""
        self._until_done(self.hello)
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)  # its work is many small values that refer to nothing
        threads = [
            threading.Thread(target=self._repeat, args=(once,), name=name, daemon=True)
            for name, once in (
                ("lease", lambda: self.lease_once(20.0)),
                ("watch", lambda: self.watch_once(1.0)),
                ("send", self._send_or_wait),
                ("results", self._results_or_wait),
                ("recover", self._recover_or_wait),
                ("queue", self._queue_or_wait),
                ("limits", self._limits_or_wait),
            )
        ]
        for thread in threads:
            thread.start()
        self._stop.wait()
        for thread in threads[1:]:  # the first may wait at the hub: work given then comes again
            thread.join(5)
        self._staged.shutdown(wait=False, cancel_futures=True)
        if self._broken is not None:
            raise self._broken

    def stop(self) -> None:
        """End the agent's own work; jobs go on."""
        self._stop.set()
        self._news.set()

    def _send_or_wait(self) -> None:
        self._news.clear()
        if self.send_once():
            self._stop.wait(_GATHER_S)
        else:
            self._news.wait(_LOOK_EVERY_S if self.tail.watched() else 5.0)

    def _results_or_wait(self) -> None:
        self.results_once()
        self._stop.wait(0.5)

    def _queue_or_wait(self) -> None:
        """A batch system that does not answer is not asked more often for it."""
        every_s = self.config.queue_every_s
        try:
            self.tell_queue_once()
        except StaleEpoch:
            raise
        except MeyrinError as error:
            log.warning("agent.queue_waits", error=error.message)
            self._stop.wait(every_s or _TELL_AGAIN_S)
        else:
            told = not every_s or not isinstance(self.batch, ShowsQueue)
            self._stop.wait(None if told else every_s)

    def _limits_or_wait(self) -> None:
        self.keep_limits_once()
        self._stop.wait(None if self.keeper is None else self.config.limits.every_s)

    def _recover_or_wait(self) -> None:
        self.recover_once()
        self._stop.wait(2.0)

    def _until_done(self, once: Callable[[], None]) -> None:
        """Once, however long the hub stays away."""
        done = threading.Event()

        def one() -> None:
            once()
            done.set()

        while not done.is_set() and not self._stop.is_set():
            self._guarded(one)

    def _repeat(self, once: Callable[[], None]) -> None:
        try:
            while not self._stop.is_set():
                self._guarded(once)
        except BaseException as error:  # noqa: BLE001 - raised again by `run`, in the main thread
            self._broken = self._broken or error
            self.stop()

    def _guarded(self, once: Callable[[], None]) -> None:
        """Run a step; what time can mend is waited out and said, anything else stops the agent."""
        try:
            once()
        except StaleEpoch:
            raise
        except NotLoggedIn as error:
            log.error("agent.not_known", error=error.message)
            self._stop.wait(10.0)
        except (OSError, MeyrinError) as error:
            log.warning("agent.waits", error=str(error))
            self._stop.wait(1.0)


def _no_room(error: Exception) -> bool:
    """Whether the disk is full: what then fails is tried again, not given up."""
    return isinstance(error, StorageFull) or (
        isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}
    )


def wall_clock_ms() -> int:
    """The wall clock, for `main`."""
    return time.time_ns() // 1_000_000


def make(
    config: AgentConfig, batch: BatchSystem, fresh: str, keeper: KeepsLimits | None = None
) -> Agent:
    """An agent over the real hub and a journal on disk; `fresh` is a name never used before."""
    journal = Journal(Path(config.dir) / "journal.sqlite")
    hub = Hub(Connection(config.hub, config.credential), journal.name_start(fresh))
    return Agent(config, batch, hub, journal, wall_clock_ms, keeper)
