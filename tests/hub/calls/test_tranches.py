"""Tranches: released by date and by gates, once; whatever happens, the ledger adds up."""

from __future__ import annotations

import hashlib
import os
from collections import Counter

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)
from tests.hub.ledger.fixtures import NOW_MS, new_attempt, open_books

from meyrin.domain.errors import Conflict, InvalidInput
from meyrin.domain.ledger import Source
from meyrin.domain.refusal import Reason, Refusal
from meyrin.domain.tranche import Action, State, given_s
from meyrin.hub.calls import paying, tranches
from meyrin.hub.calls import service as calls
from meyrin.hub.calls.tranches import Part, Ruling
from meyrin.hub.ledger.service import Hold

NOW_S = NOW_MS // 1000
END_S = NOW_S + 1000
REVIEWER = "ab" * 32
SHARE = Source("cern", "off_1")


def gated(amount_s, from_s=NOW_S, gate="second", family="tiny"):
    return Part(amount_s, from_s, gate, family, REVIEWER)


def ruling(action=Action.RELEASE, number=0, gate="second", **more):
    told = {
        "decision": hashlib.sha256(f"{action}{number}{gate}".encode()).hexdigest(),
        "project_id": "prj_a",
        "gate": gate,
        "family": "tiny",
        "reviewer": REVIEWER,
        "action": action,
        "shrink_percent": 30,
        "reason": f"gate {gate} passed",
    }
    return Ruling(**{**told, **more})


class Room:
    """The verbs of tranches, a step each."""

    def __init__(self, books):
        self.books = books

    def __getattr__(self, verb):
        def call(*arguments, **more):
            with self.books.database.write() as step:
                return getattr(tranches, verb)(step, *arguments, **more)

        return call

    def awarded(self, *parts, project="prj_a", end_s=END_S):
        made = self.award(
            project, "h100", parts, start_s=NOW_S, end_s=end_s, reason="a test", source=SHARE
        )
        return made.id

    def states(self, name):
        return [str(each.state) for each in self.of([name])[name]]

    def promised(self, name):
        return self.books.promised([name]).get(name, 0)

    def at(self, seconds):
        self.books.clock.now_ms = NOW_MS + seconds * 1000

    def refusal(self, amount_s, project="prj_a"):
        with self.books.database.read() as step:
            want = [("a", project, "h100", amount_s)]
            return paying.allocate(step, want)["a"]


@pytest.fixture
def room(books):
    return Room(books)


def test_what_is_promised_can_not_be_used(room, books):
    name = room.awarded(Part(100, NOW_S), gated(400))
    assert (books.balance(name).free_s, books.balance(name).granted_s) == (100, 100)
    assert room.promised(name) == 400
    assert room.states(name) == ["released", "waiting"]
    assert room.refusal(100) == name
    assert room.refusal(300) == Refusal(Reason.TRANCHE_WAITS, asked=300, limit="gate second")
    assert room.refusal(501) == Refusal(Reason.BALANCE, asked=501, limit=100)


@pytest.mark.parametrize(
    ("action", "free_s", "promised_s", "states"),
    [
        (Action.RELEASE, 500, 50, ["released", "released", "waiting"]),
        (Action.DOUBLE, 900, 50, ["released", "released", "waiting"]),
        (Action.SHRINK, 220, 50, ["released", "released", "waiting"]),
        (Action.HOLD, 100, 450, ["released", "waiting", "waiting"]),
        (Action.STOP, 100, 0, ["released", "stopped", "stopped"]),
    ],
)
def test_a_decision_acts_once_and_keeps_its_reason(room, books, action, free_s, promised_s, states):
    name = room.awarded(Part(100, NOW_S), gated(400), gated(50, gate="third"))
    for _ in range(3):
        acted = room.apply(ruling(action))
        assert acted
        assert all("gate second passed" in each.reason for each in acted)
        assert books.balance(name).free_s == free_s
        assert room.promised(name) == promised_s
        assert room.states(name) == states
    lines, _ = books.entries("prj_a", "", 50)
    if action is not Action.HOLD:
        assert "tranche 2: gate second passed" in {line.reason for line in lines}


