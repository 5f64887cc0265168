"""`meyrin agent join` against doubles: what it proposes, every way it says no, and going on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.client.fakehub import FakeHub

from meyrin.agent import config as settings
from meyrin.agent.credential import digest_of
from meyrin.cli.main import run
from meyrin.cli.session import Session
from meyrin.domain.errors import InvalidInput, NotLoggedIn

Capture = pytest.CaptureFixture[str]
Join = Callable[..., int]
SECRET = "myr_" + "e" * 43

NO = "Batch job submission failed: Invalid account or account/partition combination specified"

CONFIG = """\
ClusterName             = alpha
SLURM_VERSION           = 23.11.4
AccountingStorageType   = accounting_storage/slurmdbd
KillWait                = 30 sec
MessageTimeout          = 10 sec
MinJobAge               = 300 sec
"""
PARTITIONS = """\
PartitionName=short Default=NO MaxTime=00:10:00 State=UP TotalNodes=2 MaxNodes=UNLIMITED
PartitionName=gpu Default=YES MaxTime=1-00:00:00 State=UP TotalNodes=2 MaxNodes=UNLIMITED
PartitionName=cpu Default=NO MaxTime=1-00:00:00 State=UP TotalNodes=1 MaxNodes=UNLIMITED
"""
NODES = """\
NodeName=n1 CPUTot=32 RealMemory=64000 Gres=gpu:h100:4 State=IDLE Partitions=gpu,short
NodeName=n2 CPUTot=32 RealMemory=64000 Gres=gpu:h100:4 State=IDLE Partitions=gpu,short
NodeName=n3 CPUTot=64 RealMemory=128000 State=IDLE Partitions=cpu
"""


@pytest.fixture
def slurm(tmp_path: Path) -> Path:
    """A folder with Slurm's commands, which print what the files beside them hold."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (
        ("config", CONFIG),
        ("partition", PARTITIONS),
        ("node", NODES),
        ("assoc", "astro||normal|normal||20||||\nbio||normal|||||\n"),
        ("qos", "normal|0|||||\n"),
    ):
        (folder / f"{name}.txt").write_text(text)
    here = f'cat "{folder}/$1.txt"'
    programs = {
        "sbatch": f"echo 'sbatch: error: {NO}' >&2; exit 1\n",
        "squeue": "exit 0\n",
        "sacct": "exit 0\n",
        "scontrol": f'for last; do :; done; set -- "$last"; {here}\n',
        "sacctmgr": f'case "$*" in *assoc*) set -- assoc;; *) set -- qos;; esac; {here}\n',
    }
    for name, text in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}")
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture
def at(tmp_path: Path) -> Path:
    return tmp_path / "site"


@pytest.fixture
def join(url: str, at: Path, slurm: Path) -> Join:
    """`join()` returns the exit code; nothing is started. `ahead_s` is our clock's mistake."""

    def call(*more: str, ahead_s: float = 0, enrolment: str = SECRET, hub: str = url) -> int:
        environ = {"MEYRIN_ENROLMENT": enrolment, "PATH": os.environ["PATH"]}
        session = Session(
            environ=environ, clock=lambda: time.time() + ahead_s, pause=lambda _: None
        )
        where = ("--hub", hub, "--dir", str(at), "--slurm-bin", str(slurm))
        words = ("agent", "join", "alps", *where, "--yes", "--no-start", *more)
        return run(words, session)

    return call


def joins(hub: FakeHub) -> int:
    return sum(call == "POST /agent/join" for call in hub.calls)


def test_it_proposes_settings_that_can_be_read(join: Join, at: Path, capsys: Capture) -> None:
    assert join("--wait", "1") == 1  # this Slurm takes no job
    said = capsys.readouterr().err
    assert "Slurm 23.11.4, cluster alpha" in said
    assert "accounts: astro, bio" in said
    assert "[4/6] Checked" in said
    assert "the test job failed" in said
    assert NO in said
    found = settings.load(at / "agent.toml")
    assert (found.batch, found.grace_s) == ("slurm", 30)
    assert found.rules.partitions_shown == ("gpu", "short", "cpu")
    # the nodes of `short` are those of `gpu`: each node is offered once
    assert [one.partition for one in found.offer] == ["gpu", "cpu"]
    text = (at / "agent.toml").read_text()
    assert "short has nodes of gpu" in text
    assert "# account astro; QoS normal" in text
    for path in (at / "agent.toml", at / "credential"):
        assert path.stat().st_mode & 0o777 == 0o600
    assert len((at / "credential").read_text().strip()) == 47
    assert SECRET not in text + said


def test_without_slurm(join: Join, hub: FakeHub, slurm: Path, at: Path, capsys: Capture) -> None:
    (slurm / "sbatch").unlink()
    assert join() == 5
    said = capsys.readouterr().err
    assert "no Slurm is found here" in said
    assert "--local" in said
    assert hub.calls == []
    assert not (at / "credential").exists()


def test_a_controller_that_is_away(join: Join, hub: FakeHub, slurm: Path, capsys: Capture) -> None:
    text = (
        "#!/bin/sh\necho 'slurm_load_partitions: Unable to contact slurm controller' >&2; exit 1\n"
    )
    (slurm / "scontrol").write_text(text)
    assert join() == 6
    said = capsys.readouterr().err
    assert "controller does not answer" in said
    assert "Unable to contact slurm controller" in said
    assert "enrolment is still good" in said
    assert hub.calls == []


def test_a_user_without_an_account(join: Join, hub: FakeHub, slurm: Path, capsys: Capture) -> None:
    (slurm / "assoc.txt").write_text("")
    assert join() == 3
    said = capsys.readouterr().err
    assert "has no account at cluster alpha" in said
    assert "sacctmgr add user" in said
    assert hub.calls == []


