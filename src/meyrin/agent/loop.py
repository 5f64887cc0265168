"""The agent: takes work, asks the site's rules, hands it to the batch system, tells the hub.

Each `*_once` is one bounded piece of work over three parties (hub, journal, batch system) that
may be interrupted anywhere and done again: whatever was noted is found, nothing is done twice.
`run` only repeats them in threads. Without the hub, the batch system goes on and the journal
keeps what there is to tell.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import structlog

from meyrin.agent import late, limits, offers
from meyrin.agent.announce import Announcer
from meyrin.agent.batch import (
    BatchJob,
    BatchSystem,
    LooksAgain,
    Output,
    Phase,
    ShowsQueue,
    Start,
    TakesSettings,
)
from meyrin.agent.check import newly_wrong
from meyrin.agent.config import AgentConfig
from meyrin.agent.credential import Credential, own_files
from meyrin.agent.door import Door, Way
from meyrin.agent.errands import Errands
from meyrin.agent.hub import Hub
from meyrin.agent.journal import Item, Journal
from meyrin.agent.notes import Notes
from meyrin.agent.output import Tail
from meyrin.agent.patience import MANY, gather_s
from meyrin.agent.prepare import clear_away, no_room, own_folder, start_of
from meyrin.agent.queue import tell_queue
from meyrin.agent.report import Waits, of_batch
from meyrin.agent.results import bring_back, sealing
from meyrin.agent.steps import Steps
from meyrin.agent.watched import Watched
from meyrin.agent.within import really
from meyrin.domain.errors import MeyrinError, StaleEpoch, Unreachable
from meyrin.domain.patterns import NODE
from meyrin.domain.site import Partition
from meyrin.wire.agents import Report
from meyrin.wire.sites import About

log = structlog.get_logger("meyrin.agent")
_TELL_AGAIN_S = 60  # that the queue is shared no longer, where the hub did not hear it
_REVOKE_EVERY_S = 120  # leaving a project counts everywhere within ten minutes
_LOOK_EVERY_S = 0.25  # at files that running jobs write to
_SHUT_WAIT_S = 3.0  # at the hub, while the site takes nothing new


class Agent:
    """The agent of one site. `clock_ms` is the wall clock, `keeper_of` makes what keeps the limits
    of settings; `watched` is its settings file and `credential` what it logs in with, for agents
    that read and renew them."""

    def __init__(
        self,
        config: AgentConfig,
        batch: BatchSystem,
        hub: Hub,
        journal: Journal,
        clock_ms: Callable[[], int],
        keeper_of: Callable[[AgentConfig], limits.KeepsLimits | None] = lambda _: None,
        *,
        watched: Watched | None = None,
        credential: Credential | None = None,
    ) -> None:
        self.config = config
        self.keeper_of, self.keeper = keeper_of, keeper_of(config)
        self.watched, self.credential = watched, credential
        self.door = Door(config, clock_ms)
        self.announcer = Announcer(batch, clock_ms)
        self.batch, self.hub, self.journal, self.clock_ms = batch, hub, journal, clock_ms
        for name in ("work", "evidence"):
            really(config.dir / name)  # before a job can put a link there
        self.notes = Notes(journal, hub, clock_ms)
        self.site = ""
        self.results = Errands(self._bring_back, "results")
        self.tail = Tail(batch, hub, own_files(config))
        self._items: dict[str, Item] = {}
        self._handed_ms: dict[str, int] = {}
        self._staging: set[str] = set()
        self._handing = threading.Lock()  # what is cancelled is not handed over meanwhile
        self._never: set[str] = set()
        self._before: set[str] = set()  # taken by an earlier start, and not handed over by it
        self._waits = Waits()
        self._away = self._tell_all = False  # the hub did not answer; it may have forgotten since
        self._remembered = False
        self._said: tuple[Any, ...] = ()  # partitions and words that the hub has
        self._news, self._rush, self._limits, self._queue = (threading.Event() for _ in range(4))
        self._stop = threading.Event()
        self.steps = Steps(self._stop, self.stop, self._logged_in_again)
        self._staged = ThreadPoolExecutor(4, thread_name_prefix="stage")

    def remember(self) -> None:
        """What the journal knows of earlier starts; the hub is not needed for it."""
        self._items = {item.work.attempt: item for item in self.journal.everything()}
        self._before = {item.work.attempt for item in self.journal.taken()}
        untold = self.journal.unsent(len(self._items))
        self._never = {each.attempt for each in untold if each.phase in ("ended", "refused")}
        self.door.inside(i for i in self.journal.handed_over() if i.work.attempt not in self._never)
        self._remembered = True

    def hello(self) -> None:
        """Tell the hub what is here, and remember what the journal knows."""
        if not self._remembered:
            self.remember()
        self.announcer.look()
        said = self._saying()
        self.site = self.hub.hello(self.batch.kind, said[0], said[1]).site
        self._said = said
        self._tell_all = bool(self._items)
        log.info("agent.hello", site=self.site, attempts=len(self._items))
        if self.watched:
            offers.tell(self.hub.who, self.config.offer)

    def _saying(self) -> tuple[list[Partition], About]:
        file = self.watched.trouble if self.watched else ""
        return self.announcer.saying(self.config, self.door.mark(), file, self.door.trouble())

    def settings_once(self) -> None:
        """Read changed settings (a bad edit keeps the ones before), and look what the site has. The
        hub hears at once where that is other than before."""
        found = self.watched.look(self.config, self._wrong) if self.watched else None
        if found is not None:
            before, self.config = self.config, found
            self.door.config = found
            self.keeper = self.keeper_of(found)
            self._limits.set()
            self._queue.set()
            if isinstance(self.batch, TakesSettings):
                self.batch.use(found)
                self.announcer.look_at_once()  # one that gives no answer now is asked again
                self.announcer.look_if_due()
            if self.site:
                self.lease_once(0.0)  # the hub hears of it now: another call may wait there
            if found.offer != before.offer:
                offers.tell(self.hub.who, found.offer)
        had = self.announcer.known
        self.announcer.look_if_due()
        if self.site and self.announcer.known != had:
            self.lease_once(0.0)

    def _wrong(self, new: AgentConfig) -> str:
        self.keeper_of(new)
        return newly_wrong(self.batch, self.announcer.known, self.config, new)

    def credential_once(self) -> None:
        """Renew what the agent logs in with, when that is due."""
        if self.credential is not None:
            self.credential.renew_if_due(self.clock_ms(), self.config.renew_credential_h)

    def recover_once(self) -> None:
        """Attempts that were taken but may not have arrived: look first, then hand over. Those
        that wait for room are in no doubt: they go in when there is some."""
        held = set(self.door.held())
        with self._handing:  # what is being taken meanwhile is not in doubt
            taken = self.journal.taken()
            taken = [item for item in taken if item.work.attempt not in self._staging]
        doubtful = [item for item in taken if item.work.attempt not in held]
        if doubtful:
            there = self.batch.look_up(tuple(item.work.attempt for item in doubtful))
            self.journal.handed(there)
            self.door.inside(item for item in doubtful if item.work.attempt in there)
            self._hand_over([item for item in doubtful if item.work.attempt not in there])
        if held:
            by_attempt = {item.work.attempt: item for item in taken}
            self._hand_over([by_attempt[a] for a in self.door.held() if a in by_attempt])

    def lease_once(self, wait_s: float) -> bool:
        """Get work from the hub, note it, hand it over; end what is to end. Was there any?"""
        not_now = self.notes.not_now() or self.door.not_now() or self.announcer.not_now()
        said = self._saying()
        wait_s = min(wait_s, _SHUT_WAIT_S) if not_now else wait_s
        parts, about = (None, None) if said == self._said else said
        was_away, self._away = self._away, True
        reply = self.hub.lease(wait_s, not_now, partitions=parts, about=about)
        self._away, self._said, self._tell_all = False, said, self._tell_all or was_away
        slow = self.config.rules.veto is not None  # it may take its time, each time
        with self.notes.of(reply.work), self._handing:
            new = self.journal.take(reply.work, reply.requests)
            self._items |= {item.work.attempt: item for item in new}
            self._staging.update(item.work.attempt for item in new)
        direct = [item for item in new if not (slow or item.request.inputs)]
        for item in new:
            if slow or item.request.inputs:
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
        return bool(reply.work)

    def _stage(self, item: Item) -> None:
        """Hand over one job that needs a while first; tried again by `recover_once`."""
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
        self.door.left(waiting)
        self.batch.cancel(tuple(there))
        self._news.set()

    def _hand_over(self, items: Sequence[Item]) -> None:
        """Start those that the site's rules let in; say no to the others."""
        starts: list[Start] = []
        answers: list[Report] = []
        for item in items:
            if item.work.attempt in self._never:
                continue
            found = self._start_or_no(item)
            if isinstance(found, Start):
                starts.append(found)
            else:
                answers.append(found)
        with self._handing:
            starts = [start for start in starts if start.attempt not in self._never]
            answers = self._waits.news(e for e in answers if e.attempt not in self._never)
            if answers:
                self.journal.note(answers)
                self._never.update(e.attempt for e in answers if e.phase != "held")
                self._news.set()
            for start in starts:
                if start.stdout and start.stderr and NODE not in start.stdout + start.stderr:
                    self.tail.name(start.attempt, Output(start.stdout, start.stderr))
            if starts:
                # taken now: it may run before the batch system's word of it is here
                self._handed_ms |= dict.fromkeys([s.attempt for s in starts], self.clock_ms())
                self.batch.submit(tuple(starts))
        self.journal.handed([start.attempt for start in starts])

    def _start_or_no(self, item: Item) -> Start | Report:
        """Its start, the site's no, or what it waits for: then it is tried again later."""
        attempt, mark = item.work.attempt, self.door.mark()
        verdict = self.door.verdict(self.site, item, self.announcer.gone(item.work.partition))
        if verdict.way is Way.HELD:
            return self._report(attempt, "held", why=verdict.why)
        if verdict.way is not Way.IN:
            later = verdict.way is Way.NOT_NOW
            known = {"why": verdict.why, "for_now": later, "rules_mark": mark}
            return self._report(attempt, "refused", **known)
        try:
            return self._start_if_it_fits(item)
        except Unreachable:
            log.info("agent.inputs_wait", attempt=attempt)
            return self._report(attempt, "held", why="its inputs could not be fetched yet")
        except (OSError, MeyrinError) as error:
            if no_room(error):
                log.warning("agent.no_room", attempt=attempt, error=str(error))
                return self._report(attempt, "held", why="the site has no room for its files")
            self.door.left([attempt])
            why = f"its folder could not be made ready: {error}"
            return self._report(attempt, "ended", end="not_started", why=why)

    def _start_if_it_fits(self, item: Item) -> Start | Report:
        """Its start, or a no for now where its partition has become too small for it: the hub has
        been told of that. What an earlier start took is not given back: it may run."""
        attempt = item.work.attempt
        start = start_of(self.config, self.site, item, self.hub.fetch_input)
        if attempt in self._before:
            return replace(start, again=True)
        no = self.announcer.outgrown(start)
        if not no:
            return start
        self.door.left([attempt])
        return self._report(attempt, "refused", why=no, for_now=True)

    def _report(self, attempt: str, phase: str, **known: object) -> Report:
        whose = {"attempt": attempt, "epoch": self._items[attempt].work.epoch}
        return Report.model_validate({**whose, "phase": phase, "at_ms": self.clock_ms(), **known})

    def watch_once(self, wait_s: float) -> None:
        """Note what changed in the batch system; all that lives, once the hub is back."""
        if self._tell_all:
            there = self.batch.look_up(tuple(self._items)).values()
            lives = [job for job in there if job.phase is not Phase.ENDED]
            self.journal.note([self._of_batch(job) for job in lives])
            self._follow(lives)  # no change tells an agent that starts again of what runs already
            self._tell_all = False
            self._news.set()
        before = self.journal.cursor()
        changes = self.batch.changes(before, wait_s)
        began = time.monotonic()
        ours = [job for job in changes.jobs if job.attempt in self._items]
        if ours or changes.cursor != before:
            self.journal.note([self._of_batch(job) for job in ours], changes.cursor)
        self.door.left(job.attempt for job in ours if job.phase is Phase.ENDED)
        self._follow(ours)
        if ours:
            self._news.set()
            if changes.idle and len(ours) >= MANY:
                self._rush.set()  # the last of many: nothing more comes that could go with them
            else:
                self._stop.wait(gather_s(self.batch.gather_s, time.monotonic() - began))

    def _follow(self, jobs: Iterable[BatchJob]) -> None:
        """From now on send what those print that run."""
        for job in jobs:
            if job.phase is Phase.RUNNING:
                self.tail.watch(job.attempt)

    def _of_batch(self, job: BatchJob) -> Report:
        now_ms = self.clock_ms()
        handed_ms = self._handed_ms.get(job.attempt, 0)
        return of_batch(job, self._items[job.attempt], handed_ms, now_ms)

    def send_once(self) -> bool:
        """Tell the hub what is noted, output before the end that it belongs to; returns whether
        there may be more."""
        reports = self.journal.unsent(1000)
        over = [each for each in reports if each.phase == "ended"]
        ended = [e.attempt for e in over if e.start_ms or self.tail.follows(e.attempt)]
        self.tail.pump(last=ended)
        if not reports:
            return False
        stale = set(self.hub.report(reports))
        self.journal.sent(each for each in reports if each.attempt not in stale)
        if stale:
            log.warning("agent.stale", attempts=len(stale))
            # before that is noted: where the batch system gives no answer, the hub says it again
            self._cancel(tuple(a for a in stale if a in self._items and a not in self._never))
            self.journal.sent(each for each in reports if each.attempt in stale)
        return True

    def results_once(self) -> None:
        """Bring back the files that ended jobs left, and forget what is wholly told."""
        try:
            self.results.go(self.journal.results_due)
        finally:  # what the hub can't take of one job keeps nothing of others
            self._forget_told()

    def _forget_told(self) -> None:
        done = self.journal.forgettable()
        if not done:
            return
        self.batch.forget(tuple(done))
        for attempt in done:
            clear_away(self.config, self._items[attempt])
        self.journal.forget(done)
        for attempt in done:
            self._items.pop(attempt, None)
            self._handed_ms.pop(attempt, None)
            self._never.discard(attempt)
            self._waits.forget(attempt)
            self.tail.forget(attempt)

    def _bring_back(self, attempt: str) -> None:
        item = self._items[attempt]
        seal = sealing(self.config, self.site, item)
        bring_back(self.hub, item, own_folder(self.config, item), seal)
        self.journal.results_sent(attempt)

    def tell_queue_once(self) -> None:
        """Tell the hub the site's whole queue, or that it is shared no longer."""
        tell_queue(self.hub, self.batch, self.config, self.clock_ms)

    def keep_limits_once(self) -> None:
        """Bring the site's accounts and limits into step, or only look; tell the hub."""
        limits.keep(self.hub, self.keeper, self.config, self.clock_ms)

    def revoke_once(self) -> None:
        """Tell the hub which of the people who left a project can use its account no longer."""
        limits.revoke(self.hub, self.keeper, self.config)

    def run(self) -> None:
        """Work until `stop`. Raises what stopped a thread: StaleEpoch when another start of this
        agent took over, or a bug.

        What the batch system says is noted from the start on, also while the hub is away."""
        self.remember()
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)  # its work is many small values that refer to nothing
        threads = [
            self.steps.thread("watch", lambda: self.watch_once(1.0)),
            self.steps.thread("settings", self._settings_or_wait),
            self.steps.thread("credential", self.steps.every(60.0, self.credential_once)),
        ]
        self.steps.until_done(self.hello)
        threads += [
            self.steps.thread("send", self._send_or_wait),
            self.steps.thread("results", self.steps.every(0.5, self.results_once)),
            self.steps.thread("recover", self.steps.every(2.0, self.recover_once)),
            self.steps.thread("queue", self._queue_or_wait),
            self.steps.thread("limits", self._limits_or_wait),
            self.steps.thread("revoke", self.steps.every(_REVOKE_EVERY_S, self.revoke_once)),
            self.steps.thread("late", self._late_or_wait),
        ]
        self.steps.thread("lease", self._lease_or_wait)
        self._stop.wait()
        for thread in threads:  # `lease` may wait at the hub: work given then comes again
            thread.join(5)
        self._staged.shutdown(wait=False, cancel_futures=True)
        if self.steps.broken is not None:
            raise self.steps.broken

    def stop(self) -> None:
        """End the agent's own work; jobs go on."""
        for each in (self._stop, self._news, self._rush, self._limits, self._queue):
            each.set()
        self.read_settings()

    def read_settings(self) -> None:
        """Read the settings file now, look what the site has, and ask a broken veto again; for a
        signal handler."""
        self.door.try_now()
        self.announcer.look_at_once()
        if self.watched is not None:
            self.watched.wake()

    def _lease_or_wait(self) -> None:
        if self.lease_once(20.0):
            self._stop.wait(self.batch.gather_s)

    def _send_or_wait(self) -> None:
        self._news.clear()
        self._rush.clear()
        began = time.monotonic()
        if self.send_once():
            self._rush.wait(gather_s(self.batch.gather_s, time.monotonic() - began))
        else:
            self._news.wait(_LOOK_EVERY_S if self.tail.watched() else 5.0)

    def _settings_or_wait(self) -> None:
        self.settings_once()
        (self._stop if self.watched is None else self.watched).wait(2.0)

    def _queue_or_wait(self) -> None:
        """A batch system that does not answer is not asked more often for it."""
        self._queue.clear()
        every_s = self.config.queue_every_s
        try:
            self.tell_queue_once()
        except StaleEpoch:
            raise
        except MeyrinError as error:
            log.warning("agent.queue_waits", error=error.message)
            every_s = every_s or _TELL_AGAIN_S
        self._queue.wait(every_s if every_s and isinstance(self.batch, ShowsQueue) else None)

    def _limits_or_wait(self) -> None:
        self._limits.clear()
        self.keep_limits_once()
        self._limits.wait(None if self.keeper is None else self.config.limits.every_s)

    def _late_or_wait(self) -> None:
        if isinstance(self.batch, LooksAgain):
            late.tell(self.batch, self.hub)
        self._stop.wait(late.EVERY_S)

    def _logged_in_again(self) -> bool:
        """Whether there is another credential to try: one that follows, or the operator's."""
        return self.credential is not None and self.credential.look_again()
