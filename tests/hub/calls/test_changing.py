"""Changes of allocations: hours moved, dates extended, pauses; by whom, and once."""

from __future__ import annotations

import pytest
from tests.hub.ledger.fixtures import NOW_MS, new_attempt

from meyrin.domain.errors import Conflict, InvalidInput, NotAllowed, NotFound, Refused
from meyrin.domain.ledger import Source
from meyrin.domain.refusal import Reason, Refusal
from meyrin.domain.units import LAST_S
from meyrin.engine.explain import in_words
from meyrin.hub.calls import changing, paying, tranches
from meyrin.hub.calls import service as calls
from meyrin.hub.calls.changing import Wanted
from meyrin.hub.identity import service as identity
from meyrin.hub.ledger.service import Hold
from meyrin.hub.plumbing import audit
from meyrin.hub.plumbing.authz import Actor

NOW_S = NOW_MS // 1000
END_S = NOW_S + 100_000
CERN, LIP = Source("cern", "off_1"), Source("lip", "off_1")


class Room:
    """The verbs of changes by people: root is an officer, ada leads `lab` and `spare`."""

    def __init__(self, books):
        self.books = books
        self.keys = 0
        with books.database.write() as step:
            ids = {name: identity.new_person(step, name).id for name in ("ada", "bob", "root")}
            self.lab = identity.new_project(step, "lab", lead=ids["ada"]).id
            self.spare = identity.new_project(step, "spare", lead=ids["ada"]).id
            self.other = identity.new_project(step, "other", lead=ids["bob"]).id
        self.root = Actor(
            person=ids["root"], name="root", admin=True, facility=frozenset({"programme-officer"})
        )
        self.ada = Actor(
            person=ids["ada"], name="ada", projects={self.lab: "lead", self.spare: "lead"}
        )
        self.bob = Actor(
            person=ids["bob"], name="bob", projects={self.other: "lead", self.lab: "member"}
        )

    def award(
        self, amount_s=100, project=None, kind="h100", source=CERN, end_s=END_S, door="entitled"
    ):
        with self.books.database.write() as step:
            return calls.award(
                step, project or self.lab, kind, amount_s, start_s=NOW_S, end_s=end_s,
                reason="a test", source=source, door=door,
            ).id  # fmt: skip

    def ask(self, actor, kind, allocation, key=None, **more):
        self.keys += 1
        wanted = Wanted(kind, allocation, key or f"key-{self.keys}", "it helps", **more)
        with self.books.database.write() as step:
            return changing.ask(step, actor, wanted)

    def decide(self, actor, change, *, grant=True):
        with self.books.database.write() as step:
            return changing.decide(step, actor, change.id, grant=grant, reason="because")

    def free(self, *names):
        return [self.books.balance(name).free_s for name in names]

    def why(self, amount_s, project=None):
        with self.books.database.read() as step:
            return paying.allocate(step, [("a", project or self.lab, "h100", amount_s)])["a"]

    def audited(self):
        with self.books.database.read() as step:
            return [row.verb for row in audit.listed(step, "", "", 50)[0]][::-1]


@pytest.fixture
def room(books):
    return Room(books)


@pytest.mark.parametrize("doors", [("entitled", "paid"), ("paid", "entitled")])
def test_hours_never_change_their_door(room, doors):
    """Free hours would else be sold, or paid ones be counted as a state's gift."""
    giver, taker = (room.award(door=door) for door in doors)
    for actor in (room.ada, room.root):
        with pytest.raises(Refused, match=f"holds {doors[0]} hours, .* {doors[1]} ones") as caught:
            room.ask(actor, "transfer", giver, to_id=taker, amount_s=10)
        assert "never become paid for" in caught.value.hint
    same = room.award(door=doors[0])
    room.ask(room.root, "transfer", giver, to_id=same, amount_s=10)
    assert room.free(giver, taker, same) == [90, 100, 110]


def test_an_officer_moves_hours_at_once_and_once(room, books):
    one, two = room.award(100), room.award(10, room.spare)
    done = room.ask(room.root, "transfer", one, "k", to_id=two, amount_s=30)
    assert (done.state, done.decided_by, done.project) == ("done", "root", "lab")
    assert room.ask(room.root, "transfer", one, "k", to_id=two, amount_s=30) == done
    assert room.free(one, two) == [70, 40]
    with pytest.raises(Conflict, match="another change"):
        room.ask(room.root, "transfer", one, "k", to_id=two, amount_s=31)
    assert room.free(one, two) == [70, 40]
    assert room.audited() == ["allocation.transfer"]
    with books.database.read() as step:
        assert calls.allocation(step, two).amount_s == 40


