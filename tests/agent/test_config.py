"""The agent's settings, its credential and its lock: what is wrong is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from meyrin.agent import config
from meyrin.agent.lock import hold_lock
from meyrin.agent.main import batch_system
from meyrin.domain.errors import Conflict, InvalidInput

GOOD = """
hub = "https://hub.example"
credential_file = "credential"
dir = "state"

[rules]
max_walltime_s = 3600
allowed_projects = ["lab"]

[[partition]]
name = "cpu"
nodes = 1
cores_per_node = 8
memory_mb_per_node = 32000
"""


@pytest.fixture
def load(tmp_path):
    def write(text):
        path = tmp_path / "agent.toml"
        path.write_text(text, encoding="utf-8")
        return config.load(path)

    return write


def test_settings_are_read_relative_to_their_file(load, tmp_path):
    found = load(GOOD)
    assert found.dir == tmp_path / "state"
    assert found.credential_file == tmp_path / "credential"
    assert (found.batch, found.share_files, found.grace_s) == ("local", False, 30)
    assert (found.rules.max_walltime_s, found.rules.allowed_projects) == (3600, ("lab",))
    assert found.partition[0].cores_per_node == 8
    assert load(GOOD.replace('"state"', '"/var/lib/x"')).dir.as_posix() == "/var/lib/x"
    assert load(GOOD.replace('"state"', '"~/x"')).dir == Path.home() / "x"


def test_partitions_may_be_named_as_slurm_spells_them(load):
    offer = '[[offer]]\npartition = "GPU-shared"\nowners = { uni = 1 }\n'
    how = '[slurm.partitions.GPU-shared]\npartition = "GPU-shared"\n'
    shown = GOOD.replace("[rules]", '[rules]\npartitions_shown = ["GPU-shared"]')
    found = load(f"{shown}\n{offer}\n{how}")
    assert found.rules.partitions_shown == (found.offer[0].partition,) == ("gpu-shared",)
    assert found.slurm.partitions["gpu-shared"].partition == "GPU-shared"


@pytest.mark.parametrize(
    ("more", "field"),
    [
        (
            '[slurm.partitions]\nGPU = {partition = "a"}\ngpu = {partition = "b"}',
            "slurm.partitions",
        ),
        ('[limits.tres]\nGPU = "gres/a"\ngpu = "gres/b"', "limits.tres"),
    ],
)
def test_one_name_in_two_spellings_is_refused_with_both(load, more, field):
    with pytest.raises(InvalidInput, match=f"{field}.*GPU and gpu are one name"):
        load(f"{GOOD}\n{more}\n")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('hub = "https://hub.example"', "", "hub"),
        ("hub =", "hubb =", "hub"),
        ("[rules]", "[rules]\nmax_nodes = 3", "rules.max_nodes"),
        ("3600", '"long"', "rules.max_walltime_s"),
        ("[rules]", "grace_s = -1\n[rules]", "grace_s"),
        ("nodes = 1", "nodes = 0", "nodes is 0"),
        ("nodes = 1", "nods = 1", "partition.0"),
        ('"cpu"', '"CPU !"', "CPU !"),
        ("[[partition]]", "[[partition", "no TOML"),
        ("https://hub.example", "http://[::1", "line 2: hub is 'http://[::1', which is no address"),
        ("https://hub.example", "-", "line 2: hub is '-', which is no address"),
        ('"state"', '"~nobody-of-that-name/x"', "home folder that is not known"),
    ],
)
def test_what_is_wrong_in_the_settings_is_named(load, old, new, words):
    assert old in GOOD
    with pytest.raises(InvalidInput) as wrong:
        load(GOOD.replace(old, new, 1))
    assert words in wrong.value.message


def test_settings_that_are_not_there(tmp_path):
    with pytest.raises(InvalidInput, match=r"none\.toml can't be read"):
        config.load(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b'hub = "caf\xe9"')
    with pytest.raises(InvalidInput, match="no TOML"):
        config.load(tmp_path / "latin.toml")


def test_the_credential_is_for_its_owner_only(load, tmp_path):
    found = load(GOOD)
    path = tmp_path / "credential"
    with pytest.raises(InvalidInput, match="can't be read") as missing:
        _ = found.credential
    assert "site token" in missing.value.hint
    path.write_text("myr_secret\n")
    for mode in (0o644, 0o640, 0o604, 0o660):
        path.chmod(mode)
        with pytest.raises(InvalidInput, match="read by others") as open_to_all:
            _ = found.credential
        assert "chmod 600" in open_to_all.value.hint
        assert "myr_secret" not in str(open_to_all.value)
    path.chmod(0o600)
    assert found.credential == "myr_secret"
    assert "myr_secret" not in repr(found)
    path.write_text("\n")
    with pytest.raises(InvalidInput, match="empty"):
        _ = found.credential
    path.unlink()
    path.mkdir(mode=0o700)
    with pytest.raises(InvalidInput, match="can't be read"):
        _ = found.credential


def test_only_batch_systems_that_there_are(load):
    with pytest.raises(InvalidInput, match="no batch system 'pbs'"):
        batch_system(load(GOOD.replace("[rules]", 'batch = "pbs"\n[rules]')))
    with pytest.raises(InvalidInput, match="nothing to give"):
        batch_system(load(GOOD.partition("[[partition]]")[0]))
    assert batch_system(load(GOOD)).partitions()[0].name == "cpu"


def test_one_agent_at_a_time_in_a_folder(tmp_path):
    path = tmp_path / "agent.lock"
    held = hold_lock(path, "an agent", tmp_path)
    import os

    with pytest.raises(Conflict, match=rf"process {os.getpid()}\) works in"):
        hold_lock(path, "an agent", tmp_path)
    held.close()
    hold_lock(path, "an agent", tmp_path).close()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("until = 0203-01-01", "1970-01-01"),
        ("until = 9999-12-31", "9998-12-31"),
        ("start = 1969-12-31", "1970-01-01"),
    ],
)
def test_an_offer_of_days_that_the_hub_can_not_be_told_is_refused_before_it_is_said(
    load, line, words
):
    """Else the settings are taken, and the agent ends as it tells of them."""
    offer = f'[[offer]]\npartition = "cpu"\nowners = {{ lab = 1 }}\n{line}\n'
    with pytest.raises(InvalidInput, match=words):
        load(GOOD + offer)


def test_an_offer_of_more_owners_than_the_hub_takes_is_refused(load):
    owners = ", ".join(f"o{number} = 1" for number in range(201))
    with pytest.raises(InvalidInput, match="at most 200"):
        load(GOOD + f'[[offer]]\npartition = "cpu"\nowners = {{ {owners} }}\n')
