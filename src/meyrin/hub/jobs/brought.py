"""How many bytes one person may bring to the content store: so many in thirty days.

The first piece of a file claims its whole size, so that files which are never finished count too.
A claim counts for thirty days and is given back only where the bytes turned out to be none of the
file's. What sites bring is theirs to bound: they bring results of jobs that they took.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from meyrin.domain.errors import Refused
from meyrin.hub.identity import service as identity
from meyrin.hub.jobs.store import upload_claims
from meyrin.hub.plumbing.database import Step

DAYS = 30
WINDOW_MS = DAYS * 86_400_000
GIB = 2**30


def claimed(step: Step, person: str, sha256: str, size: int) -> bool:
    """Whether a claim that counts covers this file."""
    c = upload_claims.c
    row = step.one(sa.select(c.size, c.at_ms).where(c.by == person, c.sha256 == sha256))
    return row is not None and row.size >= size and row.at_ms > step.now_ms - WINDOW_MS


def claim(step: Step, person: str, sha256: str, size: int, most_bytes: int) -> None:
    """Claim room for a file. Raises Refused, with how much there is and when there will be more,
    where it would be more than one person may bring."""
    identity.one_at_a_time(step, person)
    c = upload_claims.c
    counting = sa.and_(
        c.by == person, c.at_ms > step.now_ms - WINDOW_MS, c.sha256 != sha256
    )  # fmt: skip
    used = int(step.one(sa.select(sa.func.coalesce(sa.func.sum(c.size), 0)).where(counting))[0])  # type: ignore[index]
    if used + size > most_bytes:
        raise _refused(step, counting, used, size, most_bytes)
    row = {"sha256": sha256, "by": person, "size": size, "at_ms": step.now_ms}
    if not step.add_new(upload_claims, [row]):
        larger = sa.case((c.size > size, c.size), else_=size)  # it never shrinks while it counts
        step.change(
            sa.update(upload_claims)
            .where(c.sha256 == sha256, c.by == person)
            .values(size=larger, at_ms=step.now_ms)
        )


def give_back(step: Step, person: str, sha256: str) -> None:
    c = upload_claims.c
    step.change(sa.delete(upload_claims).where(c.sha256 == sha256, c.by == person))


def _refused(
    step: Step, counting: sa.ColumnElement[bool], used: int, size: int, most: int
) -> Refused:
    more = "an administrator may raise the setting upload_gib"
    facts: dict[str, Any] = {"limit_bytes": most, "brought_bytes": used, "size": size}
    if size > most:
        hint = f"a file may have {_gib(most)} at most: split it, or {more}"
    else:
        facts["from_ms"] = _room_from(step, counting, used + size - most)
        moment = datetime.fromtimestamp(facts["from_ms"] // 1000, UTC)
        when = f"there is room for it from {moment:%Y-%m-%d %H:%M} UTC on"
        hint = f"{when}: the same command goes on then; sooner, {more}"
    return Refused(
        f"you have brought {_gib(used)} of the {_gib(most)} that one person may bring in {DAYS} "
        f"days, and this file has {_gib(size)}",
        hint=hint,
        **facts,
    )


def _room_from(step: Step, counting: sa.ColumnElement[bool], needed: int) -> int:
    """When the oldest claims that together have so many bytes no longer count."""
    c = upload_claims.c
    oldest: Any = sa.func.sum(c.size).over(order_by=(c.at_ms, c.sha256))
    sums = sa.select(c.at_ms, oldest.label("sum")).where(counting).subquery()
    first = sa.select(sa.func.min(sums.c.at_ms)).where(sums.c.sum >= needed)
    row = step.one(first)
    assert row is not None, "a minimum is one row"
    return int(row[0]) + WINDOW_MS


def _gib(size: int) -> str:
    """Bytes as people read them; a limit is whole GiB, a file may be far smaller."""
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}".replace(".0 ", " ")
    return f"{size} bytes"
