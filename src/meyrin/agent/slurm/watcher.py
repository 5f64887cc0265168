"""Follows what Slurm has: one look at the queue for all jobs, accounting for what ends.

Starts and ends are pushed by the wrapper into the spool; the queue is looked at in between, the
less often the less happens. A controller that does not answer changes no job's state.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import structlog

from meyrin.agent.batch import BatchJob, Phase
from meyrin.agent.slurm import judge
from meyrin.agent.slurm.ask import attempt_of
from meyrin.agent.slurm.book import Book, adopt, end
from meyrin.agent.slurm.judge import ENDS, Witnesses, base
from meyrin.agent.slurm.sender import SKEW_S
from meyrin.agent.slurm.silence import Silence
from meyrin.agent.slurm.spool import News, Run, Spool
from meyrin.agent.slurm.store import Job, Stage
from meyrin.agent.slurm.transport import AccountingRow, QueueRow, Transport
from meyrin.domain.errors import Unreachable

log = structlog.get_logger("meyrin.slurm")
_ACCOUNTING_EVERY_S = 0.4  # and not more than half of the time
_ASK_AGAIN_S = 30.0  # at the latest
_CLOSES_S = 0.15  # that Slurm needs to close a job whose script has ended
_SET_BACK_S = 60  # a clock that is set right by less only makes something wait that long
_KNOWN_LATELY_S = 240  # less than Slurm keeps ended jobs by default (MinJobAge)
_ABSENT = "not in the queue"
_NO_WORD = "Slurm lists it nowhere, it left no word of its end, and its wall time is over"


class Watcher:
    """`has_accounting` and `kill_wait_s` are facts of the cluster, asked when they are needed."""

    def __init__(
        self,
        book: Book,
        spool: Spool,
        transport: Transport,
        clock_s: Callable[[], float],
        *,
        poll_s: tuple[float, float],
        accounting_wait_s: float,
        doubt_s: Callable[[], float],
        has_accounting: Callable[[], bool],
        silence: Silence | None = None,
    ) -> None:
        self.silence = silence or Silence(clock_s)
        self.book, self.spool, self.transport, self.clock_s = book, spool, transport, clock_s
        self.use(poll_s, accounting_wait_s)
        self._doubt_s, self._has_accounting = doubt_s, has_accounting
        self._pause_s = self._least_s
        self._next_poll_s = 0.0
        self._next_accounting_s = 0.0
        self._polled_s = -1.0  # when the queue was last seen whole
        live = book.of(Stage.WAITING, Stage.SENDING, Stage.SENT)
        self._clock_was_s = max((_noted_s(job) for job in live), default=0)
        self._rows: dict[str, QueueRow] = {}
        self._due: dict[str, float] = {  # attempts that may be over, and when to ask
            job.attempt: 0.0 for job in book.of(Stage.SENT) if spool.claimed(job.attempt)
        }
        self._verdicts: dict[str, Callable[[Job], None]] = {}
        self.polls = 0

    def use(self, poll_s: tuple[float, float], accounting_wait_s: float) -> None:
        """How often the queue is looked at, and how long accounting may keep silent."""
        self._least_s, self._most_s = poll_s
        self._accounting_wait_s = accounting_wait_s

    def wake(self) -> None:
        """Something was handed over or is to end: look soon."""
        self._pause_s = self._least_s
        self._next_poll_s = min(self._next_poll_s, self.clock_s() + self._least_s)

    def due(self) -> bool:
        """Whether something has ended and accounting is to be asked now."""
        now = self.clock_s()
        return now >= self._next_accounting_s and any(at <= now for at in list(self._due.values()))

    def next_s(self) -> float:
        """In how many seconds something is to be asked of accounting, at the earliest."""
        at = min(list(self._due.values()), default=float("inf"))
        return max(at, self._next_accounting_s) - self.clock_s()

    def look_once(self) -> None:
        """One bounded look at what is due. Unreachable: the controller does not answer, and
        nothing has changed."""
        now = self.clock_s()
        if now < self._clock_was_s - _SET_BACK_S:
            self._begin_again(now)
        self._clock_was_s = now
        wanted = self.silence.lasts or self.book.of(Stage.SENT, Stage.SENDING)
        if now >= self._next_poll_s and wanted:
            self._poll(now)
        if now >= self._next_accounting_s and self._due:
            self._settle_due(now)

    def _begin_again(self, now: float) -> None:
        """The clock was set back: nothing that was noted lies ahead of it, or all would wait for
        that."""
        log.warning("slurm.clock_set_back", by_s=int(self._clock_was_s - now))
        self._next_poll_s = self._next_accounting_s = 0.0
        self._polled_s = -1.0
        for attempt in list(self._due):
            self._due[attempt] = 0.0
        jobs = self.book.of(Stage.WAITING, Stage.SENDING, Stage.SENT)
        self.book.change([job.attempt for job in jobs], lambda job: _not_ahead(job, int(now)))

    # --- the wrapper's word

    def read_told(self, told: Iterable[News]) -> None:
        """Look at what wrappers hint at, by name; nothing follows from what is not there."""
        facts = {each: self.spool.told(each) for each in told}
        runs = {each.attempt: run for each, run in facts.items() if run is not None}

        def how(job: Job) -> None:
            self._take(job, runs[job.attempt])

        self.book.change(runs, how)
        for each, run in facts.items():
            job = self.book.jobs.get(each.attempt)
            if run is not None and run.ended and job is not None and run.number >= job.seen.run:
                self._note_over(each.attempt, self.clock_s())
                self._ask_soon(each.attempt)

    def read_news(self) -> list[News]:
        """Take what wrappers have said since; asks Slurm nothing."""
        news = self.spool.news()
        if not news:
            return news
        now = self.clock_s()
        kinds: defaultdict[str, set[str]] = defaultdict(set)
        for each in news:
            kinds[each.attempt].add(each.kind)
        runs = {attempt: self.spool.runs(attempt) for attempt in kinds}

        def how(job: Job) -> None:
            if runs[job.attempt]:
                self._take(job, runs[job.attempt][-1])

        self.book.change(list(kinds), how)
        for attempt, said in kinds.items():
            if said & {"end", "never"}:
                self._note_over(attempt, now)
                self._ask_soon(attempt)
            if "second" in said:
                self._due[attempt] = 0.0
                log.info("slurm.second_copy", attempt=attempt)
        self.spool.put_away(news)
        return news

    def _take(self, job: Job, run: Run) -> None:
        if job.stage is Stage.SENDING:
            adopt(job, run.batch_job, int(self.clock_s()))
        if job.stage is Stage.SENT:
            self._hear(job, run)

    def _hear(self, job: Job, run: Run) -> None:
        """It runs, or its script is over: positive, whatever the controller knows yet."""
        if run.start_s is None or run.number < job.seen.run:
            return
        job.seen = replace(
            job.seen,
            phase=Phase.RUNNING,
            run=run.number,
            start_ms=run.start_s * 1000,
            end_ms=None if run.end_s is None else run.end_s * 1000,
            why="",
            site_word=None,
        )

    def _ask_soon(self, attempt: str) -> None:
        """Its script is over; Slurm needs a moment to close it."""
        at = self.clock_s() + _CLOSES_S
        self._due[attempt] = min(at, self._due.get(attempt, at))

    def _note_over(self, attempt: str, now: float) -> None:
        job = self.book.jobs.get(attempt)
        if job is not None and job.over_s is None:
            job.over_s = int(now)

    # --- the queue

    def _poll(self, now: float) -> None:
        self._next_poll_s = now + self._pause_s
        self.polls += 1
        with self.silence.asked():
            rows = self.transport.queue()
        self._polled_s = now
        by_attempt: defaultdict[str, list[QueueRow]] = defaultdict(list)
        for row in rows:
            attempt = attempt_of(row.name)
            if attempt is not None:
                by_attempt[attempt].append(row)
        jobs = self.book.of(Stage.SENT, Stage.SENDING)
        self._rows = {}
        listed: list[str] = []
        absent: list[str] = []
        for job in jobs:
            ours = _ours(job, by_attempt.get(job.attempt, ()))
            if ours is not None:
                self._rows[job.attempt] = ours
                listed.append(job.attempt)
            elif job.stage is Stage.SENT:
                absent.append(job.attempt)
        moved = self._apply(listed, int(now))
        for attempt in absent:
            self._due.setdefault(attempt, now)
        busy = moved or absent or any(job.stage is Stage.SENDING for job in jobs)
        self._pause_s = self._least_s if busy else min(self._most_s, self._pause_s * 2)
        self._next_poll_s = now + self._pause_s

    def _apply(self, listed: Iterable[str], now: int) -> int:
        """Take what the queue says; returns how many changed."""
        changed = []
        for attempt in listed:
            job, row = self.book.jobs.get(attempt), self._rows[attempt]
            if job is None:
                continue
            job.listed_s = now
            if base(row.state) in ENDS:
                self._due.setdefault(attempt, 0.0)
                self._note_over(attempt, now)
            else:
                job.looks = 0
            differs = job.stage is Stage.SENDING or _live(job, row) != job.seen
            if differs:
                changed.append(attempt)

        def how(job: Job) -> None:
            row = self._rows[job.attempt]
            if job.stage is Stage.SENDING:
                adopt(job, row.batch_job, row.submit_s or now)
            if job.stage is Stage.SENT:
                job.seen = _live(job, row)
                if job.seen.phase is Phase.QUEUED and base(row.state) in judge.WAITS:
                    job.over_s = None  # it may run again

        self.book.change(changed, how)
        return len(changed)

    # --- accounting

    def _settle_due(self, now: float) -> None:
        jobs: list[Job] = []
        for attempt, at in list(self._due.items()):
            job = self.book.jobs.get(attempt)
            if job is None or job.stage is Stage.ENDED or job.stage is Stage.WAITING:
                self._due.pop(attempt, None)
            elif at <= now and job.stage is Stage.SENT and len(jobs) < self.transport.at_once:
                jobs.append(job)
        if not jobs:
            return
        self._next_accounting_s = now + _ACCOUNTING_EVERY_S
        has = self._has_accounting()
        rows: defaultdict[str, list[AccountingRow]] = defaultdict(list)
        answered = not has
        if has:
            names = [job.submission.name for job in jobs]
            since = min(job.first_s for job in jobs) - SKEW_S
            asked_s = self.clock_s()
            try:
                found = self.transport.accounting(
                    names, since, [job.seen.batch_job for job in jobs]
                )
                for each in self._named(found, jobs):
                    rows[each.name].append(each)
                answered = True
            except Unreachable as error:
                log.warning("slurm.accounting_silent", error=error.message)
            answered_s = self.clock_s()
            rest_s = max(_ACCOUNTING_EVERY_S, answered_s - asked_s)
            self._next_accounting_s = answered_s + min(rest_s, _ASK_AGAIN_S)
        for job in jobs:
            ours = _ordered(job, rows[job.submission.name])
            self._judge(job, self._witnesses(job, ours, has=has), now, answered=answered)
        self._keep()

    def _named(self, rows: Sequence[AccountingRow], jobs: Sequence[Job]) -> Iterator[AccountingRow]:
        """Rows with their names. What has ended and accounting can't name yet, the queue names:
        the same id, submitted and ended in the same second. Else it waits till it has a name, as
        does a job that accounting knows several runs of."""
        yield from (row for row in rows if not row.unnamed)
        runs = Counter(row.batch_job for row in rows)
        nameless = {
            row.batch_job: row
            for row in rows
            if row.unnamed and row.end_s is not None and runs[row.batch_job] == 1
        }
        asked = [job.submission.name for job in jobs if job.seen.batch_job in nameless]
        for one in self.transport.queue(asked) if asked else ():
            row = nameless.get(one.batch_job)
            same = row is not None and (row.submit_s, row.end_s) == (one.submit_s, one.end_s)
            if row is not None and same and base(one.state) in ENDS:
                yield replace(row, name=one.name, partition=one.partition)

    def _witnesses(self, job: Job, rows: tuple[AccountingRow, ...], *, has: bool) -> Witnesses:
        return Witnesses(
            queue=self._rows.get(job.attempt),
            accounting=rows,
            runs=tuple(self.spool.runs(job.attempt)),
            seconds=tuple(self.spool.seconds(job.attempt)),
            cancelled=job.cancel_s is not None,
            has_accounting=has,
        )

    def _judge(self, job: Job, w: Witnesses, now: float, *, answered: bool) -> None:
        """Note the verdict on one attempt, or when to ask again."""
        how = self._verdict(job, w, now, answered=answered)
        if how is not None:
            self._verdicts[job.attempt] = how
        lives = w.queue is not None and base(w.queue.state) not in ENDS and job.over_s is None
        if how is not None or lives:
            self._due.pop(job.attempt, None)
        if how is None and not lives:
            since_s = now - (job.over_s if job.over_s is not None else now)
            self._due[job.attempt] = now + min(_ASK_AGAIN_S, max(_ACCOUNTING_EVERY_S, since_s / 2))

    def _keep(self) -> None:
        """Write the verdicts down, in one transaction."""
        verdicts, self._verdicts = self._verdicts, {}
        self.book.change(verdicts, lambda job: verdicts[job.attempt](job))
        for attempt in verdicts:
            job = self.book.jobs.get(attempt)
            if job is not None and job.stage is Stage.SENT:
                self._due.setdefault(attempt, self.clock_s() + _ACCOUNTING_EVERY_S)
            else:
                self._rows.pop(attempt, None)

    def _verdict(
        self, job: Job, w: Witnesses, now: float, *, answered: bool
    ) -> Callable[[Job], None] | None:
        """What to do about an attempt that may be over; None: nothing is sure yet."""
        live = w.queue is not None and base(w.queue.state) not in ENDS
        if _final(job, w):
            ended = judge.ending(job.seen, replace(w, queue=None) if live else w)
            if ended is not None:
                return _ending_as(ended, w)
        if job.over_s is not None and self._polled_s < job.over_s:
            self._next_poll_s = min(self._next_poll_s, now)  # perhaps it waits again
            return None
        if live:
            return None
        again = w.queue is None and _to_run_again(job, w)
        closed = bool(w.accounting) and base(w.accounting[-1].state) in ENDS
        asked_s = self.clock_s()  # a question may have taken as long as it is waited for
        waited = job.over_s is not None and asked_s >= job.over_s + self._accounting_wait_s
        if not again and (closed or waited or not w.has_accounting):
            ended = judge.ending(job.seen, w)
            if ended is not None:
                return _ending_as(ended, w)
        unknown = judge.unknown_word(w)
        if unknown is not None:
            return lambda one: _say(one, unknown) if one.seen.site_word != unknown else None
        gone = w.queue is None or judge.is_of_a_copy(w.queue, w)
        return self._missing(job, w, now) if answered and gone else None

    def _missing(self, job: Job, w: Witnesses, now: float) -> Callable[[Job], None] | None:
        """The queue does not list it, or only a copy of it that ended, and accounting has no end
        of it. That is no end either."""
        listed_s = job.listed_s if w.queue is None else 0
        if now < max(job.asked_s, listed_s, job.looked_s) + max(self._doubt_s(), 2.0):
            return None
        health = self.transport.health()
        if not health.controller or health.accounting is False:
            return None
        claimed = self.spool.claimed(job.attempt)
        if job.looks == 0:
            return lambda one: _looked(one, int(now), shown=claimed)
        known_lately = now - job.listed_s < _KNOWN_LATELY_S
        if not claimed and (w.has_accounting or known_lately):
            log.warning("slurm.forgotten", attempt=job.attempt, batch_job=job.seen.batch_job)
            return lambda one: _send_again(one, int(now), self.spool)
        if run := _to_run_again(job, w):
            return self._forgotten(job, w, run, int(now))
        return self._last_word(job, w, int(now), claimed=claimed)

    def _last_word(
        self, job: Job, w: Witnesses, now: int, *, claimed: bool
    ) -> Callable[[Job], None]:
        """A later copy or run is forgotten: then the last word of the wrapper stands. One that left
        none is lost when its wall time is long over; where its person has cancelled it, that is
        its end once nothing of it can begin any more."""
        closed = tuple(row for row in w.accounting if row.end_s is not None)
        w = replace(w, queue=None, accounting=closed)
        ended = judge.ending(job.seen, w)
        limit_s = (job.seen.start_ms or 0) / 1000 + (job.submission.walltime_s or 0)
        if ended is None and claimed and job.seen.start_ms and now > limit_s + 2 * SKEW_S:
            return lambda one: end(one, "lost", _NO_WORD)
        if ended is None and claimed and job.cancel_s is not None and job.looked_s > job.cancel_s:
            log.warning("slurm.forgotten", attempt=job.attempt, batch_job=job.seen.batch_job)
            following = w.runs[-1].number + 1 if w.runs else 1
            if self.spool.fence_runs(job.attempt, following):
                ended = judge.cancelled_unseen(job.seen, w)
        return _ending_as(ended, w) if ended is not None else _shown_missing(now)

    def _forgotten(self, job: Job, w: Witnesses, run: int, now: int) -> Callable[[Job], None]:
        """The controller forgot what it had queued again. Should it remember after all, no
        further run begins: the job's end is told."""
        log.warning("slurm.forgotten", attempt=job.attempt, batch_job=job.seen.batch_job, run=run)
        last = w.runs[-1].number if w.runs else 0
        if not self.spool.fence_runs(job.attempt, *range(last + 1, run + 1)):
            return _shown_missing(now)
        if judge.may_go_on(w):
            return self._last_word(job, w, now, claimed=True)
        return _ending_as(judge.forgotten(job.seen, w), w)


