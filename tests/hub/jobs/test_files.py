"""Files by digest: uploads resume, a digest alone opens nothing, results come back by Range."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from urllib.parse import quote

import fsspec
import pytest
import structlog
from tests.hub import facility
from tests.hub.facility import CPU, at_once

from meyrin.domain.errors import InvalidInput, NotFound, StorageFull, Unreachable
from meyrin.domain.job import InputFile
from meyrin.hub.plumbing.blobs import PIECE_BYTES, Blobs

DATA = b"the quick brown fox\n" * 100


def sha(data):
    return hashlib.sha256(data).hexdigest()


def put(client, data, offset=0, size=None, digest=None):
    return client.put(
        f"/api/v1/uploads/{digest or sha(data)}",
        params={"offset": offset, "size": len(data) if size is None else size},
        content=data[offset:] if size is None else data,
    )


def bring(hub, who, data):
    answer = put(hub.client(who), data)
    assert answer.json()["complete"], answer.text
    return InputFile("in/data.txt", sha(data), len(data))


@pytest.fixture(params=["folder", "s3"])
def store(request, tmp_path):
    """A content store in a folder and on S3."""
    if request.param == "folder":
        return Blobs((tmp_path / "blobs").as_uri())
    return Blobs(f"{request.getfixturevalue('object_store').url}/store")


@pytest.fixture
def object_store(bucket, monkeypatch):
    """An empty bucket that fsspec opens by its address alone."""
    monkeypatch.setitem(fsspec.config.conf, "s3", bucket.options)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    return bucket


def test_pieces_become_a_file_once_all_are_there(store):
    name, total = sha(DATA), len(DATA)
    with pytest.raises(NotFound):
        store.size(name)
    assert store.put(name, "ada", 0, total, DATA[:500]) == 500
    assert store.put(name, "ada", 0, total, DATA[:500]) == 500, "again"
    assert store.put(name, "ada", 900, total, DATA[900:]) == 500, "a gap is not kept"
    assert store.offset(name, "ada") == 500
    assert store.offset(name, "bob") == 0
    assert store.put(name, "ada", 500, total, DATA[500:]) == total
    assert store.size(name) == total
    assert b"".join(store.read(name)) == DATA
    assert b"".join(store.read(name, 1990)) == DATA[1990:]
    assert b"".join(store.read(name, 5, 9)) == DATA[5:9]
    assert store.offset(name, "ada") == 0, "the pieces are gone"


def test_an_empty_file_is_a_file(store):
    assert store.put(sha(b""), "ada", 0, 0, b"") == 0
    assert store.size(sha(b"")) == 0
    assert b"".join(store.read(sha(b""))) == b""


def test_wrong_bytes_are_dropped(store):
    name = sha(DATA)
    store.put(name, "ada", 0, 20, b"x" * 10)
    with pytest.raises(InvalidInput):
        store.put(name, "ada", 10, 20, b"x" * 10)
    assert store.offset(name, "ada") == 0
    with pytest.raises(NotFound):
        store.size(name)
    with pytest.raises(InvalidInput, match="ends at"):
        store.put(name, "ada", 10, 15, b"x" * 10)
    for wrong in ("../../etc/passwd", f"{name}\n"):
        with pytest.raises(InvalidInput, match="SHA-256"):
            store.put(wrong, "ada", 0, 1, b"x")


def test_a_file_and_its_name_outlive_a_power_cut(tmp_path, monkeypatch):
    store = Blobs((tmp_path / "blobs").as_uri())
    synced = []
    real = os.fsync

    def sync(fd):
        place = Path(f"/proc/self/fd/{fd}").readlink()
        there = (tmp_path / "blobs" / sha(DATA)[:2] / sha(DATA)).exists()
        synced.append(
            (place.name.split(".")[0], place.stat().st_size if place.is_file() else there)
        )
        real(fd)

    monkeypatch.setattr(os, "fsync", sync)
    store.put(sha(DATA), "ada", 0, len(DATA), DATA[:500])
    assert not synced, "a piece may be lost"
    store.put(sha(DATA), "ada", 500, len(DATA), DATA[500:])
    kept = [(sha(DATA), len(DATA)), (sha(DATA)[:2], True), ("blobs", True)]
    first = [(tmp_path.name.split(".")[0], False)]
    assert synced == first + kept, "the store's name, all its bytes, its name, then its corner's"
    synced.clear()
    store.put(sha(DATA), "bob", 0, len(DATA), DATA)
    assert synced == kept, "another call may have made the corner, and not yet kept its name"


def test_a_file_that_cannot_be_synced_is_not_told_as_kept(tmp_path, monkeypatch):
    store = Blobs((tmp_path / "blobs").as_uri())

    def broken(_fd):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", broken)
        with pytest.raises(Unreachable):
            store.put(sha(DATA), "ada", 0, len(DATA), DATA)
    assert not store.has(sha(DATA), len(DATA))
    assert store.put(sha(DATA), "ada", len(DATA), len(DATA), b"") == len(DATA)
    assert store.has(sha(DATA), len(DATA))


def test_a_full_store_says_so(tmp_path, monkeypatch):
    store = Blobs((tmp_path / "blobs").as_uri())

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.fs, "makedirs", full)
    with pytest.raises(StorageFull):
        store.put(sha(DATA), "ada", 0, len(DATA), DATA)


# --- over HTTP


def test_an_upload_goes_on_where_it_stopped(hub):
    ada = hub.client("ada")
    path = f"/api/v1/uploads/{sha(DATA)}"
    assert ada.get(path).json() == {"sha256": sha(DATA), "offset": 0, "complete": False}
    params = {"offset": 0, "size": len(DATA)}
    assert ada.put(path, params=params, content=DATA[:300]).json()["offset"] == 300
    assert ada.get(path).json()["offset"] == 300
    answer = put(ada, DATA, offset=300).json()
    assert answer == {"sha256": sha(DATA), "offset": len(DATA), "complete": True}
    assert put(ada, DATA).json()["complete"], "again"
    assert ada.get(path).json()["complete"]
    assert not hub.client("bob").get(path).json()["complete"], "who knows a digest has no bytes"


def test_no_size_makes_a_file_of_bytes_that_are_not_its_own(hub):
    """Whoever knows the digest of a file of others must not be able to claim it."""
    bring(hub, "ada", DATA)
    bob = hub.client("bob")
    path = f"/api/v1/uploads/{sha(DATA)}"
    bob.put(path, params={"offset": 0, "size": 100}, content=b"x" * 10)
    for size in (0, 5, 10):
        bob.put(path, params={"offset": 0, "size": size}, content=b"")
        bob.put(path, params={"offset": 0, "size": size}, content=b"x" * size)
        assert not bob.get(path).json()["complete"]
    request = hub.ask(inputs=(InputFile("a", sha(DATA), len(DATA)),))
    with pytest.raises(InvalidInput, match="not uploaded by you"):
        hub.submit(request, by="bob")


def test_a_piece_has_its_limit(hub):
    answer = put(hub.client("ada"), b"x" * (PIECE_BYTES + 1))
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "invalid_input"
    assert hub.client("ada").put("/api/v1/uploads/xyz?offset=0&size=1").status_code == 422


def test_a_folder_that_vanishes_while_it_is_made_is_no_fault(hub, monkeypatch):
    """Python's makedirs says FileExistsError when another upload of the file removes the folder
    between its two looks."""
    make, told = hub.blobs.fs.makedirs, []

    def vanishing(path, exist_ok=False):
        if not told:
            told.append(path)
            raise FileExistsError(path)
        make(path, exist_ok)

    monkeypatch.setattr(hub.blobs.fs, "makedirs", vanishing)
    answer = put(hub.client("ada"), DATA)
    assert (answer.status_code, answer.json()["offset"]) == (200, 0)
    assert put(hub.client("ada"), DATA).json()["complete"]


def test_one_person_uploads_a_file_twice_at_once(hub):
    client = [hub.client("ada") for _ in range(6)]
    answers = at_once(6, lambda number: put(client[number], DATA))
    assert {answer.status_code for answer in answers} == {200}, [a.text for a in answers]
    assert put(client[0], DATA).json()["complete"]
    assert b"".join(hub.blobs.read(sha(DATA))) == DATA


# --- inputs and results


def test_inputs_must_have_been_brought_by_who_submits(hub):
    file = bring(hub, "ada", DATA)
    with pytest.raises(InvalidInput, match="not uploaded by you"):
        hub.submit(inputs=(file,), by="bob")
    hub.submit(inputs=(file,))
    hub.step()
    agent = hub.agents["alps"]
    (work,) = agent.lease().work
    path = f"/api/v1/agent/attempts/{work.attempt}/inputs/in/data.txt"
    client = hub.client("alps")
    assert client.get(path).content == DATA
    late = client.get(path, headers={"range": "bytes=1990-"})
    assert (late.status_code, late.content) == (206, DATA[1990:])
    assert late.headers["content-range"] == f"bytes 1990-1999/{len(DATA)}"
    assert client.get(path.replace("data", "date")).status_code == 404
    hub.site("jura", CPU)
    assert hub.client("jura").get(path).status_code == 404, "another site's attempt"


NO_PLACE = (("a", "a/b"), (".",), ("./a",), ("a//b",), ("a/",), ("a/./b",))


@pytest.mark.parametrize("names", NO_PLACE)
def test_inputs_that_no_folder_can_hold_are_refused(sqlite_hub, names):
    """The site would say so after the job was placed, or give the job something else."""
    one = bring(sqlite_hub, "ada", DATA)
    with pytest.raises(InvalidInput) as raised:
        sqlite_hub.submit(inputs=tuple(InputFile(name, one.sha256, one.size) for name in names))
    assert raised.value.facts["field"] == "input"


def test_two_inputs_of_one_name_are_the_same_file(sqlite_hub):
    one, other = bring(sqlite_hub, "ada", DATA), bring(sqlite_hub, "ada", DATA[1:])
    sqlite_hub.submit(inputs=(one, one))
    with pytest.raises(InvalidInput, match=r"two inputs are called 'in/data\.txt'"):
        sqlite_hub.submit(inputs=(one, other))


@pytest.mark.parametrize("name", ["two\nlines", "end\n", "#q?x=1&y \\.txt", "\t"])
def test_a_file_may_have_any_name(sqlite_hub, name):
    file = bring(sqlite_hub, "ada", DATA)
    job = sqlite_hub.submit(
        inputs=(InputFile(name, file.sha256, file.size),), output_files=("out/*",)
    )
    sqlite_hub.step()
    agent = sqlite_hub.agents["alps"]
    (work,) = agent.lease().work
    path = f"/api/v1/agent/attempts/{work.attempt}/inputs/{quote(name)}"
    assert sqlite_hub.client("alps").get(path).content == DATA
    agent.report(agent.ended(work, results_follow=True))
    put(sqlite_hub.client("alps"), DATA)
    assert results(sqlite_hub, "alps", work, DATA, name=f"out/{name}").status_code == 200
    path = f"/api/v1/jobs/{job}/files/out/{quote(name)}"
    assert sqlite_hub.client("ada").get(path).content == DATA


@pytest.fixture
def ended(hub):
    job = hub.submit(output_files=("out/*",))
    hub.step()
    agent = hub.agents["alps"]
    (work,) = agent.lease().work
    agent.report(agent.ended(work, results_follow=True))
    assert hub.detail(job).results == "pending"
    return job, work


def results(hub, site, work, data, name="out/model.bin"):
    body = {
        "attempt": work.attempt,
        "epoch": work.epoch,
        "state": "complete",
        "files": [{"name": name, "sha256": sha(data), "size": len(data)}],
    }
    return hub.client(site).post("/api/v1/agent/results", json=body)


def test_results_come_back_to_the_project(hub, ended):
    job, work = ended
    put(hub.client("alps"), DATA)
    assert results(hub, "alps", work, DATA).status_code == 200
    assert results(hub, "alps", work, DATA).status_code == 200, "again"
    assert hub.detail(job).results == "complete"
    assert [file.name for file in hub.detail(job).files] == ["out/model.bin"]
    path = f"/api/v1/jobs/{job}/files/out/model.bin"
    for name in ("ada", "bob", "root"):
        assert hub.client(name).get(path).content == DATA
    assert hub.client("ada").get(path.replace("bin", "txt")).status_code == 404
    hub.person("eve")
    assert hub.client("eve").get(path).status_code == 404


@pytest.fixture
def kept(hub, ended):
    """The address of a result."""
    job, work = ended
    put(hub.client("alps"), DATA)
    results(hub, "alps", work, DATA)
    return f"/api/v1/jobs/{job}/files/out/model.bin"


WHOLE = (200, 0, 2000)
RANGES = {
    "bytes=0-": (206, 0, 2000),
    "bytes=1-": (206, 1, 2000),
    "Bytes=0-9": (206, 0, 10),
    "bytes= 5-5 ": (206, 5, 6),
    "bytes=1990-99999999999999999999": (206, 1990, 2000),
    "bytes=-5": (206, 1995, 2000),
    "bytes=-3000": (206, 0, 2000),
    "bytes=2000-": (416, 0, 0),
    "bytes=-0": (416, 0, 0),
    f"bytes={'9' * 5000}-": (416, 0, 0),
    "bytes=0-1,3-4": WHOLE,
    "bytes=9-8": WHOLE,
    "bytes=-": WHOLE,
    "bytes=\u00b2-": WHOLE,
    "lines=1-": WHOLE,
}


def test_a_part_of_a_result_is_read(hub, kept):
    for wanted, (status, start, end) in RANGES.items():
        answer = hub.client("ada").get(kept, headers={"range": wanted.encode("latin-1")})
        assert answer.status_code == status, wanted
        if status == 416:
            assert answer.headers["content-range"] == "bytes */2000"
            assert answer.json()["error"]["facts"] == {"field": "range"}
            continue
        assert answer.content == DATA[start:end]
        assert answer.headers["content-length"] == str(end - start)
        assert answer.headers["etag"] == f'"{sha(DATA)}"'
        assert answer.headers["content-disposition"] == "attachment"
        told = f"bytes {start}-{end - 1}/2000" if status == 206 else None
        assert answer.headers.get("content-range") == told


def test_a_result_is_sent_in_part_or_not_at_all_only_where_it_is_the_same(hub, kept):
    tag, other = f'"{sha(DATA)}"', '"another"'
    date = "Mon, 30 Nov 2026 00:00:00 GMT"
    for if_range, status in ((tag, 206), (other, 200), (f"W/{tag}", 200), (date, 200)):
        headers = {"range": "bytes=9-", "if-range": if_range}
        assert hub.client("ada").get(kept, headers=headers).status_code == status, if_range
    for seen, status in ((tag, 304), (f"{other}, W/{tag}", 304), ("*", 304), (other, 200)):
        answer = hub.client("ada").get(kept, headers={"if-none-match": seen})
        assert (answer.status_code, answer.headers["etag"]) == (status, tag)
        assert answer.content == (b"" if status == 304 else DATA)


def test_a_head_tells_of_a_result_without_its_bytes(hub, kept):
    whole = hub.client("ada").get(kept)
    head = hub.client("ada").head(kept, headers={"range": "bytes=1-2"})
    assert (head.status_code, head.content) == (200, b"")
    assert dict(head.headers) == dict(whole.headers)
    hub.person("eve")
    assert hub.client("eve").head(kept).status_code == 404
    assert hub.client().head(kept).status_code == 401


def gone(*_args, **_kwargs):
    raise RuntimeError("of a kind of its own")


def test_a_store_that_is_gone_is_told_as_that(hub, kept, monkeypatch):
    """Whatever kind of error it has: 503, and the same call may be made again."""
    ada, other = hub.client("ada"), b"of another file"
    for name in ("ls", "size", "makedirs", "open"):
        with monkeypatch.context() as patch:
            patch.setattr(hub.blobs.fs, name, gone)
            answers = [put(ada, other)]
            answers += [ada.get(f"/api/v1/uploads/{sha(other)}")] if name == "ls" else []
            answers += [ada.get(kept)] if name == "size" else []
        for answer in answers:
            assert answer.status_code == 503, (name, answer.text)
            error = answer.json()["error"]
            assert (error["code"], error["retry"]) == ("unreachable", True)
    assert put(ada, other).json()["complete"], "nothing was lost by it"


def test_a_store_that_goes_in_the_middle_cuts_the_answer_short(hub, kept, monkeypatch):
    """One line in the log, and no traceback."""
    with monkeypatch.context() as patch, structlog.testing.capture_logs() as lines:
        patch.setattr(hub.blobs.fs, "open", gone)
        client = hub.client("ada")
        client._transport.raise_server_exceptions = True
        assert client.get(kept).content == b""
    cut = [line for line in lines if line["event"] == "answer.cut"]
    assert [(line["path"], line["code"]) for line in cut] == [(kept, "unreachable")]


def test_a_result_that_the_store_has_lost_is_a_clear_no(hub, ended):
    """Not an answer that is cut short."""
    job, work = ended
    put(hub.client("alps"), DATA)
    results(hub, "alps", work, DATA)
    blobs = hub.app.state.blobs
    at = f"/api/v1/jobs/{job}/files/out/model.bin"
    with blobs.fs.open(f"{blobs.root}/{sha(DATA)[:2]}/{sha(DATA)}", "wb") as file:
        file.write(DATA[:900])
    answer = hub.client("ada").get(at)
    assert (answer.status_code, "900 of 2000 bytes" in answer.text) == (404, True)
    blobs.remove(sha(DATA))
    answer = hub.client("ada").get(at)
    assert (answer.status_code, "has no file" in answer.text) == (404, True)


def test_an_agent_shows_only_files_that_it_brought(hub, ended):
    """Else an agent could hand its users any file whose digest it knows."""
    job, work = ended
    bring(hub, "ada", DATA)
    answer = results(hub, "alps", work, DATA)
    assert answer.status_code == 422
    assert hub.detail(job).files == []
    hub.site("jura", CPU)
    put(hub.client("jura"), DATA)
    assert results(hub, "jura", work, DATA).status_code == 404
    assert hub.detail(job).results == "pending"


def test_a_result_has_a_name_below_the_jobs_folder(hub, ended):
    _, work = ended
    put(hub.client("alps"), DATA)
    for name in ("../up", "/etc/passwd", "a/../../b", "", "nul\0"):
        assert results(hub, "alps", work, DATA, name).status_code == 422, name


def test_files_travel_by_way_of_s3(sqlite_hub_url, tmp_path, object_store):
    hub = facility.make(sqlite_hub_url, tmp_path, blobs_url=f"{object_store.url}/blobs")
    agent = hub.site("alps", CPU)
    hub.award("lab")
    file = bring(hub, "ada", DATA)
    job = hub.submit(inputs=(file,), output_files=("out/*",))
    hub.step()
    (work,) = agent.lease().work
    path = f"/api/v1/agent/attempts/{work.attempt}/inputs/in/data.txt"
    assert hub.client("alps").get(path, headers={"range": "bytes=40-"}).content == DATA[40:]
    agent.report(agent.ended(work, results_follow=True))
    put(hub.client("alps"), DATA[::-1])
    results(hub, "alps", work, DATA[::-1])
    assert hub.client("ada").get(f"/api/v1/jobs/{job}/files/out/model.bin").content == DATA[::-1]
    hub.close()
