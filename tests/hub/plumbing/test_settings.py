"""Settings of a hub: paths mean the same at the next start, and what is wrong is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from meyrin.domain.errors import InvalidInput
from meyrin.hub.plumbing.blobs import Blobs
from meyrin.hub.plumbing.settings import load


def test_paths_are_relative_to_the_file_that_says_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, other = tmp_path / "hub", tmp_path / "other"
    hub.mkdir()
    other.mkdir()
    (hub / "hub.toml").write_text(
        'blobs_url = "store"\nmodes_dir = "modes"\ndb_url = "sqlite:///own.sqlite"\n'
    )
    found = []
    for here, said in ((tmp_path, "hub"), (other, "../hub")):
        monkeypatch.chdir(here)
        each = load(Path(said), {})
        found.append(tuple(Path(p).resolve() for p in (each.blobs_url, each.modes_dir)))
        assert Path(each.db_url.removeprefix("sqlite:///")).resolve() == hub / "own.sqlite"
    assert set(found) == {(hub / "store", hub / "modes")}
    assert load(hub, {"MEYRIN_HUB_BLOBS_URL": "mine"}).blobs_url == str(other / "mine")
    for kept in ("s3://bucket", "memory://x"):
        assert load(hub, {"MEYRIN_HUB_BLOBS_URL": kept}).blobs_url == kept
    for kept in ("sqlite:///:memory:", "postgresql+psycopg://h/db"):
        assert load(hub, {}, db_url=kept).db_url == kept


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('host = ""', "host"),
        ("port = 99999", "port"),
        ("port = -3", "port"),
        ("port = [1]", "port"),
        ("upload_gib = {}", "upload_gib"),
        ("port = true", "port"),
        ("port = inf", "port"),
        ('port = "many"', "port"),
        ("unused_days = 30.9", "unused_days"),
        ("db_url = ['x']", "db_url"),
        ("host = 5", "host"),
        ("public_url = false", "public_url"),
        ("lease_s = 0", "lease_s"),
        ("output_limit_bytes = -1", "output_limit_bytes"),
        ("starter_hours = 0", "starter_hours"),
        ("starter_days = 0", "starter_days"),
        ("leaver_grace_s = -1", "leaver_grace_s"),
        ("openid_session_hours = 0", "openid_session_hours"),
        ('public_url = "http://[::1"', "public_url"),
        ('public_url = "hub.example"', "public_url"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "hub.toml").write_text(text)
    with pytest.raises(InvalidInput) as wrong:
        load(tmp_path, {})
    assert wrong.value.facts["field"] == named


def test_a_number_may_be_written_as_a_text(tmp_path: Path) -> None:
    """As the environment has it."""
    (tmp_path / "hub.toml").write_text('port = "80"\n')
    found = load(tmp_path, {"MEYRIN_HUB_LEAVER_GRACE_S": "0", "MEYRIN_HUB_HOST": "5"})
    assert (found.port, found.leaver_grace_s, found.host) == (80, 0, "5")


def test_a_file_that_is_no_text_and_a_store_of_no_kind_are_refused(tmp_path: Path) -> None:
    (tmp_path / "hub.toml").write_bytes(b"host = '\xff'")
    with pytest.raises(InvalidInput, match="no TOML"):
        load(tmp_path, {})
    with pytest.raises(InvalidInput, match="blobs_url"):
        Blobs("nosuch://x")