def _to_run_again(job: Job, w: Witnesses) -> int:
    """The run that is to come; 0 when none is. Only a job that may be queued again has one."""
    return judge.queued_again(job.seen, w) if job.submission.requeue else 0


def _shown_missing(now: int) -> Callable[[Job], None]:
    return lambda one: _looked(one, now, shown=True)


def _looked(job: Job, now: int, *, shown: bool) -> None:
    job.looks, job.looked_s = job.looks + 1, now
    if shown:
        _say(job, _ABSENT)


def _noted_s(job: Job) -> float:
    """The latest moment that was noted of it."""
    return max(job.first_s, job.asked_s, job.listed_s, job.looked_s, job.over_s or 0)


def _not_ahead(job: Job, now: int) -> None:
    job.first_s, job.asked_s = min(job.first_s, now), min(job.asked_s, now)
    job.not_before_s, job.listed_s = min(job.not_before_s, now), min(job.listed_s, now)
    job.looked_s = min(job.looked_s, now)
    job.over_s = None if job.over_s is None else min(job.over_s, now)
    job.cancel_s = None if job.cancel_s is None else min(job.cancel_s, now)


def _say(job: Job, word: str) -> None:
    """Show the site's word; the last known state stays."""
    job.seen = replace(job.seen, site_word=word)


