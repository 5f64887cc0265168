"""Following a job: server-sent events that go on after Last-Event-ID, without gap or repeat."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest
import structlog
from tests.hub.facility import chunk

from meyrin.domain.errors import Unreachable
from meyrin.hub.jobs import routes
from meyrin.hub.plumbing.authz import Call

TEXT = bytes(range(256)) * 20


@pytest.fixture
def work(hub):
    hub.submit()
    hub.step()
    (found,) = hub.agents["alps"].lease().work
    return found


def events(text):
    """(id, event, data) of each block; data decoded."""
    found = []
    for block in text.split("\n\n"):
        lines = [line.split(": ", 1) for line in block.splitlines() if not line.startswith(":")]
        known = dict(lines)
        if not known:
            continue
        data = known["data"]
        data = base64.b64decode(data) if known["event"] == "output" else json.loads(data)
        found.append((int(known["id"]) if "id" in known else None, known["event"], data))
    return found


def follow(hub, job, last=None, **query):
    headers = {} if last is None else {"last-event-id": str(last)}
    answer = hub.client("ada").get(f"/api/v1/jobs/{job}/follow", params=query, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    return events(answer.text)


def finish(hub, work, data=TEXT):
    agent = hub.agents["alps"]
    for offset in range(0, len(data), 1000):
        agent.print(chunk(work, data[offset : offset + 1000], offset))
    agent.print(chunk(work, b"warning\n", 0, "stderr"))
    agent.finish(work, exit_code=4)


def test_an_ended_job_is_told_whole(hub, work):
    finish(hub, work)
    found = follow(hub, work.job)
    assert b"".join(data for _, kind, data in found if kind == "output") == TEXT
    kinds = [kind for _, kind, _ in found]
    assert kinds[-2:] == ["state", "end"]
    assert found[-1][2] == {
        "state": "failed",
        "shown": "failed",
        "exit_code": 4,
        "signal": None,
        "reason": "exit code 4",
        "site": "alps",
        "partition": "cpu",
    }
    stderr = follow(hub, work.job, stream="stderr")
    assert b"".join(data for _, kind, data in stderr if kind == "output") == b"warning\n"


def test_it_goes_on_after_the_last_event(hub, work):
    finish(hub, work)
    for at in (0, 1, 999, 1000, 1001, 5119, 5120):
        found = follow(hub, work.job, last=at)
        assert b"".join(data for _, kind, data in found if kind == "output") == TEXT[at:]
        assert all(number > at for number, kind, _ in found if kind == "output")
        assert found[-1][1] == "end"
        assert follow(hub, work.job, offset=at)[-1] == found[-1]


def test_an_odd_last_event_is_refused_before_the_stream(hub, work):
    path = f"/api/v1/jobs/{work.job}/follow"
    for last in ("x", "-1", "1.5", "9" * 30, ""):
        answer = hub.client("ada").get(path, headers={"last-event-id": last})
        assert answer.status_code == 422, last
        assert answer.json()["error"]["code"] == "invalid_input"


class Reader:
    """Follows a job in this loop, one block at a time; ended from outside like a browser."""

    def __init__(self, hub, label, offset=0, who="ada"):
        self.gone = False
        self.events = routes._events(
            self, lambda: Call(hub.actor(who), hub.database), label, "stdout", offset
        )

    async def is_disconnected(self):
        return self.gone

    async def next(self):
        async with asyncio.timeout(20):
            return events(await anext(self.events))[0]


def test_output_and_states_come_as_they_happen(sqlite_hub):
    hub = sqlite_hub
    job = hub.submit()
    agent = hub.agents["alps"]

    async def story():
        reader = Reader(hub, str(job))
        assert (await reader.next())[2]["state"] == "admitted"
        waiting = asyncio.ensure_future(reader.next())
        await asyncio.to_thread(hub.step)
        assert (await waiting)[2]["state"] == "placed"
        (work,) = (await asyncio.to_thread(agent.lease)).work
        assert (await reader.next())[2]["state"] == "leased"
        await asyncio.to_thread(agent.report, agent.running(work))
        assert (await reader.next())[2]["state"] == "running"
        waiting = asyncio.ensure_future(reader.next())
        await asyncio.to_thread(agent.print, chunk(work, b"one\n"))
        assert await waiting == (4, "output", b"one\n")
        # the line breaks; another reader goes on from the last event, with what came between
        await asyncio.to_thread(agent.print, chunk(work, b"two\n", 4))
        other = Reader(hub, str(job), offset=4)
        assert await other.next() == (8, "output", b"two\n")
        assert (await other.next())[2]["state"] == "running"
        await asyncio.to_thread(agent.finish, work)
        state, end = await other.next(), await other.next()
        assert (state[1], end[1], end[2]["state"]) == ("state", "end", "completed")

    asyncio.run(story())


def test_a_reader_that_left_is_let_go(sqlite_hub):
    job = sqlite_hub.submit()

    async def story():
        reader = Reader(sqlite_hub, str(job))
        await reader.next()
        reader.gone = True
        sqlite_hub.database.bell.ring([f"job:{job}"])
        async with asyncio.timeout(20):
            assert [block async for block in reader.events] == []

    asyncio.run(story())


@pytest.mark.parametrize("how", ["members/bob", "disable"])
def test_a_stream_ends_when_its_reader_leaves_the_project(sqlite_hub, how):
    """Its rights are read again as it goes on, not only when it begins."""
    hub = sqlite_hub
    job = hub.submit(by="ada")

    async def story():
        reader = Reader(hub, str(job), who="bob")
        assert (await reader.next())[2]["state"] == "admitted"
        if how == "disable":
            left = await asyncio.to_thread(hub.client("root").post, "/api/v1/people/bob/disable")
        else:
            path = f"/api/v1/projects/lab/{how}"
            left = await asyncio.to_thread(hub.client("ada").delete, path)
        assert left.status_code < 300
        await asyncio.to_thread(hub.step)  # news that bob must not hear
        async with asyncio.timeout(20):
            assert [block async for block in reader.events] == []

    asyncio.run(story())


def test_a_database_that_goes_away_ends_the_stream_without_a_fault(sqlite_hub, monkeypatch):
    """Its reader comes again, after the last event that it has."""
    job = sqlite_hub.submit()
    look, seen = routes._look, []

    def away(*given):
        seen.append(given)
        if len(seen) > 2:
            raise Unreachable("the hub's database does not answer")
        return look(*given)

    monkeypatch.setattr(routes, "_look", away)
    client = sqlite_hub.client("ada")
    client._transport.raise_server_exceptions = True
    monkeypatch.setattr(routes, "_KEEP_ALIVE_S", 0.01)
    with structlog.testing.capture_logs() as lines:
        answer = client.get(f"/api/v1/jobs/{job}/follow")
    assert [line["event"] for line in lines] == ["request.done"]
    assert [kind for _, kind, _ in events(answer.text)] == ["state"]


def test_a_hub_that_stops_lets_its_readers_go(sqlite_hub):
    job = sqlite_hub.submit()

    async def story():
        reader = Reader(sqlite_hub, str(job))
        await reader.next()
        sqlite_hub.database.bell.close()
        async with asyncio.timeout(20):
            assert [block async for block in reader.events] == []

    asyncio.run(story())


def test_output_is_read_by_offset(hub, work):
    finish(hub, work)
    ada = hub.client("ada")
    path = f"/api/v1/jobs/{work.job}/output"
    whole = ada.get(path)
    assert whole.content == TEXT
    assert whole.headers["x-meyrin-next-offset"] == str(len(TEXT))
    assert ada.get(path, params={"offset": 5000}).content == TEXT[5000:]
    assert ada.get(path, params={"offset": 9999}).content == b""
    assert ada.get(path, params={"stream": "stderr"}).content == b"warning\n"
    waiting = hub.submit(held=True)
    assert ada.get(f"/api/v1/jobs/{waiting}/output").content == b""
