"""How often Python looks for garbage that refers to itself.

A step of the hub makes thousands of rows at once and drops them at its end, nearly all of them by
reference count. Looking every 700 new objects, as Python does by itself, finds nothing and costs
a fifth of the hub's work; what was imported at the start need not be looked at again at all.
"""

from __future__ import annotations

import gc

_NEW_OBJECTS = 10_000  # some MB between two looks


def seldom() -> None:
    """Look seldom from now on, and not at what is here already. May be called again."""
    gc.collect()  # what is frozen is never looked at again, garbage included
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, 10, 10)
