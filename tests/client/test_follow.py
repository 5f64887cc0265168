"""Following: every byte once, whatever breaks on the way."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.client.fakehub import TOKEN, FakeHub

from meyrin.client.api import Client
from meyrin.client.follow import Change, Output, Printed, Stream, exit_status
from meyrin.domain import errors

TEXT = bytes(range(256)) * 3


def gather(events: Iterator[Output | Change]) -> tuple[bytes, list[str]]:
    data, states = b"", []
    for event in events:
        if isinstance(event, Output):
            data += event.data
            assert event.end == len(data)
        else:
            states.append(event.state + ("!" if event.ended else ""))
    return data, states


def test_output_and_states_until_the_end(client: Client, hub: FakeHub) -> None:
    job = hub.job(1)
    hub.print(job, TEXT)
    hub.end(job)
    assert gather(client.follow(1)) == (TEXT, ["completed", "completed!"])
    assert gather(client.follow(1, "stderr"))[0] == b""


def test_that_a_stream_was_cut_is_told_at_its_end(client: Client, hub: FakeHub) -> None:
    job = hub.job(1)
    hub.print(job, TEXT)
    job.cut = {"stdout": len(TEXT)}
    hub.end(job)
    assert client.printed(1) == Printed(TEXT, len(TEXT))
    assert client.printed(1, "stderr") == Printed(b"", None)
    expected: dict[Stream, int | None] = {"stdout": len(TEXT), "stderr": None}
    for stream, cut_bytes in expected.items():
        *_, end = client.follow(1, stream)
        assert isinstance(end, Change)
        assert (end.ended, end.cut_bytes) == (True, cut_bytes)


def test_breaks_leave_no_gap_and_no_repetition(client: Client, hub: FakeHub) -> None:
    job = hub.job(1)
    hub.print(job, TEXT)
    hub.end(job)
    for after in (1, 50, 75, 200, 333):
        hub.fail("follow", "cut", after=after)
    hub.fail("follow", "drop", times=2)
    assert gather(client.follow(1))[0] == TEXT


def test_patience_ends_and_names_the_hub(client: Client, hub: FakeHub) -> None:
    hub.job(1)
    hub.fail("follow", "drop", times=99)
    with pytest.raises(errors.Unreachable, match="did not finish"):
        gather(client.follow(1))
    assert len(hub.calls) == 15


def test_a_hub_that_only_hangs_up_is_left_too(client: Client, hub: FakeHub) -> None:
    hub.job(1)
    hub.fail("follow", "cut", times=99, after=0)
    with pytest.raises(errors.Unreachable):
        gather(client.follow(1))


def test_other_errors_end_it_at_once(client: Client, hub: FakeHub) -> None:
    with pytest.raises(errors.NotFound):
        gather(client.follow(7))
    assert len(hub.calls) == 1


def scripted(*answers: bytes) -> Client:
    left = list(answers)

    def answer(_: httpx2.Request) -> httpx2.Response:
        headers = {"content-type": "text/event-stream"}
        return httpx2.Response(200, headers=headers, content=left.pop(0) if left else b"")

    transport = httpx2.MockTransport(answer)
    return Client("http://hub", TOKEN, transport=transport, pause=lambda _: None)


def piece(data: bytes, end: int) -> bytes:
    return f"id: {end}\nevent: output\ndata: {base64.b64encode(data).decode()}\n\n".encode()


END = b"event: end\ndata: " + json.dumps({"state": "completed"}).encode() + b"\n\n"


@given(
    st.binary(max_size=200),
    st.lists(st.tuples(st.integers(0, 200), st.integers(1, 60)), max_size=20),
)
def test_overlaps_and_gaps_of_any_kind_come_out_whole(
    text: bytes, pieces: list[tuple[int, int]]
) -> None:
    streams = [
        piece(text[start : start + length], min(len(text), start + length))
        for start, length in pieces
        if start < len(text)
    ]
    last = piece(text, len(text)) if text else b""
    with scripted(*streams[:10], last + END) as client:
        assert gather(client.follow(1))[0] == text


@pytest.mark.parametrize(
    "event",
    [
        b"event: output\nid: x\ndata: AA==\n\n",
        b"event: state\ndata: [1]\n\n",
        b"event: end\ndata: \n\n",
    ],
)
def test_what_can_not_be_read_is_said(event: bytes) -> None:
    with scripted(event) as client, pytest.raises(errors.Failed, match="can't be read"):
        gather(client.follow(1))


def test_kinds_of_events_to_come_are_passed_over() -> None:
    with scripted(b"event: news\ndata: x\n\n" + END) as client:
        assert gather(client.follow(1)) == (b"", ["completed!"])


def test_what_a_shell_would_see() -> None:
    assert exit_status("completed", 0, None) == 0
    assert exit_status("failed", 3, None) == 3
    assert exit_status("failed", None, 9) == 137
    assert exit_status("cancelled", None, None) == 1
    assert exit_status("failed", 0, None) == 1