def test_a_lead_asks_and_an_officer_decides(room):
    one, two = room.award(100), room.award(10, room.spare)
    asked = room.ask(room.ada, "transfer", one, to_id=two, amount_s=30)
    assert (asked.state, asked.decided_ms) == ("asked", None)
    assert room.free(one, two) == [100, 10]
    with pytest.raises(NotAllowed):
        room.decide(room.ada, asked)
    done = room.decide(room.root, asked)
    assert (done.state, done.answer, done.reason) == ("done", "because", "it helps")
    assert room.decide(room.root, asked) == done
    assert room.free(one, two) == [70, 40]
    with pytest.raises(Conflict, match="done already"):
        room.decide(room.root, asked, grant=False)
    no = room.decide(room.root, room.ask(room.ada, "extend", one, end_s=END_S + 5), grant=False)
    assert no.state == "refused"
    assert room.audited()[-2:] == ["allocation.extend", "allocation.decide"]


def test_who_may_not_ask(room):
    one, theirs = room.award(), room.award(project=room.other)
    with pytest.raises(NotAllowed, match="only a lead"):
        room.ask(room.bob, "pause", one)
    with pytest.raises(NotFound):
        room.ask(room.ada, "pause", theirs)
    with pytest.raises(NotFound):
        room.ask(room.ada, "transfer", one, to_id=theirs, amount_s=1)
    with pytest.raises(NotFound):
        room.ask(room.root, "transfer", one, to_id="all_none", amount_s=1)


def test_never_more_than_is_free_and_never_another_type(room, books):
    one, two, cores = room.award(100), room.award(10), room.award(kind="core")
    books.hold([Hold(new_attempt(), one, 60)])
    with pytest.raises(Refused, match="40 s free") as no:
        room.ask(room.ada, "transfer", one, to_id=two, amount_s=41)
    assert no.value.refusals == (Refusal(Reason.BALANCE, asked=41, limit=40),)
    with pytest.raises(Refused, match="core hours"):
        room.ask(room.root, "transfer", one, to_id=cores, amount_s=1)
    for wrong in ({"to_id": one, "amount_s": 1}, {"to_id": two, "amount_s": 0}):
        with pytest.raises(InvalidInput):
            room.ask(room.root, "transfer", one, **wrong)
    asked = room.ask(room.ada, "transfer", one, to_id=two, amount_s=40)
    books.hold([Hold(new_attempt(), one, 1)])
    with pytest.raises(Refused):
        room.decide(room.root, asked)
    assert room.free(one, two) == [39, 10]


def test_hours_stay_with_the_owner_who_gave_them(room, books):
    one, two = room.award(100, source=CERN), room.award(1, room.spare, source=LIP)
    books.grant(one, 50, "more", LIP)
    room.ask(room.root, "transfer", one, to_id=two, amount_s=60)  # lip gave last
    given = books.sources([one, two])
    assert given[one] == {CERN: 90, LIP: 0}
    assert given[two] == {LIP: 51, CERN: 10}
    month = {each.owner: each.granted_s for each in books.owners("2027-01")}
    assert month == {"cern": 100, "lip": 51}
    for project, granted in ((room.lab, 90), (room.spare, 61)):
        sheet = books.statement(project).types[0]
        assert (sheet.unbalanced_s, sheet.closing.granted_s) == (0, granted)


def test_what_is_promised_stays_with_its_share(room, books):
    parts = [tranches.Part(100, NOW_S), tranches.Part(900, NOW_S, "g", "f", "ab" * 32)]
    with books.database.write() as step:
        one = tranches.award(
            step, room.lab, "h100", parts, start_s=NOW_S, end_s=END_S, reason="r", source=CERN
        ).id
    books.grant(one, 5, "more", LIP)
    two = room.award(1)
    with pytest.raises(Refused):
        room.ask(room.root, "transfer", one, to_id=two, amount_s=106)
    room.ask(room.root, "transfer", one, to_id=two, amount_s=105)
    assert books.sources([one])[one] == {CERN: 900, LIP: 0}
    assert books.promised([one]) == {one: 900}


