"""The content store is tidied: what nothing refers to goes in its time, and nothing else ever."""

from __future__ import annotations

import threading
import zlib
from typing import Any

import pytest
from tests.hub.evaluations import rows as gate_rows
from tests.hub.facility import Facility
from tests.hub.jobs.test_files import object_store, put, results, sha, store

from meyrin.domain.errors import InvalidInput, Unreachable
from meyrin.domain.job import InputFile
from meyrin.hub.evaluations import store as evaluations
from meyrin.hub.jobs import files, keeping
from meyrin.hub.jobs.store import kept_files, uploads
from meyrin.hub.plumbing.blobs import Blobs
from meyrin.hub.reports.held import HOLDERS
from meyrin.hub.worker import Worker
from meyrin.wire.jobs import FileView

__all__ = ["object_store", "store"]
DAY_S = 86_400
TITLE = {"title": "A study", "kind": "impact"}


def some(text: str) -> bytes:
    return text.encode() * 100


def never() -> bool:
    return False


def tidy(hub: Facility, corners: int = 1) -> int:
    """A round, a day, and another round; and how many files went."""
    gone = 0
    for wait_s in (DAY_S, 0):
        for corner in range(corners):
            gone += keeping.tidy(hub.database, hub.blobs, HOLDERS, corner, never)[0]
        hub.clock.pass_s(wait_s)
    return gone


def there(hub: Facility, data: bytes) -> bool:
    return hub.blobs.has(sha(data), len(data))


def digests(hub: Facility, table: Any = kept_files) -> set[str]:
    with hub.read() as step:
        return {row.sha256 for row in step.rows(table.select())}


def held(hub: Facility) -> dict[str, int]:
    answer = hub.client("root").get("/api/v1/store").json()
    return {line["by"]: line["files"] for line in answer["held"]}


def test_each_kind_of_thing_holds_its_files_and_the_rest_goes_in_its_time(hub: Facility) -> None:
    ada = hub.client("ada")
    names = ("unused", "input", "result", "shown", "withdrawn", "bundle", "late")
    data = {name: some(name) for name in names}
    for name in names[:-1]:
        assert put(ada, data[name]).json()["complete"]
    brings = InputFile("data", sha(data["input"]), len(data["input"]))
    number = hub.submit(inputs=(brings,), output_files=("*",))
    hub.steps()
    (work,) = hub.agents["alps"].lease().work
    shown = []
    for name in ("shown", "withdrawn"):
        file = {"name": "report.html", "sha256": sha(data[name]), "size": len(data[name])}
        body = {**TITLE, "title": name, "project": "lab", "files": [file]}
        answer = ada.post("/api/v1/plans", json=body)
        assert answer.status_code == 201, answer.text
        shown.append(answer.json()["id"])
    assert ada.delete(f"/api/v1/plans/{shown[1]}").status_code == 204
    with hub.write() as step:
        row = {"attempt": work.attempt, "draft": sha(b"d"), "bundle": sha(data["bundle"])}
        step.add(evaluations.evidence, [{**row, "received_ms": step.now_ms, "by": "x"}])
    assert not tidy(hub), "all of it was just brought"
    hub.clock.pass_s(28 * DAY_S)
    assert put(ada, data["late"]).json()["complete"]
    agent = hub.agents["alps"]
    agent.report(agent.running(work))
    assert held(hub) == {"evidence": 1, "studies": 1, "inputs": 1, "brought": 4, "unfinished": 0}
    hub.clock.pass_s(DAY_S + 1)
    assert held(hub)["unused"] == 3
    assert tidy(hub) == 3
    gone = [name for name in names if not there(hub, data[name])]
    assert gone == ["unused", "result", "withdrawn"]
    assert digests(hub) == digests(hub, uploads) == {sha(data[n]) for n in names if n not in gone}
    # the job ends and leaves a result; its input goes once it is looked at again
    assert put(hub.client("alps"), data["result"]).json()["complete"]
    agent.report(agent.ended(work, results_follow=True))
    assert results(hub, "alps", work, data["result"], "out").status_code == 200
    assert hub.state(number) == "completed"
    hub.clock.pass_s(31 * DAY_S)
    assert tidy(hub) == 2
    assert [name for name in names if there(hub, data[name])] == ["result", "shown", "bundle"]
    assert held(hub) == {"evidence": 1, "results": 1, "studies": 1, "unfinished": 0}
    hub.clock.pass_s(3650 * DAY_S)
    assert not tidy(hub)
    answer = ada.get(f"/api/v1/jobs/{number}/files/out")
    assert answer.content == data["result"]


