"""Answers that get lost between hub and agent: work and orders are told again, to who is there."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.walk.facility import PARTITION, Facility, facility, request, wait_for

from meyrin.agent.hub import Hub
from meyrin.client.connection import Connection
from meyrin.domain.errors import StaleEpoch
from meyrin.domain.site import Partition

PART = Partition(**PARTITION)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Facility]:
    with facility(tmp_path_factory.mktemp("lost")) as made:
        made.hub.start()
        made.grant(10**6)
        yield made


def an_agent(place: Facility, name: str) -> tuple[Hub, str]:
    """The agent's side of the wire without an agent, and its credential."""
    secret = Path(place.agent(name).folder / "credential").read_text()
    with place.hub.client() as client:
        client.sites.drain(name, "joins later")
    return Hub(Connection(place.hub.url, secret), f"first-start-of-{name}"), secret


def join(place: Facility, hub: Hub, name: str) -> None:
    hub.hello("local", [PART])
    with place.hub.client() as client:
        client.sites.resume(name)


def leave(place: Facility, hub: Hub, name: str) -> None:
    hub.connection.close()
    with place.hub.client() as client:
        client.sites.drain(name, "has left")


def test_a_new_start_is_told_what_the_one_before_was(place: Facility) -> None:
    hub, secret = an_agent(place, "anew")
    join(place, hub, "anew")
    with place.hub.client() as client:
        job = client.submit(request(place.mark, "exit 0\n")).job
        (work,) = hub.lease(20).work
        client.cancel(job)
        assert hub.lease(20).cancel == [work.attempt]
        assert hub.lease(0).cancel == []
    second = Hub(Connection(place.hub.url, secret), "second-start")
    second.hello("local", [PART])
    told = second.lease(0)
    assert ([each.attempt for each in told.work], told.cancel) == ([work.attempt], [work.attempt])
    with pytest.raises(StaleEpoch):
        hub.lease(0)
    second.connection.close()
    leave(place, hub, "anew")


def test_a_poll_that_nobody_waits_for_takes_no_work(place: Facility) -> None:
    hub, secret = an_agent(place, "gone")
    join(place, hub, "gone")
    body = json.dumps({"incarnation": hub.incarnation, "wait_s": 30}).encode()
    head = (
        "POST /api/v1/agent/lease HTTP/1.1\r\nHost: hub\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {secret}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with place.hub.client() as client:
        before = client.sites.show("gone").site.last_heard_ms
        with socket.create_connection(("127.0.0.1", place.hub.port)) as dead:
            dead.sendall(head.encode() + body)
            wait_for(
                lambda: client.sites.show("gone").site.last_heard_ms != before, "the poll to begin"
            )
        job = client.submit(request(place.mark, "exit 0\n")).job
        (work,) = hub.lease(20).work
        assert work.job == job
    leave(place, hub, "gone")
