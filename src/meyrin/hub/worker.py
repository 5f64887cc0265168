"""The hub's periodic steps. Every replica has them; a turn lets one at a time do each."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import structlog

from meyrin.domain.errors import MeyrinError, WorldMoved
from meyrin.hub.broker import kernels
from meyrin.hub.broker import service as broker
from meyrin.hub.calls import pace, proposals, reclaiming, tranches
from meyrin.hub.calls import service as calls
from meyrin.hub.calls.modes.file import Mode
from meyrin.hub.jobs import attempts, keeping, leaving, sweeping
from meyrin.hub.owners import service as owners
from meyrin.hub.plumbing import memory, turns
from meyrin.hub.plumbing.blobs import Blobs
from meyrin.hub.plumbing.database import Database, Step
from meyrin.hub.plumbing.world import BROKER
from meyrin.hub.reports import held
from meyrin.hub.sites import capacity

log = structlog.get_logger("meyrin.hub")
_TURN_MS = 10_000
_SWEEP_EVERY_MS = 60_000
_LEFT_EVERY_MS = 10_000
_TIDY_S = 0.5
_EVEN_FOR_MS, _UNEVEN_MS = 600_000, 60_000
# between steps, for fewer and larger ones: as long as the last one took
_GATHER_S, _GATHER_MOST_S = 0.05, 0.5
_LOOK_EVERY_S = 1.0  # dates pass and sites fall silent without a ring


class Worker:
    """Runs the broker step whenever something changed that may let a job start."""

    def __init__(
        self,
        database: Database,
        modes: Sequence[Mode] = (),
        freeze_day: int = 8,
        leaver_grace_s: int = 300,
        on_bug: Callable[[], None] = lambda: None,
        blobs: Blobs | None = None,
    ) -> None:
        self.database = database
        self.modes = modes
        self.freeze_day = freeze_day
        self.leaver_grace_s = leaver_grace_s
        self.on_bug = on_bug
        self.blobs = blobs
        self.holder = uuid.uuid4().hex
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="broker", daemon=True)
        self._compiler = threading.Thread(target=self._compile, name="compiler", daemon=True)
        self._turn_until_ms = 0
        self._swept_ms = 0
        self._left_ms = 0
        self._ahead_ms = 0  # of the clock, against one that never jumps
        self._even_from_ms: int | None = None  # by the one that never jumps

    def start(self) -> None:
        memory.few_heaps()
        memory.seldom()
        self._compiler.start()
        self._thread.start()

    def stop(self) -> None:
        """End after the step that is under way."""
        self._stop.set()
        self.database.bell.ring([BROKER])
        for thread in (self._thread, self._compiler):
            if thread.ident is not None:
                thread.join(10)

    def _run(self) -> None:
        """A bug ends the steps, and whoever started them hears of it: a hub that answers and
        places nothing would look well."""
        try:
            self._steps()
        except BaseException as bug:
            log.error("worker.bug", kind=type(bug).__name__)
            self.on_bug()
            raise

    def _compile(self) -> None:
        bell = self.database.bell
        kernels.prepare(lambda seconds: self._stop.wait(seconds) or bell.closed)

    def _steps(self) -> None:
        bell = self.database.bell
        while not (self._stop.is_set() or bell.closed):
            heard = bell.count(BROKER)
            placed, began = 0, time.monotonic()
            try:
                if self._my_turn():
                    placed = broker.step_once(self.database)
                    self._sweep()
                    self._end_leavers()
            except WorldMoved:
                continue
            except MeyrinError as error:
                log.warning("broker.waits", error=error.message)
            ended = time.monotonic()
            if placed:
                log.info("broker.placed", jobs=placed)
            else:
                bell.wait(BROKER, heard, _LOOK_EVERY_S)
            gather_s = min(_GATHER_MOST_S, max(_GATHER_S, ended - began))
            self._stop.wait(max(0.0, ended + gather_s - time.monotonic()))

    def _sweep(self) -> None:
        """Once a minute, each part by itself: one that can't be done now holds up no other."""
        now_ms = self.database.clock_ms()
        if abs(now_ms - self._swept_ms) < _SWEEP_EVERY_MS:
            return
        self._swept_ms = now_ms
        for part in (
            self._take_back,
            self._deadlines,
            self._expire,
            self._release,
            self._watch,
            self._reclaim,
            self._months,
            self._tidy,
        ):
            try:
                part()
            except MeyrinError as error:
                self._waits(part.__name__.strip("_"), error)

    def _waits(self, part: str, error: MeyrinError) -> None:
        """The next minute tries it again."""
        log.warning("sweep.waits", part=part, error=error.message)

    def _take_back(self) -> None:
        """Placed jobs that their sites do not fetch can go elsewhere."""
        with self._alone("sweep") as step:
            back = sweeping.take_back(step)
        if back:
            log.info("jobs.taken_back", jobs=back)

    def _deadlines(self) -> None:
        """Deadlines of jobs that were placed and have not begun."""
        with self._alone("sweep") as step:
            late = sweeping.end_late(step)
        if late:
            log.info("jobs.late", jobs=late)

    def _expire(self) -> None:
        """What allocations that are over still had expires; first jobs are noted."""
        with self._alone("sweep") as step:
            expired = calls.sweep(step)
            waiting = proposals.without_first_job(step)
            if waiting:
                proposals.note_first_jobs(step, attempts.first_starts(step, waiting))
        if expired:
            log.info("allocations.expired", allocations=len(expired))

    def _release(self) -> None:
        """Tranches come due."""
        with self._alone("sweep") as step:
            changed = tranches.sweep(step)
        if changed:
            log.info("tranches.changed", tranches=changed)

    def _watch(self) -> None:
        """The pace of what runs is looked at, and what will go back is announced."""
        with self._alone("sweep") as step:
            watched = pace.watch(step, self.modes)
            reclaiming.announce(step, self.modes, watched)
        if watched:
            log.info("allocations.watched", allocations=len(watched))

    def _reclaim(self) -> None:
        """Idle hours go back."""
        with self._alone("sweep") as step:
            reclaimed = reclaiming.run(step, reclaiming.CLOCK)
        if reclaimed:
            log.info("allocations.reclaimed", allocations=len(reclaimed))

    @contextmanager
    def _alone(self, name: str) -> Iterator[Step]:
        """A transaction in which no other hub does the same: each locks rows in its own order."""
        with self.database.write() as step:
            turns.alone(step, name)
            yield step

    def _months(self) -> None:
        """What changed of partitions is noted; months whose day has come are frozen."""
        with self._alone("sweep") as step:
            capacity.note(step)
        if not self._goes_evenly(self.database.clock_ms(), int(time.monotonic() * 1000)):
            return
        with self._alone("sweep") as step:
            frozen = owners.freeze_due(step, self.freeze_day)
        if frozen:
            log.info("statements.frozen", months=frozen)

    def _goes_evenly(self, now_ms: int, steady_ms: int) -> bool:
        """Whether the clock has not jumped for ten minutes: one that stands ahead for a minute
        would close months that have not come, for good. Only months wait for it, as nobody misses
        one for ten minutes: a deadline, a tranche or an end that is so late after each start would
        be a fault of its own, so those trust the clock."""
        ahead_ms = now_ms - steady_ms
        if self._even_from_ms is None or abs(ahead_ms - self._ahead_ms) > _UNEVEN_MS:
            self._ahead_ms, self._even_from_ms = ahead_ms, steady_ms
        return steady_ms - self._even_from_ms >= _EVEN_FOR_MS

    def _tidy(self) -> None:
        """What nothing refers to leaves the content store: for half a second each minute."""
        if self.blobs is None:
            return
        end = time.monotonic() + _TIDY_S
        files, size = keeping.tidy(
            self.database,
            self.blobs,
            held.HOLDERS,
            self.database.clock_ms() // _SWEEP_EVERY_MS,
            lambda: self._stop.is_set() or time.monotonic() > end,
        )
        if files:
            log.info("store.tidied", files=files, bytes=size)

    def _end_leavers(self) -> None:
        """Every ten seconds: jobs of people who left their project end."""
        now_ms = self.database.clock_ms()
        if abs(now_ms - self._left_ms) >= _LEFT_EVERY_MS:
            self._left_ms = now_ms
            with self._alone("leavers") as step:
                ended = leaving.end_jobs(step, self.leaver_grace_s)
            if ended:
                log.info("leavers.ended", jobs=ended)

    def _my_turn(self) -> bool:
        """Claimed for ten seconds, renewed when half of them are over."""
        now_ms = self.database.clock_ms()
        if 0 < self._turn_until_ms - now_ms <= _TURN_MS and (
            self._turn_until_ms - now_ms > _TURN_MS // 2
        ):
            return True
        with self.database.write() as step:
            mine = turns.take(step, "broker", self.holder, _TURN_MS)
        self._turn_until_ms = now_ms + _TURN_MS if mine else 0
        return mine
