"""Wake-ups in one hub and between two, turns, and the worker that lives by them."""

from __future__ import annotations

import asyncio
import threading

import pytest
from tests.hub.facility import at_once

from meyrin.domain.errors import Conflict, Unreachable
from meyrin.domain.ledger import month_at
from meyrin.hub import worker as worker_module
from meyrin.hub.broker import service as broker
from meyrin.hub.calls import pace, reclaiming, tranches
from meyrin.hub.ledger.months import closed
from meyrin.hub.plumbing import relay, turns
from meyrin.hub.plumbing.bell import Bell
from meyrin.hub.plumbing.relay import Relay
from meyrin.hub.plumbing.world import BROKER
from meyrin.hub.worker import Worker

# --- the bell


def test_a_ring_before_the_wait_is_heard():
    bell = Bell()
    seen = bell.count("a")
    bell.ring(["a"])
    assert bell.wait("a", seen, 0)
    assert not bell.wait("a", bell.count("a"), 0)
    assert not bell.wait("b", bell.count("b"), 0)


def test_threads_and_coroutines_hear_it():
    bell = Bell()
    began = threading.Barrier(4)

    def one(number):
        if number == 0:
            began.wait(20)
            bell.ring(["b", "c"])
            return True
        seen = bell.count("b")
        began.wait(20)
        if number == 1:
            return bell.wait("b", seen, 20)
        return asyncio.run(bell.wait_any({"a": 0, "b": seen}, 20))

    assert at_once(4, one) == [True] * 4


def test_waiting_for_nothing_ends():
    assert not asyncio.run(Bell().wait_any({"a": 0}, 0))


def test_a_closed_bell_lets_everybody_go():
    bell = Bell()
    bell.close()
    assert bell.wait("a", 0, 20)
    assert asyncio.run(bell.wait_any({"a": 0}, 20))


def test_a_ring_is_heard_after_the_commit_and_not_without_one(hub):
    bell = hub.database.bell
    seen = bell.count("topic")
    with hub.write() as step:
        step.ring("topic")
        assert bell.count("topic") == seen
    assert bell.count("topic") > seen
    seen = bell.count("topic")

    def fail():
        with hub.write() as step:
            step.ring("topic")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert bell.count("topic") == seen


def test_payloads_stay_below_what_postgres_takes():
    topics = {f"job:{number}" for number in range(5000)} | {"site:Ω" * 50}
    found = list(relay.payloads(topics))
    assert all(len(payload.encode()) < 8000 for payload in found)
    assert sorted(topic for payload in found for topic in payload.split("\n")) == sorted(topics)
    assert list(relay.payloads([])) == []


def test_two_hubs_hear_each_other(postgres_hub):
    hub = postgres_hub
    other = hub.second_hub()
    there = Relay(hub.database.url, other.bell)
    there.start()
    # a relay listens from some moment on: ring until it is heard
    for number in range(200):
        with hub.write() as step:
            step.ring("hello")
        if other.bell.wait("hello", 0, 0.1):
            break
        assert number < 199, "the relay never heard anything"
    seen = {topic: other.bell.count(topic) for topic in ("broker", "site:alps", "job:1")}
    job = hub.submit()
    assert other.bell.wait(BROKER, seen["broker"], 20)
    hub.step()
    assert other.bell.wait("site:alps", seen["site:alps"], 20)
    assert other.bell.wait(f"job:{job}", seen["job:1"], 20)
    there.stop()


# --- turns


def take(hub, holder, length_ms=1000, database=None):
    with (database or hub.database).write() as step:
        return turns.take(step, "step", holder, length_ms)


def test_a_turn_is_ones_own_until_it_ends(hub):
    assert take(hub, "a")
    assert take(hub, "a")
    assert not take(hub, "b")
    hub.clock.pass_s(2)
    assert take(hub, "b")
    assert not take(hub, "a")


def test_a_clock_that_ran_ahead_blocks_nobody_for_long(hub):
    hub.clock.pass_s(10**6)
    assert take(hub, "a")
    hub.clock.pass_s(-(10**6))
    assert take(hub, "b")


