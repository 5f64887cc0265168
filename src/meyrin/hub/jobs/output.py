"""What jobs print, kept by offset, so that it can be sent again and read from anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from meyrin.hub.jobs.store import attempts, chunks, streams
from meyrin.hub.plumbing.database import Step
from meyrin.wire.agents import Chunk

NO_MORE = -1


def take(step: Step, site_id: str, pieces: Sequence[Chunk], limit_bytes: int) -> dict[str, int]:
    """Append pieces that go on where their stream stopped; returns every stream's size now.

    A piece that is known is passed over, one that leaves a gap too; the size says where to go
    on. NO_MORE for a stream that is full, or of an attempt that is not this site's.
    """
    ids = sorted({piece.attempt for piece in pieces})
    ours = {
        row.id
        for row in step.rows(
            sa.select(attempts.c.id).where(
                step.among(attempts.c.id, ids), attempts.c.site_id == site_id
            )
        )
    }
    keys = sorted({(piece.attempt, piece.stream) for piece in pieces if piece.attempt in ours})
    step.add_new(streams, [{"attempt": a, "stream": s, "size": 0} for a, s in keys])
    locked = sa.select(streams).where(step.among(streams.c.attempt, sorted(ours)))
    locked = locked.order_by(streams.c.attempt, streams.c.stream)
    sizes = {(r.attempt, r.stream): r.size for r in step.rows(locked.with_for_update())}
    before = dict(sizes)
    rows: list[dict[str, Any]] = []
    for piece in sorted(pieces, key=lambda p: p.offset):
        key = (piece.attempt, piece.stream)
        if key not in before:
            continue
        fresh = piece.data[sizes[key] - piece.offset :] if piece.offset <= sizes[key] else b""
        fresh = fresh[: max(0, limit_bytes - sizes[key])]
        if fresh:
            rows.append({"attempt": key[0], "stream": key[1], "offset": sizes[key], "data": fresh})
            sizes[key] += len(fresh)
    step.add(chunks, rows)
    grown = [key for key in before if sizes[key] != before[key]]
    if grown:
        values = [{"of": a, "named": s, "new_size": sizes[a, s]} for a, s in grown]
        step.conn.execute(_GROW, values)
    for attempt, _ in grown:
        step.ring(f"output:{attempt}")
    answer = {f"{p.attempt}/{p.stream}": NO_MORE for p in pieces}
    for (attempt, stream), size in sizes.items():
        answer[f"{attempt}/{stream}"] = size if size < limit_bytes else NO_MORE
    return answer


_GROW = (
    sa.update(streams)
    .where(streams.c.attempt == sa.bindparam("of"), streams.c.stream == sa.bindparam("named"))
    .values(size=sa.bindparam("new_size"))
)


def read(step: Step, attempt: str, stream: str, offset: int, most: int = 2**20) -> bytes:
    """Bytes of a stream from `offset`, at most about `most`; empty at its present end."""
    rows = step.rows(
        sa.select(chunks.c.offset, chunks.c.data)
        .where(chunks.c.attempt == attempt, chunks.c.stream == stream)
        .where(chunks.c.offset + sa.func.length(chunks.c.data) > offset)
        .order_by(chunks.c.offset)
        .limit(64)
    )
    data = b""
    for row in rows:
        data += row.data[max(0, offset - row.offset) :]
        if len(data) >= most:
            break
    return data
