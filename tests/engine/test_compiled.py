"""The cache of compiled kernels: its key, its places, and processes that share it."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.components import ROOT

from meyrin.engine import compiled

# Two functions in two files of a copy of the package; prints hits, misses and the folder.
CALLEE = """
from meyrin.engine.compiled import inner
@inner
def callee(number):
    return number + 1
"""
CALLER = """
from meyrin.engine.compiled import compiled
from meyrin.engine.callee import callee
@compiled
def caller(number):
    return callee(number)
"""
MAIN = """
from meyrin.engine.caller import caller
from meyrin.engine.compiled import cache_folder
answer = caller(1)
stats = caller.stats
print(answer, sum(stats.cache_hits.values()), sum(stats.cache_misses.values()), cache_folder())
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the floors that a kernel may come from, with a caller and a callee."""
    package = tmp_path / "copy" / "meyrin"
    package.mkdir(parents=True)
    shutil.copy(ROOT / "src/meyrin/__init__.py", package)
    for floor in ("domain", "engine"):
        (package / floor).mkdir()
        shutil.copy(ROOT / f"src/meyrin/{floor}/__init__.py", package / floor)
    for name in ("compiled.py", "late.py"):
        shutil.copy(ROOT / "src/meyrin/engine" / name, package / "engine")
    (package / "engine/callee.py").write_text(CALLEE)
    (package / "engine/caller.py").write_text(CALLER)
    return package


def started(copy: Path, cache: Path, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", MAIN],
        env={**os.environ, "PYTHONPATH": str(copy.parent), "MEYRIN_CACHE": str(cache), **env},
        stdout=subprocess.PIPE,
        text=True,
    )


def said(process: subprocess.Popen[str]) -> list[str]:
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0
    return output.split()


def test_a_second_process_compiles_nothing_and_an_edited_callee_is_seen(
    copy: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    answer, hits, misses, first = said(started(copy, cache))
    assert [answer, hits, misses] == ["2", "0", "1"]
    assert said(started(copy, cache)) == ["2", "1", "0", first]
    (copy / "engine/callee.py").write_text(CALLEE.replace("+ 1", "+ 5"))
    answer, hits, _, second = said(started(copy, cache))
    assert [answer, hits] == ["6", "0"]
    assert first != second


def test_two_processes_at_once_share_a_cache(copy: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    both = [started(copy, cache), started(copy, cache)]
    assert [said(process)[0] for process in both] == ["2", "2"]
    assert said(started(copy, cache))[:3] == ["2", "1", "0"]


def test_a_cache_that_cannot_be_written_is_no_failure(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    assert said(started(copy, tmp_path / "file")) == ["2", "0", "1", "None"]


def test_a_damaged_file_is_compiled_anew(copy: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    said(started(copy, cache))
    for path in cache.rglob("*.nb[ci]"):
        path.write_bytes(b"")
    assert said(started(copy, cache))[:3] == ["2", "0", "1"]
    assert said(started(copy, cache))[:3] == ["2", "1", "0"]


def test_folders_of_old_keys_go_when_a_new_one_comes(copy: Path, tmp_path: Path) -> None:
    kernels = tmp_path / "cache" / "kernels"
    for age in range(12):
        (kernels / f"old{age}").mkdir(parents=True)
        os.utime(kernels / f"old{age}", (1000 - age, 1000 - age))
    used = said(started(copy, tmp_path / "cache"))[3]
    kept = {f"old{age}" for age in range(compiled.KEPT_KEYS)} | {Path(used).name}
    assert {path.name for path in kernels.iterdir()} == kept


def test_a_switch_of_numba_gives_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = compiled.key()
    assert compiled.key() == before
    monkeypatch.setenv("NUMBA_BOUNDSCHECK", "1")
    assert compiled.key() != before


def test_an_inner_function_is_refused_to_python_and_not_jumped_into() -> None:
    """It has no door: Numba would call address 0 and the process would be gone."""

    @compiled.inner
    def half(number: float) -> float:
        return number / 2

    @compiled.compiled
    def quarter(number: float) -> float:
        return half(half(number))

    for _ in range(2):  # before it is compiled for its caller, and after
        with pytest.raises(TypeError, match="is for compiled functions only"):
            half(3.0)
        assert quarter(3.0) == 0.75


def test_all_kernels_are_compiled_ahead_with_a_line_for_each_module(
    copy: Path, tmp_path: Path
) -> None:
    """Whoever has a `warm` of its own is found, whoever borrowed one is not called twice."""
    (copy / "engine/caller.py").write_text(f"{CALLER}\ndef warm():\n    caller(1)\n")
    (copy / "engine/borrower.py").write_text("from meyrin.engine.caller import warm as warm\n")
    cache = tmp_path / "cache"
    done = subprocess.run(
        [sys.executable, "-m", "meyrin.engine.compiled"],
        env={**os.environ, "PYTHONPATH": str(copy.parent), "MEYRIN_CACHE": str(cache)},
        capture_output=True,
        text=True,
        check=True,
        timeout=200,
    )
    assert done.stderr.splitlines() == ["compiling meyrin.engine.caller"]
    assert said(started(copy, cache))[:3] == ["2", "1", "0"]


def test_nothing_beneath_the_engine_enters_a_kernel() -> None:
    """The cache's key is of the engine's sources alone, so its kernels may name nothing else."""
    for path in sorted((ROOT / "src/meyrin/engine").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if not re.search(r"import (compiled|inner|late|lean)\b", text):
            continue
        named = [
            node.module
            for node in ast.parse(text).body  # at the top: not for types only, not in a function
            if isinstance(node, ast.ImportFrom) and node.module
        ]
        foreign = [name for name in named if name.startswith("meyrin.domain")]
        assert not foreign, f"{path.name} could freeze a constant of {foreign} into a kernel"
