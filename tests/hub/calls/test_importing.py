"""Awards from elsewhere: all or nothing, once, and out again as they came."""

from __future__ import annotations

import pytest
from tests.hub.calls.test_changing import CERN, LIP, NOW_S, Room

from meyrin.domain.errors import InvalidInput
from meyrin.hub.calls import importing
from meyrin.hub.calls.importing import Award

END_S = NOW_S + 100_000


def award(name="E-1", **more):
    told = {
        "award": name, "project": "lab", "charged_type": "h100", "amount_s": 3600,
        "start_s": NOW_S, "end_s": END_S, "reason": "a call elsewhere", "owner": "union",
    }  # fmt: skip
    return Award(**(told | more))


class Gate(Room):
    def bring(self, *awards, dry_run=False):
        rows = list(enumerate(awards, start=2))
        with self.books.database.write() as step:
            return importing.bring(step, self.root, rows, (), dry_run=dry_run)

    def out(self, actor=None, *, ended=False):
        with self.books.database.read() as step:
            found, _ = importing.going_out(step, actor or self.root, None, "", 50, ended=ended)
        return [each for _, each in found]


@pytest.fixture
def room(books):
    return Gate(books)


def test_a_file_is_awarded_once(room, books):
    rows = [award("E-1"), award("E-2", charged_type="core", project="fresh", lead="bob")]
    would = room.bring(*rows, dry_run=True)
    assert [(each.state, each.new_project) for each in would] == [("new", False), ("new", True)]
    assert room.out() == []
    made = room.bring(*rows)
    assert books.balance(made[0].allocation_id).free_s == 3600
    assert books.sources([made[0].allocation_id])[made[0].allocation_id].keys() == {
        importing.Source("union")
    }
    again = room.bring(*rows)
    assert [each.state for each in again] == ["known", "known"]
    assert [e.allocation_id for e in again] == [e.allocation_id for e in made]
    assert len(room.out()) == 2
    assert room.audited().count("award.import") == 2


def test_what_goes_out_comes_in_as_it_was(room):
    rows = {"E-1": award("E-1"), "E-2": award("E-2", amount_s=7, offer_id="off_1")}
    room.bring(*rows.values())
    out = room.out()
    assert {each.award: each for each in out} == rows
    assert [each.state for each in room.bring(*out)] == ["known", "known"]


def test_awards_of_this_hub_go_out_by_share_and_change_nothing_when_they_come_back(room, books):
    one = room.award(100, source=CERN)
    books.grant(one, 50, "more", LIP)
    out = room.out()
    assert [(each.award, each.amount_s, each.owner) for each in out] == [
        (one, 100, "cern"), (f"{one}#2", 50, "lip")
    ]  # fmt: skip
    assert [each.state for each in room.bring(*out)] == ["known", "known"]
    assert room.free(one) == [150]


def test_a_page_holds_ones_own_and_what_is_over_only_when_asked(room, books):
    room.award(1, room.other)
    room.award(1, end_s=NOW_S + 10)
    books.clock.now_ms += 20_000
    assert [each.project for each in room.out()] == ["other"]
    assert len(room.out(ended=True)) == 2
    assert room.out(room.ada) == []


@pytest.mark.parametrize(
    ("wrong", "field", "words"),
    [
        ({"project": "none"}, "project", "no project 'none'"),
        ({"project": "none", "lead": "nobody"}, "row", "no person called nobody"),
        ({"mode": "none"}, "mode", "no mode 'none'"),
        ({"amount_s": 0}, "amount_s", "can't be 0 seconds"),
        ({"end_s": NOW_S}, "end", "can't last"),
        ({"start_s": 1, "end_s": 2}, "end", "over already"),
        ({"promised_s": 5}, "promised_s", "meyrin project grant --tranche"),
        ({"award": "E-1"}, "award", "in line 2 already"),
    ],
)
def test_one_wrong_row_stops_all_and_is_named(room, wrong, field, words):
    rows = [award("E-1"), award("E-2", **wrong) if "award" not in wrong else award(**wrong)]
    for dry_run in (True, False):
        with pytest.raises(InvalidInput) as no:
            room.bring(*rows, dry_run=dry_run)
        assert no.value.message.startswith(f"line 3: {field}")
        assert words in no.value.message
        assert "\n" not in no.value.message
    assert room.out() == []


def test_another_row_of_the_same_name_is_an_error(room):
    room.bring(award("E-1"))
    with pytest.raises(InvalidInput, match="here already as all_"):
        room.bring(award("E-1", amount_s=1), award("E-9"))
    assert len(room.out()) == 1


def test_what_changed_since_comes_back_as_it_is_now(room):
    (made,) = room.bring(award("E-1", project="fresh", lead="ada", title="Fresh"))
    room.ask(room.root, "extend", made.allocation_id, amount_s=50, end_s=END_S + 9, source=LIP)
    out = room.out()
    assert [(each.award, each.amount_s) for each in out] == [("E-1", 3600), ("E-1#2", 50)]
    assert [each.state for each in room.bring(*out)] == ["known", "known"]
    with pytest.raises(InvalidInput, match="here already"):
        room.bring(award("E-1#2", amount_s=51))
    assert room.bring(award("E-1", project="fresh", lead="bob"))[0].state == "known"
    assert len(room.out()) == 2


def test_an_officer_brings_and_sees_awards_of_projects_that_are_not_theirs(sqlite_hub):
    """Giving hours is an officer's: who only administers gives none."""
    hub = sqlite_hub
    hub.person("olga", officer=True)
    hub.person("adam", admin=True, officer=False)
    end_s = hub.clock.now_s + 86_400
    row = {
        "award": "E-1", "project": "lab", "charged_type": "core", "amount_s": 60,
        "start_s": hub.clock.now_s, "end_s": end_s, "reason": "a call elsewhere",
    }  # fmt: skip
    body = {"rows": [{"line": 2, "row": row}]}
    assert hub.client("adam").post("/api/v1/awards/import", json=body).status_code == 403
    olga = hub.client("olga")
    (made,) = olga.post("/api/v1/awards/import", json=body).json()["rows"]
    assert (made["state"], made["new_project"]) == ("new", False)
    for asked in ({}, {"project": "lab"}):
        shown = olga.get("/api/v1/awards", params=asked).json()["awards"]
        assert "E-1" in [each["row"]["award"] for each in shown]
    assert olga.get("/api/v1/awards", params={"project": "none"}).status_code == 404
