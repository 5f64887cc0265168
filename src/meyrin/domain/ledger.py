"""What the ledger is asked and what it answers, and the rule that splits a use among owners.

All amounts are integer accelerator-seconds (or core-seconds) of one charged type.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from meyrin.domain.errors import InvalidInput
from meyrin.domain.site import OwnerShare

MAX_AMOUNT_S = 10**15  # thirty million accelerators for a year; far from the end of 64 bits
MAX_REASON = 500


class AccountKind(StrEnum):
    """What an account holds. Only a share (what an owner gave) is below zero by its nature."""

    SHARE = "share"
    TRANCHE = "tranche"
    ALLOCATION = "allocation"
    HOLD = "hold"
    DELIVERED = "delivered"
    EXPIRED = "expired"


class EntryKind(StrEnum):
    GRANT = "grant"  # share → allocation
    PROMISE = "promise"  # share → tranche
    RELEASE = "release"  # tranche → allocation
    WITHDRAW = "withdraw"  # tranche → share
    HOLD = "hold"  # allocation → hold
    SETTLE = "settle"  # hold (beyond it: allocation) → delivered
    VOID = "void"  # hold → allocation
    CORRECT = "correct"  # allocation → delivered, or back
    EXPIRE = "expire"  # allocation → expired
    TRANSFER = "transfer"  # allocation → share, and share → another allocation
    RECLAIM = "reclaim"  # allocation → share


@dataclass(frozen=True, slots=True)
class Source:
    """Whose share a grant comes from; without an offer it is the facility's own word."""

    owner: str = "facility"
    offer_id: str = ""


FACILITY = Source()


@dataclass(frozen=True, slots=True)
class Hold:
    """Set `amount_s` of an allocation aside for an attempt."""

    attempt: str
    allocation_id: str
    amount_s: int


@dataclass(frozen=True, slots=True)
class Settlement:
    """What an attempt used, of which offer, and who paid for that offer.

    `record` is the key of the usage record that says so. `ended_ms` is when the use ended, where
    that is known: it says in which month the use counts.
    """

    attempt: str
    used_s: int
    shares: tuple[OwnerShare, ...]
    offer_id: str
    reason: str
    record: str = ""
    ended_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a bulk of settlements.

    `new` were charged now; `repeated` had been, with the same amount; `different` had been with
    another amount and are unchanged (use `correct`); `unknown` were never on hold. `overdrawn`
    says by how many seconds an attempt took its allocation below zero.
    """

    new: frozenset[str] = frozenset()
    repeated: frozenset[str] = frozenset()
    different: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()
    overdrawn: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Balance:
    """An allocation: `granted_s` is always the sum of the four others. `free_s` may be negative."""

    granted_s: int = 0
    free_s: int = 0
    held_s: int = 0
    used_s: int = 0
    expired_s: int = 0


@dataclass(frozen=True, slots=True)
class Cost:
    """One attempt: what is on hold for it now, and what it was charged."""

    allocation_id: str
    charged_type: str
    held_s: int
    used_s: int


def check_amount(amount_s: int) -> None:
    if not 0 < amount_s <= MAX_AMOUNT_S:
        raise InvalidInput(
            f"an amount can't be {amount_s} seconds",
            hint=f"write 1 to {MAX_AMOUNT_S} accelerator-seconds",
            field="amount_s",
        )


def check_reason(reason: str) -> None:
    """A person's reason is shown to people for ever: said, short, and printable."""
    if wrong := unfit(reason, MAX_REASON):
        raise InvalidInput(
            f"the reason {wrong}",
            hint=f"write 1 to {MAX_REASON} characters on one line",
            field="reason",
        )


def unfit(text: str, most: int, also: str = "") -> str:
    """What is wrong with a text that people are to read, of at most so many printable characters
    or those in `also`: "is empty", "has 2,000 characters", …; "" where nothing is."""
    if not text.strip():
        return "is empty"
    if len(text) > most:
        return f"has {len(text):,} characters"
    odd = next((letter for letter in text if not letter.isprintable() and letter not in also), "")
    return f"has {odd!r} in it" if odd else ""


