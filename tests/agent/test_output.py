"""What jobs print is sent by offset, as far as a call has room, and nothing that is not theirs."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from tests.agent.scripted import CPU, Clock, Site, StoryHub

from meyrin.agent import output as output_module
from meyrin.agent.batch import Output
from meyrin.agent.config import AgentConfig, SlurmConfig
from meyrin.agent.credential import own_files
from meyrin.agent.journal import Item
from meyrin.agent.output import Tail
from meyrin.domain.errors import Unreachable
from meyrin.domain.job import JobRequest
from meyrin.testing.batch import FakeBatch
from meyrin.wire.agents import MOST_CHUNKS, OutputBody


@pytest.fixture
def world(tmp_path):
    """A running job's batch system, hub, tail and attempt."""
    from meyrin.agent.prepare import start_of

    hub = StoryHub()
    (tmp_path / "printed").mkdir()
    batch = FakeBatch(tmp_path, (CPU,), Clock())
    request = JobRequest(script="x")
    item = Item(hub.add(request), request)
    config = AgentConfig(hub="http://hub", credential_file="c", dir=tmp_path)
    batch.submit((start_of(config, "alps", item, lambda *_: None),))
    attempt = item.work.attempt
    batch.begin(attempt)
    return batch, hub, Tail(batch, hub), attempt


def test_what_is_new_is_sent(world):
    batch, hub, tail, attempt = world
    tail.pump(last=[])
    assert not tail.watched()
    tail.watch(attempt)
    assert tail.watched()
    tail.pump(last=[])
    assert hub.printed == {}
    batch.say(attempt, b"one\n")
    tail.pump(last=[])
    batch.say(attempt, b"two\n")
    batch.say(attempt, b"oops\n", "stderr")
    tail.pump(last=[])
    assert hub.printed == {(attempt, "stdout"): b"one\ntwo\n", (attempt, "stderr"): b"oops\n"}


def test_a_pipe_for_a_name_is_not_waited_for(world):
    """Jobs may print to a pipe, or put one where they print: that stopped all that is told."""
    batch, hub, tail, attempt = world
    path = Path(batch.output(attempt).stdout)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    tail.watch(attempt)
    pumping = threading.Thread(target=tail.pump, args=([],), daemon=True)
    pumping.start()
    pumping.join(20)
    assert not pumping.is_alive()
    assert hub.printed == {}
    path.unlink()
    path.write_text("again a file\n")
    tail.pump(last=[attempt])
    assert hub.printed == {(attempt, "stdout"): b"again a file\n"}


def test_a_link_to_what_is_the_agents_own_is_not_sent(world, tmp_path):
    """A job on another machine can't read the site's key; the agent could be made to."""
    batch, hub, _, attempt = world
    home = tmp_path / "agent"
    home.mkdir()
    secrets = tmp_path / "credential", tmp_path / "credential.next", tmp_path / "token"
    for secret in (home / "journal.sqlite", *secrets):
        secret.write_text("secret")
    slurm = SlurmConfig(rest_token_file=secrets[2])
    own = own_files(
        AgentConfig(hub="http://hub", credential_file=secrets[0], dir=home, slurm=slurm)
    )
    (tmp_path / "to").symlink_to(home)
    path = Path(batch.output(attempt).stdout)
    for target in (home / "journal.sqlite", tmp_path / "to" / "journal.sqlite", *secrets):
        path.unlink(missing_ok=True)
        path.symlink_to(target)
        tail = Tail(batch, hub, own)
        tail.pump(last=[attempt])
        assert hub.printed == {}
    path.unlink()
    (home / "work").mkdir()
    (home / "work" / "out").write_text("mine")
    path.symlink_to(home / "work" / "out")
    Tail(batch, hub, own).pump(last=[attempt])
    assert hub.printed == {(attempt, "stdout"): b"mine"}


def test_what_was_named_is_not_asked_for_until_it_is_forgotten(world, tmp_path):
    _, hub, tail, attempt = world
    named = tmp_path / "named"
    named.write_bytes(b"here\n")
    tail.name(attempt, Output(str(named), os.devnull))
    tail.pump(last=[attempt])
    assert hub.printed == {(attempt, "stdout"): b"here\n"}
    tail.name(attempt, Output(str(named), str(named)))
    tail.forget(attempt)
    tail.forget("never-heard-of")
    hub.printed.clear()
    tail.pump(last=[attempt])
    assert hub.printed == {}


def test_the_end_sends_all_that_is_left(world, monkeypatch):
    batch, hub, tail, attempt = world
    monkeypatch.setattr(output_module, "_PIECE", 10)
    monkeypatch.setattr(output_module, "_CALL", 25)
    text = bytes(range(97, 123)) * 20
    batch.say(attempt, text)
    tail.pump(last=[attempt])
    assert hub.printed[attempt, "stdout"] == text
    assert not tail.watched()


def test_the_hub_says_where_to_go_on(world):
    """Another start of the agent sends nothing twice and leaves nothing out."""
    batch, hub, tail, attempt = world
    batch.say(attempt, b"one\ntwo\n")
    hub.printed[attempt, "stdout"] = b"one\n"
    tail.pump(last=[attempt])
    assert hub.printed[attempt, "stdout"] == b"one\ntwo\n"


