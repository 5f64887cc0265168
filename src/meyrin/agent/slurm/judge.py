"""What became of an attempt, from three witnesses: the queue, accounting and the wrapper.

Pure: values in, a value out. The rules:

- Only a positive word ends an attempt: an ending state of Slurm, or the wrapper's own last word.
  That nobody lists it any more is no end.
- A state that is not in this table changes nothing and is kept as the site's word.
- The wrapper knows best how the script ended, Slurm why it was ended and what it is charged. A
  script that Slurm ends may still end well, so its end counts only where it came long before.
- Every run of a requeued job counts; a further copy that ended at once counts for nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from signal import SIGKILL, SIGTERM

from meyrin.agent.batch import BatchJob, Phase, Usage
from meyrin.agent.slurm.spool import Run
from meyrin.agent.slurm.transport import AccountingRow, QueueRow
from meyrin.domain.units import LAST_S

WAITS = frozenset({
    "PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT",
    "CONFIGURING", "POWER_UP_NODE",
})  # fmt: skip
RUNS = frozenset({
    "RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING",
    "EXPEDITING", "UPDATE_DB",
})  # fmt: skip
ENDS = frozenset({
    "COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL", "PREEMPTED",
    "BOOT_FAIL", "DEADLINE", "REVOKED", "LAUNCH_FAILED", "RECONFIG_FAIL",
})  # fmt: skip
_HALTS = frozenset({"SUSPENDED", "STOPPED"})  # it has begun and stands still
SECOND_COPY = 75  # the wrapper's exit code where another copy holds the claim
_USUAL = frozenset({"", "None", "Priority", "Resources", "Prolog", "WaitingForScheduling"})
_ENDED_BY_SITE = {
    "NODE_FAIL": "a node of it failed",
    "PREEMPTED": "the site took its nodes for other jobs and did not queue it again",
    "REVOKED": "Slurm revoked it",
    "BOOT_FAIL": "its nodes did not boot",
    "LAUNCH_FAILED": "Slurm could not launch it",
    "RECONFIG_FAIL": "its nodes could not be made ready",
}
_CANCELS = frozenset({SIGTERM, SIGKILL})
_LONG_BEFORE_S = 10  # a script warned of its end may end a little sooner, and clocks may differ
_LONG_AFTER_S = 30  # a node's clock and its controller's are less apart, but in rare cases
_CLOCKS_APART_S = 300  # further apart, munge lets a node and its controller not talk at all
_OUT_OF_MEMORY = "out of memory, though its script went on and ended with exit code 0"
UNSEEN = "Slurm lists it nowhere, and it left no word of its end"
FORGOTTEN = "Slurm had queued it again and then forgot it, as a controller does that was killed"


def base(state: str) -> str:
    """The first word: `CANCELLED by 0` and `COMPLETED+COMPLETING` hold more."""
    words = state.replace("+", " ").split()
    return words[0].upper() if words else ""


def flags(state: str) -> frozenset[str]:
    return frozenset(state.replace("+", " ").upper().split()[1:])


def is_over(row: AccountingRow) -> bool:
    """Whether this run has ended; that of a job that was requeued has too, its row says when."""
    state = base(row.state)
    return state in ENDS or (state == "REQUEUED" and row.end_s is not None)


@dataclass(frozen=True, slots=True)
class Witnesses:
    """What is known of one attempt, all of one batch job and submitted by us."""

    queue: QueueRow | None = None
    accounting: tuple[AccountingRow, ...] = ()
    runs: tuple[Run, ...] = ()
    seconds: tuple[int, ...] = ()
    cancelled: bool = False
    has_accounting: bool = True


def live(seen: BatchJob, row: QueueRow) -> BatchJob:
    """The attempt as the queue lists it: waiting, running, or in a state that we don't know.

    An ending state is not judged here. A job that ran and waits again was queued again.
    """
    word = base(row.state)
    if word in ENDS:
        return seen
    if word in WAITS or flags(row.state) & WAITS:
        again = seen.phase is Phase.RUNNING
        why = "" if row.reason in _USUAL else f"Slurm: {row.reason}"
        if again and word in ("CONFIGURING", "POWER_UP_NODE"):
            return seen
        return replace(
            seen,
            phase=Phase.QUEUED,
            start_ms=None,
            end_ms=None,
            why=why,
            site_word=None,
            run=seen.run + 1 if again else seen.run,
        )
    if word in RUNS:
        why = f"Slurm: {word}" if word in _HALTS else ""
        start_ms, end_ms = _times_of(seen, row)
        return replace(
            seen, phase=Phase.RUNNING, start_ms=start_ms, end_ms=end_ms, why=why, site_word=None
        )
    return replace(seen, site_word=row.state)


def _times_of(seen: BatchJob, row: QueueRow) -> tuple[int | None, int | None]:
    """When what runs began, by the word that came first, and when its script ended: that of a run
    before is none of this one's."""
    row_ms = None if row.start_s is None else row.start_s * 1000
    if seen.end_ms is not None and row_ms is not None and row_ms > seen.end_ms:
        return row_ms, None
    known = seen.start_ms is not None and (seen.phase is Phase.RUNNING or row_ms is None)
    return seen.start_ms if known else row_ms, seen.end_ms


