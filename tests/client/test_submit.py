"""Handing in: lost replies, the same key, errors as they were raised at the hub."""

from __future__ import annotations

import os

import httpx2
import pytest
from tests.client.fakehub import TOKEN, FakeHub, refused

from meyrin.client.api import Client
from meyrin.client.connection import AGAIN, read
from meyrin.client.errors import from_reply
from meyrin.domain import errors
from meyrin.domain.job import ArraySpec, JobRequest
from meyrin.wire.jobs import UploadState

REQUEST = JobRequest(script="#!/bin/sh\ntrue\n", name="naïve ☕")


@pytest.mark.parametrize("how", ["drop", "lose"])
def test_a_lost_call_or_reply_gives_one_job(client: Client, hub: FakeHub, how: str) -> None:
    hub.fail("POST /jobs", how, times=3)
    accepted = client.submit(REQUEST)
    assert list(hub.jobs) == [accepted.job]
    assert hub.jobs[1].request == REQUEST
    assert accepted.again is (how == "lose")


def test_the_same_key_again_asks_what_became_of_it(client: Client) -> None:
    first = client.submit(REQUEST, "a-key-of-mine")
    assert client.submit(REQUEST, "a-key-of-mine") == first.model_copy(update={"again": True})
    assert client.submit(REQUEST).job == 2


@pytest.mark.parametrize("key", ["", "seven77", "x" * 201])
def test_a_key_that_no_hub_takes_is_named_before_anything_is_sent(
    client: Client, hub: FakeHub, key: str
) -> None:
    with pytest.raises(errors.InvalidInput, match="8 to 200 characters") as raised:
        client.submit(REQUEST, key)
    assert raised.value.facts["field"] == "idempotency_key"
    assert not hub.calls


def test_a_busy_hub_is_asked_again_a_full_one_is_not(client: Client, hub: FakeHub) -> None:
    hub.fail("POST /jobs", errors.Unreachable("busy"), times=2)
    hub.fail("POST /jobs", errors.WorldMoved("moved"))
    client.submit(REQUEST)
    assert hub.calls == ["POST /jobs"] * 4
    hub.fail("POST /jobs", errors.StorageFull("full"))
    with pytest.raises(errors.StorageFull):
        client.submit(REQUEST)
    assert len(hub.calls) == 5


def test_giving_up_names_the_address_and_what_to_do(client: Client, hub: FakeHub) -> None:
    hub.fail("POST /jobs", "drop", times=99)
    with pytest.raises(errors.Unreachable) as caught:
        client.submit(REQUEST)
    assert client.url in caught.value.message
    assert AGAIN not in caught.value.hint, "without the key it would be a second job"
    assert not caught.value.retry
    hub.faults.clear()
    key = str(caught.value.facts["idempotency_key"])
    assert f'idempotency_key="{key}"' in caught.value.hint
    hub.fail("POST /jobs", "lose", times=5)
    with pytest.raises(errors.Unreachable) as caught:
        client.submit(REQUEST, key)
    assert (caught.value.hint, caught.value.retry) == (AGAIN, True), "with the key it is none"
    assert client.submit(REQUEST, key).again


def test_a_lost_call_before_nobody_listens_may_have_got_through() -> None:
    tries: list[str] = []

    def ends_after_its_commit(request: httpx2.Request) -> httpx2.Response:
        tries.append(request.url.path)
        if len(tries) == 1:
            raise httpx2.ReadError("reset")
        raise httpx2.ConnectError("refused")

    transport = httpx2.MockTransport(ends_after_its_commit)
    with (
        Client("http://127.0.0.1:9", TOKEN, transport=transport, pause=lambda _: None) as client,
        pytest.raises(errors.Unreachable, match="no hub answers") as caught,
    ):
        client.submit(REQUEST)
    assert len(tries) == 5
    assert "nothing was submitted" not in caught.value.hint
    assert f'idempotency_key="{caught.value.facts["idempotency_key"]}"' in caught.value.hint
    assert not caught.value.retry


def test_nobody_listens() -> None:
    with (
        Client("http://127.0.0.1:9", TOKEN, pause=lambda _: None) as client,
        pytest.raises(errors.Unreachable, match=r"127\.0\.0\.1:9") as caught,
    ):
        client.job(1)
    assert "meyrin up" in caught.value.hint


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:1"),
        ("HTTPS_PROXY", "socks4://127.0.0.1:1"),
        ("ALL_PROXY", "http://127.0.0.1:port"),
        ("SSL_CERT_FILE", "/none"),
        ("SSL_CERT_FILE", os.devnull),
    ],
)
def test_a_proxy_or_certificates_of_no_use_are_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(errors.InvalidInput, match=r"https://hub\.example") as caught:
        Client("https://hub.example", TOKEN)
    assert variable in caught.value.hint
    if "PROXY" in variable:
        monkeypatch.setenv("NO_PROXY", "*")
        Client("https://hub.example", TOKEN).close()