def test_a_hub_that_is_away(join: Join, at: Path, capsys: Capture) -> None:
    assert join(hub="http://127.0.0.1:9") == 6
    said = capsys.readouterr().err
    assert "no hub answers at http://127.0.0.1:9" in said
    assert "can this machine reach http://127.0.0.1:9?" in said
    assert not (at / "credential").exists()


@pytest.mark.parametrize("ahead_s", [400, -400])
def test_clocks_apart(join: Join, hub: FakeHub, ahead_s: int, capsys: Capture) -> None:
    assert join(ahead_s=ahead_s) == 1
    said = capsys.readouterr().err
    assert ("s ahead of" if ahead_s > 0 else "s behind") in said
    assert "NTP" in said
    assert joins(hub) == 0


def test_clocks_a_little_apart_are_said(join: Join, capsys: Capture) -> None:
    join("--wait", "1", ahead_s=100)
    said = capsys.readouterr().err
    assert "note: this machine's clock is" in said
    assert "[4/6] Checked" in said


def test_no_enrolment(join: Join, hub: FakeHub, capsys: Capture) -> None:
    assert join(enrolment="") == 2
    said = capsys.readouterr().err
    assert "MEYRIN_ENROLMENT is not set" in said
    assert "Slurm" not in said, "it is looked for before anything is"
    assert joins(hub) == 0


@pytest.mark.parametrize("why", ["was used already", "has expired", "was withdrawn"])
def test_an_enrolment_that_does_not_count(
    join: Join, hub: FakeHub, why: str, capsys: Capture
) -> None:
    no = NotLoggedIn(f"this enrolment token {why}", hint="`meyrin site enrol NAME` again")
    hub.fail("POST /agent/join", no)
    assert join() == 4
    said = capsys.readouterr().err
    assert f"this enrolment token {why}" in said
    assert "meyrin site enrol" in said


def test_a_lost_answer_is_asked_for_again_with_the_same_secret(
    join: Join, hub: FakeHub, at: Path
) -> None:
    hub.fail("POST /agent/join", "drop", times=20)
    assert join() == 6
    first = (at / "credential").read_text()
    hub.faults.clear()
    hub.fail("GET /agent/self", NotLoggedIn("this token is not known here"))
    join("--wait", "1")
    assert (at / "credential").read_text() == first


def test_a_revoked_agent_joins_again_with_a_new_secret(
    join: Join, hub: FakeHub, at: Path, capsys: Capture
) -> None:
    join("--wait", "1")
    first = (at / "credential").read_text()
    hub.fail("GET /agent/self", NotLoggedIn("this token was revoked"))
    assert join(enrolment="") == 4
    assert "--again" in capsys.readouterr().err
    hub.fail("GET /agent/self", NotLoggedIn("this token was revoked"))
    hub.fail("POST /agent/join", InvalidInput("this digest was used before"))
    join("--wait", "1")
    assert digest_of((at / "credential").read_text().strip()) != digest_of(first.strip())


def test_what_the_operator_wrote_is_kept_and_checked(
    join: Join, at: Path, hub: FakeHub, capsys: Capture
) -> None:
    join("--wait", "1")
    text = (at / "agent.toml").read_text()
    for old, new, words in (
        ('partition = "gpu"', 'partition = "gpv"', "there is no partition gpv"),
        ('["gpu", "short", "cpu"]', '["gpu", "cpx"]', "there is no partition cpx"),
        ('["gpu", "short", "cpu"]', "[]", "no job can come"),
        ("# default_account = ", "default_account = 'x' # ", "has no account x"),
        ("\n[rules]", "\n[rules]\nnodes = 1", "rules.nodes"),
        ("\n[rules]", '\n[rules]\nquiet_hours = ["now"]', "no quiet hours"),
        ("\n[rules]", '\n[rules]\nveto = "none"', "can't be started"),
        ("owners = { alps = 1 }", 'owners = { "Die Uni" = 1 }', "can't be called 'Die Uni'"),
        ("owners = { alps = 1 }", "owners = { alps = 0 }", "the weight of alps is 0"),
        ("# until = 2030-01-01", "until = 2020-01-01\nstart = 2021-01-01", "ends before it begins"),
    ):
        assert old in text, old
        (at / "agent.toml").write_text(text.replace(old, new, 1))
        assert join() != 0
        said = capsys.readouterr().err
        assert "Settings as you left them" in said
        assert words in said
        assert "is not right yet" in said
    assert joins(hub) == 1  # the enrolment was used once
    (at / "agent.toml").write_text(text)
    assert run(["agent", "--config", str(at / "agent.toml"), "--check"], Session()) == 0
    said = capsys.readouterr().err
    assert "agent.toml is good" in said
    assert "nothing of alps is lent yet" in said


def test_check_says_what_is_wrong(join: Join, at: Path, capsys: Capture) -> None:
    join("--wait", "1")
    path = at / "agent.toml"
    path.write_text(path.read_text().replace('partition = "gpu"', 'partition = "gpv"', 1))
    capsys.readouterr()
    assert run(["agent", "--config", str(path), "--check"], Session()) == 1
    said = capsys.readouterr().err
    assert "wrong: [[offer]]: there is no partition gpv" in said
    assert "there are: cpu, gpu, short" in said


def test_without_a_terminal_and_without_yes(url: str, capsys: Capture) -> None:
    assert run(["agent", "join", "alps", "--hub", url, "--local"], Session()) == 2
    assert "--yes" in capsys.readouterr().err


def test_agent_needs_a_config_or_join(capsys: Capture) -> None:
    assert run(["agent"], Session()) == 2
    assert "meyrin agent join" in capsys.readouterr().err
