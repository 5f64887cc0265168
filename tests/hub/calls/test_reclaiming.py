"""Idle hours go back by rule: announced, answered or not, done once whatever crashes."""

from __future__ import annotations

import pytest
from tests.hub.calls.test_changing import CERN
from tests.hub.calls.test_pace import Watched
from tests.hub.facility import at_once
from tests.hub.ledger.fixtures import NOW_MS, new_attempt

from meyrin.domain.errors import Conflict, Refused
from meyrin.domain.pace import WEEK_S
from meyrin.hub.calls import changing, notices, pace, reclaiming
from meyrin.hub.calls import service as calls
from meyrin.hub.calls.modes.file import Mode
from meyrin.hub.ledger.service import Hold
from meyrin.sim.toml_file import check

NOW_S = NOW_MS // 1000
END_S = NOW_S + 10 * WEEK_S
FIRST = {"after_percent": 50, "used_percent": 20, "take_percent": 40, "notice_days": 14}
SECOND = {"after_percent": 80, "used_percent": 60, "take_percent": 100, "notice_days": 7}


def mode(*steps):
    written = {
        "name": "idle", "title": "Idle", "source": "a test", "who": ["sme"], "purposes": ["try"],
        "months": [3], "order": "first-in", "size": {"unit": "core", "least_h": 1, "most_h": 9},
        "clock": {"promise": 1, "counts": "weeks", "country": "LU", "time_zone": "UTC"},
        "step": [{"kind": "officer"}], "reclaim": list(steps),
    }  # fmt: skip
    return check(written, Mode, "a test")


MODES = (mode(FIRST, SECOND),)


class Idle(Watched):
    def award(self, amount_s=1000, project=None, mode="idle", **more):
        with self.books.database.write() as step:
            return calls.award(
                step, project or self.lab, "h100", amount_s, start_s=NOW_S, end_s=END_S,
                reason="a test", source=CERN, mode=mode, **more,
            ).id  # fmt: skip

    def sweep(self, modes=MODES):
        with self.books.database.write() as step:
            reclaiming.announce(step, modes, pace.watch(step, modes))
        with self.books.database.write() as step:
            return reclaiming.run(step, reclaiming.CLOCK)

    def listed(self, modes=MODES):
        with self.books.database.read() as step:
            return reclaiming.listed(step, self.root, None, modes, "", 50)[0]

    def to(self, days):
        """So many days after the start, the clock sweeping once a day."""
        while self.books.clock.now_ms < NOW_MS + days * 86_400_000:
            self.books.clock.now_ms += 86_400_000
            done = self.sweep()
        return done


@pytest.fixture
def room(books):
    return Idle(books)


def test_idle_hours_are_announced_and_go_back_once(room, books):
    one, other = room.award(), room.award(mode="")
    room.use(one, 100)
    room.to(20)
    assert [(r.number, r.state, r.takes_s) for r in room.listed()] == [(1, "comes", 360)]
    room.to(21)  # 35 days are half of the time; a fortnight before
    (line,) = room.listed()
    assert (line.state, line.due_s, line.takes_s) == ("announced", NOW_S + 5 * WEEK_S, 360)
    words = [each.words for each in room.told() if "go back" in each.words]
    assert len(words) == 1
    assert "meyrin project answer" in words[0]
    room.to(34)
    assert room.free(one, other) == [900, 1000]
    (done,) = room.to(35)
    assert (done.state, done.takes_s) == ("done", 360)
    assert room.free(one, other) == [540, 1000]
    assert books.sources([one])[one] == {CERN: 640}
    lines, _ = books.entries(room.lab, "", 9)
    assert [each.reason for each in lines if each.kind == "reclaim"] == [
        "step 1: less than 20 % used after 50 % of the time: 40 % of what is unused goes back"
    ]
    assert room.sweep() == []
    room.to(48)
    assert room.free(one) == [540]
    assert books.statement(room.lab).types[0].unbalanced_s == 0
    (done,) = room.to(56)  # the second step is of what is left: 100 of 640 used
    assert (done.number, done.takes_s) == (2, 540)
    assert room.free(one) == [0]
    assert "allocation.reclaim" in room.audited()


def test_what_was_used_in_time_stays(room, books):
    one = room.award()
    room.use(one, 200)  # not less than 20 %
    room.to(36)
    assert [(r.number, r.state) for r in room.listed()] == [(2, "comes")]
    two = room.award(project=room.spare)
    room.to(37)
    (announced,) = [r for r in room.listed() if r.allocation_id == two]
    assert announced.state == "announced"  # it is late, and is told a fortnight before all the same
    assert announced.due_s == NOW_S + (37 + 14) * 86_400
    attempt = new_attempt()
    books.hold([Hold(attempt, two, 250)])  # what jobs hold counts as used
    room.to(52)
    assert room.free(two) == [750]
    assert {r.number for r in room.listed() if r.allocation_id == two} == {2}


