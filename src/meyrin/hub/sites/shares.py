"""Whose a lent partition is, from when on, and all that its owners' entitlement follows from.

Shares and capacity are only ever added to, so what owners are entitled to in a month can always be
worked out again. Entitlement itself is worked out by `hub.owners`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa

from meyrin.domain.errors import InvalidInput, NotFound
from meyrin.domain.site import OwnerShare
from meyrin.domain.units import show_moment
from meyrin.hub.plumbing.database import Step
from meyrin.hub.sites import service, store

Shares = tuple[OwnerShare, ...]
_MAX_TERMS = 1000


@dataclass(frozen=True, slots=True)
class Lent:
    """An offer with all that its entitlement follows from.

    `terms` are (from when, whose), the first from 0; `capacity` are (from when, accelerators or
    cores, charged type), the earliest first. Before the first of them nothing is known.
    """

    offer_id: str
    site: str
    partition: str
    start_s: int
    end_s: int | None
    price_cents: int | None
    terms: tuple[tuple[int, Shares], ...]
    capacity: tuple[tuple[int, int, str], ...]


# --- shares


def shares_at(step: Step, wanted: Collection[tuple[str, int]]) -> dict[tuple[str, int], Shares]:
    """Whose each offer is at a second, by (offer, second). One query."""
    terms = _terms(step, {offer for offer, _ in wanted})
    return {(offer, at_s): in_force(terms[offer], at_s) for offer, at_s in wanted}


def in_force(terms: Sequence[tuple[int, Shares]], at_s: int) -> Shares:
    """The shares of the last of these terms that has begun."""
    return terms[bisect_right(terms, at_s, key=lambda each: each[0]) - 1][1]


def with_current(step: Step, offers: Sequence[service.Offer]) -> list[service.Offer]:
    """The offers with the shares that are in force now. One query."""
    now = {(each.id, max(step.now_s, each.start_s)) for each in offers}
    found = shares_at(step, now)
    return [replace(o, shares=found[o.id, max(step.now_s, o.start_s)]) for o in offers]


def terms_of(step: Step, name: str, offer_id: str) -> tuple[tuple[int, Shares], ...]:
    """An offer's shares, each with the second from which they hold (0: its beginning)."""
    row = service.site_row(step, store.sites.c.name == name, name)
    if store.offer_end(step, row.id, offer_id) is None:
        raise NotFound(f"{name} has no offer {offer_id}", hint=f"`meyrin site show {name}`")
    return _terms(step, {offer_id})[offer_id]


def change_shares(
    step: Step, name: str, offer_id: str, owners: Sequence[OwnerShare], from_s: int
) -> tuple[tuple[int, Shares], ...]:
    """Let an offer be of these owners from `from_s` on. What was before stays as it was.

    Not in the past, and later than any change that was made before. The same again changes
    nothing.
    """
    service.check_owners(owners)
    row = service.site_row(step, store.sites.c.name == name, name, hold=True)
    terms = terms_of(step, name, offer_id)
    last_s, last = terms[-1]
    new = tuple(sorted(owners, key=lambda share: share.owner))
    if (last_s, last) == (from_s, new):
        return terms
    offer = store.offer_end(step, row.id, offer_id)
    assert offer is not None, "it was there a moment ago"
    least = max(step.now_s, last_s + 1, offer.start_s)
    if from_s < least or (offer.end_s is not None and from_s >= offer.end_s):
        raise InvalidInput(
            f"the shares of {offer_id} can't change at {show_moment(from_s)}",
            hint=f"from {show_moment(least)} on (after the change before), until its end",
            field="from_s",
        )
    if len(terms) > _MAX_TERMS:
        raise InvalidInput(f"{offer_id} has changed hands often enough", hint="end it, lend anew")
    rows = [
        {"offer_id": offer_id, "from_s": from_s, "owner": one.owner, "weight": one.weight}
        for one in new
    ]
    step.add(store.later_shares, rows)
    return (*terms, (from_s, new))


def _terms(step: Step, offer_ids: Collection[str]) -> dict[str, tuple[tuple[int, Shares], ...]]:
    found: defaultdict[str, dict[int, list[OwnerShare]]] = defaultdict(dict)
    for row in store.terms_of(step, offer_ids):
        share = OwnerShare(row.owner, row.weight)
        found[row.offer_id].setdefault(row.from_s, []).append(share)
    return {
        offer: tuple((from_s, tuple(shares)) for from_s, shares in sorted(terms.items()))
        for offer, terms in found.items()
    }


# --- what was lent


def lent(step: Step, from_s: int, until_s: int, also: Iterable[str] = ()) -> list[Lent]:
    """The offers that were lent in this time, and those named in `also`. Three queries."""
    rows = store.offers_between(step, from_s, until_s, sorted(set(also)))
    terms = _terms(step, {row.id for row in rows})
    capacity: defaultdict[tuple[str, str], list[tuple[int, int, str]]] = defaultdict(list)
    for row in store.capacities_between(step, from_s * 1000, until_s * 1000):
        at = (row.at_ms // 1000, row.units, row.charged_type)
        capacity[row.site_id, row.partition].append(at)
    return [
        Lent(
            row.id,
            row.site,
            row.partition,
            row.start_s,
            row.end_s,
            row.price_cents,
            terms[row.id],
            tuple(capacity[row.site_id, row.partition]),
        )
        for row in rows
    ]


def first_lent_s(step: Step) -> int | None:
    """When the first offer began; None where there has been none."""
    row = step.one(sa.select(sa.func.min(store.offers.c.start_s).label("first")))
    return None if row is None or row.first is None else int(row.first)
