"""Bugs that are planted for a test only: each takes out one thing that the house relies on, and
the laws must notice within a few worlds. A world in which nothing can go wrong proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

from meyrin.agent import loop
from meyrin.agent.batch import BatchJob, Phase, Usage
from meyrin.agent.journal import Item, Journal
from meyrin.hub.agents import service as agents
from meyrin.hub.jobs import attempts, change
from meyrin.hub.ledger import service as ledger
from meyrin.hub.plumbing import world
from meyrin.hub.usage import service as usage
from meyrin.testing import paced

Patch = tuple[Any, str, Any]


@dataclass(frozen=True)
class Bug:
    """What is taken out, and the patches that do it. `first` is a seed that noticed it once, to
    begin with; whatever changes, others follow."""

    name: str
    what: str
    patches: Callable[[], Sequence[Patch]]
    first: int = 0


@contextmanager
def planted(bug: Bug) -> Iterator[None]:
    with ExitStack() as stack:
        for where, name, instead in bug.patches():
            stack.enter_context(mock.patch.object(where, name, instead))
        yield


def _no_fence() -> Sequence[Patch]:
    """Every report of an attempt of the site is taken for the newest word on its job."""
    report = agents.report

    class Lenient:
        """A job's row that calls any attempt and epoch its own."""

        def __init__(self, row: Any) -> None:
            self._row = row

        def __getattr__(self, name: str) -> Any:
            return _Anything() if name in ("attempt", "epoch") else getattr(self._row, name)

    def unfenced(step: Any, site_id: str, reports: Any) -> list[str]:
        locked = change.locked_of

        def lenient(*given: Any) -> Any:
            return {number: Lenient(row) for number, row in locked(*given).items()}

        with mock.patch.object(change, "locked_of", lenient):
            return report(step, site_id, reports)

    return [(agents, "report", unfenced)]


class _Anything:
    """Equal to whatever it is compared with."""

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = None  # type: ignore[assignment]


def _acts_first() -> Sequence[Patch]:
    """The agent hands over what it took, and notes it only afterwards."""

    def lease_once(self: Any, wait_s: float) -> None:
        reply = self.hub.lease(wait_s)
        items = [Item(work, reply.requests[work.request_id]) for work in reply.work]
        new = [item for item in items if item.work.attempt not in self._items]
        self._items |= {item.work.attempt: item for item in new}
        self._hand_over(new)
        self.journal.take(reply.work, reply.requests)
        self.journal.handed([item.work.attempt for item in new])
        ours = tuple(attempt for attempt in reply.cancel if attempt in self._items)
        if ours:
            self._cancel(ours)

    return [(loop.Agent, "lease_once", lease_once)]


def _no_look_up() -> Sequence[Patch]:
    """What was taken and may have arrived is handed over without a look."""

    def recover_once(self: Any) -> None:
        doubtful = [i for i in self.journal.taken() if i.work.attempt not in self._staging]
        if doubtful:
            self._hand_over(doubtful)

    return [(loop.Agent, "recover_once", recover_once)]


def _absence_is_success() -> Sequence[Patch]:
    """What the batch system does not know is called completed."""

    def recover_once(self: Any) -> None:
        doubtful = [i for i in self.journal.taken() if i.work.attempt not in self._staging]
        names = tuple(item.work.attempt for item in doubtful)
        there = self.batch.look_up(names) if names else {}
        gone = [name for name in names if name not in there]
        now_ms = self.clock_ms()
        ended = [
            BatchJob(
                name, "0", Phase.ENDED, now_ms - 1000, now_ms, "exit", 0, usage=Usage(elapsed_s=1)
            )
            for name in gone
        ]
        self.journal.note([self._of_batch(job) for job in ended])

    return [(loop.Agent, "recover_once", recover_once)]


def _charge_again() -> Sequence[Patch]:
    """Use is charged whenever it is told, keyed on nothing."""
    record = usage.record

    def again(step: Any, measured: Sequence[usage.Measured]) -> None:
        known = usage._latest(step, [each.attempt for each in measured])
        told = []
        for each in measured:
            before_s = known[each.attempt].elapsed_s if each.attempt in known else 0
            more = each.usage.model_copy(update={"elapsed_s": each.usage.elapsed_s + before_s})
            told.append(replace(each, usage=more))
        record(step, told)

    return [(usage, "record", again)]


def _forgets_unsent() -> Sequence[Patch]:
    """A report is dropped from the journal before the hub has it."""

    def unsent(self: Journal, most: int) -> list[Any]:
        reports = keep(self, most)
        self.sent(reports)
        return reports

    keep = Journal.unsent
    return [(Journal, "unsent", unsent)]


def _world_stands_still() -> Sequence[Patch]:
    """A decision is written though the world has moved since, and offers are not asked."""
    return [(world, "check", lambda *_: None), (ledger, "hold", lambda *_: frozenset())]


def _holds_stay() -> Sequence[Patch]:
    """What a site refused or never started keeps its hours."""
    return [(ledger, "void", lambda *_: frozenset())]


def _cancelled_means_gone() -> Sequence[Patch]:
    """A job that is asked to end is called ended at once."""
    from meyrin.hub.jobs import service as jobs

    return [(jobs, "AT_SITE", frozenset())]


def _ends_twice() -> Sequence[Patch]:
    """An attempt that has ended may be told again as if it had not."""
    keep = attempts.of_site

    class Open:
        def __init__(self, row: Any) -> None:
            self._row = row

        def __getattr__(self, name: str) -> Any:
            found = getattr(self._row, name)
            return "queued" if name == "state" and found == "ended" else found

    def reopened(*given: Any) -> Any:
        return {number: Open(row) for number, row in keep(*given).items()}

    return [(attempts, "of_site", reopened)]


def _no_room_kept() -> Sequence[Patch]:
    """The broker forgets what runs."""
    from meyrin.hub.broker import service as broker

    return [(broker, "_occupied", lambda _step, **_: {}), (attempts, "taken", lambda _step: {})]


def _no_claim() -> Sequence[Patch]:
    """On Slurm's nodes every copy of an attempt runs."""
    return [(paced.Node, "claim", lambda *_: True)]


BUGS = (
    Bug("no fence", "the check of attempt and epoch in reports", _no_fence, 39),
    Bug("acts first", "the journal before the act", _acts_first),
    Bug("no look-up", "the look before a second try", _no_look_up, 28),
    Bug("absence is success", "positive evidence of an end", _absence_is_success),
    Bug("charge again", "the key of a usage record", _charge_again, 4),
    Bug("forgets unsent", "the journal until the hub has acknowledged", _forgets_unsent, 5),
    Bug("no version", "the hold and the world's version in a decision", _world_stands_still),
    Bug("holds stay", "the hours given back", _holds_stay),
    Bug("cancelled is gone", "the site's word on what it runs", _cancelled_means_gone, 4),
    Bug("ends twice", "the end of an attempt", _ends_twice, 4),
    Bug("no claim", "the wrapper's claim on a node of Slurm's", _no_claim, 56),
    Bug("no room kept", "what runs, in the broker's snapshot", _no_room_kept),
)
