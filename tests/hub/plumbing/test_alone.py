"""Two hubs that sweep at the same time: one after the other, and never waiting for each other."""

from __future__ import annotations

import threading

import sqlalchemy as sa
from tests.hub.facility import Facility, at_once

from meyrin.hub.plumbing import turns
from meyrin.hub.worker import Worker

_WAITS = sa.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")


def test_a_sweep_waits_for_that_of_another_hub(postgres_hub: Facility) -> None:
    hub = postgres_hub
    allocation = hub.award("lab", hours=1, days=1)
    hub.clock.pass_s(86_400)
    other = Worker(hub.second_hub())
    with hub.database.write() as step:
        turns.alone(step, "sweep")
        sweeps = threading.Thread(target=other._sweep)
        sweeps.start()
        while not step.conn.execute(_WAITS).scalar_one():
            assert sweeps.is_alive(), "it did not wait"
        assert hub.balance(allocation).expired_s == 0
    sweeps.join(30)
    assert hub.balance(allocation).expired_s == 3600


def test_two_hubs_that_sweep_at_once_end_everything_once(postgres_hub: Facility) -> None:
    hub = postgres_hub
    over = []
    for number in range(8):
        name = f"p{number}"
        hub.project(name, "ada")
        over += [hub.award(name, hours=1, days=1), hub.award(name, hours=2, days=1)]
    hub.clock.pass_s(86_400)
    workers = [Worker(hub.database), Worker(hub.second_hub())]
    at_once(2, lambda number: workers[number]._sweep())
    found = [hub.balance(one) for one in over]
    assert [one.expired_s for one in found] == [3600, 7200] * 8
    assert {one.free_s for one in found} == {0}
    hub.books_balance()
