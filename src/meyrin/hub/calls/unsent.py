"""Asks that are being written: kept for their writer alone, until they are sent or discarded.

The key of an unsent ask becomes the key of the ask, so sending ends it. Whoever writes names a
`mark` of their own, and the mark of what they began from: what another window wrote meanwhile is
never overwritten unseen, and the same writing twice is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from meyrin.domain.errors import Conflict, InvalidInput, NotFound, Refused
from meyrin.hub.calls import proposals_store
from meyrin.hub.calls import unsent_store as store
from meyrin.hub.plumbing.authz import Actor
from meyrin.hub.plumbing.database import Step
from meyrin.hub.plumbing.paging import cut, number

TYPED = ("project", "title", "amount_h")
FIELDS = (*TYPED, "kind", "purpose", "months", "charged_type", "mode")
MOST = 20  # of one person
MOST_CHARACTERS = 200  # of a field


@dataclass(frozen=True, slots=True)
class Unsent:
    """What was written so far, as it was typed: nothing of it is checked yet."""

    id: int
    key: str
    mark: str
    said: Mapping[str, str]
    made_ms: int
    saved_ms: int


def keep(
    step: Step, actor: Actor, key: str, said: Mapping[str, str], mark: str, began_from: str
) -> Unsent:
    """Keep what was written so far. The same again is fine.

    Raises Conflict when it was sent, or when somebody who began elsewhere wrote meanwhile; Refused
    when too many are kept.
    """
    person_id = _person(actor)
    words = _words(said)
    if proposals_store.by_key(step, person_id, key) is not None:
        raise Conflict("this ask was sent already", hint="it is in the list of your asks")
    values = {"mark": mark, "said": words, "saved_ms": step.now_ms}
    row = {"person_id": person_id, "key": key, "made_ms": step.now_ms, **values}
    known = store.one(step, person_id, key)
    if known is None:
        if store.count(step, person_id) >= MOST:
            raise Refused(f"{MOST} unsent asks of yours are kept already",
                          hint="send or discard one of them")  # fmt: skip
        if store.add(step, row):
            return one(step, actor, key)
        known = store.one(step, person_id, key)
    if not store.write(step, person_id, key, {mark, began_from}, values) and (
        known is None or known.said != words
    ):
        raise Conflict(
            "this ask was changed in another window meanwhile",
            hint="open it anew to see what is kept; nothing of it was overwritten",
        )
    return one(step, actor, key)


def one(step: Step, actor: Actor, key: str) -> Unsent:
    """NotFound also where it is somebody else's."""
    row = store.one(step, _person(actor), key)
    if row is None:
        raise NotFound(
            "there is no unsent ask of yours by that key",
            hint="it may have been sent or discarded; `meyrin call unsent` lists yours",
        )
    return _unsent(row)


def listed(step: Step, actor: Actor, after: str, limit: int) -> tuple[list[Unsent], str]:
    """One page of one's own, newest first. One query."""
    rows = store.listed(step, _person(actor), number(after), limit)
    rows, following = cut(rows, limit, "id")
    return [_unsent(row) for row in rows], following


def discard(step: Step, actor: Actor, key: str) -> None:
    """Forget it, because it was sent or is not wanted. Where there is none: no change."""
    store.forget(step, _person(actor), key)


def _words(said: Mapping[str, str]) -> dict[str, str]:
    words = {name: said.get(name, "") for name in FIELDS}
    for name, text in words.items():
        if len(text) > MOST_CHARACTERS:
            raise InvalidInput(f"{name} has {len(text)} characters",
                               hint=f"{MOST_CHARACTERS} at most", field=name)  # fmt: skip
        if "\0" in text:
            raise InvalidInput(f"{name} has a NUL in it", hint="type it anew", field=name)
    return words


def _unsent(row: sa.Row[Any]) -> Unsent:
    return Unsent(row.id, row.key, row.mark, dict(row.said), row.made_ms, row.saved_ms)


def _person(actor: Actor) -> str:
    assert actor.person is not None, "the route asked for a person"
    return actor.person
