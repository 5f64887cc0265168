"""The one way to the compiler: `compiled` turns a plain function on arrays into machine code.

Nothing else names Numba's decorator. The code is kept in the user's cache folder, under a key of
every source of the engine: Numba's own cache looks at one file only and misses an edit in another.
What lies beneath the engine never enters a kernel; a test holds that. Where nothing can be kept,
a kernel is compiled in memory, at each start.

`python -m meyrin.engine.compiled [NAME ...]` compiles ahead of their first use the kernels of the
engine's modules and packages of these names (`timeline`, `pool`), or all.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import importlib
import os
import pickle
import pkgutil
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import numba
from llvmlite import binding  # type: ignore[import-untyped]
from numba.core.caching import FunctionCache
from numba.extending import typeof_impl

import meyrin.engine
from meyrin.engine import late

P = ParamSpec("P")
R = TypeVar("R")

ENGINE = Path(__file__).parent
KEPT_KEYS = 8  # folders of other versions that stay: a second checkout, an edit taken back
NJIT: Any = numba.njit  # its types leave out `_nrt`
USUAL = {"nogil": True, "error_model": "numpy"}
# what reading half a file of the cache raises (pickle's page in the Python library reference)
DAMAGED = (EOFError, pickle.UnpicklingError, ValueError, AttributeError, ImportError, IndexError)


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """`function` as machine code, without the interpreter's lock, made at its first call.

    `function` takes and returns arrays and numbers (named tuples of them too); it may call other
    compiled functions. Division by zero gives what NumPy gives, and no index is checked.
    Raises Numba's `TypingError` at the first call of a function that it cannot compile.
    """
    return _with_cache(NJIT(**USUAL)(function), function)


def lean(function: Callable[P, R]) -> Callable[P, R]:
    """As `compiled`, for a function that makes no array: inlined, and arrays are not counted.

    Passing a named tuple of arrays costs nothing then; otherwise each call counts the references
    to each array, which takes most of the time of a small function. Raises Numba's `NumbaError`
    at the first call of a function that does make an array.
    """
    return _with_cache(NJIT(_nrt=False, forceinline=True, **USUAL)(function), function)


def inner(function: Callable[P, R]) -> Callable[P, R]:
    """As `lean`, for a function that only compiled functions call: TypeError for anybody else.

    Its callers hold its code, so it is kept nowhere by itself. The entries from Python and C, which
    it goes without, are most of what there is to compile where a state of many arrays is passed.
    """
    made = NJIT(
        _nrt=False, forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True, **USUAL
    )(function)

    def refuse(*_args: object) -> None:
        raise TypeError(f"{function.__name__}() is for compiled functions only")

    # without an entry there is nothing that a call could enter: Numba would jump to address 0
    made._insert = lambda *_args: None  # noqa: SLF001
    made._compile_for_args = refuse  # noqa: SLF001
    return cast("Callable[P, R]", made)


def _with_cache(dispatcher: Any, function: Callable[P, R]) -> Callable[P, R]:
    folder = cache_folder()
    config: Any = numba.config
    if folder is not None and not config.DISABLE_JIT:
        before, config.CACHE_DIR = config.CACHE_DIR, str(folder)
        # Numba would write beside the sources if the folder went away just now
        with contextlib.suppress(OSError, RuntimeError):
            kept = _Kept(function)  # type: ignore[no-untyped-call]
            if Path(kept.cache_path).is_relative_to(folder):
                dispatcher._cache = kept  # noqa: SLF001 - the only way to give it another cache
        config.CACHE_DIR = before
    made: Callable[P, R] = dispatcher
    return made


class _Kept(FunctionCache):
    """Numba's cache of one function, one process at a time, and never a reason to fail.

    Without the lock, two processes that compile two signatures at once may give both the same
    file name, and a third then runs the wrong code.
    """

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            with _alone(Path(self.cache_path)):
                return super().load_overload(sig, target_context)  # type: ignore[no-untyped-call]
        except (OSError, *DAMAGED):  # after a power cut, say: compiled and written anew
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        with contextlib.suppress(OSError), _alone(Path(self.cache_path)):
            try:
                super().save_overload(sig, data)  # type: ignore[no-untyped-call]
            except DAMAGED:  # the list of what is kept: a new one
                self.flush()  # type: ignore[no-untyped-call]
                super().save_overload(sig, data)  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def key() -> str:
    """16 hexadecimal digits that change with any source, Numba, Python, the CPU or a switch."""
    digest = hashlib.sha256()
    for path in sorted(ENGINE.rglob("*.py")):
        source = path.read_bytes()
        digest.update(f"{path.relative_to(ENGINE.parent)} {len(source)}\n".encode() + source)
    features = sorted(binding.get_host_cpu_features().items())
    switches = sorted(item for item in os.environ.items() if item[0].startswith("NUMBA_"))
    versions = (numba.__version__, sys.version, binding.get_host_cpu_name(), features, switches)
    digest.update(repr(versions).encode())
    return digest.hexdigest()[:16]


@functools.cache
def cache_folder() -> Path | None:
    """Where this version's kernels are kept; None where nothing can be kept.

    It is `kernels/KEY` under MEYRIN_CACHE, else under `meyrin` in XDG_CACHE_HOME or `~/.cache`.
    """
    try:
        folder = _base() / "kernels" / key()
        fresh = not folder.exists()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_uid != os.geteuid():  # what lies there runs: only our own is trusted
            return None
        os.utime(folder)  # in use: not among the first to be removed; fails where we may not write
        (folder / "lock").touch()
    except (OSError, RuntimeError):  # the latter: no home
        return None
    if fresh:
        _remove_stale(folder)
    return folder


def _base() -> Path:
    if named := os.environ.get("MEYRIN_CACHE"):
        return Path(named).absolute()
    user = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (user if user.is_absolute() else Path.home() / ".cache") / "meyrin"


def _remove_stale(used: Path) -> None:
    """Remove all folders of other keys but those used last."""
    with contextlib.suppress(OSError):
        others = [path for path in used.parent.iterdir() if path != used]
        others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for path in others[KEPT_KEYS:]:
            shutil.rmtree(path, ignore_errors=True)


def warm_all(names: Sequence[str], say: Callable[[str], object]) -> None:
    """Call `warm()` of each module of the engine that has one; only those of `names`, if any."""
    for found in pkgutil.walk_packages(meyrin.engine.__path__, "meyrin.engine."):
        if names and found.name.split(".")[2] not in names:
            continue
        module = importlib.import_module(found.name)
        warm = getattr(module, "warm", None)
        if warm is not None and warm.__module__ == found.name:
            say(f"compiling {found.name}")
            warm()


@typeof_impl.register(late.Late)
def _late_in_a_kernel(value: late.Late, _context: object) -> Any:
    """What a kernel calls when it names a function that is compiled late."""
    return numba.types.Dispatcher(value.run)


late.switch(compiled)

if __name__ == "__main__":
    warm_all(sys.argv[1:], lambda line: print(line, file=sys.stderr))  # noqa: T201 - progress
