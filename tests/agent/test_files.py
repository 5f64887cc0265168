"""What jobs print is sent by offset; what they leave is brought back, and nothing else."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from tests.agent.scripted import StoryHub

from meyrin.agent.config import AgentConfig
from meyrin.agent.journal import Item
from meyrin.agent.left import matches
from meyrin.agent.prepare import clear_away, folder_of, own_folder, stderr_file
from meyrin.agent.results import bring_back
from meyrin.domain.errors import InvalidInput, NotFound, NotLoggedIn, StorageFull, Unreachable
from meyrin.domain.job import JobRequest
from meyrin.wire.agents import ResultsBody


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "job"
    (made / "out" / "deep").mkdir(parents=True)
    for name in ("a.txt", "b.bin", "out/1.txt", "out/deep/2.txt", ".hidden"):
        (made / name).write_text(name)
    return made


def names(folder, *patterns):
    return [path.relative_to(folder).as_posix() for path in matches(folder, patterns).files]


def test_patterns_match_below_the_folder(folder):
    assert names(folder, "*.txt") == ["a.txt"]
    assert names(folder, "out") == ["out/1.txt", "out/deep/2.txt"]
    assert names(folder, "out/*") == ["out/1.txt", "out/deep/2.txt"]
    assert names(folder, "**/*.txt") == ["a.txt", "out/1.txt", "out/deep/2.txt"]
    assert names(folder, "a.txt", "*.txt", "b.bin") == ["a.txt", "b.bin"]
    assert names(folder, "nothing", "a.txt/**", "out/deep/2.txt/*") == []
    assert names(folder, "**/.hid*", "out/[0-9].txt", "./out//deep") == [
        ".hidden", "out/1.txt", "out/deep/2.txt",
    ]  # fmt: skip
    assert len(names(folder, ".")) == len(names(folder, "**")) == 5
    assert names(folder, "a**b", "[", "out/1.txt/") in ([], ["out/1.txt"])


def test_a_link_that_leads_out_is_not_followed(folder, tmp_path):
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("secret")
    (folder / "file-link").symlink_to(secret / "key")
    (folder / "folder-link").symlink_to(secret)
    (folder / "out" / "link").symlink_to(secret / "key")
    (folder / "out" / "folder").symlink_to(secret)
    (folder / "good-link").symlink_to("a.txt")
    (folder / "broken-link").symlink_to("nowhere")
    found = names(folder, "*", "**/*", "folder-link/*", "out", "file-link", "out/folder/key")
    assert "good-link" in found
    assert not {"file-link", "folder-link/key", "out/link", "out/folder/key"} & set(found)


def test_a_folder_stands_for_its_links_to_files_of_the_job_too(folder):
    """As a training leaves them: `last.pt` beside the numbered ones, or in another folder."""
    (folder / "out" / "last.txt").symlink_to("1.txt")
    (folder / "out" / "best.bin").symlink_to("../b.bin")
    assert names(folder, "out") == ["out/1.txt", "out/best.bin", "out/deep/2.txt", "out/last.txt"]
    assert "out/last.txt" in names(folder, "**")
    (folder / "latest").symlink_to("out")
    deeper = ["latest/1.txt", "latest/deep/2.txt", "latest/last.txt"]
    assert names(folder, "latest/**/*.txt") == deeper
    assert names(folder, "latest") == [], "all in it comes under its own name"


def nested(folder, name, count):
    """So many folders in each other, which together have no path."""
    here = os.open(folder, os.O_RDONLY)
    for _ in range(count):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


def test_nothing_that_a_job_leaves_stops_the_agent(folder):
    (folder / "one").symlink_to("two")
    (folder / "two").symlink_to("one")
    (folder / "out" / "self").symlink_to("self")
    nested(folder / "out", "d", 1500)
    hub, job = item("*", "out/self", "**/d/**/*.txt", "**/2.txt")
    bring_back(hub, job, folder)
    state, files = hub.left[job.work.attempt]
    assert state == "not found: out/self, **/d/**/*.txt"
    assert {"a.txt", "out/deep/2.txt"} <= {file.name for file in files}
    config = AgentConfig(hub="http://hub", credential_file="c", dir=folder.parent / "agent")
    own = folder_of(config, job).path
    own.parent.mkdir(parents=True)
    folder.rename(own)
    clear_away(config, job)
    assert not own.exists()
    clear_away(config, job)


@pytest.mark.parametrize(
    "pattern", ["**/" * 40 + "*.pt", "**/d/" * 20 + "*.pt", "*/" * 40 + "*.pt"]
)
def test_no_pattern_takes_as_long_as_there_are_ways_through_it(folder, pattern):
    """40 times `**` and 40 folders: more ways than anybody can go, for each of all files."""
    nested(folder, "d", 40)
    for name in "efgh":
        (folder / name).symlink_to(".")
    found = []
    looking = threading.Thread(target=lambda: found.append(names(folder, pattern)), daemon=True)
    looking.start()
    looking.join(30)
    assert found == [[]]


def test_a_folder_that_can_not_be_looked_into_is_said(folder):
    nested(folder / "out", "d" * 250, 20)
    hub, job = item("out")
    bring_back(hub, job, folder)
    state, files = hub.left[job.work.attempt]
    assert state.startswith("not found: out/ddd")
    assert state.endswith("d (File name too long)")
    assert [file.name for file in files] == ["out/1.txt", "out/deep/2.txt"]


def item(*patterns):
    hub = StoryHub()
    request = JobRequest(script="x", output_files=patterns)
    return hub, Item(hub.add(request), request)


def test_results_that_the_hub_takes_in_no_words_are_given_up(folder):
    """Else they come up again and again, and a few such jobs keep all others' results."""
    hub, job = item("b.bin")
    told = []

    def refuses(_attempt, _epoch, state, files):
        told.append((state.partition(":")[0], len(files)))
        raise InvalidInput("it is too long")

    hub.results = refuses
    bring_back(hub, job, folder)
    assert told == [("complete", 1), ("not found", 0)]


