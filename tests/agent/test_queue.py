"""The site's queue without names: pseudonyms, a bound, and a secret that stays."""

from __future__ import annotations

import dataclasses

import pytest
from tests.agent.scripted import Site

from meyrin.agent import batch
from meyrin.agent.batch import QueueEntry, WholeQueue
from meyrin.agent.queue import site_secret, snapshot
from meyrin.domain.errors import StaleEpoch, Unreachable
from meyrin.wire.queue import Others

SECRET = b"s" * 32
ENTRY = QueueEntry(
    "17", "ada", "astro", "gpu", True, "PENDING", "Priority", nodes=2, accelerators=8,
    walltime_s=3600, submit_s=1_800_000_000, priority=10,
)  # fmt: skip

OTHERS = Others(partition="gpu", nodes=4, jobs=[])


def entry(**changed):
    return dataclasses.replace(ENTRY, **changed)


def told(*entries, secret=SECRET):
    return snapshot(entries, secret)[0]


def test_no_name_leaves_the_site():
    (job,) = told(entry(reason="ReqNodeNotAvail, UnavailableNodes:node17", state="PENDING"))
    text = job.model_dump_json()
    for word in ("ada", "astro", "node17", '"17"'):
        assert word not in text
    assert (job.reason, job.nodes, job.accelerators) == ("ReqNodeNotAvail", 2, 8)


def test_the_same_one_looks_the_same_and_only_to_this_site():
    first, again = told(ENTRY), told(entry(batch_job="18"))
    assert first[0].user == again[0].user
    assert first[0].key != again[0].key
    assert told(ENTRY, secret=b"t" * 32)[0].user != first[0].user
    same = told(entry(user="x", account="x"))[0]
    assert same.user != same.account, "a user and an account of one name look different"


def test_what_is_unknown_stays_unknown():
    (job,) = told(QueueEntry("1", "u", None, "p", True, "PENDING"))
    assert (job.account, job.nodes, job.walltime_s, job.priority) == (None, None, None, None)


def test_a_large_queue_is_cut_where_it_matters_least():
    queue = [entry(batch_job=str(n), priority=n) for n in range(1, 8)]
    queue.append(entry(batch_job="99", priority=0, waits=False, state="RUNNING"))
    jobs, left_out = snapshot(queue, SECRET, most=3)
    assert left_out == 5
    assert [job.priority for job in jobs] == [0, 7, 6], "what runs, then who is next"


def test_the_secret_is_made_once_and_is_private(tmp_path):
    path = tmp_path / "queue.key"
    chance = iter([b"a" * 32, b"b" * 32])
    first = site_secret(path, lambda _: next(chance))
    assert first == b"a" * 32 == site_secret(path, lambda _: next(chance))
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_bytes(b"short")
    assert site_secret(path, lambda _: next(chance)) == b"b" * 32


class Shown:
    def whole_queue(self):
        return WholeQueue((ENTRY,), (OTHERS,))


class Listening:
    def __init__(self):
        self.told = []

    def queue(self, jobs, left_out, others, at_ms):
        self.told.append((len(jobs), left_out, others, at_ms))

    def forget_queue(self):
        self.told.append("forget")


@pytest.fixture
def agent(site: Site, monkeypatch: pytest.MonkeyPatch):
    made = site.agent()
    monkeypatch.setattr(made, "hub", Listening())
    return made


def test_an_agent_tells_the_queue_of_a_batch_system_that_shows_one(agent):
    agent.tell_queue_once()
    assert agent.hub.told == []
    agent.batch = Shown()
    assert isinstance(agent.batch, batch.ShowsQueue)
    agent.tell_queue_once()
    assert agent.hub.told == [(1, 0, (OTHERS,), agent.clock_ms())]


def test_switched_off_it_is_forgotten(agent):
    agent.batch = Shown()
    agent.config = agent.config.model_copy(update={"queue_every_s": 0})
    agent.tell_queue_once()
    assert agent.hub.told == ["forget"]
    assert not (agent.config.dir / "queue.key").exists()


def test_a_controller_that_is_away_is_not_asked_more_often(agent, monkeypatch):
    waits = []
    monkeypatch.setattr(agent._queue, "wait", waits.append)
    agent.batch = Shown()
    agent._queue_or_wait()
    monkeypatch.setattr(Shown, "whole_queue", lambda _: (_ for _ in ()).throw(Unreachable("away")))
    agent._queue_or_wait()
    assert waits == [60, 60]
    assert len(agent.hub.told) == 1
    agent.config = agent.config.model_copy(update={"queue_every_s": 0})
    agent._queue_or_wait()
    assert waits[2:] == [None], "told once, it need not be told again"


def test_an_agent_that_was_replaced_stops(agent, monkeypatch):
    def replaced(*_):
        raise StaleEpoch("another start took over")

    agent.batch = Shown()
    monkeypatch.setattr(agent.hub, "queue", replaced)
    with pytest.raises(StaleEpoch):
        agent._queue_or_wait()
