"""Transfers: nothing twice, nothing outside, nothing half."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from pathlib import Path

import pytest
from tests.client.fakehub import FakeHub

from meyrin.cli.progress import ProgressLine
from meyrin.client import transfer
from meyrin.client.api import Client
from meyrin.client.inputs import input_files
from meyrin.client.transfer import Progress
from meyrin.domain import errors

DATA = os.urandom(1000)
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "PIECE_BYTES", 300)
    monkeypatch.setattr(transfer, "READ_BYTES", 100)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "data ü.bin"
    path.write_bytes(DATA)
    return path


def puts(hub: FakeHub) -> list[str]:
    return [call.partition("?")[2] for call in hub.calls if call.startswith("PUT")]


def test_a_file_goes_up_in_pieces_once(client: Client, hub: FakeHub, file: Path) -> None:
    seen: list[Progress] = []
    sent = client.upload(file, "in/data.bin", seen.append)
    digest = hashlib.sha256(DATA).hexdigest()
    assert (sent.name, sent.sha256, sent.size, sent.executable) == (
        "in/data.bin",
        digest,
        1000,
        False,
    )
    assert bytes(hub.uploads[digest]) == DATA
    assert len(puts(hub)) == 4
    assert [p.done for p in seen if p.step == "sending"] == [0, 300, 600, 900, 1000]
    client.upload(file)
    assert len(puts(hub)) == 4, "what the hub has is not sent again"


@pytest.mark.parametrize("how", ["drop", "lose"])
def test_an_upload_goes_on_where_it_stopped(
    client: Client, hub: FakeHub, file: Path, how: str
) -> None:
    hub.fail("PUT", how, times=2)
    hub.fail("PUT", errors.Conflict("another offset"))
    client.upload(file)
    assert hub.whole
    hub.uploads.clear()
    hub.whole.clear()
    hub.put(hashlib.sha256(DATA).hexdigest(), 0, 1000, DATA[:450])
    hub.calls.clear()
    client.upload(file)
    assert puts(hub)[0] == "offset=450&size=1000"
    assert hub.whole


def test_an_empty_file_and_a_program(client: Client, hub: FakeHub, tmp_path: Path) -> None:
    empty = tmp_path / "run.sh"
    empty.touch(0o755)
    sent = client.upload(empty)
    assert (sent.size, sent.executable) == (0, True)
    assert sent.sha256 in hub.whole


def test_a_hub_that_takes_no_more_is_left(client: Client, hub: FakeHub, file: Path) -> None:
    hub.put = lambda digest, *_: hub.upload_state(digest)  # type: ignore[method-assign]
    with pytest.raises(errors.Failed, match="takes no more"):
        client.upload(file)


def test_a_file_that_changes_meanwhile_is_refused(client: Client, file: Path) -> None:
    def change(told: Progress) -> None:
        if told.step == "sending" and told.done == 300:
            file.write_bytes(DATA[::-1])

    with pytest.raises(errors.InvalidInput, match=r"changed while it was sent|not those"):
        client.upload(file, progress=change)


@pytest.mark.parametrize("name", ["missing", "."])
def test_what_is_no_file_is_refused(client: Client, tmp_path: Path, name: str) -> None:
    with pytest.raises(errors.InvalidInput, match=r"can't be read|no plain file"):
        client.upload(tmp_path / name)


def test_results_come_down_whole(client: Client, hub: FakeHub, tmp_path: Path) -> None:
    hub.job(1, state="completed", results="complete", files={"a b": DATA, "m/ü": b"", "m/y": b"y"})
    seen: list[Progress] = []
    places = client.fetch(1, tmp_path / "new" / "folder", progress=seen.append)
    assert [place.read_bytes() for place in places] == [DATA, b"", b"y"]
    assert not list(tmp_path.rglob("*.part"))
    assert seen[-1].done == seen[-1].total
    hub.calls.clear()
    client.fetch(1, tmp_path / "new" / "folder")
    assert not [call for call in hub.calls if "/files/" in call], "what is right stays"


def test_a_file_is_on_disk_before_it_has_its_name(
    client: Client, hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent takes an input that is there for whole."""
    synced: dict[int, int] = {}

    def fsync(fd: int) -> None:
        assert not (tmp_path / "a").exists()
        synced[os.fstat(fd).st_ino] = os.fstat(fd).st_size

    monkeypatch.setattr(os, "fsync", fsync)
    hub.job(1, state="completed", results="complete", files={"a": DATA})
    (place,) = client.fetch(1, tmp_path)
    assert synced[place.stat().st_ino] == len(DATA)


