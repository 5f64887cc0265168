"""The jail: what a run could try fails, is recorded and harms nothing; an open one is seen."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from tests.components import ROOT

from meyrin.domain.errors import Failed
from meyrin.suites import jail, probe
from meyrin.suites.attempts import ATTEMPTS
from meyrin.suites.jail import Jail
from meyrin.suites.suite import Limits

pytestmark = [pytest.mark.usefixtures("bubblewrap"), pytest.mark.slow]
LIMITS = Limits(memory_mb=400, processes=48, file_mb=8, walltime_s=60)
NOBODY = 65534
AS_NOBODY = """
import json, sys, tempfile
from pathlib import Path
from meyrin.suites import jail, probe
from meyrin.suites.suite import Limits
limits = Limits(memory_mb=400, processes=48, file_mb=8, walltime_s=60)
with tempfile.TemporaryDirectory() as folder:
    out, model = Path(folder, "out"), Path(folder, "model")
    out.mkdir(); model.mkdir()
    with jail.control_groups("meyrin-test-nobody", limits) as groups:
        found = probe.measure(jail.Jail(limits, out, model, groups=groups), jail.check())
print(json.dumps([found.level, list(found.held), list(found.broken)]))
"""


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    out, model = tmp_path / "out", tmp_path / "model"
    out.mkdir()
    model.mkdir()
    (model / "config.json").write_text("{}")
    return out, model


def test_eleven_attempts_to_escape_fail(folders: tuple[Path, Path]) -> None:
    out, model = folders
    with jail.control_groups(f"meyrin-test-{os.getpid()}", LIMITS) as groups:
        found = probe.measure(Jail(LIMITS, out, model, groups=groups), jail.check())
    assert found.broken == ()
    assert found.held == tuple(ATTEMPTS)
    assert len(found.held) == 11
    assert found.level == 2
    assert found.by.startswith("bubblewrap ")
    assert [path.name for path in model.iterdir()] == ["config.json"]
    assert not list(out.iterdir())


def test_an_open_jail_is_seen_as_open(folders: tuple[Path, Path]) -> None:
    out, model = folders
    found = probe.measure(Jail(LIMITS, out, model, kind="open"), "none")
    assert found.level == 0
    assert set(found.broken) >= set(ATTEMPTS) - {"namespace", "dns"}
    assert [path.name for path in model.iterdir()] == ["config.json"]


@pytest.mark.parametrize(
    ("loosened", "attempt"),
    [
        ("--unshare-net", "network"),
        ("--unshare-net", "host_sockets"),
        ("--unshare-pid", "host_processes"),
        ("--disable-userns", "namespace"),
    ],
)
def test_each_loosened_wall_is_seen(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, loosened: str, attempt: str
) -> None:
    out, model = folders
    whole = Jail.command

    def less(self: Jail, argv: list[str]) -> list[str]:
        return [word for word in whole(self, argv) if word != loosened]

    monkeypatch.setattr(Jail, "command", less)
    found = probe.measure(Jail(LIMITS, out, model), "a loosened jail")
    assert attempt in found.broken
    assert found.level < 2 or attempt == "namespace"


def test_a_model_that_may_be_written_is_seen(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, model = folders
    whole = Jail.command

    def less(self: Jail, argv: list[str]) -> list[str]:
        words = whole(self, argv)
        words[words.index(str(model)) - 1] = "--bind"
        return words

    monkeypatch.setattr(Jail, "command", less)
    found = probe.measure(Jail(LIMITS, out, model), "a loosened jail")
    assert "model" in found.broken
    assert found.level == 1


def test_as_an_ordinary_user_too() -> None:
    """With a plain Python, a copy of the sources, and nobody's rights."""
    plain = shutil.which("python3", path="/usr/bin:/bin")
    if os.geteuid() != 0 or plain is None:
        # then the tests above have shown it already, as this very user
        plain, command = sys.executable, []
    else:
        command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    with tempfile.TemporaryDirectory() as folder:
        sources = Path(folder, "src")
        shutil.copytree(ROOT / "src" / "meyrin", sources / "meyrin")
        Path(folder).chmod(0o755)
        done = subprocess.run(
            [*command, plain, "-c", AS_NOBODY],
            env={"PYTHONPATH": str(sources), "PATH": "/usr/bin:/bin"},
            capture_output=True, text=True, check=False, cwd="/",
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    level, held, broken = json.loads(done.stdout)
    assert (level, broken) == (2, [])
    assert len(held) == 11


def test_nothing_of_ours_is_handed_on(folders: tuple[Path, Path]) -> None:
    out, model = folders
    made = Jail(LIMITS, out, model)
    env = {**made.variables()}
    done = subprocess.run(
        made.command(["/bin/sh", "-c", "env; ls /; ls /root /home 2>/dev/null; true"]),
        env={**os.environ, "A_SECRET": "x", **env}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "A_SECRET" not in done.stdout
    assert "etc" in done.stdout


def test_where_there_is_no_bubblewrap_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/none-such")
    with pytest.raises(Failed, match="bubblewrap") as told:
        jail.check()
    assert "install" in told.value.hint