def test_only_the_next_tranche_and_only_on_the_right_signature(room):
    name = room.awarded(Part(1, NOW_S), gated(10), gated(20, gate="third"))
    assert room.apply(ruling(gate="third")) == []
    assert room.apply(ruling(reviewer="cd" * 32)) == []
    assert room.apply(ruling(family="other")) == []
    assert room.apply(ruling(project_id="prj_b")) == []
    assert room.states(name) == ["released", "waiting", "waiting"]
    assert len(room.apply(ruling())) == 1
    assert len(room.apply(ruling(gate="third"))) == 1
    assert room.states(name) == ["released"] * 3


def test_one_decision_opens_one_tranche_although_two_stand_at_the_gate(room, books):
    name = room.awarded(Part(1, NOW_S), gated(10), gated(20))
    room.apply(ruling(number=1))
    room.apply(ruling(number=1))
    assert books.balance(name).free_s == 11
    room.apply(ruling(number=2))
    assert books.balance(name).free_s == 31


def test_a_date_releases_and_a_passed_gate_waits_for_its_date(room, books):
    name = room.awarded(Part(1, NOW_S), Part(10, NOW_S + 100), gated(20, NOW_S + 200))
    assert room.refusal(5).limit == "2027-01-15"
    assert room.sweep() == 0
    room.at(100)
    assert room.sweep() == 1
    assert books.balance(name).free_s == 11
    room.apply(ruling())
    assert room.states(name) == ["released", "released", "due"]
    assert room.refusal(20) == Refusal(Reason.TRANCHE_WAITS, asked=20, limit="2027-01-15")
    room.at(200)
    assert (room.sweep(), room.sweep()) == (1, 0)
    assert books.balance(name).free_s == 31


def test_a_second_pass_does_not_act_on_what_has_passed_and_waits_for_its_date(room):
    name = room.awarded(Part(1, NOW_S), gated(10, NOW_S + 100), gated(20, NOW_S + 100))
    assert len(room.apply(ruling(Action.SHRINK, 1))) == 1
    assert room.apply(ruling(Action.DOUBLE, 2)) == []
    assert room.states(name) == ["released", "due", "waiting"]
    assert room.promised(name) == 3 + 20


def test_a_date_does_not_overtake_a_gate(room, books):
    name = room.awarded(Part(1, NOW_S), gated(10), Part(20, NOW_S + 100))
    room.at(150)
    assert room.sweep() == 0
    room.apply(ruling())
    assert books.balance(name).free_s == 31
    assert room.states(name) == ["released"] * 3


def test_what_was_promised_goes_back_when_the_allocation_ends(room, books):
    name = room.awarded(Part(100, NOW_S), gated(400))
    room.at(1000)
    assert (room.sweep(), room.sweep()) == (1, 0)
    assert room.promised(name) == 0
    assert room.states(name) == ["released", "stopped"]
    assert room.apply(ruling()) == []
    owner = {(each.owner, each.granted_s) for each in books.owners("2027-01")}
    assert owner == {("cern", 100)}


def test_a_tranche_that_was_decided_is_not_decided_again(room, books):
    name = room.awarded(gated(10))
    room.apply(ruling())
    with books.database.write() as step, pytest.raises(Conflict, match="decided meanwhile"):
        calls.store.change_tranche(step, name, 1, {"state": "stopped"})


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([], "1 to 24 tranches"),
        ([Part(1, NOW_S + 10), Part(1, NOW_S)], "tranche 2 can't begin"),
        ([Part(1, END_S)], "tranche 1 can't begin"),
        ([Part(0, NOW_S)], "can't be 0 seconds"),
        ([Part(1, NOW_S, "gate")], "needs gate, family and reviewer"),
    ],
)
def test_tranches_that_make_no_sense(room, parts, words):
    with pytest.raises(InvalidInput, match=words):
        room.awarded(*parts)


def test_looking_and_deciding_take_a_fixed_number_of_statements(room, books):
    for _ in range(2):
        room.awarded(Part(1, NOW_S), gated(10))
    with books.counted() as few, books.database.read() as step:
        paying.funds(step, ["prj_a"])
    count = len(few)
    for _ in range(20):
        room.awarded(Part(1, NOW_S), gated(10))
    with books.counted() as many, books.database.read() as step:
        paying.funds(step, ["prj_a"])
    assert len(many) == count == 2


# --- laws

amounts = st.integers(1, 60)
dates = st.integers(0, 500)
actions = st.sampled_from(list(Action))


