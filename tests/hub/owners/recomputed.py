"""A second program for a month's statement: from the rows alone, in plain loops.

It shares no code with `hub.owners`: it reads tables as text, walks every entry by itself, and
integrates capacity event by event with exact fractions.
"""

from __future__ import annotations

from calendar import monthrange
from collections import defaultdict
from datetime import UTC, datetime
from fractions import Fraction

import sqlalchemy as sa


def rows(step, table):
    return [dict(row._mapping) for row in step.conn.execute(sa.text(f"SELECT * FROM {table}"))]


def month_of(at_ms):
    moment = datetime.fromtimestamp(at_ms / 1000, UTC)
    return f"{moment.year:04d}-{moment.month:02d}"


def bounds_s(month):
    year, number = map(int, month.split("-"))
    start = int(datetime(year, number, 1, tzinfo=UTC).timestamp())
    return start, start + monthrange(year, number)[1] * 86_400


def delivered(step, month):
    """Seconds by (offer, owner, type)."""
    found = defaultdict(int)
    for entry in rows(step, "entries"):
        if (entry["month"] or month_of(entry["at_ms"])) != month:
            continue
        for side, sign in (("credit_account", 1), ("debit_account", -1)):
            if entry[side].startswith("delivered:"):
                offer, owner = entry[side].split(":")[-2:]
                found[offer, owner, entry["charged_type"]] += sign * entry["amount_s"]
    return dict(found)


def entitled(step, month, until_s):
    """Exact fractions by (offer, owner, type), and the whole seconds by (offer, type)."""
    parts, wholes = defaultdict(Fraction), defaultdict(int)
    start_s, end_s = bounds_s(month)
    end_s = min(end_s, until_s)
    capacities, terms = rows(step, "capacities"), rows(step, "later_shares")
    first = [each | {"from_s": 0} for each in rows(step, "offer_shares")]
    for offer in rows(step, "offers"):
        own = [e for e in [*first, *terms] if e["offer_id"] == offer["id"]]
        there = [
            c
            for c in capacities
            if (c["site_id"], c["partition"]) == (offer["site_id"], offer["partition"])
        ]
        moments = {start_s, end_s, offer["start_s"], offer["end_s"] or end_s}
        moments |= {each["from_s"] for each in own} | {c["at_ms"] // 1000 for c in there}
        inside = sorted(
            at
            for at in moments
            if max(start_s, offer["start_s"]) <= at <= min(end_s, offer["end_s"] or end_s)
        )
        for position in range(len(inside) - 1):
            begin, stop = inside[position], inside[position + 1]
            before = [c for c in there if c["at_ms"] // 1000 <= begin]
            if not before:
                continue
            now = max(before, key=lambda c: c["at_ms"])
            term = max(each["from_s"] for each in own if each["from_s"] <= begin)
            shares = [each for each in own if each["from_s"] == term]
            total = sum(each["weight"] for each in shares)
            amount = now["units"] * (stop - begin)
            wholes[offer["id"], now["charged_type"]] += amount
            for each in shares:
                key = (offer["id"], each["owner"], now["charged_type"])
                parts[key] += Fraction(amount * each["weight"], total)
    return parts, wholes