def test_a_hub_that_lost_some_gets_it_again(world):
    batch, hub, tail, attempt = world
    tail.watch(attempt)
    batch.say(attempt, b"one\ntwo\n")
    tail.pump(last=[])
    hub.printed[attempt, "stdout"] = b"one\n"
    batch.say(attempt, b"three\n")
    tail.pump(last=[attempt])
    assert hub.printed[attempt, "stdout"] == b"one\ntwo\nthree\n"


def test_a_hub_that_wants_no_more_gets_no_more(world):
    batch, hub, tail, attempt = world
    hub.limit = 4
    tail.watch(attempt)
    batch.say(attempt, b"123456")
    tail.pump(last=[])
    calls = []
    hub.output = lambda chunks: calls.append(chunks) or {}
    batch.say(attempt, b"789")
    tail.pump(last=[attempt])
    assert calls == []


def test_a_hub_that_is_just_full_hears_whether_there_is_more(world):
    """Else nobody would know that what it keeps is not all."""
    batch, hub, tail, attempt = world
    hub.limit = 4
    tail.watch(attempt)
    batch.say(attempt, b"1234")
    tail.pump(last=[])
    offsets = []
    real = hub.output
    hub.output = lambda chunks: offsets.extend(each.offset for each in chunks) or real(chunks)
    tail.pump(last=[])
    assert offsets == [], "all was sent"
    batch.say(attempt, b"5")
    tail.pump(last=[])
    batch.say(attempt, b"6")
    tail.pump(last=[attempt])
    assert offsets == [4]
    assert hub.printed[attempt, "stdout"] == b"1234"


def test_a_call_that_failed_is_made_again(world):
    batch, hub, tail, attempt = world
    real = hub.output

    def away(_):
        raise Unreachable("hub is away")

    batch.say(attempt, b"text")
    hub.output = away
    with pytest.raises(Unreachable):
        tail.pump(last=[attempt])
    hub.output = real
    tail.pump(last=[attempt])
    assert hub.printed[attempt, "stdout"] == b"text"


def test_files_that_vanish_break_nothing(world):
    batch, hub, tail, attempt = world
    tail.watch(attempt)
    tail.watch("00000000-0000-4000-8000-000000000000")
    batch.say(attempt, b"text")
    tail.pump(last=[])
    Path(batch.output(attempt).stdout).unlink()
    tail.pump(last=[attempt])
    assert hub.printed[attempt, "stdout"] == b"text"


class Many:
    """Attempts that each print to a file of their own; the hub takes what the wire lets through."""

    def __init__(self, folder: Path, count: int) -> None:
        self.hub, self.folder = StoryHub(), folder
        self.attempts = [f"{number:04}" for number in range(count)]
        self.tail = Tail(self, self)

    def output(self, asked):
        if isinstance(asked, str):
            return Output(str(self.folder / f"{asked}.out"), str(self.folder / f"{asked}.err"))
        OutputBody.model_validate_json(OutputBody.model_construct(chunks=asked).model_dump_json())
        return self.hub.output(asked)

    def say(self, stream):
        for attempt in self.attempts:
            with (self.folder / f"{attempt}.{stream}").open("ab") as file:
                file.write(b"line\n")


def test_more_ends_than_one_call_has_room_for_are_all_told(tmp_path):
    """As after an outage of the hub: the call was refused, and so was each that followed."""
    many = Many(tmp_path, MOST_CHUNKS // 2 + 1)
    many.say("out")
    many.say("err")
    many.tail.pump(last=many.attempts)
    assert len(many.hub.printed) == MOST_CHUNKS + 2
    assert set(many.hub.printed.values()) == {b"line\n"}


def test_jobs_that_print_without_pause_keep_no_other_from_being_heard(tmp_path, monkeypatch):
    monkeypatch.setattr(output_module, "MOST_CHUNKS", 2)
    many = Many(tmp_path, 5)
    for attempt in many.attempts:
        many.tail.watch(attempt)
    for _ in range(3):
        many.say("out")
        many.tail.pump(last=[])
    assert len(many.hub.printed) == 5
    for _ in range(5):
        many.tail.pump(last=[])
    assert set(many.hub.printed.values()) == {b"line\n" * 3}


def test_a_file_that_others_go_on_writing_to_holds_up_no_end(world):
    """Elements of an array may print to one file: the end of one is not that of the others."""
    batch, hub, tail, attempt = world
    real, calls = hub.output, []

    def slow(chunks):
        calls.append(chunks)
        assert len(calls) < 10, "it never ends"
        batch.say(attempt, b"of another\n")
        return real(chunks)

    batch.say(attempt, b"mine\n")
    hub.output = slow
    tail.pump(last=[attempt])
    assert hub.printed[attempt, "stdout"] == b"mine\n"
    assert not tail.watched()


def test_what_runs_when_the_agent_starts_again_is_followed(site: Site):
    work = site.hub.add()
    agent = site.agent()
    agent.hello()
    site.cycle(agent)
    site.go_on()
    site.cycle(agent)
    agent = site.agent()
    agent.hello()
    site.cycle(agent)
    site.batch.say(work.attempt, b"more\n")
    site.cycle(agent)
    assert site.hub.printed[work.attempt, "stdout"] == b"hello\nmore\n"


def test_what_was_followed_and_never_began_is_followed_no_more(site: Site):
    """Slurm may say that it runs before the wrapper says that it could not."""
    work = site.hub.add()
    agent = site.agent()
    agent.hello()
    site.cycle(agent)
    agent.tail.watch(work.attempt)
    agent.journal.note([agent._report(work.attempt, "ended", end="not_started", why="no folder")])
    agent.send_once()
    assert not agent.tail.watched()
