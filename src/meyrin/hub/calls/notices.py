"""What people are told once about their allocations, in pages and on the command line.

A notice is kept when what it tells comes about; each person who sees it can put it away.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from meyrin.domain.errors import NotFound
from meyrin.domain.ledger import plain_reason
from meyrin.hub.calls import changes_store as store
from meyrin.hub.calls.service import Allocation
from meyrin.hub.identity import service as identity
from meyrin.hub.plumbing.authz import Actor
from meyrin.hub.plumbing.database import Step
from meyrin.hub.plumbing.paging import cut, number, page


@dataclass(frozen=True, slots=True)
class Notice:
    id: int
    project: str
    allocation_id: str
    words: str
    created_ms: int


def tell(step: Step, allocation: Allocation, mark: str, words: str) -> bool:
    """Keep a notice; False when what `mark` names was told of this allocation before."""
    row = {
        "project_id": allocation.project_id,
        "allocation_id": allocation.id,
        "mark": mark,
        "words": plain_reason(words),
        "created_ms": step.now_ms,
    }
    n = store.notices.c
    told = sa.select(n.id).where(n.allocation_id == allocation.id, n.mark == mark)
    if step.one(told) is not None:
        return False
    step.add(store.notices, [row])
    return True


def listed(step: Step, actor: Actor, after: str, limit: int) -> tuple[list[Notice], str]:
    """One page of what a person has not put away yet, newest first: of their own projects."""
    n, seen = store.notices.c, store.notices_seen.c
    put_away = sa.select(seen.notice_id).where(seen.person_id == actor.person)
    statement = sa.select(store.notices).where(
        n.project_id.in_(sorted(actor.projects)), n.id.not_in(put_away)
    )
    found = page(statement, n.id, number(after), limit, newest=True)
    rows, following = cut(step.rows(found), limit, "id")
    if not rows:
        return [], ""
    names = identity.project_names(step, {row.project_id for row in rows})
    told = [
        Notice(row.id, names[row.project_id], row.allocation_id, row.words, row.created_ms)
        for row in rows
    ]
    return told, following


def put_away(step: Step, actor: Actor, notice_id: int) -> None:
    """Not to be shown to this person again. Again: no change. NotFound for somebody else's."""
    row = step.one(sa.select(store.notices).where(store.notices.c.id == notice_id))
    if row is None or row.project_id not in actor.projects:
        raise NotFound(f"there is no notice {notice_id} for you")
    step.add_new(store.notices_seen, [{"notice_id": notice_id, "person_id": actor.person}])
