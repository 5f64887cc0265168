"""Everything that happens to hours, in any order, beside a plain model: the ledger adds up.

`MEYRIN_OPERATIONS=100000` runs so many operations on each database instead of a few hundred.
"""

from __future__ import annotations

import os
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from tests import components
from tests.hub.calls.test_reclaiming import Idle, mode
from tests.hub.ledger.fixtures import new_attempt, open_books, settlement
from tests.hub.ledger.test_machine import SHARES

from meyrin.domain.errors import MeyrinError, Refused
from meyrin.domain.ledger import Source
from meyrin.hub.calls import changing, giving_back, pace, paying, reclaiming
from meyrin.hub.calls import service as calls
from meyrin.hub.calls.changing import Wanted
from meyrin.hub.ledger import service as ledger
from meyrin.hub.ledger.service import Hold

DAY_MS = 86_400_000
RULE = {"after_percent": 50, "used_percent": 40, "take_percent": 50, "notice_days": 0}
MODES = (mode(RULE),)
SOURCES = [Source("cern", "off_1"), Source("lip", "off_1"), Source()]
LONG = int(os.environ.get("MEYRIN_OPERATIONS", "0"))
STEPS = 40
amounts = st.integers(1, 60)
uses = st.integers(0, 80)
shares = st.sampled_from(SHARES)


@dataclass
class Had:
    """What the model knows of an allocation."""

    kind: str
    end_ms: int
    start_ms: int
    idle: bool
    free: int = 0
    held: int = 0
    used: int = 0
    expired: int = 0
    paused: bool = False
    taken: bool = False
    given: Counter[Source] = field(default_factory=Counter)

    @property
    def granted(self) -> int:
        return self.free + self.held + self.used + self.expired


