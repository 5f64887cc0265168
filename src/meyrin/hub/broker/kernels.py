"""The engine's machine code, made in the background before a decision is large enough for it.

A hub with little to decide never loads the compiler: another process compiles into the user's
cache, and a line in a file there says for which sources that was done. Until it is there only very
large decisions wait for it (`meyrin.engine.late`); where it can't be made, the first one that is
not small compiles.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import structlog

import meyrin
from meyrin.engine import late

log = structlog.get_logger("meyrin.hub")
NICE = 5  # requests go first
KEPT = 8  # lines: a second checkout, an edit taken back
LONGEST_S = 30  # on a busy machine nobody waits for ever: who needs it compiles what is left
_COMPILE = f"import os; os.nice({NICE}); from meyrin.engine.timeline import warm; warm()"
_POLL_S = 0.05


def prepare(wait: Callable[[float], bool]) -> None:
    """Compile what a decision needs, unless that was done; returns when it is there.

    `wait(seconds)` is true once the hub stops. Failing is logged and nothing more: the first
    decision that is not small compiles then.
    """
    try:
        folder, mark = _cache(), _mark()
        if mark in _marks(folder) and _any_kernel(folder):
            return
        begun = time.monotonic()
        log.info("engine.compiles")
        made = threading.Event()
        with late.held(made.wait):
            try:
                code, words = _compile(wait)
            finally:
                made.set()
    except (OSError, RuntimeError, PackageNotFoundError) as error:  # no home, no process, say
        log.warning("engine.not_prepared", error=str(error))
        return
    took_s = round(time.monotonic() - begun, 1)
    if code is None and took_s >= LONGEST_S:
        log.warning("engine.not_prepared", error="it took too long", took_s=took_s)
    elif code:
        log.warning("engine.not_prepared", exit_code=code, error=words)
    elif code == 0:
        log.info("engine.compiled", took_s=took_s)
        with contextlib.suppress(OSError):
            _write_marks(folder, [*_marks(folder), mark])


def _compile(wait: Callable[[float], bool]) -> tuple[int | None, str]:
    """The compiler's exit code, None if it had to be ended, and its last words."""
    begun = time.monotonic()
    command = [sys.executable, "-P", "-c", _COMPILE]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as compiler:
        while compiler.poll() is None and time.monotonic() - begun < LONGEST_S:
            if wait(_POLL_S):
                break
        code = compiler.poll()
        if code is None:
            compiler.kill()
        words = compiler.communicate()[1].decode(errors="replace").split("\n")[-2:]
    return code, words[0]


def _cache() -> Path:
    """The folder that `meyrin.engine.compiled` uses, which loads the compiler and is not asked."""
    if named := os.environ.get("MEYRIN_CACHE"):
        return Path(named).absolute()
    user = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (user if user.is_absolute() else Path.home() / ".cache") / "meyrin"


def _mark() -> str:
    """What changes with any source of the engine, and with the compiler; the CPU is not asked."""
    digest = hashlib.sha256()
    for path in sorted((Path(meyrin.__file__).parent / "engine").rglob("*.py")):
        digest.update(path.read_bytes())
    digest.update(repr((version("numba"), sys.version)).encode())
    return digest.hexdigest()[:16]


def _any_kernel(folder: Path) -> bool:
    try:
        return any((folder / "kernels").iterdir())
    except FileNotFoundError:  # somebody tidied up
        return False


def _marks(folder: Path) -> list[str]:
    try:
        return (folder / "prepared").read_text(encoding="ascii").split()
    except (FileNotFoundError, UnicodeDecodeError):
        return []


def _write_marks(folder: Path, marks: list[str]) -> None:
    written = folder / f"prepared.{os.getpid()}"
    written.write_text("\n".join(marks[-KEPT:]) + "\n", encoding="ascii")
    written.replace(folder / "prepared")