def ending(seen: BatchJob, w: Witnesses) -> BatchJob | None:
    """The attempt as ended; None while no witness says surely that it is over."""
    # what became of a further copy is no word on the run that goes on beside it
    real = [row for row in w.accounting if not (is_of_a_copy(row, w) or _came_late(row, w))]
    last = real[-1] if real else None
    if w.queue is not None and base(w.queue.state) not in ENDS:
        return None
    if w.queue is not None and (is_of_a_copy(w.queue, w) or _came_late(w.queue, w)):
        w = replace(w, queue=None)
    word = ""
    if last is not None and base(last.state) in ENDS:
        word = last.state
    elif w.queue is not None and (
        not w.has_accounting or not w.accounting or _closes(w.queue, last)
    ):
        word = w.queue.state
    said = _said(w)
    if not word and _awaits(seen, said, replace(w, accounting=tuple(real))):
        # all that came after Slurm queued it again was a copy, by a controller that forgot that
        return forgotten(seen, w) if len(real) < len(w.accounting) else None
    if not word and not (said and _over(said)):
        return None
    if base(word) == "PREEMPTED" and last is not None and "REQUEUE" in last.reason.upper():
        return None
    return _ended(seen, word, said, w)


def _closes(row: QueueRow, last: AccountingRow | None) -> bool:
    """Whether the controller says the end of the run that accounting has open: it could not tell
    accounting yet."""
    if last is None or last.end_s is not None or row.start_s is None or last.start_s is None:
        return False
    return abs(row.start_s - last.start_s) <= 1


def queued_again(seen: BatchJob, w: Witnesses) -> int:
    """The number of the run that is still to come, as Slurm's last word was that it queued the job
    again after it had run; 0 when it was not. What the wrapper said of the run before is no end
    of the attempt then."""
    last = base(w.accounting[-1].state) if w.accounting else ""
    if last in ENDS or _ended_well(w):
        return 0
    ran = len(_begun_runs(w))
    again = ran if last in WAITS else 0
    if seen.phase is Phase.QUEUED:
        again = max(again, seen.run)
    said = _said(w)
    return again if said is None or said.number < again else 0


def _awaits(seen: BatchJob, said: Run | None, w: Witnesses) -> bool:
    """Whether a further run is to come after the last that the wrapper spoke of."""
    if _ended_well(w):
        return False
    return max(seen.run, queued_again(seen, w)) > (0 if said is None else said.number)


def _ended_well(w: Witnesses) -> bool:
    """Whether the wrapper says that the last run came to its good end, and Slurm too, or it never
    ended that run: where it waits again after that, its controller has forgotten that it ran."""
    rows = _begun_runs(w)
    said = _said(w)
    if said is None or not said.ended or said.code != 0 or not rows:
        return False
    return base(rows[-1].state) == "COMPLETED" or _goes_on(rows[-1])


def _came_late(row: QueueRow | AccountingRow, w: Witnesses) -> bool:
    """Whether this is a cancel of what never ran, after the good end of what did: a controller
    that had forgotten that end had queued the job again."""
    if base(row.state) not in ("CANCELLED", "DEADLINE") or row.start_s is not None:
        return False
    said = _said(w)
    if said is None or said.end_s is None or row.end_s is None or not _ended_well(w):
        return False
    return said.end_s + 1 < row.end_s


def _goes_on(row: AccountingRow) -> bool:
    """Whether accounting has this run open."""
    return base(row.state) in RUNS and row.end_s is None