def test_what_is_not_safe_to_repeat_is_sent_once(client: Client, hub: FakeHub) -> None:
    hub.job(1, state="submitted")
    hub.fail("release", "lose")
    with pytest.raises(errors.Unreachable) as caught:
        client.release(1)
    assert hub.calls == ["POST /jobs/1/release"]
    assert "look before you repeat" in caught.value.hint
    assert client.release(1) == [1]


def test_a_refusal_arrives_with_its_reasons(client: Client, hub: FakeHub) -> None:
    hub.fail("POST /jobs", refused())
    with pytest.raises(errors.Refused) as caught:
        client.submit(REQUEST)
    assert caught.value.refusals == refused().refusals
    assert caught.value.hint == "ask for 4 or fewer"


@pytest.mark.parametrize("kind", [*errors.MeyrinError.__subclasses__(), errors.StaleEpoch])
def test_every_error_comes_back_as_itself(
    client: Client, hub: FakeHub, kind: type[errors.MeyrinError]
) -> None:
    hub.fail("GET /jobs/1", kind("what", hint="way", field="time"), times=9)
    with pytest.raises(kind) as caught:
        client.job(1)
    assert type(caught.value) is kind
    assert caught.value.facts == {"field": "time"}


@pytest.mark.parametrize(
    ("status", "kind"),
    [(502, errors.Unreachable), (401, errors.NotLoggedIn), (418, errors.Failed)],
)
def test_a_strangers_answer_names_the_address(status: int, kind: type[errors.MeyrinError]) -> None:
    error = from_reply(status, b"<html>proxy</html>", "https://hub.example.org")
    assert type(error) is kind
    assert "https://hub.example.org" in error.message


def test_codes_and_facts_of_a_newer_hub_do_no_harm() -> None:
    body = b"""{"error": {"code": "brand_new", "message": "m", "hint": "h",
        "facts": {"message": "x", "n": 1}, "refusals": [{"reason": "brand_new"}]}}"""
    error = from_reply(409, body, "http://hub")
    assert (type(error), error.message, error.facts) == (errors.Conflict, "m", {"n": 1})


def test_fields_of_a_newer_hub_are_passed_over() -> None:
    found = read(UploadState, b'{"sha256": "a", "offset": 0, "complete": false, "new": 1}')
    assert found.sha256 == "a"
    with pytest.raises(errors.Failed, match="UploadState"):
        read(UploadState, b"{}")


def test_text_that_is_no_unicode_is_refused_here(client: Client, hub: FakeHub) -> None:
    with pytest.raises(errors.InvalidInput, match="Unicode"):
        client.submit(JobRequest(script="#!/bin/sh\n\udc80"))
    assert not hub.calls


@pytest.mark.parametrize("label", ["", "1/cancel", "../me", "1_", "x", "1_2_3", "²"])
def test_only_labels_become_part_of_an_address(client: Client, hub: FakeHub, label: str) -> None:
    with pytest.raises(errors.InvalidInput, match="is no job"):
        client.cancel(label)
    assert not hub.calls


def test_pages_follow_each_other(client: Client, hub: FakeHub) -> None:
    for number in range(1, 8):
        hub.job(number)
    assert [job.job for job in client.each_job(limit=3)] == [7, 6, 5, 4, 3, 2, 1]


def test_waiting_for_an_array_ends_with_its_worst_element(client: Client, hub: FakeHub) -> None:
    client.submit(REQUEST)
    array = JobRequest(script="#!/bin/sh\n", array=ArraySpec((0, 1, 5)))
    accepted = client.submit(array)
    hub.end(hub.jobs[2])
    hub.end(hub.jobs[3], "failed", exit_code=3)
    looks = iter([lambda: None, lambda: hub.end(hub.jobs[4], "failed", signal=9)])
    client.connection.pause = lambda _: next(looks)()
    assert client.exit_status(client.wait(accepted.job)) == 137


def test_waiting_for_an_array_outlives_a_hub_that_starts_again(
    client: Client, hub: FakeHub
) -> None:
    accepted = client.submit(JobRequest(script="#!/bin/sh\n", array=ArraySpec((0, 1))))
    hub.end(hub.jobs[1])
    hub.end(hub.jobs[2])
    hub.fail("GET /jobs/1$", "drop", times=14)
    assert client.wait(accepted.job).array == {"completed": 2}
    hub.fail("GET /jobs/1$", "drop", times=99)
    with pytest.raises(errors.Unreachable):
        client.wait(accepted.job)


def test_waiting_for_one_job_follows_its_states_without_output(
    client: Client, hub: FakeHub
) -> None:
    job = hub.job(1)
    hub.print(job, b"x" * 100)
    hub.fail("follow", "cut", after=20)
    client.connection.pause = lambda _: hub.end(job, "failed", exit_code=4)
    assert client.exit_status(client.wait(1)) == 4