def test_what_is_brought_again_stays_and_what_went_is_brought_anew(sqlite_hub: Facility) -> None:
    hub = sqlite_hub
    ada, bob = hub.client("ada"), hub.client("bob")
    data = some("data")
    assert put(ada, data).json()["complete"]
    hub.clock.pass_s(28 * DAY_S)
    assert ada.get(f"/api/v1/uploads/{sha(data)}").json()["complete"]
    hub.clock.pass_s(DAY_S + 1)
    state = ada.get(f"/api/v1/uploads/{sha(data)}").json()
    assert not state["complete"], "nobody is told that it is here who may find it gone"
    assert put(ada, data[:10], size=len(data), digest=sha(data)).json()["complete"], "it is"
    hub.clock.pass_s(2 * DAY_S)
    assert not tidy(hub), "it was brought again two days ago"
    hub.clock.pass_s(29 * DAY_S)
    assert tidy(hub) == 1
    assert not ada.get(f"/api/v1/uploads/{sha(data)}").json()["complete"]
    refused = ada.post("/api/v1/plans", json={**TITLE, "project": "lab", "files": [
        {"name": "report.html", "sha256": sha(data), "size": len(data)}]})  # fmt: skip
    assert "was not uploaded by you" in refused.json()["error"]["message"]
    assert put(bob, data).json()["complete"]
    assert there(hub, data)
    assert digests(hub, uploads) == {sha(data)}


def test_a_crash_between_its_two_steps_loses_nothing(hub: Facility) -> None:
    ada, data, other = hub.client("ada"), some("data"), some("other")
    for each in (data, other):
        put(ada, each)
    hub.clock.pass_s(31 * DAY_S)
    with hub.write() as step:
        assert keeping.choose(step, HOLDERS, hub.blobs.unused_ms) == (2, False)
    # the hub dies here; one of the files is brought again before anybody goes on
    assert there(hub, data)
    assert put(ada, data).json()["complete"]
    assert tidy(hub) == 1
    assert there(hub, data)
    assert not there(hub, other)
    # it dies once more, after a file went and before its row did
    with hub.write() as step:
        step.change(kept_files.update().values(look_ms=0, at_ms=0))
        assert keeping.choose(step, HOLDERS, hub.blobs.unused_ms)[0] == 1
    hub.blobs.remove(sha(data))
    assert put(ada, data).json()["complete"]
    assert there(hub, data)
    assert not tidy(hub)
    assert there(hub, data)


