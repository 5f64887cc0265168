"""Owners' statements: a draft that anybody can work out again, then frozen, then published.

A month's document follows from shares, capacity and entries (`entitled`). On a set day the month
is closed and its document kept as it is, once. A published statement never changes: what is
mended later is an entry of an open month that names the month it corrects.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from meyrin.domain.errors import Conflict, InvalidInput, NotAllowed, NotFound, Refused
from meyrin.domain.ledger import month_at, month_bounds_ms, months_between, unfit
from meyrin.domain.site import check_name
from meyrin.hub.calls import service as calls
from meyrin.hub.identity import service as identity
from meyrin.hub.ledger import months as ledger_months
from meyrin.hub.ledger import service as ledger
from meyrin.hub.owners import entitled, store
from meyrin.hub.plumbing import audit
from meyrin.hub.plumbing.authz import Actor
from meyrin.hub.plumbing.database import Step
from meyrin.hub.plumbing.paging import cut
from meyrin.hub.sites import shares

# a step that saw the month open has long ended by then, so nothing is counted in it any more
KEPT_AFTER_MS = 600_000
_AT_ONCE = 3  # documents that one step works out
_DAY_MS = 86_400_000

DRAFT, CLOSED, FROZEN, PUBLISHED = "draft", "closed", "frozen", "published"


@dataclass(frozen=True, slots=True)
class Month:
    """A month and how far its statement is; `digest` is of the frozen document."""

    month: str
    state: str
    frozen_ms: int | None = None
    digest: str | None = None
    published_ms: int | None = None
    published_by: str | None = None


@dataclass(frozen=True, slots=True)
class Statement:
    """A month's document, and the coefficients that follow from it."""

    month: Month
    document: dict[str, Any]
    returns: tuple[entitled.Return, ...]


@dataclass(frozen=True, slots=True)
class Year:
    """Coefficients over a year's months; `drafts` are those of them that may still change."""

    year: int
    months: tuple[str, ...]
    drafts: tuple[str, ...]
    returns: tuple[entitled.Return, ...]


@dataclass(frozen=True, slots=True)
class Comment:
    id: int
    at_ms: int
    person: str
    owner: str
    phase: str
    words: str


# --- looking


def months(step: Step, actor: Actor, after: str, limit: int) -> tuple[list[Month], str]:
    """One page of the months that `actor` may see, newest first."""
    found = [month for month in reversed(_all_months(step)) if not after or month < after]
    if not _sees_drafts(step, actor):
        known = store.frozen(step, found)
        found = [m for m in found if m in known and known[m].published_ms is not None]
    shown = found[:limit]
    return _states(step, shown), (shown[-1] if len(found) > limit else "")


def statement(step: Step, actor: Actor, month: str) -> Statement:
    """A month's statement: as it was frozen, or worked out now. A fixed number of queries."""
    row = store.statement(step, _checked(month))
    if row is None or row.published_ms is None:
        _check_drafts(step, actor, month)
    if row is not None:
        body = json.loads(row.body)
        return Statement(_frozen(row), body, tuple(entitled.returns(body["owners"])))
    _check_month(step, month)
    (body,) = _worked_out(step, [month])
    state = CLOSED if ledger_months.closed(step, [month]) else DRAFT
    return Statement(Month(month, state), body, tuple(entitled.returns(body["owners"])))


def year(step: Step, actor: Actor, number: int) -> Year:
    """The return coefficients of a year, over the months of it that `actor` may see."""
    wanted = [month for month in _all_months(step) if month.startswith(f"{number:04d}-")]
    known = store.frozen(step, wanted)
    if not _sees_drafts(step, actor):
        wanted = [m for m in wanted if m in known and known[m].published_ms is not None]
    drafts = [month for month in wanted if month not in known]
    kept = store.bodies(step, [month for month in wanted if month in known])
    documents = [json.loads(text) for text in kept.values()] + _worked_out(step, drafts)
    lines = [line for each in documents for line in each["owners"]]
    return Year(number, tuple(wanted), tuple(drafts), tuple(entitled.returns(lines)))


def comments(
    step: Step, actor: Actor, month: str, after: str, limit: int
) -> tuple[list[Comment], str]:
    """One page of what owners said of a month, oldest first."""
    row = store.statement(step, _checked(month))
    if row is None or row.published_ms is None:
        _check_drafts(step, actor, month)
    rows, following = cut(store.comments_page(step, month, after, limit), limit, "id")
    names = identity.people_names(step, {each.person_id for each in rows})
    return [_comment(each, names[each.person_id]) for each in rows], following


