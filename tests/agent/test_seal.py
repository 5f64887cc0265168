"""What a run of a suite handed in is signed outside of the job, or not at all, with the reason."""

from __future__ import annotations

import hashlib
import os
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from tests.agent.scripted import StoryHub
from tests.suites.test_facts import RUN, a_sample

from meyrin.agent.config import AgentConfig
from meyrin.agent.journal import Item
from meyrin.agent.results import bring_back, sealing
from meyrin.agent.seal import seal
from meyrin.agent.within import only_in, really
from meyrin.domain.job import InputFile, JobRequest
from meyrin.suites import bundle, handed, job, keys
from meyrin.suites.environment import model_files, weights_digest
from meyrin.suites.facts import Facts
from meyrin.suites.keys import Trusted
from meyrin.suites.verify import verify

WEIGHTS = b"weights"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A job's folder, with its model and what it handed in."""
    made = tmp_path / "work"
    (made / "model").mkdir(parents=True)
    (made / "model" / "weights.bin").write_bytes(WEIGHTS)
    (made / handed.FILE).write_bytes(draft(made / "model"))
    return made


def draft(model: Path, **changed: object) -> bytes:
    prints = replace(RUN.fingerprints, weights=weights_digest(model_files(model)))
    run = replace(RUN, fingerprints=prints, planned=1, site="alps", **changed)
    return bundle.draft(Facts(run, (a_sample(),)), model, {}, b"", bundle.SHARED)


def asked(**changed: object) -> JobRequest:
    brought = InputFile("model/weights.bin", hashlib.sha256(WEIGHTS).hexdigest(), len(WEIGHTS))
    told = {"script": handed.SCRIPT, "inputs": (brought,), "output_files": (handed.FILE,)}
    return JobRequest(**{**told, **changed})


def brought(tmp_path: Path, folder: Path, request: JobRequest) -> tuple[str, bytes]:
    """What came of it: words, and the file's bytes."""
    hub = StoryHub()
    item = Item(hub.add(request), request)
    config = AgentConfig(hub="http://hub", credential_file="c", dir=tmp_path)
    bring_back(hub, item, folder, sealing(config, "alps", item))
    state, files = hub.left[item.work.attempt]
    return state, hub.files[files[0].sha256] if files else b""


def test_it_is_signed_for_its_attempt_with_a_key_that_the_job_never_had(
    tmp_path: Path, folder: Path
) -> None:
    state, raw = brought(tmp_path, folder, asked())
    assert state == "complete"
    public = keys.public_of(keys.read(tmp_path / "site.key"))
    found = verify(raw, [Trusted("alps", "site", public)], folder / "model")
    assert found.word.attempt
    assert found.word.handed_in == hashlib.sha256((folder / handed.FILE).read_bytes()).hexdigest()
    assert found.word.key == bundle.SHARED
    assert not (tmp_path / "evidence").exists() or not list((tmp_path / "evidence").iterdir())


