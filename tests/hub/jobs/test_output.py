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


@pytest.fixture
def small(hub_url, tmp_path):
    """A hub that keeps ten bytes of a stream, and a job that runs there."""
    hub = facility.make(hub_url, tmp_path, output_limit_bytes=10)
    hub.site("alps", CPU)
    hub.award("lab")
    yield hub
    hub.close()


def begun(hub, **wanted):
    hub.submit(**wanted)
    hub.step()
    (found,) = hub.agents["alps"].lease().work
    return found


def kept(hub, work):
    return [(s.stream, s.size, s.cut, s.file) for s in hub.detail(work.job).output]


def test_a_stream_is_kept_up_to_its_limit_and_then_it_is_cut(small):
    work, agent = begun(small), small.agents["alps"]
    key = f"{work.attempt}/stdout"
    assert agent.print(chunk(work, b"12345678")) == {key: 8}
    assert agent.print(chunk(work, b"90abcdef", 8)) == {key: -1}
    assert agent.print(chunk(work, b"90abcdef", 8)) == {key: -1}
    assert text(small, work) == b"1234567890"
    assert kept(small, work) == [("stdout", 10, True, "")]


def test_a_stream_that_is_just_full_is_asked_on_and_not_cut(small):
    work, agent = begun(small), small.agents["alps"]
    key = f"{work.attempt}/stdout"
    assert agent.print(chunk(work, b"1234567890")) == {key: 10}
    assert agent.print(chunk(work, b"1234567890")) == {key: 10}, "the same again"
    assert agent.print(chunk(work, b"far away", 11)) == {key: 10}, "a gap"
    assert kept(small, work) == [("stdout", 10, False, "")]
    bell = small.database.bell
    before = bell.count(f"output:{work.attempt}")
    assert agent.print(chunk(work, b"a", 10), chunk(work, b"oops", 0, "stderr")) == {
        key: -1,
        f"{work.attempt}/stderr": 4,
    }
    assert bell.count(f"output:{work.attempt}") > before
    assert kept(small, work) == [("stdout", 10, True, ""), ("stderr", 4, False, "")]
    assert agent.print(chunk(work, b"1234567890"))[key] == -1
    assert text(small, work) == b"1234567890"


def test_that_it_was_cut_is_told_to_whoever_reads(small):
    work, agent = begun(small), small.agents["alps"]
    agent.print(chunk(work, b"x" * 11), chunk(work, b"y" * 10, 0, "stderr"))
    agent.finish(work)
    ada = small.client("ada")
    for stream, cut in (("stdout", "10"), ("stderr", None)):
        for offset in (0, 10, 99):
            asked = {"stream": stream, "offset": offset}
            answer = ada.get(f"/api/v1/jobs/{work.job}/output", params=asked)
            assert answer.headers.get("x-meyrin-cut") == cut
        told = ada.get(f"/api/v1/jobs/{work.job}/follow", params={"stream": stream}).text
        assert ('"cut_bytes": 10' in told.split("event: end")[1]) == (cut is not None)
    assert "x-meyrin-cut" not in ada.get(f"/api/v1/jobs/{small.submit()}/output").headers


@pytest.mark.parametrize(
    ("asked", "files"),
    [
        ({"stdout": "%x-%j.out"}, ["/home/ada/test-1.out"]),
        ({"stdout": "o", "stderr": "../e", "chdir": "run"}, ["/home/ada/run/o", "/home/ada/e"]),
        ({"stdout": "a", "output_files": ("a",)}, ["a"]),
        ({"stdout": "/scratch/a", "output_files": ("b",)}, ["/scratch/a"]),
        ({"stdout": "/dev/null"}, [""]),
        ({"stdout": "%N.out"}, [""]),
        ({"stderr": "e"}, ["", "/home/ada/e"]),
        ({}, ["", ""]),
    ],
)
def test_where_all_of_it_was_written_is_said_as_far_as_it_is_known(small, asked, files):
    work, agent = begun(small, name="test", submit_dir="/home/ada", **asked), small.agents["alps"]
    pieces = [chunk(work, b"x", 0, stream) for stream in ("stdout", "stderr")][: len(files)]
    agent.print(*pieces)
    assert [file for _, _, _, file in kept(small, work)] == files


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
