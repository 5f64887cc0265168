"""Output pieces: repeated, overlapping, with gaps, over the limit, of strangers."""

from __future__ import annotations

import pytest
from tests.hub import facility
from tests.hub.facility import CPU, chunk

from meyrin.hub.jobs import output


@pytest.fixture
def work(hub):
    hub.submit()
    hub.step()
    (found,) = hub.agents["alps"].lease().work
    return found


def text(hub, work, stream="stdout", offset=0):
    with hub.read() as step:
        return output.read(step, work.attempt, stream, offset)


def test_pieces_join_whatever_their_order(hub, work):
    agent = hub.agents["alps"]
    key = f"{work.attempt}/stdout"
    assert agent.print(chunk(work, b"hello ")) == {key: 6}
    assert agent.print(chunk(work, b"hello ")) == {key: 6}, "the same again"
    assert agent.print(chunk(work, b"far away", 100)) == {key: 6}, "a gap: go on at 6"
    assert agent.print(chunk(work, b"lo world", 3)) == {key: 11}, "an overlap"
    assert agent.print(chunk(work, b"!", 11), chunk(work, b"\n", 12)) == {key: 13}
    assert agent.print(chunk(work, b"?", 14), chunk(work, b"x", 13)) == {key: 15}, "sorted here"
    assert text(hub, work) == b"hello world!\nx?"
    assert text(hub, work, offset=6) == b"world!\nx?"
    assert text(hub, work, offset=12) == b"\nx?"
    assert text(hub, work, offset=99) == b""
    assert agent.print(chunk(work, b"oops", 0, "stderr"))[f"{work.attempt}/stderr"] == 4
    assert text(hub, work, "stderr") == b"oops"


def test_a_stream_is_kept_up_to_its_limit(hub_url, tmp_path):
    hub = facility.make(hub_url, tmp_path, output_limit_bytes=10)
    agent = hub.site("alps", CPU)
    hub.award("lab")
    hub.submit()
    hub.step()
    (work,) = agent.lease().work
    key = f"{work.attempt}/stdout"
    assert agent.print(chunk(work, b"12345678")) == {key: 8}
    assert agent.print(chunk(work, b"90abcdef", 8)) == {key: -1}
    assert agent.print(chunk(work, b"90abcdef", 8)) == {key: -1}
    assert text(hub, work) == b"1234567890"
    hub.close()


def test_another_site_can_neither_write_nor_learn_of_a_stream(hub, work):
    jura = hub.site("jura", CPU)
    key = f"{work.attempt}/stdout"
    assert jura.print(chunk(work, b"lies")) == {key: -1}
    hub.agents["alps"].print(chunk(work, b"truth"))
    assert jura.print(chunk(work, b" and lies", 5)) == {key: -1}
    assert text(hub, work) == b"truth"
    nobody = "00000000-0000-4000-8000-000000000000"
    assert jura.print(chunk(nobody, b"x")) == {f"{nobody}/stdout": -1}


def test_a_piece_is_read_in_bounded_parts(hub, work):
    agent = hub.agents["alps"]
    for number in range(5):
        agent.print(chunk(work, bytes([65 + number]) * 400_000, number * 400_000))
    whole, at = b"", 0
    while data := text(hub, work, offset=at):
        assert len(data) < 2**21
        whole, at = whole + data, at + len(data)
    assert whole == b"".join(bytes([65 + n]) * 400_000 for n in range(5))
