"""A hub's own site: whose credential counts when folders share a database."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.hub.facility import Facility

from meyrin.cli.machine import _credential_anew
from meyrin.domain.errors import Conflict, NotFound
from meyrin.hub.identity import service as identity
from meyrin.hub.plumbing.authz import Actor
from meyrin.hub.sites import service as sites

ROOT = Actor(person="root", name="root", admin=True)


def anew(hub: Facility, kept: Path) -> str | None:
    with hub.write() as step:
        return _credential_anew(step, ROOT, "alps", kept)


def counts(hub: Facility, secret: str) -> bool:
    with hub.read() as step:
        return identity.counts(step, secret, identity.AGENT_KINDS)


def test_a_credential_that_counts_is_kept(sqlite_hub: Facility, tmp_path: Path) -> None:
    kept = tmp_path / "credential"
    kept.write_text(sqlite_hub.agents["alps"].secret + "\n")
    assert anew(sqlite_hub, kept) is None
    kept.rename(kept.with_name("credential.next"))  # a renewal that a crash broke off
    assert anew(sqlite_hub, kept) is None


def test_a_site_that_another_folder_serves_is_left_to_it(
    sqlite_hub: Facility, tmp_path: Path
) -> None:
    with pytest.raises(Conflict, match="served from another folder") as no:
        anew(sqlite_hub, tmp_path / "credential")
    assert "--no-local-site" in no.value.hint
    assert counts(sqlite_hub, sqlite_hub.agents["alps"].secret)


def test_a_folder_whose_credential_was_replaced_gets_another(
    sqlite_hub: Facility, tmp_path: Path
) -> None:
    kept = tmp_path / "credential"
    kept.write_text(sqlite_hub.agents["alps"].secret + "\n")
    sqlite_hub.clock.pass_s(61)
    other = anew(sqlite_hub, tmp_path / "other")
    assert other is not None
    assert counts(sqlite_hub, other)
    assert not counts(sqlite_hub, kept.read_text().strip())
    back = anew(sqlite_hub, kept)
    assert back is not None
    assert counts(sqlite_hub, back)


def test_what_an_operator_revoked_stays_so(
    sqlite_hub: Facility, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "credential"
    kept.write_text(sqlite_hub.agents["alps"].secret + "\n")
    with sqlite_hub.write() as step:
        sites.revoke(step, ROOT, "alps")
    sqlite_hub.clock.pass_s(61)
    assert anew(sqlite_hub, kept) is None
    assert "was revoked" in capsys.readouterr().err


def test_a_site_that_nobody_enrolled(sqlite_hub: Facility, tmp_path: Path) -> None:
    with pytest.raises(NotFound), sqlite_hub.write() as step:
        _credential_anew(step, ROOT, "nowhere", tmp_path / "credential")
