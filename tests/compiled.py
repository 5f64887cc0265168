"""Databases of one test process share the statements that they have compiled.

Each test opens a database of its own, and its engine would compile the same few hundred statements
anew: a sixth of the processor's time in tests of the hub. SQLAlchemy keeps what is compiled by the
object of the dialect. Those of the hub's engines differ in nothing but the address, so they count
as equal here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from meyrin.hub.plumbing import database

Opens = Callable[[str], sa.Engine]


def share() -> None:
    """From now on, in this process."""
    for name in ("_sqlite_engine", "_postgres_engine"):
        setattr(database, name, _sharing(getattr(database, name)))


def _sharing(opens: Opens) -> Opens:
    kept: dict[Any, Any] = {}

    def opened(url: str) -> sa.Engine:
        engine = opens(url)
        engine.dialect.__class__ = _alike(type(engine.dialect))
        engine.update_execution_options(compiled_cache=kept)
        return engine

    return opened


@lru_cache
def _alike(kind: type[sa.Dialect]) -> type[sa.Dialect]:
    same = {
        "supports_statement_cache": True,
        "__hash__": lambda _self: hash(kind),
        "__eq__": lambda self, other: type(self) is type(other),
    }
    return type(kind.__name__, (kind,), same)