def test_what_is_signed_is_on_disk_before_the_hub_hears_of_it(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signed again after a power cut it would be another file."""
    synced: dict[int, int] = {}

    def fsync(fd: int) -> None:
        synced[os.fstat(fd).st_ino] = os.fstat(fd).st_size

    monkeypatch.setattr(os, "fsync", fsync)
    request = asked()
    item = Item(StoryHub().add(request), request)
    config = AgentConfig(hub="http://hub", credential_file="c", dir=tmp_path)
    target = seal(config, "alps", item, folder / handed.FILE, only_in(folder))
    assert synced[target.stat().st_ino] == target.stat().st_size
    assert {target.parent.stat().st_ino, tmp_path.stat().st_ino} <= synced.keys()


def test_a_gigabyte_is_not_signed_nor_read(tmp_path: Path, folder: Path) -> None:
    with (folder / handed.FILE).open("wb") as file:
        file.truncate(2**30)
    tracemalloc.start()
    try:
        state, raw = brought(tmp_path, folder, asked())
        assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    finally:
        tracemalloc.stop()
    assert raw == b""
    assert "can't be signed: evidence has 256 MiB at most; this would have 1,024" in state


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"environment": (("PYTHONPATH", "mine"),)}, "no variables"),
        ({"arguments": ("x",)}, "no arguments"),
        ({"inputs": ()}, "no model came with the job"),
    ],
)
def test_a_job_that_could_be_something_else_is_not_signed_for(
    tmp_path: Path, folder: Path, changed: dict[str, object], why: str
) -> None:
    state, raw = brought(tmp_path, folder, asked(**changed))
    assert why in state
    assert raw == b""


def test_what_is_about_another_model_or_site_or_signed_already_is_not_signed(
    tmp_path: Path, folder: Path
) -> None:
    path = folder / handed.FILE
    good = path.read_bytes()
    (folder / "other").mkdir()
    (folder / "other" / "weights.bin").write_bytes(b"better")
    for wrong, why in (
        (draft(folder / "other"), "another model"),
        (bundle.seal(good, bytes(32), None), "signatures already"),
        (b"no zip", "can't be signed"),
        (good[:-1], "can't be signed"),
    ):
        path.write_bytes(wrong)
        state, raw = brought(tmp_path, folder, asked())
        assert why in state
        assert raw == b""


@pytest.mark.parametrize("part", [bundle.FACTS, bundle.JOB])
@pytest.mark.parametrize(
    "junk", [b"]", b"{", b"[" * 200_000, b"\xff", b"9" * 10_000, b"null\n" * 2]
)
def test_junk_is_not_signed_and_stops_no_agent(
    tmp_path: Path, folder: Path, part: str, junk: bytes
) -> None:
    """Any job may hand in any bytes, a circle of the parser's included."""
    path = folder / handed.FILE
    path.write_bytes(bundle.zipped({**bundle.unzipped(path.read_bytes()), part: junk + b"\n{}\n"}))
    state, raw = brought(tmp_path, folder, asked())
    assert "can't be signed" in state
    assert raw == b""


@pytest.mark.parametrize("place", ["evidence", "zip", "part", "draft", "model"])
def test_links_of_a_job_lead_the_signing_to_no_other_file(
    tmp_path: Path, folder: Path, place: str
) -> None:
    """The agent's folder may be one that jobs can write to, and the secret one that only it has."""
    really(tmp_path / "evidence")  # as an agent does that starts
    secret, attempt = tmp_path / "etc", "00000000-0000-0000-0000-000000000001"
    secret.mkdir()
    (secret / f"{attempt}.zip").write_bytes(b"secret")
    (secret / handed.FILE).write_bytes((folder / handed.FILE).read_bytes())
    if place != "evidence":
        (tmp_path / "evidence").mkdir()
    at = {
        "evidence": (tmp_path / "evidence", secret),
        "zip": (tmp_path / "evidence" / f"{attempt}.zip", secret / f"{attempt}.zip"),
        "part": (tmp_path / "evidence" / f"{attempt}.zip.new", secret / f"{attempt}.zip"),
        "draft": (folder / handed.FILE, secret / handed.FILE),
        "model": (folder / "model", secret),
    }
    link, target = at[place]
    if link.exists():
        link.rename(tmp_path / "moved")
    link.symlink_to(target)
    state, raw = brought(tmp_path, folder, asked())
    assert (secret / f"{attempt}.zip").read_bytes() == b"secret"
    if place == "part":
        assert state == "complete"
    else:
        assert raw == b""
        assert "link" in state or state == "not found: evidence.zip"


def test_other_jobs_bring_back_a_file_of_that_name_as_it_is(tmp_path: Path, folder: Path) -> None:
    (folder / handed.FILE).write_bytes(b"mine")
    assert brought(tmp_path, folder, asked(script="#!/bin/sh\n")) == ("complete", b"mine")


def test_a_job_tries_the_sites_key_and_says_whether_it_could_read_it(tmp_path: Path) -> None:
    key = tmp_path / "site.key"
    assert job.reach(str(key)) == bundle.APART
    keys.make(key)
    assert job.reach(str(key)) == bundle.SHARED
    assert job.reach(None) == bundle.UNKNOWN