def plain_reason(reason: str) -> str:
    """A program's reason made fit to keep: on one line, printable, cut where it is too long."""
    if not reason.isprintable():
        reason = "".join(letter if letter.isprintable() else " " for letter in reason)
    line = reason.strip()
    return line if len(line) <= MAX_REASON else line[: MAX_REASON - 1] + "…"


def split(attempt: str, used_s: int, shares: Sequence[OwnerShare]) -> dict[str, int]:
    """Who delivered how much of `used_s`: integers that add up exactly, by the owners' weights.

    Put the owners in order of their names; let W be the sum of all weights and S(k) that of the
    first k. Let u be the SHA-256 of the attempt's 16 UUID bytes, as a big-endian number, modulo
    W. The first k owners together delivered floor((used_s * S(k) + u) / W).

    So each owner's part is its exact part rounded down or up, and as u is spread evenly over
    0..W-1, it is rounded up just as often as its fraction says: nobody gains in the long run.
    """
    total = sum(share.weight for share in shares)
    names = {share.owner for share in shares}
    if total < 1 or any(share.weight < 0 for share in shares) or len(names) != len(shares):
        raise InvalidInput(
            "the owners' weights can't be used",
            hint="each owner once, no weight below zero, one above",
            shares=[(share.owner, share.weight) for share in shares],
        )
    digest = hashlib.sha256(uuid.UUID(attempt).bytes).digest()
    offset = int.from_bytes(digest, "big") % total
    parts: dict[str, int] = {}
    weight = before = 0
    for share in sorted(shares, key=lambda share: share.owner):
        weight += share.weight
        upto = (used_s * weight + offset) // total
        parts[share.owner] = upto - before
        before = upto
    return parts


def apportion(amount: int, weights: Mapping[str, int], seed: str) -> dict[str, int]:
    """`amount` split by weights into integers that add up exactly: the largest remainder method.

    Each name gets its exact part rounded down; what is left over goes, one by one, to the largest
    remainders (Hamilton's method, Balinski and Young 1982). Equal remainders are put in order by
    the SHA-256 of `seed`, a slash and the name: nobody can choose it, anybody can check it. An
    amount below zero is split as its opposite is.
    """
    total = sum(weights.values())
    if total < 1 or any(weight < 0 for weight in weights.values()):
        raise InvalidInput("weights are whole numbers from 0 on, and one is above zero")
    sign, size = (-1, -amount) if amount < 0 else (1, amount)
    parts = {name: size * weight // total for name, weight in weights.items()}
    left = size - sum(parts.values())

    def turn(name: str) -> tuple[int, str]:
        digest = hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()
        return -(size * weights[name] % total), digest

    for name in sorted(weights, key=turn)[:left]:
        parts[name] += 1
    return {name: sign * part for name, part in parts.items()}


_MONTH = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])")


def month_bounds_ms(month: str) -> tuple[int, int]:
    """The first millisecond of a month such as `2026-11` (UTC), and that of the next month."""
    match = _MONTH.fullmatch(month)
    if not match or not 1970 <= int(match[1]) <= 9998:
        raise InvalidInput(f"{month!r} is no month", hint="write YYYY-MM, such as 2026-11")
    year, number = int(match[1]), int(match[2])
    start = datetime(year, number, 1, tzinfo=UTC)
    end = datetime(year + number // 12, number % 12 + 1, 1, tzinfo=UTC)
    return int(start.timestamp()) * 1000, int(end.timestamp()) * 1000


def month_at(at_ms: int) -> str:
    """The month (UTC) of a moment, such as `2026-11`."""
    return f"{datetime.fromtimestamp(at_ms // 1000, UTC):%Y-%m}"


def months_between(first: str, last: str) -> tuple[str, ...]:
    """All months from `first` to `last`, both included; none where `last` is earlier."""
    start, end = (12 * int(month[:4]) + int(month[5:]) - 1 for month in (first, last))
    return tuple(f"{n // 12:04d}-{n % 12 + 1:02d}" for n in range(start, end + 1))
