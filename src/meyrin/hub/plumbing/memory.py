"""How a hub's memory is kept: how often Python looks for garbage, and in how many heaps it lies.

A step of the hub makes thousands of rows at once and drops them at its end, nearly all of them by
reference count. Looking every 700 new objects, as Python does by itself, finds nothing and costs
a fifth of the hub's work; what was imported at the start need not be looked at again at all.

glibc gives each thread a heap of its own, up to eight for each core, and what was once needed in
one stays there. Python's threads take turns, so two heaps do (`mallopt`, man page of glibc).
"""

from __future__ import annotations

import contextlib
import ctypes
import gc

_NEW_OBJECTS = 10_000  # some MB between two looks
_M_ARENA_MAX = -8
_HEAPS = 2


def few_heaps() -> None:
    """Let the threads that start from now on share heaps; nothing where the C library has none."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _HEAPS)


def seldom() -> None:
    """Look seldom from now on, and not at what is here already. May be called again."""
    gc.collect()  # what is frozen is never looked at again, garbage included
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, 10, 10)