def test_a_fetch_goes_on_where_it_stopped(client: Client, hub: FakeHub, tmp_path: Path) -> None:
    hub.job(1, state="completed", results="complete", files={"a": DATA})
    for after in (0, 10, 250, 1, 0):
        hub.fail("files", "cut", after=after)
    hub.fail("files", "drop")
    (place,) = client.fetch(1, tmp_path)
    assert place.read_bytes() == DATA


def test_a_part_of_another_time_is_used_or_thrown_away(
    client: Client, hub: FakeHub, tmp_path: Path
) -> None:
    hub.job(1, state="completed", results="complete", files={"a": DATA})
    for before in (DATA[:777], b"wrong", b"far too long" * 1000, DATA):
        (tmp_path / "a").unlink(missing_ok=True)
        transfer.part_of(tmp_path / "a", DIGEST).write_bytes(before)
        (place,) = client.fetch(1, tmp_path)
        assert place.read_bytes() == DATA


def test_two_fetches_of_one_file_at_once(
    client: Client, hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second waits for the part, and finds the file when it has it."""
    hub.job(1, state="completed", results="complete", files={"a": DATA})
    target = tmp_path / "a"
    waited = []

    def other_ends(part: object, _: int) -> None:
        waited.append(part)
        if not target.exists():
            transfer.part_of(target, DIGEST).write_bytes(DATA)
            transfer.part_of(target, DIGEST).replace(target)

    monkeypatch.setattr(fcntl, "flock", other_ends)
    assert client.fetch(1, tmp_path) == [target]
    assert len(waited) == 2, "what it waited for is the other's file by now"
    assert target.read_bytes() == DATA
    assert list(tmp_path.iterdir()) == [target]
    assert not [call for call in hub.calls if "files" in call]


def test_who_waits_for_another_fetch_is_told(
    client: Client,
    hub: FakeHub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    said_before_the_wait: list[str] = []

    def taken(_: object, how: int) -> None:
        if how & fcntl.LOCK_NB:
            raise BlockingIOError
        said_before_the_wait.append(capsys.readouterr().err)

    monkeypatch.setattr(fcntl, "flock", taken)
    hub.job(1, state="completed", results="complete", files={"a": DATA})
    assert client.fetch(1, tmp_path, progress=ProgressLine(lambda: 0.0)) == [tmp_path / "a"]
    assert said_before_the_wait == ["another fetch of a is under way here; waiting for its end\n"]


def test_a_file_system_without_locks(
    client: Client, hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", none)
    hub.job(1, state="completed", results="complete", files={"a": DATA})
    (place,) = client.fetch(1, tmp_path)
    assert place.read_bytes() == DATA


def test_a_wrong_file_is_never_given_its_name(client: Client, hub: FakeHub, tmp_path: Path) -> None:
    job = hub.job(1, state="completed", results="complete", files={"a": DATA})
    listed = hub.detail("1")
    hub.detail = lambda _: listed  # type: ignore[method-assign]
    job.files["a"] = DATA[::-1]
    with pytest.raises(errors.Failed, match="another content"):
        client.fetch(1, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_result_called_part_is_safe(client: Client, hub: FakeHub, tmp_path: Path) -> None:
    files = {"a.part": b"mine", "a": DATA, "a.part.part": b"too"}
    hub.job(1, state="completed", results="complete", files=files)
    places = client.fetch(1, tmp_path)
    assert [place.read_bytes() for place in places] == list(files.values())
    assert len(list(tmp_path.iterdir())) == 3


def test_a_persons_own_part_stays_and_the_longest_name_comes_back(
    client: Client, hub: FakeHub, tmp_path: Path
) -> None:
    (tmp_path / "a.part").write_bytes(b"my own")
    files = {"a": DATA, "x" * 255: b"long"}
    hub.job(1, state="completed", results="complete", files=files)
    assert [place.read_bytes() for place in client.fetch(1, tmp_path)] == list(files.values())
    assert (tmp_path / "a.part").read_bytes() == b"my own"


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "..", "link/x", "a\0b", "."])
def test_nothing_is_written_outside(
    client: Client, hub: FakeHub, tmp_path: Path, name: str
) -> None:
    into = tmp_path / "into"
    into.mkdir()
    (tmp_path / "outside").mkdir()
    (into / "link").symlink_to(tmp_path / "outside")
    hub.job(1, state="completed", results="complete", files={"good": b"1", name: b"bad"})
    with pytest.raises(errors.Failed, match="outside"):
        client.fetch(1, into)
    assert not list((tmp_path / "outside").iterdir())
    assert not (into / "good").exists(), "names are checked before the first byte"


def test_links_in_the_way_are_replaced_or_refused(
    client: Client, hub: FakeHub, tmp_path: Path
) -> None:
    into, outside = tmp_path / "into", tmp_path / "outside"
    into.mkdir()
    outside.write_bytes(b"keep")
    (into / "a").symlink_to(outside)
    hub.job(1, state="completed", results="complete", files={"a": DATA})
    client.fetch(1, into)
    assert outside.read_bytes() == b"keep"
    assert not (into / "a").is_symlink()
    (into / "a").unlink()
    transfer.part_of(into / "a", DIGEST).symlink_to(outside)
    with pytest.raises(errors.Failed, match="can't be written"):
        client.fetch(1, into)
    assert outside.read_bytes() == b"keep"


def test_a_full_disk_keeps_what_it_has(
    client: Client, hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.job(1, state="completed", results="complete", files={"a": DATA})

    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device", "a.part")

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(errors.StorageFull, match="no room left") as caught:
        client.fetch(1, tmp_path)
    assert "goes on where it stopped" in caught.value.hint


def test_names_that_are_not_there(client: Client, hub: FakeHub, tmp_path: Path) -> None:
    hub.job(1, state="completed", results="complete", files={"a": b"1", "b": b"2"})
    with pytest.raises(errors.NotFound, match="no result 'c'") as caught:
        client.fetch(1, tmp_path, ["c"])
    assert caught.value.hint == "it has a, b"
    assert [p.name for p in client.fetch(1, tmp_path, ["b"])] == ["b"]


def test_results_on_their_way_are_waited_for(client: Client, hub: FakeHub) -> None:
    job = hub.job(1, state="completed", results="pending")
    client.connection.pause = lambda _: hub.end(job, results="complete")
    assert client.results(1).results == "complete"
    job.results = "pending"
    client.connection.pause = lambda _: None
    with pytest.raises(errors.Unreachable, match="have not come"):
        client.results(1)


def test_folders_behind_links_are_sent_and_circles_and_empty_ones_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "f").write_text("r")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "data").symlink_to("../real")
    assert [name for _, name in input_files(["in"], tmp_path)] == ["in/data/f"]
    (tmp_path / "real" / "back").symlink_to("../in")
    with pytest.raises(errors.InvalidInput, match="leads back"):
        input_files(["in"], tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(errors.InvalidInput, match="without a file"):
        input_files(["empty"], tmp_path)


def test_what_can_not_be_sent_is_refused_before_anything_is(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").touch()
    odd = tmp_path / "in" / "\udcff"
    odd.touch()
    with pytest.raises(errors.InvalidInput, match=r"'in/\\udcff' is not valid UTF-8"):
        input_files(["in"], tmp_path)
    odd.unlink()
    (tmp_path / "in" / "b").symlink_to("nowhere")
    with pytest.raises(errors.InvalidInput, match="in/b is no plain file"):
        input_files(["in"], tmp_path)
    (tmp_path / "in" / "b").unlink()
    os.mkfifo(tmp_path / "in" / "c")
    with pytest.raises(errors.InvalidInput, match="in/c is no plain file"):
        input_files(["in"], tmp_path)


def test_inputs_as_people_type_them(tmp_path: Path) -> None:
    for name in ("data/a", "data/sub/b", "x=y", "c"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    def names(*typed: str) -> list[str]:
        return [name for _, name in input_files(typed, tmp_path)]

    assert names("data") == ["data/a", "data/sub/b"]
    assert names("data=in", "./c") == ["in/a", "in/sub/b", "c"]
    assert names("x=y", "c=z/c") == ["x=y", "z/c"]
    assert names(str(tmp_path / "data" / "a"), "c", "c") == ["a", "c"]
    assert names(".") == ["c", "data/a", "data/sub/b", "x=y"]
    for wrong in ("missing", "missing=c", "=c"):
        with pytest.raises(errors.InvalidInput, match="no input"):
            names(wrong)
    assert names("c=./in//c/.", "data=./") == ["in/c", "a", "sub/b"], "one name is written once"
    assert names("./c=") == ["c"]
    with pytest.raises(errors.InvalidInput, match="two inputs"):
        names("c=same", "data/a=./same")
    with pytest.raises(errors.InvalidInput, match=r"called 'a/b': another is called 'a'"):
        names("c=a", "data/a=a/b")
    for wrong in ("c=.", "c=../c", "c=/c", "c=a/../c"):
        with pytest.raises(errors.InvalidInput, match="input can't be"):
            names(wrong)