class TrancheMachine(RuleBasedStateMachine):
    """Awards, gates, dates and use in any order, beside a plain model."""

    books = None
    names = Bundle("names")

    def __init__(self):
        super().__init__()
        self.room = Room(self.books)
        self.project = f"prj_{new_attempt()[:8]}"
        self.books.clock.now_ms = NOW_MS
        self.parts: dict[str, list[list]] = {}  # [amount, from, gate, state, given]
        self.free: Counter[str] = Counter()
        self.end_s: dict[str, int] = {}
        self.ruled = 0

    @rule(
        target=names,
        first=amounts,
        later=st.lists(st.tuples(amounts, dates, st.booleans()), max_size=4),
    )
    def award(self, first, later):
        now_s = self.books.clock.now_ms // 1000
        parts, from_s = [Part(first, now_s)], now_s
        for amount, wait_s, at_gate in later:
            from_s += wait_s
            parts.append(gated(amount, from_s) if at_gate else Part(amount, from_s))
        made = self.room.award(
            self.project, "h100", parts, start_s=now_s, end_s=now_s + 2100, reason="r", source=SHARE
        )
        self.parts[made.id] = [
            [p.amount_s, p.from_s, p.gate, State.WAITING if p.gate else State.DUE, p.amount_s]
            for p in parts
        ]
        self.end_s[made.id] = now_s + 2100
        self.model_release(made.id)
        return made.id

    @rule(action=actions, percent=st.integers(1, 99), again=st.booleans())
    def decide(self, action, percent, again):
        self.ruled += 1
        number = f"{self.project}{self.ruled}"
        told = ruling(action, number, project_id=self.project, shrink_percent=percent)
        self.room.apply(told)
        if again:
            self.room.apply(told)
        for name, parts in self.parts.items():
            if self.end_s[name] <= self.books.clock.now_ms // 1000:
                continue
            coming = [p for p in parts if p[3] in (State.WAITING, State.DUE)]
            if not coming or coming[0][3] is not State.WAITING:
                continue
            if action is Action.STOP:
                for part in coming:
                    part[3] = State.STOPPED
            elif action is not Action.HOLD:
                coming[0][3], coming[0][4] = State.DUE, given_s(coming[0][0], action, percent)
            self.model_release(name)

    @rule(seconds=st.integers(1, 400))
    def pass_time(self, seconds):
        self.books.clock.now_ms += seconds * 1000
        self.room.sweep()
        for name in self.parts:
            self.model_release(name)

    @rule(name=names, amount=amounts)
    def use(self, name, amount):
        attempt = new_attempt()
        short = self.books.hold([Hold(attempt, name, amount)])
        assert bool(short) == (self.free[name] < amount)
        if not short:
            self.books.settled(attempt, amount)
            self.free[name] -= amount

    def model_release(self, name):
        now_s = self.books.clock.now_ms // 1000
        for part in self.parts[name]:
            if part[3] in (State.WAITING, State.DUE) and self.end_s[name] <= now_s:
                part[3] = State.STOPPED
            if part[3] is State.WAITING or (part[3] is State.DUE and part[1] > now_s):
                break
            if part[3] is State.DUE:
                part[3] = State.RELEASED
                self.free[name] += part[4]

    @invariant()
    def it_adds_up(self):
        assert self.books.verify() == ()

    @invariant()
    def it_is_as_the_model_says(self):
        kept = self.room.of(list(self.parts))
        for name, parts in self.parts.items():
            assert [each.state for each in kept[name]] == [part[3] for part in parts]
            assert self.books.balance(name).free_s == self.free[name]
            coming = {State.WAITING: 0, State.DUE: 4}
            within = sum(part[coming[part[3]]] for part in parts if part[3] in coming)
            assert self.room.promised(name) == within

    def teardown(self):
        for each in self.books.statement(self.project).types:
            assert each.unbalanced_s == 0


def test_tranches_add_up_whatever_happens(database_url):
    made = open_books(database_url)

    class Machine(TrancheMachine):
        books = made

    limits = settings(
        max_examples=int(
            os.environ.get("MEYRIN_EXAMPLES", "12" if made.database.is_sqlite else "5")
        ),
        stateful_step_count=20,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Machine, settings=limits)
    made.database.close()