def spoken_for(step: Step, actor: Actor) -> list[str]:
    """The owners that `actor` may comment for."""
    return [] if actor.person is None else store.owners_of(step, actor.person)


# --- freezing and publishing


def freeze_due(step: Step, freeze_day: int) -> list[str]:
    """Close the months whose day has come, and keep the document of those closed before.

    A periodic step; again: nothing changes. Returns the months that were frozen now.
    """
    over = [month for month in _all_months(step) if month < month_at(step.now_ms)]
    known = store.frozen(step, over)
    left = [month for month in over if month not in known]
    if not left:
        return []
    closed = ledger_months.closed(step, left)
    for month in left:
        day_ms = month_bounds_ms(month)[1] + (freeze_day - 1) * _DAY_MS
        if month not in closed and step.now_ms >= max(day_ms, _may_close_ms(month)):
            ledger.close_month(step, month)
    ready = [m for m in left if m in closed and step.now_ms - closed[m] >= KEPT_AFTER_MS]
    return _freeze(step, ready[:_AT_ONCE])


def publish(step: Step, actor: Actor, month: str) -> Month:
    """Show a frozen month to everybody. For programme officers; again: nothing
    changes."""
    row = store.statement(step, _checked(month))
    if row is None:
        raise Refused(
            f"{month} is not frozen yet",
            hint="it is frozen on its day; `meyrin ledger close-month` closes it sooner",
        )
    if row.published_ms is not None:
        return _frozen(row)
    fresh = {"month": month, "at_ms": step.now_ms, "by": actor.name}
    if step.add_new(store.publications, [fresh]):
        audit.note(step, actor.name, "statement.publish", month, digest=row.digest)
    row = store.statement(step, month)
    assert row is not None, "it was there a moment ago"
    return _frozen(row)


def _freeze(step: Step, ready: Sequence[str]) -> list[str]:
    frozen = []
    for body in _worked_out(step, ready):
        text = entitled.canonical(body)
        digest = entitled.digest(text)
        row = {"month": body["month"], "frozen_ms": step.now_ms, "body": text, "digest": digest}
        if step.add_new(store.statements, [row]):
            audit.note(step, audit.HUB, "statement.freeze", body["month"], digest=digest)
            frozen.append(body["month"])
    return frozen


def _may_close_ms(month: str) -> int:
    return month_bounds_ms(month)[1] + ledger.CLOSE_AFTER_MS


# --- owners' people and their words


def comment(step: Step, actor: Actor, month: str, owner: str, words: str, key: str) -> Comment:
    """Say something of a month for an owner: while it is a draft, and once it is published.

    `key` makes it one comment however often it is sent.
    """
    assert actor.person is not None, "the route asks for a person"
    said = (month, owner, words.strip())
    kept = store.comment_by_key(step, actor.person, key)
    if kept is None or (kept.month, kept.owner, kept.words) != said:
        phase = _may_say(step, actor.person, month, owner, words)
        row = {
            "month": month,
            "at_ms": step.now_ms,
            "person_id": actor.person,
            "key": key,
            "owner": owner,
            "phase": phase,
            "words": words.strip(),
        }
        if kept is None and step.add_new(store.comments, [row]):
            audit.note(step, actor.name, "statement.comment", month, owner=owner, phase=phase)
        kept = kept or store.comment_by_key(step, actor.person, key)
    assert kept is not None, "it is there now"
    if (kept.month, kept.owner, kept.words) != said:
        raise Conflict("another comment was sent with this key", hint="use a new key", field="key")
    return _comment(kept, actor.name)


def _may_say(step: Step, person_id: str, month: str, owner: str, words: str) -> str:
    """The phase in which this would be said; raises where it may not be."""
    if owner not in store.owners_of(step, person_id):
        raise NotAllowed(
            f"you don't speak for the owner {owner}",
            hint="a programme officer says who does: `meyrin ledger speak OWNER PERSON`",
        )
    phase = _phase(step, month)
    _check_words(words)
    return phase


def speak(step: Step, actor: Actor, owner: str, person: str) -> None:
    """Let a person comment for an owner. Again: nothing changes."""
    check_name("owner", owner)
    found = identity.person_by_name(step, person)
    row = {"owner": owner, "person_id": found.id, "since_ms": step.now_ms}
    if step.add_new(store.people, [row]):
        audit.note(step, actor.name, "owner.speak", owner, person=person)