def test_what_is_over_is_not_changed(room, books):
    one, two = room.award(end_s=NOW_S + 10), room.award()
    books.clock.now_ms += 10_000
    for kind, more in (
        ("transfer", {"to_id": two, "amount_s": 1}),
        ("extend", {"end_s": END_S}),
        ("pause", {}),
    ):
        with pytest.raises(Refused, match="is over"):
            room.ask(room.root, kind, one, **more)
    with pytest.raises(Refused, match="is over"):
        room.ask(room.root, "transfer", two, to_id=one, amount_s=1)


def test_an_extension_is_asked_for_and_given(room, books):
    one = room.award()
    asked = room.ask(room.ada, "extend", one, end_s=END_S + 50, amount_s=20)
    room.decide(room.root, asked)
    with books.database.read() as step:
        found = calls.allocation(step, one)
    assert (found.end_s, found.amount_s, books.balance(one).free_s) == (END_S + 50, 120, 120)
    room.ask(room.root, "extend", one, amount_s=7, source=LIP)
    assert books.sources([one])[one][LIP] == 7
    with pytest.raises(InvalidInput):
        room.ask(room.root, "extend", one)
    with pytest.raises(InvalidInput):
        room.ask(room.root, "extend", one, end_s=END_S)


@pytest.mark.parametrize("end_s", [END_S - 1, LAST_S + 1])
def test_an_end_that_can_not_be_is_not_kept_for_an_officer(room, end_s):
    one = room.award()
    with pytest.raises(InvalidInput, match=r"it lasts until .* and can't until"):
        room.ask(room.ada, "extend", one, end_s=end_s, amount_s=5)
    with room.books.database.read() as step:
        assert changing.listed(step, room.root, None, "", "", 9) == ([], "")


def test_a_pause_stops_what_is_new_and_nothing_else(room, books):
    one, attempt = room.award(), new_attempt()
    books.hold([Hold(attempt, one, 40)])
    room.ask(room.ada, "pause", one)
    again = room.ask(room.ada, "pause", one)
    assert again.state == "done"
    no = room.why(10)
    assert no == Refusal(Reason.ALLOCATION_PAUSED, asked="h100", limit="it helps (by ada)")
    assert "meyrin project resume" in in_words(no)
    books.settled(attempt, 30)  # what runs goes on
    assert room.free(one) == [70]
    room.ask(room.ada, "resume", one)
    room.ask(room.ada, "resume", one)
    assert room.why(10) == one


def test_what_an_officer_paused_an_officer_resumes(room):
    one = room.award()
    room.ask(room.root, "pause", one)
    with pytest.raises(NotAllowed, match="paused by the officer root: it helps"):
        room.ask(room.ada, "resume", one)
    room.ask(room.root, "resume", one)
    assert room.why(10) == one


def test_an_officer_takes_over_the_pause_of_a_lead(room):
    """Else a lead who was first could end what the officer was told is paused."""
    one = room.award()
    room.ask(room.ada, "pause", one)
    room.ask(room.root, "pause", one)
    room.ask(room.ada, "pause", one)  # changes nothing any more
    with pytest.raises(NotAllowed, match="paused by the officer root"):
        room.ask(room.ada, "resume", one)
    assert room.why(10).limit == "it helps (by root)"
    room.ask(room.root, "resume", one)
    assert room.why(10) == one


def test_of_several_the_one_that_is_not_paused_pays(room):
    small, large = room.award(50, end_s=END_S - 5), room.award(500)
    room.ask(room.ada, "pause", large)
    assert room.why(50) == small
    assert room.why(51).reason is Reason.ALLOCATION_PAUSED
    assert room.why(501) == Refusal(Reason.BALANCE, asked=501, limit=50)
    with room.books.database.read() as step:
        funds = paying.funds(step, [room.lab])
    assert sorted(each.paused for each in funds) == ["", "it helps (by ada)"]


def test_changes_are_seen_by_their_projects(room):
    mine, theirs = room.award(), room.award(project=room.other)
    room.ask(room.ada, "pause", mine)
    room.ask(room.root, "pause", theirs)
    with room.books.database.read() as step:
        assert [c.project for c in changing.listed(step, room.ada, None, "", "", 9)[0]] == ["lab"]
        assert len(changing.listed(step, room.root, None, "done", "", 9)[0]) == 2
        assert changing.listed(step, room.root, None, "asked", "", 9) == ([], "")
        with pytest.raises(NotFound):
            changing.listed(step, room.ada, "other", "", "", 9)
        with pytest.raises(InvalidInput):
            changing.listed(step, room.ada, None, "soon", "", 9)
