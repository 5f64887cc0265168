"""What follows from shares, capacity and entries: a month's document. Pure, in integers.

Nothing is read here and no clock is asked. Every sum over owners is the whole, to the second.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

from meyrin.domain.ledger import FACILITY, apportion, month_bounds_ms
from meyrin.hub.ledger.months import Use
from meyrin.hub.sites.shares import Lent, in_force

VERSION = 1
POOR, VERY_POOR = Fraction(1), Fraction(40, 100)
Key = tuple[str, str, str]  # offer, owner, charged type
Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Known:
    """All that a month's document follows from. `paid` are allocations of the paid door;
    `givers` says whose shares an allocation's hours came from."""

    lent: Sequence[Lent]
    use: Sequence[Use]
    givers: Mapping[str, Mapping[str, int]]
    paid: Collection[str]


def document(month: str, known: Known, until_s: int | None = None) -> Document:
    """The month's statement, up to `until_s` where it is not over."""
    start_s, end_s = (ms // 1000 for ms in month_bounds_ms(month))
    end_s = end_s if until_s is None else max(start_s, min(end_s, until_s))
    entitled: Counter[Key] = Counter()
    unknown: list[dict[str, Any]] = []
    for lent in known.lent:
        missing_s = _entitle(entitled, month, lent, start_s, end_s)
        if missing_s:
            place = {"offer_id": lent.offer_id, "site": lent.site, "partition": lent.partition}
            unknown.append({**place, "seconds": missing_s})
    delivered, paid = _delivered(known)
    income = _income(month, known.lent, paid)
    returned = _returned(month, known)
    places = {lent.offer_id: lent for lent in known.lent}
    offers = [
        _offer_line(key, places.get(key[0]), entitled, delivered, paid, income)
        for key in sorted(entitled.keys() | delivered.keys())
    ]
    return {
        "version": VERSION,
        "month": month,
        "from_s": start_s,
        "until_s": end_s,
        "owners": _owner_lines(offers, returned),
        "offers": offers,
        "corrections": _corrections(known.use),
        "unknown": unknown,
    }


def canonical(body: Document) -> str:
    """The one way to write a document; its digest is that of these bytes."""
    return json.dumps(body, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


# --- entitled


def _entitle(entitled: Counter[Key], month: str, lent: Lent, start_s: int, end_s: int) -> int:
    """Add an offer's owners' parts of what could be used; returns for how long that is unknown."""
    first_s = max(start_s, lent.start_s)
    last_s = end_s if lent.end_s is None else min(end_s, lent.end_s)
    cuts = {first_s, last_s}
    cuts |= {at_s for at_s, _ in lent.terms} | {at_s for at_s, _, _ in lent.capacity}
    points = sorted(at_s for at_s in cuts if first_s <= at_s <= last_s)
    wholes: Counter[tuple[str, int]] = Counter()
    missing_s = 0
    for begin_s, stop_s in pairwise(points):
        there = bisect_right(lent.capacity, begin_s, key=lambda each: each[0])
        if not there:
            missing_s += stop_s - begin_s
            continue
        _, units, charged_type = lent.capacity[there - 1]
        term_s = max(at_s for at_s, _ in lent.terms if at_s <= begin_s)
        wholes[charged_type, term_s] += units * (stop_s - begin_s)
    for (charged_type, term_s), whole_s in sorted(wholes.items()):
        weights = {one.owner: one.weight for one in in_force(lent.terms, term_s)}
        seed = f"{month}/{lent.offer_id}/{charged_type}/{term_s}"
        for owner, part_s in apportion(whole_s, weights, seed).items():
            entitled[lent.offer_id, owner, charged_type] += part_s
    return missing_s


# --- delivered and what it was for


def _delivered(known: Known) -> tuple[Counter[Key], Counter[Key]]:
    delivered: Counter[Key] = Counter()
    paid: Counter[Key] = Counter()
    for each in known.use:
        key = (each.offer_id, each.owner, each.charged_type)
        delivered[key] += each.amount_s
        if each.allocation_id in known.paid:
            paid[key] += each.amount_s
    return delivered, paid


def _income(month: str, lent: Sequence[Lent], paid: Counter[Key]) -> dict[Key, int]:
    """Cents by offer and owner, where the offer has a price. Rounded once, half up, by offer."""
    prices = {each.offer_id: each.price_cents for each in lent if each.price_cents is not None}
    groups: defaultdict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for (offer_id, owner, charged_type), amount_s in paid.items():
        if offer_id in prices:
            groups[offer_id, charged_type][owner] = amount_s
    found: dict[Key, int] = {}
    for (offer_id, charged_type), parts in groups.items():
        whole_s, price = sum(parts.values()), prices[offer_id]
        cents = (2 * abs(whole_s) * price + 3600) // 7200 * (1 if whole_s >= 0 else -1)
        weights = {owner: abs(part) for owner, part in parts.items()}
        seed = f"{month}/{offer_id}/{charged_type}/cents"
        split = (
            apportion(cents, weights, seed) if any(weights.values()) else dict.fromkeys(parts, 0)
        )
        found |= {(offer_id, owner, charged_type): part for owner, part in split.items()}
    return found


def _returned(month: str, known: Known) -> Counter[tuple[str, str]]:
    """What was used of hours that each owner gave, by owner and charged type."""
    used: Counter[tuple[str, str]] = Counter()
    for each in known.use:
        used[each.allocation_id, each.charged_type] += each.amount_s
    returned: Counter[tuple[str, str]] = Counter()
    for (allocation_id, charged_type), amount_s in sorted(used.items()):
        weights = known.givers.get(allocation_id) or {FACILITY.owner: 1}
        parts = apportion(amount_s, weights, f"{month}/{allocation_id}")
        for owner, part_s in parts.items():
            returned[owner, charged_type] += part_s
    return returned


# --- lines


def _offer_line(
    key: Key,
    place: Lent | None,
    entitled: Counter[Key],
    delivered: Counter[Key],
    paid: Counter[Key],
    income: Mapping[Key, int],
) -> dict[str, Any]:
    offer_id, owner, charged_type = key
    return {
        "owner": owner,
        "charged_type": charged_type,
        "offer_id": offer_id,
        "site": place.site if place else "",
        "partition": place.partition if place else "",
        "entitled_s": entitled[key],
        "delivered_s": delivered[key],
        "paid_s": paid[key],
        "income_cents": income.get(key, None if paid[key] else 0),
    }


def _owner_lines(
    offers: list[dict[str, Any]], returned: Counter[tuple[str, str]]
) -> list[dict[str, Any]]:
    lines: dict[tuple[str, str], dict[str, Any]] = {}

    def line(owner: str, charged_type: str) -> dict[str, Any]:
        return lines.setdefault(
            (charged_type, owner),
            {
                "owner": owner,
                "charged_type": charged_type,
                "entitled_s": 0,
                "delivered_s": 0,
                "paid_s": 0,
                "returned_s": returned[owner, charged_type],
                "income_cents": 0,
            },
        )

    for owner, charged_type in sorted(returned):
        line(owner, charged_type)
    for each in offers:
        one = line(each["owner"], each["charged_type"])
        for name in ("entitled_s", "delivered_s", "paid_s"):
            one[name] += each[name]
        cents = each["income_cents"]  # an hour without a price leaves the sum unknown
        known = one["income_cents"] is not None and cents is not None
        one["income_cents"] = one["income_cents"] + cents if known else None
    return [lines[key] for key in sorted(lines)]


def _corrections(use: Iterable[Use]) -> list[dict[str, Any]]:
    """What of this month's entries mends a closed month."""
    sums: defaultdict[tuple[str, str, str, str], list[int]] = defaultdict(lambda: [0, 0])
    for each in use:
        if each.corrects:
            both = sums[each.corrects, each.charged_type, each.owner, each.offer_id]
            both[0] += each.amount_s
            both[1] += each.entries
    names = ("corrects", "charged_type", "owner", "offer_id")
    return [
        {**dict(zip(names, key, strict=True)), "amount_s": amount_s, "entries": entries}
        for key, (amount_s, entries) in sorted(sums.items())
    ]


# --- the return coefficient


@dataclass(frozen=True, slots=True)
class Return:
    """An owner's part of what was used, over its part of what was entitled; None is unknown."""

    owner: str
    charged_type: str
    entitled_s: int
    returned_s: int
    coefficient: Fraction | None

    @property
    def band(self) -> str:
        return band(self.coefficient)


def band(coefficient: Fraction | None) -> str:
    """CERN's words for supplies: very poor below 0.40, poor below 1.00, else balanced."""
    if coefficient is None:
        return "unknown"
    if coefficient < VERY_POOR:
        return "very poor"
    return "poor" if coefficient < POOR else "balanced"


def decimals(coefficient: Fraction | None, places: int = 3) -> str:
    """Rounded down, so that no band is shown that was not reached; `unknown` for None."""
    if coefficient is None:
        return "unknown"
    scaled = coefficient.numerator * 10**places // coefficient.denominator
    whole, part = divmod(abs(scaled), 10**places)
    return f"{'-' if scaled < 0 else ''}{whole}.{part:0{places}d}"


def returns(owner_lines: Iterable[Mapping[str, Any]]) -> list[Return]:
    """The coefficient of every owner and type, over all these lines (of one or more months)."""
    entitled: Counter[tuple[str, str]] = Counter()
    returned: Counter[tuple[str, str]] = Counter()
    for line in owner_lines:
        key = (line["charged_type"], line["owner"])
        entitled[key] += line["entitled_s"]
        returned[key] += line["returned_s"]
    wholes: dict[str, list[int]] = {}
    for charged_type, owner in entitled:
        both = wholes.setdefault(charged_type, [0, 0])
        both[0] += entitled[charged_type, owner]
        both[1] += returned[charged_type, owner]
    found = []
    for charged_type, owner in sorted(entitled):
        part, back = entitled[charged_type, owner], returned[charged_type, owner]
        all_entitled, all_returned = wholes[charged_type]
        known = part > 0 and all_returned > 0
        value = Fraction(back * all_entitled, all_returned * part) if known else None
        found.append(Return(owner, charged_type, part, back, value))
    return found