class AllocationMachine(RuleBasedStateMachine):
    """Grants, holds, charges, corrections, transfers, pauses, extensions, reclaims, months."""

    room: Idle
    operations = 0
    names = Bundle("names")
    attempts = Bundle("attempts")

    def __init__(self) -> None:
        super().__init__()
        self.had: dict[str, Had] = {}
        self.of: dict[str, str] = {}
        self.held: dict[str, int] = {}
        self.used: dict[str, int | None] = {}
        self.month: tuple[str, tuple[object, ...]] | None = None
        self.looks = 0

    @property
    def now_ms(self) -> int:
        return self.room.books.clock.now_ms

    def step(self):
        type(self).operations += 1
        return self.room.books.database.write()

    def lives(self, name: str) -> bool:
        return self.now_ms < self.had[name].end_ms

    # --- what happens

    @rule(
        target=names,
        amount=st.integers(1, 200),
        kind=st.sampled_from(["h100", "core"]),
        days=st.integers(5, 200),
        source=st.sampled_from(SOURCES),
        idle=st.booleans(),
    )
    def award(self, amount, kind, days, source, idle):
        now_s = self.now_ms // 1000
        with self.step() as step:
            made = calls.award(
                step, self.room.lab, kind, amount, start_s=now_s, end_s=now_s + days * 86_400,
                reason="r", source=source, mode="idle" if idle else "",
            )  # fmt: skip
        had = Had(kind, made.end_s * 1000, made.start_s * 1000, idle, free=amount)
        had.given[source] += amount
        self.had[made.id] = had
        return made.id

    @rule(name=names, amount=amounts, days=st.integers(0, 50), source=st.sampled_from(SOURCES))
    def extend(self, name, amount, days, source):
        end_s = self.had[name].end_ms // 1000 + days * 86_400
        if self.change("extend", name, amount_s=amount, end_s=end_s, source=source):
            self.had[name].free += amount
            self.had[name].given[source] += amount
            self.had[name].end_ms = end_s * 1000

    @rule(one=names, two=names, amount=amounts, twice=st.booleans())
    def transfer(self, one, two, amount, twice):
        giver, taker = self.had[one], self.had[two]
        may = (
            one != two
            and self.lives(one)
            and self.lives(two)
            and giver.kind == taker.kind
            and giver.free >= amount
        )
        parts = self.would_give(one, amount)
        done = self.change("transfer", one, to_id=two, amount_s=amount, again=twice)
        assert done == may
        if done:
            giver.free -= amount
            taker.free += amount
            for source, part in parts:
                giver.given[source] -= part
                taker.given[source] += part

    @rule(name=names, on=st.booleans())
    def pause_or_resume(self, name, on):
        if self.change("pause" if on else "resume", name):
            self.had[name].paused = on

    @rule(target=attempts, name=names, amount=amounts)
    def place(self, name, amount):
        had, attempt = self.had[name], new_attempt()
        with self.step() as step:
            found = paying.allocate(step, [(attempt, self.room.lab, had.kind, amount)])[attempt]
        payers = [
            other
            for other, each in self.had.items()
            if each.kind == had.kind
            and self.lives(other)
            and not each.paused
            and each.free >= amount
        ]
        if not payers:
            assert not isinstance(found, str)
            return multiple()
        assert found in payers
        assert not self.room.books.hold([Hold(attempt, str(found), amount)])
        self.of[attempt], self.held[attempt], self.used[attempt] = str(found), amount, None
        self.had[str(found)].free -= amount
        self.had[str(found)].held += amount
        return multiple(attempt)

    @rule(attempt=attempts, used=uses, owners=shares)
    def settle_twice(self, attempt, used, owners):
        first = self.used[attempt] is None
        for number in range(2):
            type(self).operations += 1
            done = self.room.books.settle([settlement(attempt, used, owners)])
            assert number == 0 or not done.new
        if first:
            self.charge(attempt, used)

    @rule(attempt=attempts)
    def void(self, attempt):
        type(self).operations += 1
        self.room.books.void([attempt], "cancelled")
        had = self.had[self.of[attempt]]
        had.free += self.held[attempt]
        had.held -= self.held[attempt]
        self.held[attempt] = 0

    @rule(attempt=attempts, used=uses, owners=shares)
    def correct(self, attempt, used, owners):
        type(self).operations += 1
        self.room.books.correct(attempt, used, owners, "off_1", "recounted")
        self.charge(attempt, used)

    @rule(days=st.integers(0, 12))
    def pass_time_and_sweep(self, days):
        self.room.books.clock.now_ms += days * DAY_MS
        with self.step() as step:
            for name, amount in calls.sweep(step).items():
                had = self.had.get(name)
                if had is not None:
                    assert amount == had.free
                    had.free, had.expired = 0, had.expired + amount
            lines = pace.watch(step, MODES)
            parts = {
                each.id: giving_back.parts_of(step, each.id, max(0, self.had[each.id].free // 2))
                for each in lines
                if each.id in self.had and self.had[each.id].free > 1
            }
            reclaiming.announce(step, MODES, lines)
            for done in reclaiming.run(step, reclaiming.CLOCK):
                self.reclaimed(done, parts)

    def reclaimed(self, done, parts):
        had = self.had.get(done.allocation_id)
        if had is None or done.state != "done":
            return
        assert had.idle
        assert not had.taken
        assert not had.paused
        assert (had.used + had.held) * 100 < 40 * (had.granted - had.expired)
        assert done.takes_s == had.free // 2
        had.taken = True
        had.free -= done.takes_s
        for source, part in parts.get(done.allocation_id, []):
            had.given[source] -= part

    @rule()
    def close_the_month(self):
        """From now on it must stay as it is."""
        books = self.room.books
        last = month_before(self.now_ms)
        type(self).operations += 1
        books.close_month(last)
        self.month = last, (books.statement(self.room.lab, last), books.owners(last))

    # --- what the model does with it

    def change(self, kind, name, *, again=False, **more):
        """Whether an officer's change was made; sent twice it is one."""
        self.room.keys += 1
        wanted = Wanted(kind, name, f"key-{self.room.keys}", "r", **more)
        for _ in range(2 if again else 1):
            try:
                with self.step() as step:
                    changing.ask(step, self.room.root, wanted)
            except MeyrinError:
                return False
        return True

    def would_give(self, name, amount_s):
        try:
            with self.room.books.database.read() as step:
                return giving_back.parts_of(step, name, amount_s)
        except Refused:
            return []

    def charge(self, attempt, used):
        had = self.had[self.of[attempt]]
        before = self.used[attempt] or 0
        had.free += self.held[attempt] + before - used
        had.held -= self.held[attempt]
        had.used += used - before
        self.held[attempt] = 0
        self.used[attempt] = None if used == 0 and self.used[attempt] is None else used

    # --- laws

    def skips(self):
        """Of a long run, one look in ten: it would take days else."""
        self.looks += 1
        return LONG and self.looks % 10 != 0

    @invariant()
    def it_adds_up(self):
        if self.skips():
            return
        live = [attempt for attempt, held in self.held.items() if held]
        assert self.room.books.verify(live) == ()

    @invariant()
    def it_is_as_the_model_says(self):
        if not self.had or self.skips():
            return
        with self.room.books.database.read() as step:
            balances = self.room.balances(step, list(self.had))
            given = self.room.given(step, list(self.had))
        for name, had in self.had.items():
            found = balances[name]
            assert (found.free_s, found.held_s, found.used_s, found.expired_s) == (
                had.free, had.held, had.used, had.expired
            )  # fmt: skip
            # children within parents: what an allocation has is what shares gave it
            assert found.granted_s == sum(given[name].values()) == had.granted
            assert {s: n for s, n in given[name].items() if n} == {
                s: n for s, n in had.given.items() if n
            }
            assert min(given[name].values()) >= 0
            # below zero only by what was used beyond what was held: stated in the entry
            assert found.free_s >= 0 or had.used > 0

    @invariant()
    def a_closed_month_stays(self):
        if self.month is not None and not self.skips():
            last, before = self.month
            books = self.room.books
            assert (books.statement(self.room.lab, last), books.owners(last)) == before

    def teardown(self):
        for each in self.room.books.statement(self.room.lab).types:
            assert each.unbalanced_s == 0
        # later examples are judged by themselves: nothing may stay on hold, free or announced
        self.room.books.void(list(self.of), "the example is over")
        with self.room.books.database.write() as step:
            for name in self.had:
                calls.close(step, name, "the example is over")


def month_before(now_ms: int) -> str:
    first = datetime.fromtimestamp(now_ms / 1000, UTC).replace(day=1)
    return f"{first - timedelta(days=1):%Y-%m}"


class Law(Idle):
    """A room on books of its own, with the two ledger reads that the laws need."""

    def balances(self, step, names):
        return ledger.balances(step, names)

    def given(self, step, names):
        return ledger.sources(step, names)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.real)])
def fresh_url(request, tmp_path):
    """Addresses of empty databases, as many as are asked for."""
    with ExitStack() as opened:

        def url():
            if request.param == "postgres":
                server = request.getfixturevalue("postgres_url")
                return opened.enter_context(components.postgres_database(server))
            return f"sqlite:///{tmp_path / new_attempt()}"

        yield url


@pytest.mark.timeout(0 if LONG else 300)
def test_hours_add_up_whatever_becomes_of_them(fresh_url):
    """In a long run, each round has a ledger of its own: checks read all of it."""
    rounds = total = 0
    while rounds == 0 or total < LONG:
        made = open_books(fresh_url())
        machine = type("Machine", (AllocationMachine,), {"room": Law(made), "operations": 0})
        limits = settings(
            max_examples=10 if LONG else 5,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=not LONG,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        run_state_machine_as_test(machine, settings=limits)
        made.database.close()
        rounds, total = rounds + 1, total + machine.operations
        print(f"{total} operations after {rounds} rounds", flush=True)
    assert total >= (LONG or 100)
