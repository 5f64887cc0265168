"""Lists come in pages by key: `after` is the last key of the page before, never an offset."""

from __future__ import annotations

from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import Query

from meyrin.domain.errors import InvalidInput

MAX_PAGE = 500

Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="rows on a page")]
After = Annotated[str, Query(description="`next` of the page before; empty for the first")]


def page(
    statement: sa.Select[Any], key: sa.ColumnElement[Any], after: Any, limit: int, *, newest: bool
) -> sa.Select[Any]:
    """`statement` cut to the page after `after`, ordered by `key`; asks for one row more."""
    if after not in (None, ""):
        statement = statement.where(key < after if newest else key > after)
    return statement.order_by(key.desc() if newest else key.asc()).limit(limit + 1)


def number(after: str) -> int | None:
    """The last key of the page before, in a list by number; InvalidInput for what can't be one."""
    if after and not (after.isascii() and after.isdigit() and len(after) < 19):
        raise InvalidInput(
            f"after is {after[:40]!r}", hint="take `next` of the page before", field="after"
        )
    return int(after) if after else None


def cut(rows: list[Any], limit: int, key: str) -> tuple[list[Any], str]:
    """The rows of the page, and the `after` of the next one ("" at the end)."""
    if len(rows) <= limit:
        return rows, ""
    return rows[:limit], str(getattr(rows[limit - 1], key))
