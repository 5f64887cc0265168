"""Files stay rooms, functions fit a screen or two. Old exceptions are listed and only shrink."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.components import ROOT

FILE_LINES = 500
FUNCTION_LINES = 70
EXCEPTIONS = Path(__file__).with_name("exceptions.txt")


def _too_long() -> dict[str, int]:
    found: dict[str, int] = {}
    for path in sorted((ROOT / "src").rglob("*.py")):
        if path.parent.name == "versions":  # migrations are written by a program, once
            continue
        text = path.read_text(encoding="utf-8")
        name = path.relative_to(ROOT).as_posix()
        lines = text.count("\n")
        if lines > FILE_LINES:
            found[name] = lines
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > FUNCTION_LINES:
                    found[f"{name}:{node.name}"] = length
    return found


def _allowed() -> dict[str, int]:
    lines = EXCEPTIONS.read_text(encoding="utf-8").splitlines()
    pairs = (line.split() for line in lines if line and not line.startswith("#"))
    return {name: int(limit) for name, limit in pairs}


def test_no_file_or_function_is_too_long() -> None:
    found, allowed = _too_long(), _allowed()
    grown = {name: n for name, n in found.items() if n > allowed.get(name, 0)}
    assert not grown, "is this one room or several?"
    settled = {name: n for name, n in allowed.items() if found.get(name, 0) < n}
    assert not settled, f"shrunk: make these lines of {EXCEPTIONS.name} smaller or remove them"
