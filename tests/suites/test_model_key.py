"""The key of a served model: where it may lie, and over what it may go."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from meyrin.domain.errors import InvalidInput, MeyrinError, NotAllowed
from meyrin.suites import job, model_key
from meyrin.suites.handed import ASK

WHERE = "https://models.example.org/v1/name"
SECRET = "a-key-of-9f3c"


def kept(folder: Path, name: str, text: str = f"{SECRET}\n", mode: int = 0o600) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


def test_a_site_keeps_a_key_for_each_server(tmp_path: Path) -> None:
    kept(tmp_path, "models.example.org")
    kept(tmp_path, "models.example.org:8443", "another-key")
    kept(tmp_path, "127.0.0.1:8000", "third-key")
    found = {
        WHERE: SECRET,
        "https://models.example.org:8443/v1/name": "another-key",
        "http://127.0.0.1:8000/v1/name": "third-key",
        "https://elsewhere.org/v1/name": "",
        "https://models.example.org:1/v1/name": "",
        "": "",
    }
    assert {where: model_key.of_site(str(tmp_path), where) for where in found} == found
    assert model_key.of_site(None, WHERE) == ""


def test_a_job_finds_the_key_of_its_site_and_of_no_other_server(tmp_path: Path) -> None:
    kept(tmp_path / "keys", "models.example.org")
    told = {
        "suite": "safety", "brought": False, "address": WHERE, "seed": 1, "samples": 6,
        "shards": 1, "concurrency": 1, "at_once": 1, "plan": None, "model_name": "name",
    }  # fmt: skip
    place = {model_key.PLACE: str(tmp_path / "keys")}
    for address, key in ((WHERE, SECRET), ("https://elsewhere.org/v1/name", ""), ("", "")):
        (tmp_path / ASK).write_text(json.dumps(told | {"address": address}), encoding="utf-8")
        assert job.read_ask(tmp_path, place).model_key == key
        assert job.read_ask(tmp_path, {}).model_key == ""


@pytest.mark.parametrize(
    ("where", "text", "mode", "kind", "says"),
    [
        ("http://models.example.org/v1/name", SECRET, 0o600, InvalidInput, "over https only"),
        (WHERE, SECRET, 0o604, NotAllowed, "everybody on this machine may read"),
        (WHERE, "", 0o600, InvalidInput, "holds no key"),
        (WHERE, f"{SECRET}\n{SECRET}", 0o600, InvalidInput, "holds no key"),
        (WHERE, f"{SECRET} {SECRET}", 0o600, InvalidInput, "holds no key"),
        (WHERE, f"{SECRET}ß", 0o600, InvalidInput, "holds no key"),
        (WHERE, "x" * 5000, 0o600, InvalidInput, "holds no key"),
    ],
)
def test_what_is_no_key_or_lies_open_is_refused(
    tmp_path: Path, where: str, text: str, mode: int, kind: type[MeyrinError], says: str
) -> None:
    with pytest.raises(kind, match=says) as refused:
        model_key.read(kept(tmp_path, "key", text, mode), where)
    assert SECRET not in f"{refused.value} {refused.value.hint}"


def test_no_key_lies_where_the_jail_looks(tmp_path: Path) -> None:
    path = kept(tmp_path / "suite", "key")
    assert model_key.read(path, WHERE) == SECRET
    with pytest.raises(NotAllowed, match="the jail shows the folder"):
        model_key.read(path, WHERE, [tmp_path / "suite"])
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(NotAllowed, match="the jail shows the folder"):
        model_key.read(tmp_path / "link", WHERE, [tmp_path / "suite"])
    with pytest.raises(InvalidInput, match="can't be read"):
        model_key.read(Path(sys.prefix) / "none-such", WHERE)