def test_a_file_that_vanishes_while_it_is_noted_is_asked_for_again(
    sqlite_hub: Facility, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tidying took the old file away after the new one was put in its place."""
    hub = sqlite_hub
    data, put_there = some("data"), Blobs.put

    def put_and_lose(blobs: Blobs, sha256: str, *more: Any) -> int:
        kept = put_there(blobs, sha256, *more)
        blobs.remove(sha256)
        return kept

    with monkeypatch.context() as patch:
        patch.setattr(Blobs, "put", put_and_lose)
        state = put(hub.client("ada"), data).json()
    assert (state["complete"], state["offset"]) == (False, 0)
    assert not digests(hub) | digests(hub, uploads)
    assert put(hub.client("ada"), data).json()["complete"]


def test_what_somebody_refers_to_just_now_is_left(postgres_hub: Facility) -> None:
    """A reference is being written, in a step that has not ended, while another hub tidies."""
    hub, data = postgres_hub, some("data")
    key = hub.actor("ada").key
    put(hub.client("ada"), data)
    hub.clock.pass_s(31 * DAY_S)
    other = hub.second_hub()
    named = [FileView(name="evidence.zip", sha256=sha(data), size=len(data))]
    with hub.write() as step:
        files.check_brought(step, key, named)
        assert keeping.tidy(other, hub.blobs, HOLDERS, 0, never) == (0, 0)
        with other.read() as seen:
            assert [each.going_ms for each in seen.rows(kept_files.select())] == [None]
        row = {"attempt": "a1", "draft": sha(b"d"), "bundle": sha(data)}
        step.add(evaluations.evidence, [{**row, "received_ms": step.now_ms, "by": "x"}])
    hub.clock.pass_s(8 * DAY_S)
    assert not tidy(hub)
    assert there(hub, data)


def test_whoever_refers_while_it_is_decided_waits_and_is_told(postgres_hub: Facility) -> None:
    hub, data = postgres_hub, some("data")
    key = hub.actor("ada").key
    put(hub.client("ada"), data)
    hub.clock.pass_s(31 * DAY_S)
    other, told = hub.second_hub(), []

    def refer() -> None:
        named = [FileView(name="f", sha256=sha(data), size=1)]
        began.set()
        with pytest.raises(InvalidInput, match="was not upload"), other.write() as step:
            files.check_brought(step, key, named)
        told.append(True)

    began = threading.Event()
    with hub.write() as step:
        assert keeping.choose(step, HOLDERS, hub.blobs.unused_ms)[0] == 1
        thread = threading.Thread(target=refer)
        thread.start()
        assert began.wait(10)
        assert not told
    thread.join(10)
    assert told


def test_bringing_and_tidying_at_once_never_leave_a_row_without_its_file(
    hub: Facility, monkeypatch: pytest.MonkeyPatch
) -> None:
    """People bring and refer while two hubs tidy with no grace at all."""
    second = hub.second_hub()
    hub.blobs.unused_ms = -1
    monkeypatch.setattr(keeping, "GOING_MS", 0)
    monkeypatch.setattr(keeping, "AGAIN_MS", 0)
    ada = hub.client("ada")
    over = threading.Event()

    def sweep(database: Any) -> None:
        while not over.is_set():
            keeping.tidy(database, hub.blobs, HOLDERS, 0, never)

    threads = [threading.Thread(target=sweep, args=(d,)) for d in (hub.database, second)]
    for thread in threads:
        thread.start()
    shown = 0
    try:
        for number in range(12):
            data = some(f"file {number % 4}")
            put(ada, data)
            file = {"name": "report.html", "sha256": sha(data), "size": len(data)}
            body = {"title": f"{number}", "kind": "impact", "project": "lab", "files": [file]}
            shown += ada.post("/api/v1/plans", json=body).status_code == 201
    finally:
        over.set()
        for thread in threads:
            thread.join(20)
    tidy(hub)
    for plan in ada.get("/api/v1/plans").json()["plans"]:
        answer = ada.get(f"/plans/{plan['id']}/files/report.html")
        assert answer.status_code == 200, "what is referred to is there"
    assert len(ada.get("/api/v1/plans").json()["plans"]) == shown
    for sha256 in digests(hub, uploads):
        hub.blobs.size(sha256)


def test_stores_of_each_kind_give_away_what_is_theirs(store: Blobs) -> None:
    data = some("data")
    store.put(sha(data), "ada", 0, len(data), data)
    corner = int(sha(data)[:2], 16)
    aside = f"{store.root}/{sha(data)[:2]}/{sha(data)}.0123"
    store.fs.pipe_file(aside, b"torn")
    ((name, size, at_ms),) = store.corner(corner, 0)
    assert (name, size) == (sha(data), len(data))
    assert 0 < at_ms < 2**61, "each kind says when"
    assert store.fs.exists(aside)
    assert len(store.corner(corner + 256, at_ms + 10**9)) == 1
    assert not store.corner(corner + 1, at_ms + 10**9)
    store.fs.invalidate_cache()
    assert not store.fs.exists(aside)
    begun = sha(b"begun")
    store.put(begun, "ada", 0, 999, b"begun")
    adas = zlib.crc32(b"ada") % 256
    assert not store.drop_unfinished(adas, at_ms - 10**9, never)
    assert not store.drop_unfinished(adas + 1, at_ms + 10**9, never)
    assert not store.drop_unfinished(adas, at_ms + 10**9, lambda: True)
    assert store.offset(begun, "ada") == 5
    assert store.drop_unfinished(adas + 512, at_ms + 10**9, never) == 1
    assert store.offset(begun, "ada") == 0
    for _ in range(2):
        store.remove(sha(data))
    assert not store.has(sha(data), len(data))


def test_a_file_that_the_database_does_not_know_is_noted_and_goes(sqlite_hub: Facility) -> None:
    hub = sqlite_hub
    data = some("strange")
    hub.blobs.put(sha(data), "who", 0, len(data), data)
    hub.clock.now_ms = 4 * 10**12  # the file is of today, by the machine's clock
    assert tidy(hub, corners=256) == 1
    assert not there(hub, data)


def test_a_store_that_does_not_answer_is_tried_again(
    sqlite_hub: Facility, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, data = sqlite_hub, some("data")
    put(hub.client("ada"), data)
    hub.clock.pass_s(31 * DAY_S)
    worker = Worker(hub.database, blobs=hub.blobs)

    def away(*_: Any) -> None:
        raise RuntimeError("of a kind of its own")

    with monkeypatch.context() as patch:
        patch.setattr(type(hub.blobs.fs), "rm_file", away)
        worker._tidy()
        hub.clock.pass_s(DAY_S)
        with pytest.raises(Unreachable, match="does not answer: RuntimeError"):
            worker._tidy()
        worker._sweep()  # tells it, and goes on
    assert there(hub, data)
    hub.clock.pass_s(61)
    worker._sweep()
    assert not there(hub, data)


def test_a_thousand_files_are_looked_at_in_few_statements(sqlite_hub: Facility) -> None:
    """And again only after a week."""
    hub = sqlite_hub
    rows = [keeping._row(sha(b"%d" % n), 1, 0, 0) for n in range(500)]
    with hub.write() as step:
        step.add(kept_files, rows)
        gate_rows.receive(step, "a0")
    with hub.counting() as statements, hub.write() as step:
        assert keeping.choose(step, HOLDERS, hub.blobs.unused_ms) == (100, True)
    assert len(statements) <= 8
    answer = hub.client("root").get("/api/v1/store").json()
    assert (answer["files"], answer["unused_days"]) == (500, 30)
    assert hub.client("ada").get("/api/v1/store").status_code == 403
