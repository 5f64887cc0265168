"""Functions that run as they are written, until there is so much to do that machine code pays.

The compiler and what it makes take 130 MB of memory and about a second to load. A hub with a
handful of jobs does better without: Python is 5 to 100 times slower here, and that is a
millisecond. Both ways give the same answers, so the change may come at any moment, between two
calls of one decision too; it is for good.

`meyrin.engine.compiled` does the rest: whoever imports it has the compiler, and all functions of
this kind are machine code from then on.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")

SMALL = 1_000  # looks: 2 to 5 ms of Python on one slow core, as long as the broker's queries take
LARGE = 100_000  # about a second
_all: list[Late] = []
_waits: list[Callable[[], object]] = []
_compiler: list[Callable[[Any], Any]] = []


class Late:
    """One such function: `plain` as it was written, `run` what a call runs."""

    def __init__(self, plain: Callable[..., Any]) -> None:
        functools.update_wrapper(self, plain)
        self.plain = plain
        self.run = _compiler[0](plain) if _compiler else plain

    def __call__(self, *args: Any) -> Any:
        return self.run(*args)


def late(function: Callable[P, R]) -> Callable[P, R]:
    """`function` as it is, and as `meyrin.engine.compiled.compiled` makes it later.

    What holds there holds here: it takes and returns arrays and numbers. As it is written, a
    number that it returns may be one of NumPy's.
    """
    made = Late(function)
    _all.append(made)
    return cast("Callable[P, R]", made)


def expect(looks: int) -> None:
    """Load machine code if so many looks come: at a stretch of time on a node, for a job. While it
    is `held`, what is not large goes without and the rest waits."""
    if looks > LARGE:
        for wait in tuple(_waits):
            wait()
        load()
    elif looks > SMALL and not _waits:
        load()


def load() -> None:
    """Machine code from now on. Each function is compiled at its next call or read from the cache;
    a second call does nothing."""
    importlib.import_module("meyrin.engine.compiled")


@contextlib.contextmanager
def held(wait: Callable[[], object]) -> Iterator[None]:
    """While this lasts the code is about to be in the cache, and `wait` returns once it is."""
    _waits.append(wait)
    try:
        yield
    finally:
        _waits.remove(wait)


def switch(compiler: Callable[[Any], Any]) -> None:
    """Run all of them, and those to come, as `compiler` makes them; `meyrin.engine.compiled` calls
    it."""
    _compiler.append(compiler)
    for one in _all:
        one.run = compiler(one.plain)
