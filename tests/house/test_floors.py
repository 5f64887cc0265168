"""The floors and rooms hold; the contracts are in pyproject.toml."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest
from tests.components import ROOT

SOURCES = ROOT / "src" / "meyrin"
ENGINE_BORDERS = {"numpy", "numba", "llvmlite"}


def _imports(folder: str) -> set[tuple[str, str]]:
    """(file, imported module) of every import under a folder of the sources."""
    found = set()
    for path in (SOURCES / folder).rglob("*.py"):
        file = path.relative_to(SOURCES).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {(file, alias.name) for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found |= {(file, f"{node.module}.{alias.name}") for alias in node.names}
    return found


def test_the_contracts_hold() -> None:
    command = [sys.executable, "-m", "importlinter.cli", "lint", "--no-logo", "--no-cache"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("floor", "borders"), [("domain", {"meyrin.domain"}), ("engine", {"meyrin.domain"})]
)
def test_the_ground_floors_need_almost_nothing(floor: str, borders: set[str]) -> None:
    allowed = sys.stdlib_module_names | (ENGINE_BORDERS if floor == "engine" else set())
    homes = borders | {f"meyrin.{floor}"}
    strangers = {
        (file, module)
        for file, module in _imports(floor)
        if module.split(".")[0] not in allowed and ".".join(module.split(".")[:2]) not in homes
    }
    assert not strangers