def may_go_on(w: Witnesses) -> bool:
    """Whether the last run may go on, though Slurm queued the job again: it never ended that run,
    and neither did the wrapper."""
    rows, said = _begun_runs(w), _said(w)
    return said is not None and not _over(said) and bool(rows) and _goes_on(rows[-1])


def forgotten(seen: BatchJob, w: Witnesses) -> BatchJob:
    """Slurm queued it again and lists it no longer: lost, with what its runs used."""
    rows = _begun_runs(w)
    start_s, end_s = _times(rows, w)
    return replace(
        seen,
        phase=Phase.ENDED,
        end="cancelled" if w.cancelled else "lost",
        why="" if w.cancelled else FORGOTTEN,
        site_word=None,
        start_ms=None if start_s is None else start_s * 1000,
        end_ms=None if end_s is None else end_s * 1000,
        usage=usage(replace(w, queue=None)),
    )


def cancelled_unseen(seen: BatchJob, w: Witnesses) -> BatchJob:
    """Cancelled as its person asked, though nobody saw its end: of the run that was forgotten
    nothing is counted, as nobody knows how long it was."""
    return replace(
        seen, phase=Phase.ENDED, end="cancelled", why=UNSEEN, site_word=None, usage=usage(w)
    )


def unknown_word(w: Witnesses) -> str | None:
    """A state that accounting says and that is in no table."""
    word = base(w.accounting[-1].state) if w.accounting else ""
    known = WAITS | RUNS | ENDS
    return w.accounting[-1].state if word and word not in known else None


def _begun_runs(w: Witnesses) -> list[AccountingRow]:
    """Those of accounting's rows that are of runs which began, copies apart."""
    return [row for row in w.accounting if row.start_s is not None and not is_of_a_copy(row, w)]


def _said(w: Witnesses) -> Run | None:
    return w.runs[-1] if w.runs else None


def _over(run: Run) -> bool:
    return run.ended or run.never is not None


def _ended(seen: BatchJob, word: str, said: Run | None, w: Witnesses) -> BatchJob:
    last_run = max(seen.run, said.number if said is not None else 0)
    job = replace(seen, phase=Phase.ENDED, site_word=None, why="", run=last_run)
    first = base(word)
    if said is not None and said.never is not None:
        return replace(job, end="not_started", why=said.never, start_ms=None, end_ms=None)
    rows = _begun_runs(w)
    began = said is not None or bool(rows)
    if not began and w.queue is not None and w.queue.start_s is not None:
        began = True
    if not began:
        return _never_began(job, word, w)
    start_s, end_s = _times(rows, w)
    code, signal = _code(said, rows, w.queue)
    job = replace(
        job,
        start_ms=None if start_s is None else start_s * 1000,
        end_ms=None if end_s is None else end_s * 1000,
        usage=usage(w, last_run=last_run),
        exit_code=code,
        signal=signal,
    )
    return _how(job, first, word, said, w)


def _never_began(job: BatchJob, word: str, w: Witnesses) -> BatchJob:
    job = replace(job, start_ms=None, end_ms=None)
    if base(word) in ("CANCELLED", "DEADLINE"):
        return replace(job, end="cancelled", why="" if w.cancelled else f"Slurm: {word}")
    reason = w.queue.reason if w.queue is not None else ""
    reason = reason or (w.accounting[-1].reason if w.accounting else "")
    return replace(job, end="not_started", why=f"Slurm: {word} {reason}".strip())


def _how(job: BatchJob, first: str, word: str, said: Run | None, w: Witnesses) -> BatchJob:
    """The kind of end. Slurm's cause counts before the script's own exit."""
    if first == "TIMEOUT" or (said is not None and said.over_time):
        return replace(job, end="timeout")
    if first in ("CANCELLED", "DEADLINE"):
        return replace(job, end="cancelled", why="" if w.cancelled else f"Slurm: {word}")
    good = job.exit_code == 0
    if first in _ENDED_BY_SITE and not (job.signal is None and _ended_before(said, job)):
        code = None if good else job.exit_code
        return replace(job, end="lost", exit_code=code, why=_ENDED_BY_SITE[first])
    if first == "OUT_OF_MEMORY" and good:  # Slurm ended a process of it, not the script
        return replace(job, end="lost", exit_code=None, why=_OUT_OF_MEMORY)
    if w.cancelled and job.signal in _CANCELS and first != "OUT_OF_MEMORY":
        return replace(job, end="cancelled")  # a controller that was killed forgot that it did it
    why = "out of memory" if first == "OUT_OF_MEMORY" else ""
    end = "signal" if job.signal is not None else "exit" if job.exit_code is not None else "lost"
    if end == "lost":
        why = why or "how it ended was not recorded"
    return replace(job, end=end, why=why)


