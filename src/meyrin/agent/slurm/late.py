"""The second look: what accounting says of attempts whose end was told and that are put away.

Records come late (slurmdbd was away, energy is added after the end) and are corrected (an
operator closes a runaway job). So for a while, each ended attempt is asked for once more: after
ten minutes, after an hour, then every `every_s`, the last time when the window ends. One question
goes out for many attempts. What differs from what was told last is kept until the hub has it.

- What was told, when to look next and what is still to be said are in the store: a start of the
  agent goes on where the one before stopped.
- Only a positive word corrects: runs that are gone from accounting, or open in it, change nothing.
- A copy that came after the end never ran (the claim is gone with its folder): it does not count.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import structlog

from meyrin.agent.batch import Late, Usage
from meyrin.agent.slurm import judge
from meyrin.agent.slurm.ask import attempt_in, name_of
from meyrin.agent.slurm.judge import Witnesses
from meyrin.agent.slurm.sender import SKEW_S
from meyrin.agent.slurm.spool import Run
from meyrin.agent.slurm.store import Job, PutAway, Store
from meyrin.agent.slurm.transport import AccountingRow, Transport
from meyrin.domain.errors import Unreachable

log = structlog.get_logger("meyrin.slurm")
_FIRST_S, _SECOND_S = 600, 3600  # after the end was told
_PAUSE_S = 300  # between two questions
_MANY = 400  # attempts in one: what the transport puts into one command
_SLACK_S = 1


@dataclass(frozen=True, slots=True)
class Ended:
    """An attempt that was put away: what was told of it, and what its own witnesses said.

    `rows` is how many runs accounting had closed then; `revision` counts what was told after its
    end. `pending` is what the hub does not have yet.
    """

    attempt: str
    batch_job: str
    asked_s: int
    ended_s: int
    requeue: bool
    rows: int
    runs: tuple[Run, ...]
    seconds: tuple[int, ...]
    told: Usage | None
    since_s: int
    revision: int = 0
    pending: Usage | None = None


def ended(job: Job, runs: Sequence[Run], seconds: Sequence[int], now_s: int) -> Ended | None:
    """What is kept of a job for second looks; None where accounting can say nothing of it."""
    seen = job.seen
    if not seen.batch_job or seen.end in (None, "not_started"):
        return None
    return Ended(
        attempt=job.attempt,
        batch_job=seen.batch_job,
        asked_s=job.first_s,
        ended_s=now_s if seen.end_ms is None else seen.end_ms // 1000,
        requeue=job.submission.requeue,
        rows=job.rows,
        runs=tuple(runs),
        seconds=tuple(seconds),
        told=seen.usage,
        since_s=now_s,
    )


class SecondLook:
    """Safe to use from several threads: one at a time looks. `days` 0 never does."""

    def __init__(
        self,
        store: Store,
        transport: Transport,
        clock_s: Callable[[], float],
        *,
        days: int,
        every_h: int,
        has_accounting: Callable[[], bool],
    ) -> None:
        self._store, self._transport, self._clock_s = store, transport, clock_s
        self._has_accounting = has_accounting
        self._lock = threading.Lock()
        self._next_s = 0.0
        self.use(days, every_h)

    def use(self, days: int, every_h: int) -> None:
        """How long and how often, from the next look on."""
        self._window_s, self._every_s = days * 86_400, every_h * 3600

    def keep(self, one: Ended) -> PutAway | None:
        """As the store keeps it; None where there are no second looks."""
        if not self._window_s or not self._has_accounting():
            return None
        return _packed(one, self._due_s(one, one.since_s))

    def look_once(self) -> int:
        """One bounded look, if one is due; how many attempts were looked at."""
        with self._lock:
            now = self._clock_s()
            if 0 <= self._next_s - now <= _PAUSE_S:  # a clock set back does not make it wait
                return 0
            self._next_s = now + _PAUSE_S
            most = min(_MANY, self._transport.at_once)
            due = [_unpacked(body) for body in self._store.due(int(now), most)]
            if not due or not self._has_accounting():
                return 0
            if len(due) == most:
                self._next_s = now + 1
            rows = self._ask(due)
            if rows is None:
                return 0
            changed = [each for one in due if (each := self._after(one, rows[one.attempt], now))]
            gone = [one.attempt for one in due if self._over(one, now)]
            self._store.looked(changed, [a for a in gone if not _waits(changed, a)])
            return len(due)

    def _ask(self, due: Sequence[Ended]) -> dict[str, list[AccountingRow]] | None:
        ended = {(one.batch_job, one.ended_s): one.attempt for one in due}
        since_s = min(one.asked_s for one in due) - SKEW_S
        try:
            said = self._transport.accounting(
                [name_of(one.attempt) for one in due],
                since_s,
                sorted({one.batch_job for one in due}),
            )
        except Unreachable as error:
            log.warning("slurm.second_look_waits", error=error.message)
            return None
        rows: defaultdict[str, list[AccountingRow]] = defaultdict(list)
        for row in said:
            attempt = attempt_in(row, ended)
            if attempt is not None:
                rows[attempt].append(row)
        return rows

    def _after(self, one: Ended, rows: Sequence[AccountingRow], now: float) -> PutAway | None:
        """The attempt after a look: with a correction, or only the next time."""
        latest = one.pending or one.told
        found = said(one, rows)
        if found is not None and found[0] != latest:
            log.info("slurm.corrected", attempt=one.attempt, batch_job=one.batch_job)
            one = replace(one, pending=found[0], rows=found[1], revision=one.revision + 1)
        due_s = self._due_s(one, int(now))
        return None if due_s is None and one.pending is None else _packed(one, due_s)

    def _over(self, one: Ended, now: float) -> bool:
        return self._due_s(one, int(now)) is None

    def _due_s(self, one: Ended, now_s: int) -> int | None:
        """When to look next; None when its window is over."""
        last_s = one.since_s + self._window_s
        if now_s >= last_s:
            return None
        for after_s in (_FIRST_S, _SECOND_S):
            if now_s < one.since_s + after_s:
                return min(one.since_s + after_s, last_s)
        return min(now_s + self._every_s, last_s)

    # --- what the hub is to hear

    def pending(self) -> tuple[Late, ...]:
        """Corrections that the hub does not have yet."""
        found = [_unpacked(body) for body in self._store.pending(_MANY)]
        return tuple(
            Late(one.attempt, one.batch_job, one.pending, one.revision)
            for one in found
            if one.pending is not None
        )

    def told(self, taken: Collection[Late], unknown: Collection[Late]) -> None:
        """The hub has `taken`. Of `unknown` it knows no end: found again at the next look."""
        with self._lock:
            now_s = int(self._clock_s())
            now: list[PutAway] = []
            over: list[str] = []
            for each, has in [*((one, True) for one in taken), *((one, False) for one in unknown)]:
                body = self._store.put_away(each.attempt)
                one = None if body is None else _unpacked(body)
                if one is None or one.revision != each.revision:
                    continue  # corrected again meanwhile
                one = replace(one, told=one.pending if has else one.told, pending=None)
                due_s = self._due_s(one, now_s)
                if due_s is None:
                    over.append(one.attempt)
                else:
                    now.append(_packed(one, due_s))
            self._store.looked(now, over)


def said(one: Ended, rows: Sequence[AccountingRow]) -> tuple[Usage, int] | None:
    """What accounting says of it now, and by how many runs; None where that is no sure word."""
    ours = [
        row
        for row in rows
        if row.batch_job == one.batch_job
        and (row.submit_s or 0) >= one.asked_s - SKEW_S
        and row.start_s is not None
        and row.start_s <= one.ended_s + _SLACK_S
    ]
    closed = [
        row
        for row in ours
        if judge.is_over(row) and row.end_s is not None and row.elapsed_s is not None
    ]
    if one.requeue and len(closed) < len(ours):
        return None
    witnesses = Witnesses(accounting=tuple(closed), runs=one.runs, seconds=one.seconds)
    count = judge.runs_closed(witnesses)
    if not count or count < one.rows:
        return None
    latest = one.pending or one.told
    whole = latest is not None and latest.source == "batch"
    found = judge.usage(witnesses, mended=True, whole=whole)
    return None if found is None else (found, count)


def _waits(changed: Sequence[PutAway], attempt: str) -> bool:
    return any(each.attempt == attempt for each in changed)


# --- as the store has them


def _packed(one: Ended, due_s: int | None) -> PutAway:
    body = asdict(one)
    return PutAway(one.attempt, due_s, one.pending is not None, body)


def _unpacked(body: dict[str, Any]) -> Ended:
    runs = tuple(Run(**run) for run in body.pop("runs"))
    used = {name: body.pop(name) for name in ("told", "pending")}
    usage = {name: None if each is None else Usage(**each) for name, each in used.items()}
    return Ended(**body | {"runs": runs, "seconds": tuple(body["seconds"]), **usage})