def be_silent(step: Step, actor: Actor, owner: str, person: str) -> None:
    """Let a person comment for an owner no more; what was said stays."""
    found = identity.person_by_name(step, person)
    if not store.remove_person(step, owner, found.id):
        raise NotFound(f"{person} does not speak for {owner}", hint="`meyrin ledger speakers`")
    audit.note(step, actor.name, "owner.silent", owner, person=person)


def speakers(step: Step, after: str, limit: int) -> tuple[list[tuple[str, str, int]], str]:
    """One page of who speaks for which owner: owner, person, since when."""
    owner, _, person_id = after.partition("/")
    rows = store.people_page(step, (owner, person_id) if after else None, limit)
    following = f"{rows[limit - 1].owner}/{rows[limit - 1].person_id}" if len(rows) > limit else ""
    names = identity.people_names(step, {row.person_id for row in rows})
    return [(r.owner, names[r.person_id], r.since_ms) for r in rows[:limit]], following


def _phase(step: Step, month: str) -> str:
    row = store.statement(step, _checked(month))
    if row is not None and row.published_ms is not None:
        return PUBLISHED
    _check_month(step, month)
    if row is not None or ledger_months.closed(step, [month]):
        raise Refused(
            f"{month} is frozen and not yet published",
            hint="comment once it is published; what is to be mended becomes a later entry",
        )
    return DRAFT


def _check_words(words: str) -> None:
    if wrong := unfit(words, store.MAX_WORDS, also="\n"):
        raise InvalidInput(
            f"the comment {wrong}",
            hint=f"write 1 to {store.MAX_WORDS} characters of plain text",
            field="words",
        )


# --- inside


def _all_months(step: Step) -> tuple[str, ...]:
    """From the first entry, or the first second lent, to now."""
    entry_ms, lent_s = ledger_months.first_entry_ms(step), shares.first_lent_s(step)
    begins = [ms for ms in (entry_ms, None if lent_s is None else lent_s * 1000) if ms is not None]
    if not begins:
        return ()
    return months_between(month_at(min(begins)), month_at(step.now_ms))


def _worked_out(step: Step, wanted: Sequence[str]) -> list[dict[str, Any]]:
    """The documents of these months, up to now at the most. A fixed number of queries."""
    if not wanted:
        return []
    first_ms = min(month_bounds_ms(month)[0] for month in wanted)
    last_ms = max(month_bounds_ms(month)[1] for month in wanted)
    use = ledger_months.use(step, wanted)
    lent = shares.lent(step, first_ms // 1000, last_ms // 1000, {each.offer_id for each in use})
    paid = calls.paid_of(step, {each.allocation_id for each in use})
    moves = ledger_months.moves(step, last_ms)
    found = []
    for month in wanted:
        start_ms, end_ms = month_bounds_ms(month)
        counted = [each for each in use if each.month == month]
        named = {each.offer_id for each in counted}
        there = [each for each in lent if each.offer_id in named or _within(each, start_ms, end_ms)]
        givers = ledger_months.givers(moves, end_ms)
        known = entitled.Known(there, counted, givers, paid)
        found.append(entitled.document(month, known, step.now_s))
    return found


def _within(lent: shares.Lent, start_ms: int, end_ms: int) -> bool:
    ends = lent.end_s is None or lent.end_s * 1000 > start_ms
    return lent.start_s * 1000 < end_ms and ends


def _states(step: Step, wanted: Sequence[str]) -> list[Month]:
    known = store.frozen(step, wanted)
    closed = ledger_months.closed(step, wanted)
    return [
        _frozen(known[month])
        if month in known
        else Month(month, CLOSED if month in closed else DRAFT)
        for month in wanted
    ]


def _frozen(row: Any) -> Month:
    state = FROZEN if row.published_ms is None else PUBLISHED
    return Month(row.month, state, row.frozen_ms, row.digest, row.published_ms, row.published_by)


def _comment(row: Any, person: str) -> Comment:
    return Comment(row.id, row.at_ms, person, row.owner, row.phase, row.words)


def _checked(month: str) -> str:
    month_bounds_ms(month)  # raises for what is no month
    return month


def _check_month(step: Step, month: str) -> None:
    if month not in _all_months(step):
        raise NotFound(
            f"nothing was lent or charged in {month}", hint="`meyrin ledger months` lists those"
        )


def _sees_drafts(step: Step, actor: Actor) -> bool:
    return actor.reads_books or bool(spoken_for(step, actor))


def _check_drafts(step: Step, actor: Actor, month: str) -> None:
    if not _sees_drafts(step, actor):
        raise NotAllowed(
            f"the statement of {month} is not published yet",
            hint="until then those who read the books and those who speak for an owner may see it",
        )