def test_of_many_who_ask_at_once_one_gets_it(hub):
    assert sum(at_once(6, lambda number: take(hub, f"h{number}"))) == 1


# --- the worker


def until(bell, topic, done):
    """Wait for rings of a topic until something is so."""
    for _ in range(500):  # where nothing is compiled yet, the worker waits for that first
        seen = bell.count(topic)
        if done():
            return
        bell.wait(topic, seen, 0.2)
    raise AssertionError("it never came")


def test_the_worker_places_what_is_submitted_and_stops_cleanly(hub):
    worker = Worker(hub.database)
    worker.start()
    job = hub.submit()
    until(hub.database.bell, f"job:{job}", lambda: hub.state(job) == "placed")
    worker.stop()
    assert not worker._thread.is_alive()
    left = hub.submit()
    assert hub.state(left) == "admitted"


def test_a_hub_that_closes_its_bell_ends_its_worker(sqlite_hub):
    worker = Worker(sqlite_hub.database)
    worker.start()
    sqlite_hub.database.bell.close()
    worker._thread.join(20)
    assert not worker._thread.is_alive()
    worker.stop()


def test_of_two_workers_one_has_the_turn(postgres_hub):
    hub = postgres_hub
    other = hub.second_hub()
    first, second = Worker(hub.database), Worker(other)
    assert [first._my_turn(), second._my_turn(), first._my_turn()] == [True, False, True]
    hub.clock.pass_s(11)
    assert [second._my_turn(), first._my_turn()] == [True, False]


@pytest.mark.parametrize("error", [Unreachable("the database is away"), None])
def test_a_step_that_fails_is_tried_again(sqlite_hub, monkeypatch, error):
    """What time can mend is waited out; a bug is a bug, and is not swallowed."""
    hub = sqlite_hub
    calls = []
    real = broker.step_once

    def flaky(database):
        calls.append(1)
        if len(calls) == 1 and error is not None:
            raise error
        return real(database)

    monkeypatch.setattr(worker_module, "_LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(broker, "step_once", flaky)
    worker = Worker(hub.database)
    worker.start()
    job = hub.submit()
    until(hub.database.bell, f"job:{job}", lambda: hub.state(job) == "placed")
    worker.stop()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_in_a_step_is_told_to_whoever_runs_the_hub(sqlite_hub, monkeypatch):
    """A hub that answers and places nothing would look well."""

    def broken(_database):
        raise AssertionError("a bug")

    monkeypatch.setattr(broker, "step_once", broken)
    heard = threading.Event()
    worker = Worker(sqlite_hub.database, on_bug=heard.set)
    worker.start()
    assert heard.wait(60)
    worker.stop()
    assert not worker._thread.is_alive()


def test_a_part_of_the_sweep_that_fails_holds_up_no_other(sqlite_hub, monkeypatch):
    """Else one allocation that can't be settled would keep every month from being frozen."""
    hub = sqlite_hub
    allocation = hub.award("lab", hours=1, days=1)

    def refused(*_args):
        raise Conflict("decided meanwhile")

    for room, verb in ((tranches, "sweep"), (pace, "watch"), (reclaiming, "run")):
        monkeypatch.setattr(room, verb, refused)
    hub.clock.pass_s(40 * 86_400)
    month = month_at(hub.clock.now_ms - 35 * 86_400_000)
    worker = Worker(hub.database)
    monkeypatch.setattr(worker, "_goes_evenly", lambda *_: True)
    worker._sweep()
    assert hub.balance(allocation).expired_s == 3600
    with hub.read() as step:
        assert month in closed(step)


def test_the_worker_expires_what_is_over(sqlite_hub):
    hub = sqlite_hub
    allocation = hub.award("lab", hours=1, days=1)
    worker = Worker(hub.database)
    hub.clock.pass_s(86_400)
    worker._sweep()
    assert hub.balance(allocation).expired_s == 3600
    hub.books_balance()
