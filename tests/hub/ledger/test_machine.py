"""Whatever happens in whatever order, the ledger adds up after every step."""

from __future__ import annotations

from collections import Counter

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
from tests.hub.ledger.fixtures import new_attempt, open_books, settlement
from tests.hub.ledger.test_concurrent import at_once

from meyrin.domain.site import OwnerShare
from meyrin.hub.ledger.service import Hold

SHARES = [
    (OwnerShare("cern", 1),),
    (OwnerShare("cern", 3), OwnerShare("lip", 2)),
    (OwnerShare("cern", 1), OwnerShare("lip", 1), OwnerShare("nikhef", 5)),
]
amounts = st.integers(1, 50)
uses = st.integers(0, 70)
shares = st.sampled_from(SHARES)


class LedgerMachine(RuleBasedStateMachine):
    """A plain model beside the ledger: what each attempt holds, and what it was charged."""

    books = None
    names = Bundle("names")
    attempts = Bundle("attempts")

    def __init__(self):
        super().__init__()
        self.free: Counter[str] = Counter()
        self.granted: Counter[str] = Counter()
        self.expired: Counter[str] = Counter()
        self.of: dict[str, str] = {}
        self.held: dict[str, int] = {}
        self.used: dict[str, int | None] = {}
        self.may_be_negative: set[str] = set()

    @rule(target=names, amount=st.integers(0, 100), kind=st.sampled_from(["h100", "core"]))
    def open(self, amount, kind):
        name = self.books.allocation(amount, kind=kind)
        self.granted[name] = self.free[name] = amount
        return name

    @rule(name=names, amount=amounts)
    def grant(self, name, amount):
        self.books.grant(name, amount, "more")
        self.granted[name] += amount
        self.free[name] += amount

    @rule(target=attempts, wants=st.lists(st.tuples(names, amounts), min_size=1, max_size=5))
    def hold(self, wants):
        holds = [Hold(new_attempt(), name, amount) for name, amount in wants]
        short = self.books.hold(holds)
        for each in holds:
            assert (each.attempt in short) == (self.free[each.allocation_id] < each.amount_s)
            if each.attempt not in short:
                self.keep(each)
        return multiple(*(each.attempt for each in holds if each.attempt not in short))

    @rule(target=attempts, name=names, amount=amounts, each_has=st.integers(1, 3))
    def hold_at_once(self, name, amount, each_has):
        batches = [[Hold(new_attempt(), name, amount) for _ in range(each_has)] for _ in range(2)]
        short = at_once(*(lambda batch=batch: self.books.hold(batch) for batch in batches))
        held = [
            each
            for batch, left_out in zip(batches, short, strict=True)
            for each in batch
            if each.attempt not in left_out
        ]
        assert len(held) == min(2 * each_has, max(self.free[name], 0) // amount)
        for each in held:
            self.keep(each)
        return multiple(*(each.attempt for each in held))

    @rule(attempt=attempts)
    def hold_again(self, attempt):
        if self.held[attempt]:
            self.books.hold([Hold(attempt, self.of[attempt], self.held[attempt])])

    @rule(wants=st.lists(st.tuples(attempts, uses, shares), min_size=1, max_size=4))
    def settle(self, wants):
        once = {attempt: (used, owners) for attempt, used, owners in wants}
        done = self.books.settle(
            [settlement(a, used, owners) for a, (used, owners) in once.items()]
        )
        for attempt, (used, _) in once.items():
            charged = self.used[attempt]
            if charged is None:
                self.charge(attempt, used)
                assert attempt in done.new or used == 0
            else:
                assert attempt in (done.repeated if used == charged else done.different)
        for attempt, below in done.overdrawn.items():
            assert below > 0
            assert self.of[attempt] in self.may_be_negative

    @rule(attempt=attempts, used=uses, owners=shares)
    def settle_at_once(self, attempt, used, owners):
        done = at_once(*[lambda: self.books.settled(attempt, used, shares=owners)] * 2)
        assert sum(len(each.new) for each in done) <= (self.used[attempt] is None)
        if self.used[attempt] is None:
            self.charge(attempt, used)

    @rule(some=st.lists(attempts, min_size=1, max_size=4))
    def void(self, some):
        given_back = self.books.void(some, "cancelled")
        assert given_back == {attempt for attempt in some if self.held[attempt]}
        for attempt in given_back:
            self.free[self.of[attempt]] += self.held[attempt]
            self.held[attempt] = 0

    @rule(attempt=attempts, used=uses, owners=shares, offer=st.sampled_from(["off_1", "off_2"]))
    def correct(self, attempt, used, owners, offer):
        self.books.correct(attempt, used, owners, offer, "recounted")
        self.charge(attempt, used)

    @rule(name=names)
    def expire(self, name):
        taken = self.books.expire([name], "ended").get(name, 0)
        assert taken == max(self.free[name], 0)
        self.free[name] -= taken
        self.expired[name] += taken

    @rule(days=st.integers(-3, 20))
    def pass_time(self, days):
        self.books.clock.now_ms += days * 86_400_000

    def keep(self, hold):
        self.of[hold.attempt] = hold.allocation_id
        self.held[hold.attempt] = hold.amount_s
        self.used[hold.attempt] = None
        self.free[hold.allocation_id] -= hold.amount_s

    def charge(self, attempt, used):
        name = self.of[attempt]
        self.free[name] += self.held[attempt] + (self.used[attempt] or 0) - used
        self.held[attempt] = 0
        # an attempt charged nothing at all may still be settled: see `settle`
        self.used[attempt] = None if used == 0 and self.used[attempt] is None else used
        if self.free[name] < 0:
            self.may_be_negative.add(name)

    @invariant()
    def it_adds_up(self):
        assert self.books.verify([a for a, held in self.held.items() if held]) == ()

    @invariant()
    def it_is_as_the_model_says(self):
        with self.books.counted() as statements:
            costs = self.books.attempt_cost(list(self.of))
        assert len(statements) == 1
        for attempt in self.of:
            cost = costs[attempt]
            assert (cost.held_s, cost.used_s) == (self.held[attempt], self.used[attempt] or 0)
        for name in self.granted:
            balance = self.books.balance(name)
            assert balance.free_s == self.free[name]
            assert balance.granted_s == self.granted[name]
            assert balance.expired_s == self.expired[name]
            assert balance.free_s >= 0 or name in self.may_be_negative

    def teardown(self):
        for each in self.books.statement("prj_a").types:
            assert each.unbalanced_s == 0


def test_the_ledger_adds_up_whatever_happens(database_url):
    made = open_books(database_url)

    class Machine(LedgerMachine):
        books = made

        def teardown(self):
            super().teardown()
            # later examples are judged by themselves: nothing may stay on hold
            made.void(list(self.of), "the example is over")

    limits = settings(
        max_examples=25 if made.database.is_sqlite else 12,
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Machine, settings=limits)
    made.database.close()
