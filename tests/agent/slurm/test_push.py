"""News that nodes tell at once: a hint, so whatever comes in by that door does no harm."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.agent.slurm.once import Clock
from tests.agent.slurm.test_status import Site
from tests.agent.slurm.test_wrapper import made, run

from meyrin.agent import check
from meyrin.agent.announce import about
from meyrin.agent.batch import Phase
from meyrin.agent.config import AgentConfig
from meyrin.agent.slurm import push
from meyrin.agent.slurm.push import Bucket, Ledger, Push, Reached, parse, seen_from, word_for
from meyrin.agent.slurm.spool import TOLD, News, Spool

KEY = b"k" * 32
ATTEMPT = "0f6a1c52-1111-4222-8333-944445555666"


def datagram(attempt: str = ATTEMPT, run: int = 0, kind: str = "end", key: bytes = KEY) -> bytes:
    return f"meyrin1 {attempt} {run} {kind} {word_for(key, attempt, kind)}\n".encode()


def news(kind: str = "end", run: int = 0, attempt: str = ATTEMPT) -> News:
    return News(attempt, kind, f"{attempt}.{run}.{kind}")


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


@pytest.fixture
def door(spool: Spool, tmp_path: Path) -> Iterator[Push]:
    heard = threading.Event()
    made = Push(spool, KEY, tmp_path / push.REACHED, heard.set)
    made.heard = heard  # type: ignore[attr-defined]
    made.open(["127.0.0.1"])
    yield made
    made.close()


def way_in(spool: Spool) -> tuple[str, int]:
    """Where wrappers send to, as the spool says it."""
    _, _, kind, address, port = (spool.root / "push").read_text().strip().split("/")
    assert kind == "udp"
    return address, int(port)


def send(spool: Spool, *datagrams: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        for each in datagrams:
            out.sendto(each, way_in(spool))


def taken(door: Push, count: int) -> list[News]:
    found: list[News] = []
    until = time.monotonic() + 20
    while len(found) < count and time.monotonic() < until:
        door.heard.wait(1)  # type: ignore[attr-defined]
        door.heard.clear()  # type: ignore[attr-defined]
        found += door.take()
    return found


# --- one datagram


@pytest.mark.parametrize("kind", TOLD)
def test_a_wrappers_word_is_read(kind):
    assert parse(KEY, datagram(kind=kind, run=3)) == news(kind, 3)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"meyrin1",
        datagram(key=b"x" * 32),
        datagram(attempt="0f6a1c52-1111-4222-8333-944445555667").replace(b"667", b"666"),
        datagram(kind="start").replace(b"start", b"end"),
        datagram(kind="second"),
        datagram(run=-1),
        datagram(run=10**7),
        datagram() * 2,
        datagram() + b"\0",
        datagram(attempt="../../etc"),
        datagram(attempt="a" * 65),
        datagram().replace(b"meyrin1", b"meyrin2"),
        datagram() + b" " * 200,
    ],
)
def test_anything_else_is_nothing(data):
    assert parse(KEY, data) is None


@given(st.binary(max_size=400))
def test_no_datagram_breaks_anything(data):
    assert parse(KEY, data) is None


def test_a_bucket_lets_through_what_it_holds_and_then_its_rate():
    bucket = Bucket(10.0, 3.0, 100.0)
    assert [bucket.wait_s(100.0) for _ in range(3)] == [0.0] * 3
    assert bucket.wait_s(100.0) == pytest.approx(0.1)
    assert bucket.wait_s(100.15) == 0.0
    assert bucket.wait_s(99.0) > 0  # a clock that goes back gives nothing


# --- whether nodes reach us


def opened(clock: Clock) -> Ledger:
    ledger = Ledger(Reached(), clock)
    ledger.opened(("10.0.0.1 port 5",))
    clock.now += 10
    return ledger


def test_one_that_is_told_says_that_nodes_reach_us_and_counts_once():
    ledger = opened(Clock())
    assert ledger.known.word == ""
    assert ledger.tell(news())
    assert not ledger.tell(news())
    assert ledger.known.word == "yes"


def test_facts_that_nobody_told_of_say_that_they_do_not():
    clock = Clock()
    ledger = opened(clock)
    ledger.find([news(run=n) for n in range(2)])
    clock.now += 10
    ledger.find([])
    assert ledger.known.word == ""  # datagrams may get lost
    ledger.find([news(run=7)])
    clock.now += 10
    ledger.find([])
    assert ledger.known.word == "no"
    assert "do not reach" in ledger.known.in_words()


def test_a_datagram_may_come_a_little_after_its_fact():
    clock = Clock()
    ledger = opened(clock)
    for number in range(10):
        ledger.find([news(run=number)])
        clock.now += 1
        ledger.tell(news(run=number))
        clock.now += 5
        ledger.find([])
    assert ledger.known.word == "yes"


def test_what_happened_before_the_invitation_says_nothing():
    clock = Clock()
    ledger = Ledger(Reached(), clock)
    ledger.opened(("10.0.0.1 port 5",))
    ledger.find([news(run=n) for n in range(50)])
    clock.now += 100
    ledger.find([])
    assert ledger.known.word == ""


# --- the door


def test_the_wrapper_tells_start_and_end_at_once(door, spool, tmp_path):
    one = made(spool, tmp_path, "exit 3", words=push.words_for(KEY, str(ATTEMPT)), attempt=ATTEMPT)
    assert run(spool, one) == 3
    assert taken(door, 2) == [news("start"), news("end")]
    assert door.works


def test_the_wrapper_tells_that_a_job_never_began(door, spool, tmp_path):
    words = push.words_for(KEY, ATTEMPT)
    one = made(spool, tmp_path, "true", words=words, attempt=ATTEMPT, workdir="/nowhere/at/all")
    assert run(spool, one) == 64
    assert taken(door, 1) == [news("never")]


@pytest.mark.parametrize(
    "invitation",
    [None, "", "/dev/udp/127.0.0.1/1\n", "/dev/udp/nowhere.invalid/9\n", "rubbish\n/etc/passwd\n"],
)
def test_a_job_goes_on_where_nobody_listens(spool, tmp_path, invitation):
    if invitation is not None:
        (spool.root / "push").write_text(invitation)
    one = made(spool, tmp_path, "echo out; exit 5", words=push.words_for(KEY, "a"))
    assert run(spool, one) == 5
    assert Path(spool.own_output(one.attempt)).read_text() == "out\n"
    assert spool.runs(one.attempt)[0].code == 5


def test_a_flood_of_strangers_hides_nothing_for_long(door, spool):
    rubbish = [random.Random(n).randbytes(n % 700) for n in range(3000)]
    send(spool, *rubbish)
    for _ in range(200):  # a datagram that finds no room is dropped: news are told again by others
        send(spool, datagram())
        if taken_now := door.take():
            break
        door.heard.wait(0.1)
    assert taken_now == [news()]
    send(spool, *[datagram()] * 100, datagram(kind="start"))
    assert taken(door, 1) == [news("start")]  # the same again is not looked at again


def test_the_invitation_is_for_us_alone_and_ends_with_the_agent(door, spool):
    assert (spool.root / "push").stat().st_mode & 0o077 == 0
    assert way_in(spool)[0] == "127.0.0.1"
    door.close()
    assert not (spool.root / "push").exists()


def test_it_is_off_where_nodes_do_not_reach_it_and_tried_again_later(spool, tmp_path):
    clock = Clock()
    door = Push(spool, KEY, tmp_path / push.REACHED, lambda: None, clock_s=clock)
    door.open(["127.0.0.1"])
    clock.now += 10
    door.found([news(run=n) for n in range(3)])
    clock.now += 10
    door.found([])
    assert not (spool.root / "push").exists()
    assert push.read(tmp_path / push.REACHED).word == "no"
    config = AgentConfig.model_validate(
        {"hub": "http://h", "credential_file": "c", "dir": tmp_path / "d", "batch": "slurm"}
    )
    assert list(check.push_findings(config)) == []  # nothing is known there
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "slurm").symlink_to(tmp_path)
    (said,) = check.push_findings(config)
    assert (said.bad, "do not reach" in said.words) == (False, True)
    assert "push_port" in said.hint
    clock.now += 601
    for _ in range(3):
        door.found([])
        clock.now += 10
    assert (spool.root / "push").exists()
    assert push.read(tmp_path / push.REACHED).word == "no"  # until one is told
    send(spool, datagram())
    until = time.monotonic() + 20
    while not door.take() and time.monotonic() < until:
        door.found([])
    door.close()
    assert push.read(tmp_path / push.REACHED).word == "yes"


def test_a_port_that_is_taken_leaves_the_spool(spool, tmp_path):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        door = Push(spool, KEY, tmp_path / "p", lambda: None, port=port)
        door.open(["127.0.0.1"])
        door.close()
    assert not (spool.root / "push").exists()
    assert not door.works


def test_an_address_of_another_machine_is_listened_for_everywhere(spool, tmp_path):
    door = Push(spool, KEY, tmp_path / "p", lambda: None)
    door.open(["192.0.2.1"])  # as through a port that is forwarded
    assert way_in(spool)[0] == "192.0.2.1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.sendto(datagram(), ("127.0.0.1", way_in(spool)[1]))
    until = time.monotonic() + 20
    while not (found := door.take()) and time.monotonic() < until:
        pass
    door.close()
    assert found == [news()]


def test_the_addresses_are_those_that_nodes_are_reached_from():
    assert seen_from(["127.0.0.1"] * 3) == ("127.0.0.1",)
    assert seen_from(["nowhere.invalid"]) == ()
    assert seen_from([]) == ()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"word": 1}', "\0"])
def test_a_damaged_memory_is_none(tmp_path, content):
    (tmp_path / "p").write_text(content)
    assert push.read(tmp_path / "p") == Reached()


# --- what follows from it


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_fact_that_is_told_is_read_though_the_folders_list_is_old(site):
    site.cluster.holds = True
    site.submit()
    site.cluster.holds = False
    site.clock.now += 5
    site.cluster.advance()
    for file in (site.batch.spool.root / "news").iterdir():
        file.unlink()  # as a shared file system that shows them later
    assert site.batch.changes("", 0).jobs[-1].phase is Phase.QUEUED
    site.batch.watcher.read_told([news("end", attempt="a")])
    assert site.seen().phase is Phase.RUNNING
    assert site.seen().end_ms is not None, "its script is over, accounting was not asked yet"
    site.clock.now += 1
    assert site.batch.watcher.due()
    site.batch.step()
    assert (site.seen().phase, site.seen().exit_code) == (Phase.ENDED, 3)


def test_hints_without_facts_change_nothing(site):
    site.submit()
    before = site.seen()
    hints = [news(kind, n, attempt="a") for kind in TOLD for n in (0, 1, 10**5)]
    site.batch.watcher.read_told([*hints, news("end", attempt="nobody"), news(attempt="..")])
    assert site.seen() == before
    assert not site.batch.watcher.due()
    site.pass_s(10)
    assert site.seen() == before


def test_an_end_that_is_repeated_later_ends_no_further_run(site):
    site.submit(requeue=True)
    site.cluster.holds = False
    site.clock.now += 5
    site.cluster.advance()
    folder = Path(site.batch.spool.folder("a"))
    (folder / "start.1").write_text(f"1\n{int(site.clock.now)}\nn1\n\n.\n")
    site.batch.watcher.read_told([news("start", 1, attempt="a")])
    assert site.seen().run == 1
    site.batch.watcher.read_told([news("end", 0, attempt="a")])
    assert (site.seen().run, site.seen().phase) == (1, Phase.RUNNING)
    site.clock.now += 1
    assert not site.batch.watcher.due()


def test_a_run_that_follows_is_not_over(site):
    site.submit(requeue=True)
    site.cluster.holds = False
    site.clock.now += 5
    site.cluster.advance()
    site.batch.watcher.read_told([news("end", 0, attempt="a")])
    assert site.seen().end_ms is not None
    folder = Path(site.batch.spool.folder("a"))
    (folder / "start.1").write_text(f"1\n{int(site.clock.now)}\nn1\n\n.\n")
    site.batch.watcher.read_told([news("start", 1, attempt="a")])
    assert (site.seen().run, site.seen().end_ms) == (1, None)


def test_what_the_site_says_of_itself_names_the_way_of_its_news(site, tmp_path):
    config = AgentConfig.model_validate(
        {"hub": "http://h", "credential_file": "c", "dir": tmp_path, "batch": "slurm"}
    )
    assert about(config, site.batch).news == "news come by the spool alone"


def test_an_address_in_the_settings_is_a_number():
    with pytest.raises(ValueError, match="push_address"):
        AgentConfig.model_validate(
            {"hub": "h", "credential_file": "c", "dir": "d", "slurm": {"push_address": "a; rm"}}
        )
