"""One hub works on a file of SQLite, and none overwrites the log-in of another."""

from __future__ import annotations

import pwd
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from meyrin.cli import here
from meyrin.cli.machine import Machine, _hold_file
from meyrin.client.place import CLIENT_FILE, locked, read_kept, save
from meyrin.domain.errors import Conflict
from meyrin.hub.identity import service as identity
from meyrin.hub.plumbing.bell import Bell
from meyrin.hub.plumbing.database import Database
from meyrin.hub.plumbing.settings import HubSettings

THIS = "https://this.example.org"
OPENID = {"issuer": "https://idp.example.org", "client_id": "c", "scopes": "openid",
          "refresh_token": "shown once", "expires_ms": 1}  # fmt: skip


def opened(file: Path) -> Database:
    return Database(f"sqlite:///{file}", clock_ms=lambda: 0, entropy=bytes, bell=Bell())


def test_a_second_hub_on_the_same_file_under_another_name(tmp_path: Path) -> None:
    file, link = tmp_path / "hub.sqlite", tmp_path / "elsewhere" / "link.sqlite"
    file.touch()
    link.parent.mkdir()
    link.symlink_to(file)
    (first,) = _hold_file(opened(file))
    with pytest.raises(Conflict, match=r"hub\.sqlite already"):
        _hold_file(opened(link))
    first.close()


@contextmanager
def hub(folder: Path, public_url: str = "", issuer: str = "") -> Iterator[Machine]:
    told = HubSettings(dir=folder, port=0, public_url=public_url, openid_issuer=issuer)
    machine = Machine(told)
    try:
        yield machine
    finally:
        machine.stop()


@pytest.mark.parametrize("url", ["https://hub.example.org", "http://10.1.2.3:8642"])
def test_the_log_in_of_another_hub_is_not_overwritten(tmp_path: Path, url: str) -> None:
    file = tmp_path / CLIENT_FILE
    save(file, url, "precious", OPENID if url.startswith("https:") else None)
    before = file.read_bytes()
    with hub(tmp_path) as machine, pytest.raises(Conflict, match="keeps the log-in of") as no:
        machine.start()
    assert "--dir" in no.value.hint
    assert file.read_bytes() == before


def test_a_token_for_another_hub_on_this_machine_makes_room_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / CLIENT_FILE, "http://127.0.0.1:9000", "another's")
    with hub(tmp_path) as machine:
        machine.start()
        assert read_kept(tmp_path / CLIENT_FILE).url == machine.url
    assert "kept a token for http://127.0.0.1:9000" in capsys.readouterr().err


def test_a_log_in_at_the_provider_of_this_hub_stays(tmp_path: Path) -> None:
    save(tmp_path / CLIENT_FILE, THIS, "ended", OPENID)
    with hub(tmp_path, THIS, f"{OPENID['issuer']}/") as machine:
        machine.start()
    kept = read_kept(tmp_path / CLIENT_FILE)
    assert (kept.url, kept.token, kept.openid) == (THIS, "ended", OPENID)


@pytest.mark.parametrize("issuer", ["", "https://new.example.org"])
def test_a_log_in_that_this_hub_takes_no_more_makes_room(tmp_path: Path, issuer: str) -> None:
    """Else the owner's command line on their own machine has no token that counts."""
    save(tmp_path / CLIENT_FILE, THIS, "ended", OPENID)
    with hub(tmp_path, THIS, issuer) as machine:
        machine.start()
        kept = read_kept(tmp_path / CLIENT_FILE)
        assert machine._counts(kept.token)
    assert kept.openid is None


def test_a_log_in_that_is_renewed_meanwhile_stays_renewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old refresh token that comes back is taken as stolen, and ends the log-in."""
    path = tmp_path / CLIENT_FILE
    save(path, THIS, "old", OPENID)
    others: list[threading.Thread] = []

    def renew() -> None:
        with locked(path):
            save(path, THIS, "new", {**OPENID, "refresh_token": "rotated"})

    def meanwhile(*args: Any, **more: Any) -> Any:
        others.append(threading.Thread(target=renew))
        others[0].start()
        others[0].join(0.2)
        return bootstrap(*args, **more)

    bootstrap = identity.bootstrap
    with hub(tmp_path, THIS, str(OPENID["issuer"])) as machine:
        monkeypatch.setattr(identity, "bootstrap", meanwhile)
        machine._write_client_file()
        others[0].join()
    kept = read_kept(path)
    assert (kept.token, (kept.openid or {})["refresh_token"]) == ("new", "rotated")


def test_a_file_that_nobody_can_read_and_a_user_without_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container that runs under a number."""

    def nobody(uid: int) -> None:
        raise KeyError(uid)

    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    (tmp_path / CLIENT_FILE).write_text("[]")
    with hub(tmp_path) as machine:
        machine.start()
        assert read_kept(tmp_path / CLIENT_FILE).url == machine.url


def test_a_driver_that_hangs_keeps_no_hub_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tmp_path / "nvidia-smi"
    asked.write_text("#!/bin/sh\nexec sleep 60\n")
    asked.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(here, "ANSWER_S", 0.05)
    assert here._nvidia_type() == "nvidia-gpu"