def test_results_are_brought_and_named(folder):
    hub, job = item("out/*.txt", "b.bin")
    bring_back(hub, job, folder)
    state, files = hub.left[job.work.attempt]
    assert state == "complete"
    assert [file.name for file in files] == ["b.bin", "out/1.txt"]
    assert {hub.files[file.sha256] for file in files} == {b"b.bin", b"out/1.txt"}


def test_what_is_missing_is_said(folder):
    hub, job = item("out/1.txt", "model.bin", "*.h5")
    bring_back(hub, job, folder)
    state, files = hub.left[job.work.attempt]
    assert state == "not found: model.bin, *.h5"
    assert [file.name for file in files] == ["out/1.txt"]


def test_a_folder_that_is_gone_is_no_end_of_the_world(tmp_path):
    hub, job = item("*")
    bring_back(hub, job, tmp_path / "gone")
    assert hub.left[job.work.attempt] == ("not found: *", [])


def test_a_file_that_can_not_be_read_leaves_the_others(folder):
    hub, job = item("*.txt", "b.bin")
    real = hub.upload

    def picky(path, opener):
        if path.name == "a.txt":
            raise InvalidInput("a.txt changed while it was sent")
        return real(path, opener)

    hub.upload = picky
    bring_back(hub, job, folder)
    state, files = hub.left[job.work.attempt]
    assert state == "not found: a.txt (a.txt changed while it was sent)"
    assert [file.name for file in files] == ["b.bin"]


@pytest.mark.parametrize("passing", [Unreachable, StorageFull, NotLoggedIn])
def test_what_passes_is_waited_out_and_loses_no_result(folder, passing):
    hub, job = item("*")

    def refuses(*_):
        raise passing("not now")

    hub.upload = refuses
    with pytest.raises(passing):
        bring_back(hub, job, folder)
    assert hub.left == {}


@pytest.fixture
def secret(tmp_path):
    """A folder of the agent's machine that jobs on nodes can't read."""
    made = tmp_path / "etc"
    made.mkdir()
    (made / "credential").write_text("secret")
    return made