def _ended_before(said: Run | None, job: BatchJob) -> bool:
    """Whether this run's script had come to its end long before Slurm ended the run: its node
    failed after that, and could not tell the controller."""
    if said is None or not said.ended or said.end_s is None or job.end_ms is None:
        return False
    begun = job.start_ms is None or job.start_ms // 1000 <= said.end_s + 1
    return begun and said.end_s + _LONG_BEFORE_S < job.end_ms // 1000


def _code(
    said: Run | None, rows: Sequence[AccountingRow], queue: QueueRow | None
) -> tuple[int | None, int | None]:
    if said is not None and said.ended and said.code is not None:
        return (None, said.signal) if said.signal is not None else (said.code, None)
    if rows and base(rows[-1].state) in ENDS:
        code, signal = rows[-1].exit_code, rows[-1].signal
        # of what it ended itself Slurm may say 0:0: no exit code of the script
        good = base(rows[-1].state) == "COMPLETED"
        none = (code == 0 and not good) or _refused_by_node(said, rows[-1])
        return (None, None) if none else (code, signal)
    if queue is None or _refused_by_node(said, queue):
        return None, None
    return queue.exit_code, queue.signal


def _times(rows: Sequence[AccountingRow], w: Witnesses) -> tuple[int | None, int | None]:
    """When the last run began and ended: Slurm's own times where it has them."""
    said = _said(w)
    start_s = rows[-1].start_s if rows else None
    end_s = rows[-1].end_s if rows else None
    if w.queue is not None and start_s is None and _may_be_of(w.queue, said):
        start_s, end_s = w.queue.start_s, w.queue.end_s
    elif w.queue is not None and rows and _closes(w.queue, rows[-1]):
        end_s = w.queue.end_s
    if said is not None:
        start_s = said.start_s if start_s is None else start_s
        end_s = said.end_s if end_s is None else end_s
    return start_s, end_s


def _may_be_of(row: QueueRow, said: Run | None) -> bool:
    """Whether a row of the queue may be of the run that the wrapper spoke of: a copy of it that
    ended at once ended long before it."""
    return said is None or said.end_s is None or _within(said.end_s, row)


def runs_closed(w: Witnesses) -> int:
    """How many runs accounting has from begin to end, copies apart."""
    rows = _begun_runs(w)
    return sum(row.end_s is not None and row.elapsed_s is not None for row in rows)


def usage(
    w: Witnesses, *, last_run: int = 0, mended: bool = False, whole: bool = False
) -> Usage | None:
    """What all its runs used. Where accounting has closed any of them: those by accounting, and
    others by the wrapper. Else the wrapper, and the controller's own times of a last run whose end
    it did not see. Of a run whose end none of those saw nothing is counted yet: how long it was is
    not known.

    `last_run`: its number, as far as the queue showed it. `mended`: accounting may have
    other ends by now than the wrapper saw, and a run is known by its begin. `whole`: accounting is
    known to have every run.
    """
    rows = _begun_runs(w)
    closed = [row for row in rows if row.end_s is not None and row.elapsed_s is not None]
    if closed:
        uncounted = [
            run
            for run in w.runs
            if run.ended
            and not (whole or _covered(run, closed) or (mended and _begun(run, closed)))
        ]
        rss = [row.max_rss_kb for row in closed if row.max_rss_kb is not None]
        cpu = [row.cpu_ms for row in closed if row.cpu_ms is not None]
        energy = [row.energy_j for row in closed if row.energy_j is not None]
        return Usage(
            elapsed_s=sum(max(0, row.elapsed_s or 0) for row in closed) + _length(uncounted),
            cpu_ms=sum(cpu) if cpu else None,
            max_rss_kb=max(rss) if rss else None,
            energy_j=sum(energy) if energy else None,
            source="wrapper" if uncounted else "batch",
        )
    ended = [run for run in w.runs if run.ended]
    more_s = _seen_by_the_controller(ended, last_run, w)
    if more_s is not None:
        return Usage(_length(ended) + more_s, _cpu(w.runs), source="queue")
    return Usage(_length(ended), _cpu(w.runs), source="wrapper") if ended else None


