"""The content store is tidied: what nothing refers to goes, a while after it was last brought.

A file stays while anything refers to it (results, inputs of jobs that have not ended, studies,
evidence, runs), and for `Blobs.unused_ms` after somebody last brought it. The database is the
truth, and a file goes in two steps, so that a crash between them leaves a file too many and never
a reference without its file:

1. `choose`: its row is locked, nothing refers to it, so nobody has it brought any more, and it is
   noted as going. From then on a new reference needs the bytes to be brought again.
2. `remove`: a day later its row is locked again, and the file and the row go, unless it was
   brought meanwhile.

Whoever refers to a file holds its upload's row (`files.check_brought`), and whoever brings one
changes its row (`settle`); rows that others hold are left for the next time, so nobody waits for
the tidying, and it waits for nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from meyrin.hub.jobs.store import (
    IS_LIVE,
    IS_WAITING,
    attempts,
    files,
    jobs,
    kept_files,
    requests,
    upload_claims,
    uploads,
)
from meyrin.hub.plumbing.blobs import Blobs
from meyrin.hub.plumbing.database import Database, Step

Column = sa.ColumnElement[Any]
# by its word, whether something of that kind refers to the digest in a column
Holders = Mapping[str, Callable[[Column], sa.ColumnElement[bool]]]
BATCH = 100
AGAIN_MS = 7 * 86_400_000  # what is referred to is looked at again after a week
ADOPTED = 500  # of one corner of the store at a time
GOING_MS = 86_400_000  # a copy of the store, made within a day after one of the database, is whole
TORN_MS = 86_400_000  # what was written aside and never named is nobody's after a day

k = kept_files.c


def is_result(digest: Column) -> sa.ColumnElement[bool]:
    """Whether a job left this file."""
    return sa.exists(sa.select(files.c.sha256).where(files.c.sha256 == digest))


def inputs(step: Step) -> set[str]:
    """The digests of what jobs that have not ended bring with them."""
    running = sa.select(jobs.c.request_id).join(attempts, attempts.c.job_id == jobs.c.id)
    live = sa.union(sa.select(jobs.c.request_id).where(IS_WAITING), running.where(IS_LIVE))
    named = requests.c.spec["inputs"].as_string().is_not(None)
    rows = step.rows(sa.select(requests.c.spec).where(requests.c.id.in_(live), named))
    return {str(file["sha256"]) for row in rows for file in row.spec["inputs"]}


# --- bringing


def settle(step: Step, blobs: Blobs, sha256: str, size: int) -> bool:
    """Note that a file was brought just now; False where it was taken away meanwhile, so that it
    has to be brought again."""
    new = _row(sha256, size, step.now_ms, step.now_ms + AGAIN_MS)
    while not (step.add_new(kept_files, [new]) or _touch(step, sha256)):
        pass  # it went between the two: now there is none, and the first succeeds
    if blobs.has(sha256, size):  # under the lock of its row: nobody takes it away now
        return True
    step.change(sa.delete(kept_files).where(k.sha256 == sha256))
    return False


def renew(step: Step, by: str, sha256: str, size: int) -> bool:
    """Note that `by` brings again what they brought before; False where that is gone."""
    new = _row(sha256, size, step.now_ms, step.now_ms + AGAIN_MS)
    while not (_touch(step, sha256) or step.add_new(kept_files, [new])):
        pass
    mine = sa.and_(uploads.c.sha256 == sha256, uploads.c.by == by)
    if step.change(sa.update(uploads).where(mine).values(at_ms=step.now_ms)):
        return True
    unbrought = sa.not_(sa.exists(sa.select(uploads.c.by).where(uploads.c.sha256 == sha256)))
    going = sa.update(kept_files).where(k.sha256 == sha256, unbrought)
    step.change(going.values(going_ms=step.now_ms))
    return False


def _row(sha256: str, size: int, at_ms: int, look_ms: int) -> dict[str, Any]:
    return {"sha256": sha256, "size": size, "at_ms": at_ms, "look_ms": look_ms, "going_ms": None}


def _touch(step: Step, sha256: str) -> int:
    change = sa.update(kept_files).where(k.sha256 == sha256)
    return step.change(change.values(at_ms=step.now_ms, going_ms=None))


# --- tidying


def choose(step: Step, holders: Holders, unused_ms: int) -> tuple[int, bool]:
    """Look at a batch of files whose turn it is, and note as going those that nothing refers to:
    how many, and whether there may be more to look at. Each is looked at once in a while."""
    due = sa.select(k.sha256, k.at_ms).where(k.look_ms <= step.now_ms, k.going_ms.is_(None))
    locked = due.order_by(k.look_ms).limit(BATCH).with_for_update(skip_locked=True)
    rows = step.rows(locked)
    old = [row.sha256 for row in rows if row.at_ms <= step.now_ms - unused_ms]
    free = _unheld(step, _unbrought_by_others(step, old), holders)
    step.change(sa.delete(uploads).where(uploads.c.sha256.in_(free)))
    step.change(sa.update(kept_files).where(k.sha256.in_(free)).values(going_ms=step.now_ms))
    stays = {row.sha256: row.at_ms + unused_ms for row in rows if row.sha256 not in free}
    later_ms = step.now_ms + AGAIN_MS
    for sha256, over_ms in stays.items():
        look_ms = over_ms if step.now_ms < over_ms < later_ms else later_ms
        step.change(sa.update(kept_files).where(k.sha256 == sha256).values(look_ms=look_ms))
    return len(free), len(rows) == BATCH


def _unbrought_by_others(step: Step, digests: Collection[str]) -> list[str]:
    """Those of which nobody refers to an upload just now: their rows are all locked here."""
    if not digests:
        return []
    u = uploads.c
    mine = sa.select(u.sha256, u.by).where(u.sha256.in_(digests))
    held = {(row.sha256, row.by) for row in step.rows(mine.with_for_update(skip_locked=True))}
    known = {(row.sha256, row.by) for row in step.rows(mine)}
    return sorted(set(digests) - {sha256 for sha256, _ in known - held})


def _unheld(step: Step, digests: Collection[str], holders: Holders) -> list[str]:
    """Those that nothing refers to. A statement of its own: it sees what was committed until the
    rows were locked."""
    if not digests:
        return []
    nothing = sa.not_(sa.or_(*(refers(k.sha256) for refers in holders.values())))
    rows = step.rows(sa.select(k.sha256).where(k.sha256.in_(digests), nothing))
    found = [row.sha256 for row in rows]
    return sorted(set(found) - inputs(step)) if found else []


def remove(
    database: Database, blobs: Blobs, until: Callable[[], bool], going_ms: int = GOING_MS
) -> tuple[int, int]:
    """Take away what has been going so long, one file after the other, while `until` is false: how
    many files and bytes. May be stopped anywhere, and done again."""
    count = size = 0
    while not until():
        with database.write() as step:
            wanted = sa.select(k.sha256, k.size).where(k.going_ms <= step.now_ms - going_ms)
            row = step.one(wanted.limit(1).with_for_update(skip_locked=True))
            if row is None:
                break
            blobs.remove(row.sha256)  # while its row is locked: nobody brings it meanwhile
            step.change(sa.delete(kept_files).where(k.sha256 == row.sha256))
        count, size = count + 1, size + row.size
    return count, size


def adopt(step: Step, found: Sequence[tuple[str, int, int]]) -> int:
    """Note files of the store that the database does not know, with the time of their bytes."""
    named = [sha256 for sha256, _, _ in found]
    known = {
        row.sha256 for row in step.rows(sa.select(k.sha256).where(step.among(k.sha256, named)))
    }
    strange = [each for each in found if each[0] not in known][:ADOPTED]
    rows = [_row(sha256, size, at_ms, step.now_ms) for sha256, size, at_ms in strange]
    return len(step.add_new(kept_files, rows, (k.sha256,)))


def tidy(
    database: Database, blobs: Blobs, holders: Holders, corner: int, until: Callable[[], bool]
) -> tuple[int, int]:
    """A bounded part of the whole: how many files and bytes were taken away."""
    now_ms = database.clock_ms()
    if found := blobs.corner(corner, now_ms - TORN_MS):
        with database.write() as step:
            adopt(step, found)
    blobs.drop_unfinished(corner, now_ms - blobs.unused_ms, until)
    more = True
    while more and not until():
        with database.write() as step:
            _, more = choose(step, holders, blobs.unused_ms)
    return remove(database, blobs, until)


# --- looking


def held(step: Step, holders: Holders, unused_ms: int) -> dict[str, tuple[int, int]]:
    """By what holds them, how many files and bytes there are: each file once, by the first that
    holds it. Also what somebody brought and nothing refers to, and what goes."""
    live = inputs(step)
    kinds = [(refers(k.sha256), word) for word, refers in holders.items()]
    if live:
        kinds.append((step.among(k.sha256, live), "inputs"))
    recent = k.at_ms > step.now_ms - unused_ms
    word = sa.case((k.going_ms.is_not(None), "going"), *kinds, (recent, "brought"), else_="unused")
    rows = step.rows(
        sa.select(
            word.label("word"),
            sa.func.count().label("files"),
            sa.func.sum(k.size).label("size"),
        )
        .select_from(kept_files)
        .group_by(sa.text("1"))
    )
    found = {row.word: (int(row.files), int(row.size)) for row in rows}
    c = upload_claims.c
    done = sa.exists(
        sa.select(uploads.c.by).where(uploads.c.sha256 == c.sha256, uploads.c.by == c.by)
    )
    under_way = sa.and_(sa.not_(done), c.at_ms > step.now_ms - unused_ms)
    row = step.one(
        sa.select(
            sa.func.count().label("files"),
            sa.func.coalesce(sa.func.sum(c.size), 0).label("size"),
        ).where(under_way)
    )
    assert row is not None, "an aggregate has one row"
    found["unfinished"] = (int(row.files), int(row.size))
    return found