@pytest.mark.parametrize("place", ["", ".."])
def test_a_link_in_the_place_of_the_jobs_folder_brings_nothing_back(tmp_path, secret, place):
    """Its own, or the one above it: the agent follows it to what only the agent can read."""
    hub, job = item("credential*", "**")
    config = AgentConfig(hub="http://hub", credential_file="c", dir=tmp_path / "agent")
    folder = own_folder(config, job)
    folder.parent.mkdir(parents=True)
    put = Path(os.path.normpath(folder / place))
    if place:
        put.rmdir()
        secret.rename(tmp_path / folder.name)
        secret = tmp_path
    put.symlink_to(secret)
    bring_back(hub, job, folder)
    state, files = hub.left[job.work.attempt]
    assert state == "not found: . (a link is in the place of the job's folder)"
    assert files == []
    assert hub.files == {}
    clear_away(config, job)
    assert put.is_symlink() == bool(place)
    assert (put.resolve() / folder.name if place else secret).exists()
    assert list(tmp_path.rglob("credential"))


def test_a_folder_in_the_place_of_its_output_keeps_nothing_of_others(tmp_path):
    _, job = item("a.txt")
    config = AgentConfig(hub="http://hub", credential_file="c", dir=tmp_path / "agent")
    folder_of(config, job).path.mkdir(parents=True)
    put = stderr_file(config, job.work.attempt)
    put.mkdir(parents=True)
    clear_away(config, job)
    assert put.exists()
    assert not folder_of(config, job).path.exists()


@pytest.mark.parametrize("place", ["agent", "agent/work"])
def test_a_link_that_was_there_when_the_agent_started_is_the_operators(tmp_path, place):
    (tmp_path / "disk").mkdir()
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).symlink_to(tmp_path / "disk")
    hub, job = item("a.txt")
    config = AgentConfig(hub="http://hub", credential_file="c", dir=tmp_path / "agent")
    folder_of(config, job).path.mkdir(parents=True)
    (folder_of(config, job).path / "a.txt").write_text("a")
    bring_back(hub, job, own_folder(config, job))
    assert hub.left[job.work.attempt][0] == "complete"


@pytest.mark.parametrize("what", ["file", "folder", "pipe"])
def test_what_becomes_a_link_after_it_was_found_is_not_sent(folder, secret, what):
    """A process that a job left behind on a node goes on while the agent looks."""
    hub, job = item("out/credential", "a.txt")
    (folder / "out" / "credential").write_text("mine")
    real = hub.upload

    def late(path, opener):
        if path.name == "credential":
            path.unlink()
            if what == "file":
                path.symlink_to(secret / "credential")
            elif what == "folder":
                path.parent.rename(folder / "was")
                path.parent.symlink_to(secret)
            else:
                os.mkfifo(path)
        return real(path, opener)

    hub.upload = late
    bring_back(hub, job, folder)
    state, files = hub.left[job.work.attempt]
    assert [file.name for file in files] == ["a.txt"]
    assert state.startswith("not found: out/credential (")
    assert list(hub.files.values()) == [b"a.txt"]


def test_what_the_hub_does_not_take_is_said_to_it(folder):
    """A body of too many files, say: the same again would be refused again, for ever."""
    hub, job = item("*")
    real = hub.results

    def small(attempt, epoch, state, files):
        if files:
            raise InvalidInput("the body is larger than 16 MiB")
        real(attempt, epoch, state, files)

    hub.results = small
    bring_back(hub, job, folder)
    words = "not found: * (the hub does not take it: the body is larger than 16 MiB)"
    assert hub.left[job.work.attempt] == (words, [])


def test_results_of_an_attempt_that_the_hub_does_not_know_are_given_up_if_a_hub_says_so(folder):
    """It came back from a backup. A proxy may say the same while the hub is away."""
    hub, job = item("*")

    def unknown(*_):
        raise NotFound("there is no such attempt")

    hub.results = unknown
    bring_back(hub, job, folder)
    hub.who = unknown
    with pytest.raises(NotFound):
        bring_back(hub, job, folder)


def test_names_of_results_are_text_on_the_wire(folder):
    """A file name on Linux is bytes; one that is no text is said, and stops nothing."""
    (folder / os.fsdecode(b"caf\xe9.txt")).write_text("latin")
    (folder / "训练.txt").write_text("x")
    hub, job = item("*.txt")
    bring_back(hub, job, folder)
    state, files = hub.left[job.work.attempt]
    assert sorted(file.name for file in files) == ["a.txt", "训练.txt"]
    assert "caf" in state
    ResultsBody(attempt=job.work.attempt, epoch=1, state=state, files=files).model_dump_json()