def test_an_answer_holds_it_up_and_an_officer_decides(room):
    one = room.award()
    room.to(22)
    asked = room.ask(room.ada, "exempt", one)
    room.to(40)
    assert room.free(one) == [1000]
    assert room.listed()[0].waits == "an answer waits for an officer"
    with room.books.database.write() as step:
        changing.decide(step, room.root, asked.id, grant=True, reason="a good one", modes=MODES)
    room.to(45)
    assert room.free(one) == [1000]
    assert (room.listed()[0].number, room.listed()[0].state) == (2, "comes")


def test_a_refused_answer_lets_it_happen(room):
    one = room.award()
    room.to(30)
    asked = room.ask(room.ada, "exempt", one)
    room.to(36)
    room.decide(room.root, asked, grant=False)
    assert room.free(one) == [1000]
    room.to(37)
    assert room.free(one) == [600]


def test_an_officer_exempts_before_it_is_announced(room):
    one = room.award()
    with room.books.database.write() as step:
        assert reclaiming.exempt(step, room.root, one, MODES, "a slow start") == 1
        assert reclaiming.exempt(step, room.root, one, MODES, "and later") == 2
        assert reclaiming.exempt(step, room.root, one, MODES, "again") == 0
    room.to(69)
    assert room.free(one) == [1000]
    assert room.listed()[0].state == "exempt"
    with pytest.raises(Refused, match="any more"):
        room.ask(room.root, "exempt", one)


def test_an_answer_that_comes_too_late_is_not_told_as_done(room, monkeypatch):
    """The hub's clock took the hours after the officer's step had looked."""
    one = room.award()
    room.to(34)
    with room.books.database.read() as step:
        before = reclaiming.store.reclaims_of(step, [one])
    room.to(35)
    assert room.free(one) == [600]
    for seen in (before, {}):
        monkeypatch.setattr(reclaiming.store, "reclaims_of", lambda *_, seen=seen: seen)
        with room.books.database.write() as step, pytest.raises(Conflict, match="meanwhile"):
            reclaiming.exempt(step, room.root, one, MODES, "a good one")


def test_a_pause_holds_it_up(room):
    one = room.award()
    room.to(22)
    room.ask(room.root, "pause", one)
    room.to(40)
    assert room.free(one) == [1000]
    assert room.listed()[0].waits == "it is paused"
    room.ask(room.root, "resume", one)
    room.to(41)
    assert room.free(one) == [600]


def test_an_extension_puts_it_off(room):
    one = room.award()
    room.to(30)
    room.ask(room.root, "extend", one, end_s=END_S + 10 * WEEK_S)
    assert room.listed()[0].due_s == NOW_S + 10 * WEEK_S
    room.to(69)
    assert room.free(one) == [1000]
    assert [(r.number, r.state) for r in room.listed()] == [(1, "announced")]
    room.to(70)
    assert room.free(one) == [600]


def test_a_hub_that_dies_in_between_has_done_neither(room, books, monkeypatch):
    one = room.award()
    room.to(34)
    tell = notices.tell

    class Died(BaseException):
        pass

    def die(*_):
        raise Died

    books.clock.now_ms += 86_400_000
    monkeypatch.setattr(notices, "tell", die)
    for _ in range(3):
        with pytest.raises(Died):
            room.sweep()
        assert room.free(one) == [1000]
        assert room.listed()[0].state == "announced"
    monkeypatch.setattr(notices, "tell", tell)
    room.sweep()
    room.sweep()
    assert room.free(one) == [600]


def test_two_hubs_at_once_do_it_once(room, books):
    names = [room.award() for _ in range(5)]
    room.to(34)
    books.clock.now_ms += 86_400_000
    done = at_once(4, lambda _: room.sweep())
    settled = [each for some in done if isinstance(some, list) for each in some]
    assert all(isinstance(some, list) for some in done)
    assert room.free(*names) == [600] * 5
    assert len(settled) == 5
    lines, _ = books.entries(room.lab, "", 50)
    assert sum(each.kind == "reclaim" for each in lines) == 5


def test_the_list_is_paged_with_few_queries(empty_hub):
    hub = empty_hub
    hub.app.state.modes = MODES
    for _ in range(30):
        with hub.write() as step:
            calls.award(
                step, hub.projects["lab"], "core", 3600, start_s=step.now_s,
                end_s=step.now_s + 10**6, reason="r", mode="idle",
            )  # fmt: skip
    client, spent = hub.client("ada"), []
    for limit in (1, 30):
        with hub.counting() as statements:
            reply = client.get("/api/v1/reclaims", params={"limit": limit}).json()
        assert len(reply["reclaims"]) == limit
        spent.append(len(statements))
    assert spent[0] == spent[1] <= 8
    seen, after = [], ""
    while True:
        reply = client.get("/api/v1/reclaims", params={"limit": 7, "after": after}).json()
        seen += [row["allocation_id"] for row in reply["reclaims"]]
        after = reply["next"]
        if not after:
            break
    assert len(set(seen)) == len(seen) == 30
    assert client.post("/api/v1/reclaims/run").status_code == 403
    assert hub.client("root").post("/api/v1/reclaims/run").json() == {"reclaims": []}
