"""One idempotency key is one job, from however many clients at once and whatever dies meanwhile."""

from __future__ import annotations

import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from tests.walk.books import Books
from tests.walk.facility import Facility, request

from meyrin import Client
from meyrin.domain.errors import Conflict
from meyrin.domain.job import ArraySpec
from meyrin.wire.jobs import Accepted

CLIENTS = 20


def submit_at_once(place: Facility, keys: list[str]) -> list[list[Accepted]]:
    """Each of twenty clients, with a connection of its own, submits under every key in turn;
    all begin at one moment. The replies of each client."""
    start = threading.Barrier(CLIENTS)
    asked = replace(request(place.mark, "exit 0\n"), array=ArraySpec((1, 2, 3)), held=True)

    def client(_number: int) -> list[Accepted]:
        with place.hub.client() as mine:
            start.wait(60)
            return [mine.submit(asked, key) for key in keys]

    with ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(client, range(CLIENTS)))


def check(place: Facility, replies: list[list[Accepted]], keys: list[str]) -> None:
    for each in zip(*replies, strict=True):
        assert len({(reply.job, reply.elements) for reply in each}) == 1
    books = Books(place.database_url)
    try:
        (requests,) = books.rows("SELECT count(*) AS n FROM requests")
        (jobs,) = books.rows("SELECT count(*) AS n FROM jobs")
        (events,) = books.rows("SELECT count(*) AS n FROM events WHERE state = 'submitted'")
    finally:
        books.close()
    assert (requests.n, jobs.n, events.n) == (len(keys), 3 * len(keys), 3 * len(keys))
    assert len({reply.job for reply in replies[0]}) == len(keys)


@pytest.fixture
def open_house(either: Facility) -> Facility:
    either.grant(100_000)
    either.agent("alps").start()
    either.joined("alps")
    return either


def test_twenty_clients_with_one_key_get_one_job(open_house: Facility) -> None:
    keys = ["the-one-key"]
    replies = submit_at_once(open_house, keys)
    check(open_house, replies, keys)
    assert sum(not reply.again for (reply,) in replies) == 1
    other = request(open_house.mark, "exit 1\n")
    with open_house.hub.client() as client, pytest.raises(Conflict, match="the-one-key"):
        client.submit(other, keys[0])


def test_the_same_while_the_hub_is_killed(open_house: Facility) -> None:
    seed = int(os.environ.get("MEYRIN_SEED") or random.SystemRandom().randrange(10**6))
    print(f"MEYRIN_SEED={seed}")
    chance = random.Random(seed)
    keys = [f"key-number-{number}" for number in range(10)]
    with ThreadPoolExecutor(1) as pool:
        replies = pool.submit(submit_at_once, open_house, keys)
        for _ in range(3):
            time.sleep(chance.uniform(0, 0.4))  # the random moment
            open_house.hub.kill()
            open_house.hub.start()
        check(open_house, replies.result(120), keys)
    with open_house.hub.client() as client:
        refuse_another_body(open_house, client, keys)


def refuse_another_body(place: Facility, client: Client, keys: list[str]) -> None:
    for key in keys:
        with pytest.raises(Conflict, match=key):
            client.submit(request(place.mark, "exit 2\n"), key)
