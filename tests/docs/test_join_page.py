"""The operator's page, followed to the letter: a hub, a real Slurm cluster, ten minutes."""

from __future__ import annotations

import os
import pwd
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.components import ROOT, Slurm
from tests.docs.pages import blocks

PAGE = ROOT / "docs" / "how-to" / "join-site.md"
TEN_MINUTES_S = 600
MACHINE = re.compile(r"^\*\*(At the hub|On a login node)\*\*", re.MULTILINE)
USER = "mtb1"


@dataclass
class Machine:
    """Where a person types: a shell with an environment and a home of its own."""

    environ: dict[str, str]
    user: str | None = None

    def type(self, text: str) -> str:
        """What it prints; fails when a line does."""
        command: Sequence[str] = ("bash", "-euc", text)
        if self.user is not None:
            as_user = f"--reuid={self.user}", f"--regid={self.user}", "--init-groups"
            command = ("setpriv", *as_user, "--", *command)
        done = subprocess.run(
            command,
            env=self.environ,
            cwd=self.environ["HOME"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TEN_MINUTES_S,
            check=False,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        return done.stdout


def programs(folder: Path, python: str, path: str) -> str:
    """A folder with `meyrin`, run by that Python."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    words = [*(["env", f"PYTHONPATH={path}"] if path else []), python, "-m", "meyrin"]
    (folder / "meyrin").write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    (folder / "meyrin").chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ.get('PATH', '')}"


def plain(**more: str) -> dict[str, str]:
    foreign = ("MEYRIN_", "SBATCH_", "SLURM_", "PYTHON")
    return {k: v for k, v in os.environ.items() if not k.startswith(foreign)} | more


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Machine]:
    """A hub without a site of its own."""
    environ = plain(
        HOME=str(tmp_path),
        MEYRIN_DIR=str(tmp_path / "hub"),
        PATH=programs(tmp_path / "bin", sys.executable, ""),
    )
    with (tmp_path / "up.log").open("wb") as log:
        process = subprocess.Popen(
            ["meyrin", "up", "--no-local-site", "--port", "0"],
            env=environ,
            executable=str(tmp_path / "bin" / "meyrin"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
        try:
            assert process.stdout is not None
            address = process.stdout.readline()
            assert address.startswith(b"http"), (tmp_path / "up.log").read_text()
            yield Machine(environ)
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
    assert process.returncode == 0


def for_ordinary_users() -> tuple[str, str, str] | None:
    """A user of the test bed, and a Python with our packages that they may run; None: there is
    none here (a Python below root's home), so the site is joined by who runs the tests."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    path = os.pathsep.join(dict.fromkeys([str(ROOT / "src"), *sys.path[1:]]))
    python = shutil.which(f"python{version}", path="/usr/bin:/usr/local/bin")
    if python is None or os.geteuid() != 0 or USER not in {each.pw_name for each in pwd.getpwall()}:
        return None
    as_user = (f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--")
    tried = subprocess.run(
        ["setpriv", *as_user, python, "-c", "import meyrin.agent.join, httpx2, pydantic"],
        env=plain(PYTHONPATH=path, PYTHONDONTWRITEBYTECODE="1", HOME="/tmp"),
        cwd="/",
        capture_output=True,
        check=False,
    )
    return (USER, python, path) if tried.returncode == 0 else None


@pytest.fixture
def login_node(slurm: Slurm) -> Iterator[Machine]:
    """A user of cluster alpha, with a home that all nodes see; their agent is ended afterwards."""
    home = Path(tempfile.mkdtemp(prefix="login-"))
    ordinary = for_ordinary_users()
    user, python, path = ordinary or (None, sys.executable, "")
    environ = plain(
        HOME=str(home),
        USER=user or "root",
        SLURM_CONF=str(slurm.conf("alpha")),
        PATH=programs(home / "bin", python, path),
        PYTHONDONTWRITEBYTECODE="1",
    )
    if user is not None:
        shutil.chown(home, user, user)
    try:
        yield Machine(environ, user)
    finally:
        for lock in home.rglob("agent.lock"):
            end(int(lock.read_text()))
        shutil.rmtree(home, ignore_errors=True)


def end(pid: int) -> None:
    """End a process of ours and wait until it is gone."""
    os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":
            return
        time.sleep(0.05)
    raise AssertionError(f"process {pid} does not end")


def steps() -> list[tuple[str, str]]:
    """The page's first chapter: on which machine, and what is typed or (`text`) was printed."""
    page = PAGE.read_text(encoding="utf-8")
    begin, finish = page.index("## In ten minutes"), page.index("## What you decide")
    line = page.count("\n", 0, begin), page.count("\n", 0, finish)
    found = []
    for block in blocks(PAGE):
        if line[0] < block.line <= line[1]:
            above = "\n".join(page.splitlines()[: block.line])
            machine = MACHINE.findall(above)[-1]
            found.append((machine if block.info == "sh" else block.info, block.text))
    return found


def test_the_page_has_its_steps() -> None:
    assert [where for where, _ in steps()] == [
        "At the hub",
        "text",
        "At the hub",
        "On a login node",
    ]


def test_a_site_joins_in_ten_minutes(
    hub: Machine, login_node: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = time.monotonic()
    printed = ""
    for where, text in steps():
        if where == "text":  # the line that the hub printed is what the operator runs
            shown = re.sub(r"myr_\S+", "…", text).split("--hub")[0]
            assert re.sub(r"myr_\S+", "…", printed).split("--hub")[0] == shown
            login_node.type(printed.strip() + " --yes")
        elif where == "At the hub":
            printed = hub.type(text)
        else:
            login_node.type(text)
    took_s = time.monotonic() - begun
    who = login_node.user or "the user of the tests"
    with capsys.disabled():
        print(f"\n{PAGE.name}: followed to the letter as {who} in {took_s:.0f} s of 600")
    assert took_s < TEN_MINUTES_S
    shown = hub.type("meyrin site show alps")
    assert re.search(r"speaks to Slurm \d\d\.\d\d", shown)
    assert "alps=1" in shown
    listed = hub.type("meyrin site credentials alps")
    assert re.search(r"enrolment +used", listed)
    assert re.search(r"agent +counts", listed)
    statement = hub.type("meyrin ledger statement home")
    assert "h100" in statement
