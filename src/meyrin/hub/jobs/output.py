"""What jobs print, kept by offset, so that it can be sent again and read from anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from posixpath import join, normpath
from typing import Any

import sqlalchemy as sa

from meyrin.domain.job import JobRequest
from meyrin.domain.patterns import NODE, expand_pattern
from meyrin.hub.jobs.store import attempts, chunks, streams
from meyrin.hub.plumbing.database import Step
from meyrin.wire.agents import Chunk
from meyrin.wire.jobs import JobView, StreamView

NO_MORE = -1


def take(step: Step, site_id: str, pieces: Sequence[Chunk], limit_bytes: int) -> dict[str, int]:
    """Append pieces that go on where their stream stopped; returns every stream's size now.

    A piece that is known is passed over, one that leaves a gap too; the size says where to go
    on. NO_MORE for a stream that brought more than its limit, which is then cut, or of an attempt
    that is not this site's. One that is only just full is asked on: nobody knows yet.
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
    before = {(r.attempt, r.stream): r for r in step.rows(locked.with_for_update())}
    sizes = {key: row.size for key, row in before.items()}
    cut = {key for key, row in before.items() if row.cut}
    rows: list[dict[str, Any]] = []
    for piece in sorted(pieces, key=lambda p: p.offset):
        key = (piece.attempt, piece.stream)
        if key not in before:
            continue
        fresh = piece.data[sizes[key] - piece.offset :] if piece.offset <= sizes[key] else b""
        room = max(0, limit_bytes - sizes[key])
        if len(fresh) > room:
            cut.add(key)
        fresh = fresh[:room]
        if fresh:
            rows.append({"attempt": key[0], "stream": key[1], "offset": sizes[key], "data": fresh})
            sizes[key] += len(fresh)
    step.add(chunks, rows)
    changed = [
        key for key, row in before.items() if (sizes[key], key in cut) != (row.size, row.cut)
    ]
    if changed:
        values = [
            {"of": a, "named": s, "new_size": sizes[a, s], "is_cut": (a, s) in cut}
            for a, s in changed
        ]
        step.conn.execute(_GROW, values)
    for attempt, _ in changed:
        step.ring(f"output:{attempt}")
    answer = {f"{p.attempt}/{p.stream}": NO_MORE for p in pieces}
    for (attempt, stream), size in sizes.items():
        answer[f"{attempt}/{stream}"] = NO_MORE if (attempt, stream) in cut else size
    return answer


_GROW = (
    sa.update(streams)
    .where(streams.c.attempt == sa.bindparam("of"), streams.c.stream == sa.bindparam("named"))
    .values(size=sa.bindparam("new_size"), cut=sa.bindparam("is_cut"))
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


def cut_bytes(step: Step, attempt: str | None, stream: str) -> int | None:
    """How much is kept of a stream that printed more; None when all that came is here."""
    if attempt is None:
        return None
    statement = sa.select(streams.c.size).where(
        streams.c.attempt == attempt, streams.c.stream == stream, streams.c.cut
    )
    row = step.one(statement)
    return None if row is None else int(row.size)


def cut_header(step: Step, attempt: str | None, stream: str) -> dict[str, str]:
    """The header of an answer with output: absent when nothing was cut."""
    found = cut_bytes(step, attempt, stream)
    return {} if found is None else {"X-Meyrin-Cut": str(found)}


def kept(step: Step, job: JobView, attempt: str | None, request: JobRequest) -> list[StreamView]:
    """What is here of each stream of a job's attempt, and where all of it may be."""
    rows = step.rows(
        sa.select(streams).where(streams.c.attempt == attempt).order_by(streams.c.stream.desc())
    )
    return [
        StreamView(
            stream=row.stream,
            size=row.size,
            cut=row.cut,
            file=_file(job, request.stdout if row.stream == "stdout" else request.stderr, request),
        )
        for row in rows
    ]


def _file(job: JobView, pattern: str | None, request: JobRequest) -> str:
    """The file that a stream was to be written to, as far as its name is known here: its path at
    the site, or one in a folder of the job's own."""
    if pattern is None:
        return ""
    name = expand_pattern(
        pattern,
        job=job.job,
        array_job=job.array_job,
        task=job.task,
        name=job.name,
        user=job.person,
        node=NODE,
    )
    if NODE in name:
        return ""
    own = request.inputs or request.output_files
    folder = None if own else request.submit_dir
    path = normpath(join(folder or "", request.chdir or "", name))
    return "" if path.startswith("/dev/") else path
