"""Steps: whole or not at all; what a database says of itself in words of ours."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from tests.hub.facility import at_once

from meyrin.domain.errors import InvalidInput, StorageFull, Unreachable, WorldMoved
from meyrin.hub.identity.store import people
from meyrin.hub.plumbing import world
from meyrin.hub.plumbing.bell import Bell
from meyrin.hub.plumbing.database import Database

ROW = {"id": "per_x", "name": "x", "display_name": "x", "admin": False, "created_ms": 0}


def names(hub):
    with hub.read() as step:
        return {row.name for row in step.rows(sa.select(people.c.name))}


def test_a_step_is_kept_whole_or_not_at_all(hub):
    def fail():
        with hub.write() as step:
            step.add(people, [ROW])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert "x" not in names(hub)
    with hub.write() as step:
        step.add(people, [ROW])
    assert "x" in names(hub)


def test_only_new_rows_are_added(hub):
    with hub.write() as step:
        assert [row.name for row in step.add_new(people, [ROW])] == ["x"]
        assert step.add_new(people, [ROW]) == []
        assert step.add_new(people, []) == []


def test_many_rows_are_set_and_added_as_few_are(hub):
    for count in (1, 3, 300):
        rows = [ROW | {"id": f"per_{n}_{count}", "name": f"n{n}-{count}"} for n in range(count)]
        with hub.write() as step:
            step.add(people, rows)
            changes = [{"id": row["id"], "display_name": f"é {row['name']}"} for row in rows]
            step.set_rows(people, "id", changes)
            found = step.rows(sa.select(people).where(people.c.name.like(f"%-{count}")))
        assert {(row.name, row.display_name) for row in found} == {
            (row["name"], f"é {row['name']}") for row in rows
        }


def test_no_plan_is_kept_for_a_list(postgres_hub):
    """It would be made for a short list in a small table, and used for long ones in a large."""
    ids = [f"per_{n}" for n in range(50)]
    with postgres_hub.write() as step:
        step.add(people, [ROW | {"id": name, "name": name} for name in ids])
        for _ in range(12):
            step.rows(sa.select(people.c.id).where(step.among(people.c.id, ids)))
            step.set_rows(people, "id", [{"id": name, "display_name": "y"} for name in ids])
            step.rows(sa.select(people.c.id).where(people.c.name == "x"))
        kept = step.rows(sa.text("SELECT statement FROM pg_prepared_statements"))
    assert any("people.name =" in row.statement for row in kept)
    assert not [
        row.statement for row in kept if "ANY" in row.statement or "unnest" in row.statement
    ]


@pytest.mark.parametrize("count", [1, 10])
@pytest.mark.parametrize("wrong", [{"display_name": "a\0b"}, {"created_ms": 2**70}])
def test_what_can_not_be_stored_is_bad_input(postgres_hub, count, wrong):
    rows = [ROW | wrong | {"id": f"per_{n}", "name": f"n{n}"} for n in range(count)]
    with pytest.raises(InvalidInput), postgres_hub.write() as step:
        step.add(people, rows)


def test_a_number_that_sqlite_can_not_take_is_bad_input(sqlite_hub):
    with pytest.raises(InvalidInput), sqlite_hub.write() as step:
        step.add(people, [ROW | {"created_ms": 2**70}])


def test_numbers_are_given_once(hub):
    from meyrin.hub.jobs.store import requests

    with hub.write() as step:
        assert step.next_ids(requests, 0) == []
        found = step.next_ids(requests, 5)
    assert found == sorted(set(found))
    assert len(found) == 5


def test_writers_at_once_lose_nothing(hub):
    def write(_):
        with hub.write() as step:
            world.moved(step)

    with hub.read() as step:
        before = world.version(step)
    at_once(10, write)
    with hub.read() as step:
        assert world.version(step) == before + 10


def test_a_decision_holds_the_version_until_it_is_written(postgres_hub):
    hub = postgres_hub
    with hub.read() as step:
        seen = world.version(step)
    with hub.write() as step:
        world.check(step, seen)
        with pytest.raises(WorldMoved):
            world.check(step, seen + 1)


def test_a_database_that_is_away_is_said_to_be(tmp_path):
    url = "postgresql+psycopg://nobody@127.0.0.1:1/none?connect_timeout=1"
    database = Database(url, clock_ms=lambda: 0, entropy=lambda: b"", bell=Bell())
    with pytest.raises(Unreachable) as away, database.read():
        pass
    assert away.value.retry
    database.close()
    database = Database(
        f"sqlite:///{tmp_path}/no/such/folder.sqlite",
        clock_ms=lambda: 0,
        entropy=lambda: b"",
        bell=Bell(),
    )
    with pytest.raises(Unreachable), database.read():
        pass
    database.close()


def test_a_full_disk_is_said_to_be(sqlite_hub):
    """SQLite stops at a number of pages as it stops at the disk's end."""
    hub = sqlite_hub
    with hub.read() as step:
        pages = step.one(sa.text("PRAGMA page_count"))[0]

    def fill():
        with hub.write() as step:
            step.rows(sa.text(f"PRAGMA max_page_count = {pages}"))
            step.add(people, [ROW | {"id": f"p{n}", "name": "x" * 100_000} for n in range(100)])

    with pytest.raises(StorageFull) as full:
        fill()
    assert full.value.retry
    assert full.value.hint
