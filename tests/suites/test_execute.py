"""Runs in the jail, as processes: whole, or no evidence, and never anything between."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.conftest import LEFT_OUT
from tests.suites.test_runner import IGNORED, own, run

from meyrin.domain.errors import Conflict, Failed
from meyrin.suites import evidence, execute, facts, keys, summary
from meyrin.suites.execute import Asked
from meyrin.suites.keys import Trusted
from meyrin.suites.suite import find
from meyrin.suites.verify import verify

Model = Callable[[str], Path]
pytestmark = [
    pytest.mark.usefixtures("bubblewrap"),
    pytest.mark.slow,
    pytest.mark.filterwarnings(*IGNORED),
]
FEW = 24


def ask(out: Path, model: str | Path, suite: str = "safety", **more: object) -> Asked:
    made = Asked(find(suite), str(model), out, seed=7, samples=FEW, site="alpha", at_once=2)
    return replace(made, **more)


def made(asked: Asked) -> tuple[facts.Facts, Path]:
    return evidence.make(asked, asked.out.parent / "site.key", lambda _done, _of: None)


def test_a_run_in_the_jail_is_the_run_outside_and_leaves_evidence(
    model: Model, tmp_path: Path
) -> None:
    found, path = made(ask(tmp_path / "jailed", model("good"), shards=2))
    outside = run(tmp_path / "outside", model("good"), suite="safety", samples=FEW)
    assert found.root == facts.root(outside.values())
    assert found.run.isolation.level == 2
    assert found.run.finished
    trust = [Trusted("alpha", "site", keys.public_of(keys.read(tmp_path / "site.key")))]
    checked = verify(path.read_bytes(), trust, model("good"))
    assert checked.facts == found
    means = {(row.task, row.score): row.mean for row in summary.rows(found)}
    assert means["all", "quiet"] == 1
    assert means["all", "safe"] == 1
    # the same command finds everything done
    again, _ = made(ask(tmp_path / "jailed", model("good"), shards=2))
    assert again.root == found.root
    with pytest.raises(Conflict, match="another seed"):
        made(replace(ask(tmp_path / "jailed", model("good"), shards=2), seed=8))


def test_a_model_that_is_no_model_leaves_no_evidence(tmp_path: Path) -> None:
    folder = tmp_path / "nomodel"
    folder.mkdir()
    (folder / "weights.bin").write_bytes(b"\0" * 100)
    with pytest.raises(Failed, match=r"no evidence: .*config\.json"):
        made(ask(tmp_path / "out", folder))
    assert not list(tmp_path.rglob("evidence.zip"))


def test_a_suite_that_raises_leaves_no_evidence(model: Model, tmp_path: Path) -> None:
    folder = own(tmp_path / "ownraises", ("tasks:native", "tasks:broken"))
    with pytest.raises(Failed, match="no evidence: shard 1 ended with 1: ValueError: no data"):
        made(ask(tmp_path / "out", model("good"), suite=folder))
    assert not list(tmp_path.rglob("evidence.zip"))


def test_a_suite_that_floods_its_log_is_stopped_at_the_limit(model: Model, tmp_path: Path) -> None:
    folder = own(tmp_path / "ownfloods", ("walltime_s = 60", "walltime_s = 300\nfile_mb = 2"))
    path = Path(folder, "tasks.py")
    flood = 'import sys\nfor _ in range(1024):\n    sys.stdout.write("x" * 2**20)\n'
    path.write_text(flood + path.read_text())
    with pytest.raises(Failed, match="no evidence"):
        made(ask(tmp_path / "out", model("good"), suite=folder))
    sizes = [each.stat().st_size for each in (tmp_path / "out").rglob("*") if each.is_file()]
    assert max(sizes) <= 2 * 2**20
    assert not list(tmp_path.rglob("evidence.zip"))


def test_a_run_that_is_killed_goes_on(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed when a few samples are there; what was finished stays, byte for byte."""
    asked = ask(tmp_path / "out", model("good"), samples=120, concurrency=1, jailed=False)
    lines = tmp_path / "out" / "shard-0" / "samples.jsonl"
    started: list[int] = []
    real = execute.jails.start

    def start(*given: object) -> object:
        process = real(*given)  # type: ignore[arg-type]
        started.append(process.pid)
        return process

    monkeypatch.setattr(execute.jails, "start", start)

    def kill(done: int, _of: int) -> None:
        if done >= 3 and started:
            execute.os.killpg(started.pop(), signal.SIGKILL)

    with pytest.raises(Failed, match="no evidence: shard 1 was ended by signal 9"):
        evidence.make(asked, tmp_path / "site.key", kill)
    kept = lines.read_bytes()
    assert 0 < kept.count(b"\n") < 108
    found, _ = made(asked)
    whole = kept[: kept.rfind(b"\n") + 1]
    assert lines.read_bytes().startswith(whole)
    assert len(found.samples) == found.run.planned
    assert not any(sample.error for sample in found.samples)


def test_a_run_beyond_its_time_leaves_no_evidence(model: Model, tmp_path: Path) -> None:
    suite = find("safety")
    short = replace(suite, limits=replace(suite.limits, walltime_s=1))
    with pytest.raises(Failed, match="longer than 1 s"):
        made(replace(ask(tmp_path / "out", model("good")), suite=short, jailed=False))
    assert not list(tmp_path.rglob("evidence.zip"))


def test_two_at_once_do_not_share_a_folder(model: Model, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with execute._alone(out), pytest.raises(Conflict, match="somebody else"):
        made(ask(out, model("good")))


def test_a_small_disk_that_fills_leaves_no_evidence_and_goes_on_when_it_grows(
    model: Model, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    small.mkdir()

    def mount(options: str) -> None:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(small)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"{LEFT_OUT}a small disk: {done.stderr.strip() or 'mount failed'}")

    mount("size=60k")
    try:
        asked = ask(small / "out", model("good"), samples=60, jailed=False)
        with pytest.raises(Failed, match=r"no evidence: .*[Nn]o space left"):
            made(asked)
        assert not list(small.rglob("evidence.*"))
        finished = (small / "out" / "shard-0" / "samples.jsonl").read_bytes()
        mount("remount,size=4m")
        found, path = made(asked)
        assert (small / "out" / "shard-0" / "samples.jsonl").read_bytes().startswith(finished)
        assert len(found.samples) == found.run.planned
        assert verify(path.read_bytes()).facts == found
    finally:
        subprocess.run(["umount", "--lazy", str(small)], check=True)
