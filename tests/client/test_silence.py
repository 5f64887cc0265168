"""A hub that gives no answer: whoever waits is told, and not too often."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest
from tests.client.fakehub import TOKEN

from meyrin.client import connection
from meyrin.client.api import Client
from meyrin.client.silence import Silence
from meyrin.domain import errors


class Watched(Silence):
    """Has a clock of its own and no thread."""

    def __init__(self, said: list[float]) -> None:
        self.now_s = 0.0
        super().__init__(lambda: said.append(self.now_s), lambda: self.now_s)

    def waits(self) -> None:
        if self._since is None:
            self._since = self.now_s

    def pass_s(self, seconds: float) -> None:
        self.now_s += seconds
        self.look()


def test_it_is_said_after_seconds_and_again_after_a_minute() -> None:
    said: list[float] = []
    silence = Watched(said)
    silence.pass_s(100)
    silence.waits()
    silence.pass_s(4)
    silence.heard()
    silence.waits()
    for _ in range(70):
        silence.waits()
        silence.pass_s(1)
    assert said == [109, 169]
    silence.heard()
    silence.pass_s(100)
    assert len(said) == 2


def test_the_thread_looks() -> None:
    from threading import Event

    told, now = Event(), [0.0]
    silence = Silence(told.set, lambda: now[0])
    silence.waits()
    now[0] = 6.0
    assert told.wait(30)
    silence.close()


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> tuple[Watched, list[float]]:
    said: list[float] = []
    silence = Watched(said)
    monkeypatch.setattr(connection, "Silence", lambda _: silence)
    return silence, said


def test_tries_of_one_call_are_one_silence(watched: tuple[Watched, list[float]]) -> None:
    silence, said = watched

    def nobody(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("refused", request=request)

    transport = httpx2.MockTransport(nobody)
    with (
        Client("http://hub", TOKEN, transport=transport, pause=lambda _: silence.pass_s(2)) as hub,
        pytest.raises(errors.Unreachable),
    ):
        hub.job(1)
    assert said == [6]
    silence.pass_s(100)
    assert said == [6]


def test_a_body_that_stops_is_a_silence_a_job_without_output_is_none(
    watched: tuple[Watched, list[float]],
) -> None:
    silence, said = watched

    class Slow(httpx2.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield b"a"
            silence.pass_s(6)
            yield b"b"

    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, stream=Slow()))
    with Client("http://hub", TOKEN, transport=transport) as hub:
        with hub.connection.stream("GET", "/jobs/1/follow") as answer:
            assert b"".join(answer.iter_bytes()) == b"ab"
        assert not said
        with hub.connection.stream("GET", "/jobs/1/files/a") as answer:
            assert b"".join(hub.connection.awaited(answer.iter_bytes())) == b"ab"
        assert said == [12]
