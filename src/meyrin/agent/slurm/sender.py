"""Hands attempts to Slurm, each once, whatever crashes or gets lost on the way.

    WAITING ──noted──▶ SENDING ──id──▶ SENT
       ▲                  │ no word, a crash, an unclear answer: in doubt
       └─ not found twice ┴─ found by its name ─▶ SENT (adopted)

Where nobody took the question, as its connection was refused, there is no doubt: it waits again.
What waits is asked under the account, QoS and so on that the settings say now, and under its own
name; what is in doubt stays as it was asked until it has been looked for.

What waits since an earlier start of the agent is in doubt too: where its folder came back from a
backup, or was copied, another start may have asked for it since.

A doubt is left alone until the controller's own time-outs are over. Then the attempt's name is
looked for in the queue and in accounting, both of which must answer. What was submitted before
we first asked is not ours, whatever its id. And if a copy turns up after all, the wrapper's claim
lets only one of them run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace

import structlog

from meyrin.agent.slurm.ask import name_of
from meyrin.agent.slurm.book import Book, adopt, end
from meyrin.agent.slurm.full import Full, Queue, in_words, queue_of
from meyrin.agent.slurm.judge import ENDS, base
from meyrin.agent.slurm.silence import Silence
from meyrin.agent.slurm.spool import FENCED, Spool
from meyrin.agent.slurm.store import Job, Stage
from meyrin.agent.slurm.transport import (
    AccountingRow,
    ClusterFacts,
    NotAccepted,
    QueueRow,
    Submission,
    Transport,
)
from meyrin.agent.slurm.usable import shut
from meyrin.domain.errors import Unreachable

log = structlog.get_logger("meyrin.slurm")
SKEW_S = 300  # between the clocks of the agent's machine and the controller's
_ROUND = 16  # attempts noted together before they are sent
_UNCLEAR = 5  # unclear answers, with no other doubt between them, and never found: it is a no
_AGAIN_S = 10
_SILENT = "the site's Slurm does not answer"
_BACK = "the site's Slurm answers again: it goes in soon"
_LOOKED_FOR = (
    "the site's Slurm answers again, but did not say whether it took this job: that is looked up"
    " first"
)
_REST_S = 2  # before a controller that did not answer is asked again
_SILENT_S = 10  # before those that wait are told
_OLDEST_S = 35 * 86_400  # a copy of the agent's folder that is still minded


class Sender:
    """`doubt_s` is how long a doubt is left alone."""

    def __init__(
        self,
        book: Book,
        spool: Spool,
        transport: Transport,
        clock_s: Callable[[], int],
        *,
        doubt_s: Callable[[], float],
        at_once: int,
        silence: Silence,
        renewed: Callable[[Job], Submission],
    ) -> None:
        self.book, self.spool, self.transport = book, spool, transport
        self._silence, self._renewed = silence, renewed
        self.clock_s, self._doubt_s = clock_s, doubt_s
        self.width = self._wanted = at_once
        self._flying: set[str] = set()
        self._full = Full()
        self._partition_refused = False
        self._no_more: dict[Queue, NotAccepted] = {}  # said in this round
        self._described: tuple[int, ClusterFacts] | None = None  # when, and what Slurm said
        self._pool = ThreadPoolExecutor(at_once, "sbatch") if at_once > 1 else None
        self.silent_until_s = 0.0
        self._silent_since_s: int | None = None
        for job in book.of(Stage.WAITING):
            doubt_again(job, clock_s())

    def use(self, at_once: int) -> None:
        """How many submissions run at the same time, from the next round on."""
        self._wanted = at_once

    def renew(self) -> None:
        """Settings changed: what Slurm has not taken is asked by the new ones."""

        def how(job: Job) -> None:
            if job.stage is Stage.WAITING:
                job.submission, job.unsure = self._renewed(job), 0

        with self.book.changed:
            waiting = self.book.of(Stage.WAITING)
            old = [job.attempt for job in waiting if self._renewed(job) != job.submission]
            self.book.change(old, how)

    def _wait(self, job: Job, not_before_s: int) -> None:
        """Slurm does not have it, and is to be asked."""
        job.stage, job.not_before_s = Stage.WAITING, not_before_s
        job.submission = self._renewed(job)

    def _hands(self) -> Executor | None:
        """Who asks Slurm: renewed between two rounds, by the thread that sends."""
        if self._wanted != self.width:
            self.close()
            self.width = self._wanted
            self._pool = ThreadPoolExecutor(self.width, "sbatch") if self.width > 1 else None
        return self._pool

    def _silent(self, now: int) -> bool:
        """Whether the controller gave no answer just now; a later moment was a clock's that has
        been set back since."""
        return now < self.silent_until_s <= now + _REST_S

    # --- sending

    def send_once(self) -> int:
        """Send some of what waits; returns how many Slurm was asked for."""
        now = self.clock_s()
        if self._silent(now):
            self._say_silent(now)
            return 0
        waiting = [job for job in self.book.of(Stage.WAITING) if job.not_before_s <= now]
        ready = self._full.let_in(waiting, self.book.of(Stage.SENT), now)
        if len(ready) < len(waiting):
            let_in = {job.attempt for job in ready}
            self._say(
                (job, self._full.why(queue_of(job))) for job in waiting if job.attempt not in let_in
            )
        ready = ready[:_ROUND]
        if not ready:
            return 0
        self._no_more = {}
        attempts = [job.attempt for job in ready]
        with self.book.changed:
            attempts = [a for a in attempts if a in self.book.jobs]
            self._flying.update(attempts)
        try:
            self.book.change(attempts, lambda job: _note_asking(job, now))
            self._settle(self._ask_all(attempts))
        finally:
            self._flying.difference_update(attempts)
        return len(attempts)

    def _ask_all(self, attempts: Sequence[str]) -> list[tuple[str, object]]:
        hands = self._hands()
        noted = [a for a in attempts if self._noted(a)]
        needs = {attempt: self.book.store.needs(attempt) for attempt in noted}
        failed = self.spool.prepare(needs, together=hands is not None)
        asked = [attempt for attempt in noted if attempt not in failed]
        answers = (hands.map if hands else map)(self._ask, asked)
        return [*failed.items(), *zip(asked, answers, strict=True)]

    def _noted(self, attempt: str) -> Job | None:
        job = self.book.jobs.get(attempt)
        return job if job and job.stage is Stage.SENDING else None

    def _ask(self, attempt: str) -> object:
        """Slurm's id, or the exception that was the answer; None: it was not asked after all."""
        job = self._noted(attempt)
        if job is None:
            return None
        said: Exception | None = self._no_more.get(queue_of(job))
        if self._silent(self.clock_s()):
            said = OSError("the controller fell silent meanwhile")
        if said is not None:
            return said
        try:
            return self.transport.submit(
                replace(job.submission, script=self.spool.wrapper(attempt))
            )
        except NotAccepted as said_no:
            held_up = said_no.denied and self._is_shut(job.submission)
            no = NotAccepted(said_no.why, later=True) if held_up else said_no
            if no.later:
                self._no_more[queue_of(job)] = no
            return no
        except Unreachable as doubt:
            self.silent_until_s = self.clock_s() + _REST_S
            return doubt
        except OSError as error:
            return error

    def _is_shut(self, asked: Submission) -> bool:
        """Whether its partition lets no job of ours in, as Slurm says in this second: many may be
        denied together. Where it says nothing, it may be so."""
        now, known = self.clock_s(), self._described
        try:
            if known is None or known[0] != now:
                known = self._described = now, self.transport.describe()
        except Unreachable:
            return True
        facts = known[1]
        mine = (part for part in facts.partitions if part.name == asked.partition)
        return any(shut(part, asked.reservation, facts.user) for part in mine)

    def _say(self, held: Iterable[tuple[Job, str]]) -> None:
        """Tell what these wait for, where it is not what was told."""
        words = {job.attempt: why for job, why in held if job.seen.why != why}

        def how(job: Job) -> None:
            if job.stage is Stage.WAITING:
                job.seen = replace(job.seen, why=words[job.attempt])

        self.book.change(words, how)

    def _say_silent(self, now: int) -> None:
        if self._silent_since_s is not None and now >= self._silent_since_s + _SILENT_S:
            self._say((job, _SILENT) for job in self.book.of(Stage.WAITING))

    def _settle(self, answers: Sequence[tuple[str, object]]) -> None:
        """Keep the answers, in one transaction."""
        now, given = self.clock_s(), dict(answers)
        asked = {a: queue_of(self.book.jobs[a]) for a in given if a in self.book.jobs}
        living = {queue_of(job) for job in self.book.of(Stage.SENT)}

        def how(job: Job) -> None:
            answer = given[job.attempt]
            if isinstance(answer, str):
                adopt(job, answer, now)
                job.listed_s = now
            elif isinstance(answer, NotAccepted):
                self._refused(job, answer, now, alone=queue_of(job) not in living)
            elif isinstance(answer, Unreachable) and answer.facts.get("sent") is False:
                here = answer.facts.get("here")  # a fault of this machine, not of the controller
                self._not_asked(job, now, answer.message if here else _SILENT)
            elif isinstance(answer, Unreachable):
                job.unclear = answer.message if answer.facts.get("unclear") else ""
                job.unclear_times = job.unclear_times + 1 if job.unclear else 0
                job.seen = replace(job.seen, why=_in_doubt(answer))
            elif isinstance(answer, OSError) and answer.strerror:
                why = f"the agent's folder can't be used: {answer.strerror}"
                self._not_asked(job, now + _AGAIN_S, why)
            elif isinstance(answer, OSError):  # the controller fell silent before its turn
                self._not_asked(job, now, job.seen.why)

        self.book.change([attempt for attempt, answer in answers if answer is not None], how)
        if any(isinstance(answer, Unreachable) for answer in given.values()):
            self._silent_since_s = self._silent_since_s or now
        elif any(isinstance(answer, (str, NotAccepted)) for answer in given.values()):
            self._say_back()
        self._mind_limits([(asked[a], said) for a, said in answers if a in asked], now)

    def _not_asked(self, job: Job, not_before_s: int, why: str) -> None:
        """Slurm has heard nothing of this try."""
        if job.cancel_s is not None:
            self._unasked_ends(job)
            return
        self._wait(job, not_before_s)
        job.seen = replace(job.seen, why=why)

    def _refused(self, job: Job, no: NotAccepted, now: int, *, alone: bool) -> None:
        """`alone`: none of ours is there, so that it is not our number that is too high."""
        if no.unsure and alone:
            job.unsure += 1
        if no.later and job.unsure < _UNCLEAR:  # it goes in when there is room
            self._wait(job, now)
            job.seen = replace(job.seen, why=in_words(no.why))
        else:
            end(job, "not_started", f"Slurm: {no.why}")

    def _say_back(self) -> None:
        if self._silent_since_s is not None:
            self._silent_since_s = None
            told = [job for job in self.book.of(Stage.WAITING) if job.seen.why == _SILENT]
            self._say((job, _BACK) for job in told)

    def _mind_limits(self, answers: Sequence[tuple[Queue, object]], now: int) -> None:
        """What was taken, and what was not for now, says where Slurm is full."""
        taken = {queue for queue, said in answers if isinstance(said, str)}
        full = {queue: str(said) for queue, said in answers if _is_full(said)}
        if not (full or (taken and self._full)):
            return
        sent = self.book.of(Stage.SENT)
        for queue in taken - full.keys():
            self._full.went_in(queue, sent)
        for queue, why in full.items():
            self._full.reached(queue, sent, now, why)
        if full:
            said = sorted(set(full.values()))
            log.info("slurm.full", queues=len(full), live=len(sent), words=said)
            self._partition_refused |= any("partition" in words.lower() for words in said)

    def refusals(self) -> str:
        """What of the site Slurm refuses jobs for that wait now, in words; empty: nothing."""
        waiting = self.book.of(Stage.WAITING, Stage.SENDING)
        return self._full.refusals({queue_of(job) for job in waiting})

    def partition_refused(self) -> bool:
        """Whether Slurm refused a job for its partition since this was asked last."""
        was, self._partition_refused = self._partition_refused, False
        return was

    # --- doubts

    def resolve_once(self) -> int:
        """Look for what is in doubt and old enough; returns how many were looked for."""
        now = self.clock_s()
        wait_s = self._doubt_s()
        doubts = [
            job
            for job in self.book.of(Stage.SENDING)
            if job.attempt not in self._flying
            and now >= max(job.asked_s, job.looked_s) + wait_s / (1 if job.looks == 0 else 2)
        ]
        self._say_looked_for()
        if not doubts:
            return 0
        del doubts[self.transport.at_once :]
        found = self.find(doubts)
        if found is None:
            return 0
        self.book.change([job.attempt for job in doubts], lambda job: self._judge(job, found, now))
        self._end_copies(doubts, found)
        return len(doubts)

    def _say_looked_for(self) -> None:
        """Those in doubt wait on when Slurm answers again, and later ones pass them."""
        if self._silence.answered_s < self.silent_until_s:
            return
        told = [
            job.attempt
            for job in self.book.of(Stage.SENDING)
            if job.seen.why == _SILENT and job.attempt not in self._flying
        ]

        def how(job: Job) -> None:
            if job.stage is Stage.SENDING:
                job.seen = replace(job.seen, why=_LOOKED_FOR)

        self.book.change(told, how)

    def find(self, jobs: Sequence[Job]) -> dict[str, dict[str, int]] | None:
        """Slurm's ids of each, and when it took them, as the queue and accounting know them by
        name; None when one of them does not answer, or does not answer whole."""
        names = [job.submission.name for job in jobs]
        since = min(job.first_s for job in jobs) - SKEW_S
        health = self.transport.health()
        if not health.controller or health.accounting is False:
            return None
        try:
            rows: list[QueueRow | AccountingRow] = list(self.transport.queue(names))
            if health.accounting:
                rows += self.transport.accounting(names, since)
        except Unreachable:
            return None
        first = {job.submission.name: job.first_s for job in jobs}
        found: dict[str, dict[str, int]] = {}
        for row in sorted(rows, key=lambda each: base(each.state) in ENDS):
            ours = row.name in first and (row.submit_s or 0) >= first[row.name] - SKEW_S
            if ours:
                found.setdefault(row.name, {}).setdefault(row.batch_job, row.submit_s or 0)
        return found

    def _judge(self, job: Job, found: dict[str, dict[str, int]], now: int) -> None:
        if job.stage is not Stage.SENDING:
            return
        owner = self.spool.owner(job.attempt)
        known = found.get(name_of(job.attempt), {})
        batch_job = next(iter(known), None)
        if owner is not None and owner != FENCED:
            batch_job = owner  # it runs, or ran: no witness is better
        if batch_job is not None:
            log.info("slurm.adopted", attempt=job.attempt, batch_job=batch_job)
            adopt(job, batch_job, known.get(batch_job) or now)
            job.listed_s = now
            return
        job.looks, job.looked_s = job.looks + 1, now
        if job.looks < 2:
            return
        unclear = job.unclear and job.unclear_times >= _UNCLEAR
        if job.cancel_s is not None:
            if self.spool.fence(job.attempt):
                end(job, "cancelled")
        elif unclear and self.spool.fence(job.attempt):
            end(job, "not_started", f"Slurm did not take it: {job.unclear}")
        else:
            job.looks, job.tries = 0, job.tries + 1
            self._wait(job, now)
            if not job.asked_s:
                job.first_s = 0  # nobody asked for it before

    def _end_copies(self, jobs: Sequence[Job], found: dict[str, dict[str, int]]) -> None:
        """Further copies of one attempt can't run; they need not wait either. Only what the queue
        lists under its name is one: an id that accounting has of a copy which the controller
        forgot may be another job's by now."""
        own = {
            job.submission.name: job.seen.batch_job
            for job in jobs
            if job.stage is Stage.SENT and len(found.get(job.submission.name, ())) > 1
        }
        rows = self.transport.queue(sorted(own)) if own else []
        extra = [
            row.batch_job
            for row in rows
            if row.name in own and row.batch_job != own[row.name] and base(row.state) not in ENDS
        ]
        if extra:
            self.transport.cancel(extra)

    # --- ending

    def cancel(self, attempts: Iterable[str]) -> None:
        """Note that they are to end; what Slurm was never asked for ends now."""
        now = self.clock_s()

        def how(job: Job) -> None:
            if job.cancel_s is None:
                job.cancel_s = now
            if job.stage is Stage.WAITING:
                self._unasked_ends(job)

        self.book.change(attempts, how)

    def _unasked_ends(self, job: Job) -> None:
        if self.spool.fence(job.attempt):
            end(job, "cancelled")
        else:  # a copy of an earlier try runs
            job.stage, job.looks, job.looked_s = Stage.SENDING, 1, 0

    def cancel_once(self) -> int:
        """Tell Slurm what is to end; again until it has. Ids are asked for by name first: a
        controller that was killed may have given one to another job since."""
        now = self.clock_s()
        due = [
            job
            for job in self.book.of(Stage.SENT)
            if job.cancel_s is not None and now >= job.cancelled_s + _AGAIN_S
        ]
        if not due or self._silent(now):
            return 0
        try:
            names = {job.submission.name for job in due}
            rows = self.transport.queue(sorted(names))
            ids = [r.batch_job for r in rows if r.name in names and base(r.state) not in ENDS]
            if ids:
                self.transport.cancel(ids)
        except Unreachable as error:
            log.warning("slurm.cancel_waits", error=error.message)
            self.silent_until_s = now + _REST_S
            return 0
        for job in due:
            job.cancelled_s = now  # only a pause; a new start of the agent asks again
        return len(due)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)


def doubt_again(job: Job, now: int) -> None:
    """It was taken by an earlier start of the agent: look for it once before Slurm is asked, and
    at once, as what that start asked for is in no doubt."""
    job.stage, job.looks, job.asked_s = Stage.SENDING, 1, min(job.asked_s, 1)
    job.first_s = job.first_s or now - _OLDEST_S


def _note_asking(job: Job, now: int) -> None:
    if job.stage is Stage.WAITING:
        job.stage, job.asked_s = Stage.SENDING, now
        job.first_s = job.first_s or now
        job.looks = job.looked_s = 0
        job.unclear = ""


def _in_doubt(answer: Unreachable) -> str:
    """What is told of an attempt that may have been taken, or not: `unclear` are words that we do
    not know."""
    if answer.facts.get("full"):
        return in_words(answer.message)
    return f"Slurm: {answer.message}" if answer.facts.get("unclear") else _SILENT


def _is_full(answer: object) -> bool:
    """Whether Slurm takes no more for now: it said so, or kept its command waiting for that."""
    if isinstance(answer, NotAccepted):
        return answer.later
    return isinstance(answer, Unreachable) and bool(answer.facts.get("full"))