def _seen_by_the_controller(ended: Sequence[Run], last_run: int, w: Witnesses) -> int | None:
    """The seconds of the run that the queue has the end of, where that is none of `ended`. They are
    told apart by their numbers, as the clock of a node may be minutes off the controller's."""
    row, said = w.queue, _said(w)
    if row is None or row.start_s is None or row.end_s is None or base(row.state) not in ENDS:
        return None
    number = row.restarts
    if number is None:  # by commands it is not asked for
        number = max(last_run, said.number if said is not None else 0)
        if said is not None and row.start_s > (said.end_s or row.start_s) + _CLOCKS_APART_S:
            number = said.number + 1
    if any(each.number == number for each in ended) or is_of_a_copy(row, w):
        return None
    return max(0, row.end_s - row.start_s)


def _length(runs: Sequence[Run]) -> int:
    """The seconds of these runs; 0 for one over whose length the clock stepped back."""
    lengths = [max(0, (run.end_s or 0) - (run.start_s or run.end_s or 0)) for run in runs]
    return min(sum(lengths), LAST_S)


def _cpu(runs: Sequence[Run]) -> int | None:
    known = [run.cpu_ms for run in runs if run.cpu_ms is not None]
    return sum(known) if known else None


def _covered(run: Run, rows: Sequence[AccountingRow | QueueRow]) -> bool:
    """Whether a row is of this run: it holds its begin and its end, by the clocks of two machines.

    A copy that the controller started beside it and that ended at once has a row that holds only
    one of them.
    """
    known = [second for second in (run.start_s, run.end_s) if second is not None]
    return bool(known) and any(all(_within(second, row) for second in known) for row in rows)


def _begun(run: Run, rows: Sequence[AccountingRow]) -> bool:
    """Whether a row began as this run did, whatever its end is by now."""
    return run.start_s is not None and any(
        row.start_s is not None and abs(row.start_s - run.start_s) <= 1 for row in rows
    )


def is_of_a_copy(row: AccountingRow | QueueRow, w: Witnesses) -> bool:
    """Whether a row is of a further copy that ended at once: the fence held, and no run of ours
    began then. Or Slurm ended it itself before it was there, after the script had come to its own
    end: a controller that forgot the run launches it again, on a node that still knows it."""
    if _ended_unbegun(row, w):
        return True
    if not any(_within(second, row) for second in w.seconds):
        return False
    if row.exit_code == SECOND_COPY and all(run.code != SECOND_COPY for run in w.runs):
        return True  # it began in the same second as our run
    if row.exit_code is None and _failed_at_once(row):  # the queue tells no code
        return not any(run.end_s is not None and _covered(run, (row,)) for run in w.runs)
    return not any(_within(run.start_s, row) for run in w.runs)


def _failed_at_once(row: AccountingRow | QueueRow) -> bool:
    known = row.start_s is not None and row.end_s is not None and row.end_s <= row.start_s + 1
    return known and base(row.state) == "FAILED"


def _refused_by_node(said: Run | None, row: AccountingRow | QueueRow) -> bool:
    """Whether the row is of a launch that came to nothing: a controller that was killed had
    forgotten the run that the wrapper began, its node ended that, and took it no second time."""
    if said is None or said.ended or said.start_s is None or row.start_s is None:
        return False
    long_after = row.start_s > said.start_s + _LONG_AFTER_S
    return long_after and row.exit_code == 1 and _failed_at_once(row)


def _ended_unbegun(row: AccountingRow | QueueRow, w: Witnesses) -> bool:
    said = _said(w)
    if said is None or said.end_s is None or said.code is None or said.signal is not None:
        return False
    if row.start_s is None or row.end_s is None or base(row.state) != "CANCELLED":
        return False
    after = row.start_s > said.end_s + 1 and row.end_s <= row.start_s + 1
    return after and all(base(each.state) != "REQUEUED" for each in w.accounting)


def _within(moment: int | None, row: AccountingRow | QueueRow, slack_s: int = 1) -> bool:
    if moment is None or row.start_s is None:
        return False
    end_s = row.end_s if row.end_s is not None else moment
    return row.start_s - slack_s <= moment <= end_s + slack_s