def _send_again(job: Job, now: int, spool: Spool) -> None:
    """The controller forgot what it had acknowledged. The claim keeps a late copy from running."""
    if job.cancel_s is not None:
        if spool.fence(job.attempt):
            end(job, "cancelled")
        return
    job.stage, job.looks, job.tries, job.not_before_s = Stage.WAITING, 0, job.tries + 1, now
    job.seen = replace(job.seen, phase=Phase.QUEUED, site_word=None)


def _ending_as(ended: BatchJob, w: Witnesses) -> Callable[[Job], None]:
    def how(job: Job) -> None:
        job.stage, job.seen, job.rows = Stage.ENDED, ended, judge.runs_closed(w)

    return how


def _final(job: Job, w: Witnesses) -> bool:
    """Whether accounting's last word can't be followed by another run of the same job."""
    if not w.accounting or job.submission.requeue:
        return False
    return base(w.accounting[-1].state) in ENDS - {"PREEMPTED", "NODE_FAIL", "BOOT_FAIL"}


def _live(job: Job, row: QueueRow) -> BatchJob:
    """As the queue lists it. A job that may not be requeued and waits again after it ran is a
    copy that the controller makes because it forgot the first: the wrapper ends it."""
    copy = job.seen.phase is Phase.RUNNING and base(row.state) in judge.WAITS
    return job.seen if copy and not job.submission.requeue else judge.live(job.seen, row)


def _ours(job: Job, rows: Iterable[QueueRow]) -> QueueRow | None:
    """The row of this attempt: its name, and submitted since we asked. Of several copies the
    one that we know, else one that lives."""
    fit = [row for row in rows if (row.submit_s or 0) >= job.first_s - SKEW_S]
    same = [row for row in fit if row.batch_job == job.seen.batch_job]
    if job.stage is Stage.SENT:
        return same[0] if same else None
    return min(fit, key=lambda row: base(row.state) in ENDS, default=None)


def _ordered(job: Job, rows: Iterable[AccountingRow]) -> tuple[AccountingRow, ...]:
    """The runs of this batch job in their order; one that is still to begin comes last."""
    fit = [
        row
        for row in rows
        if row.batch_job == job.seen.batch_job and (row.submit_s or 0) >= job.first_s - SKEW_S
    ]
    fit.sort(key=lambda row: (row.submit_s or 0, row.start_s is None, row.start_s or 0))
    ran = [row for row in fit if row.start_s is not None and base(row.state) in ENDS]
    # without requeue, what is open beside a run that ended is a copy, or was never closed
    return tuple(ran if ran and not job.submission.requeue else fit)
