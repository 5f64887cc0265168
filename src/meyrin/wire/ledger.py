"""Allocations, entries and statements on the wire. Amounts are whole accelerator-seconds."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from meyrin.domain.ledger import MAX_AMOUNT_S, MAX_REASON
from meyrin.wire.jobs import Body, Number
from meyrin.wire.names import Owner

Amount = Annotated[Number, Field(ge=1, le=MAX_AMOUNT_S)]
Key = Annotated[str, Field(min_length=1, max_length=200)]
OfferId = Annotated[str, Field(pattern=r"^[a-z0-9_]{0,64}$")]


class BalanceView(Body):
    """`granted_s` is the sum of the four others; `free_s` may be below zero."""

    granted_s: int
    free_s: int
    held_s: int
    used_s: int
    expired_s: int


class TrancheView(Body):
    """A part of an allocation. `given_s` is what was released of it, or will be at `from_s`."""

    number: int
    amount_s: int
    from_s: int
    gate: str
    family: str
    reviewer: str
    state: str
    given_s: int
    decision: str | None
    decided_ms: int | None
    reason: str


class PauseView(Body):
    """Nothing new is taken from an allocation; where an officer did it, one has to end it."""

    since_ms: int
    by: str
    officer: bool
    reason: str


class AllocationView(Body):
    """From `start_s` until just before `end_s`; `rule` is what granted it.

    `promised_s` is what later tranches bring; it can't be used yet and is not in the balance.
    `mode` is the way by which it was asked for, empty where it was awarded outright. `door` is
    entitled (free) or paid.
    """

    id: str
    project: str
    charged_type: str
    start_s: int
    end_s: int
    rule: str
    reason: str
    created_ms: int
    closed_ms: int | None
    mode: str = ""
    door: str = "entitled"
    paused: PauseView | None = None
    balance: BalanceView
    promised_s: int = 0
    tranches: tuple[TrancheView, ...] = ()


class AllocationList(Body):
    allocations: list[AllocationView]
    next: str


class NewTranche(Body):
    """A part of an award, from `from_s` on (the award's start, if left out).

    With a gate it needs a decision about models of that family, by a plan that this reviewer
    signed.
    """

    amount_s: Amount
    from_s: int | None = None
    gate: Annotated[str, Field(max_length=100)] = ""
    family: Annotated[str, Field(max_length=100)] = ""
    reviewer: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""


class NewAward(Body):
    """A programme officer's award; without `start_s` it begins at once. One key, one award.

    With tranches, `amount_s` is their sum.

    It comes out of the share of `owner` in the offer, or is the facility's own word.
    """

    key: Key
    project: str
    charged_type: Annotated[str, Field(min_length=1, max_length=64)]
    amount_s: Amount
    end_s: int
    start_s: int | None = None
    reason: Annotated[str, Field(min_length=1, max_length=MAX_REASON)]
    door: Literal["entitled", "paid"] = "entitled"
    owner: Owner = "facility"
    offer_id: OfferId = ""
    tranches: Annotated[tuple[NewTranche, ...], Field(max_length=24)] = ()


class EntryView(Body):
    """`amount_s` went from the debit account to the credit account."""

    id: int
    at_ms: int
    kind: str
    debit_account: str
    credit_account: str
    amount_s: int
    charged_type: str
    allocation_id: str
    attempt: str | None
    reason: str


class EntryList(Body):
    entries: list[EntryView]
    next: str


class KindSumView(Body):
    kind: str
    entries: int
    amount_s: int


class DeliveredView(Body):
    """What one owner's part of one offer delivered."""

    offer_id: str
    owner: str
    amount_s: int


class EnergyView(Body):
    """Joules of attempts that ended in the time, as their sites' accounting recorded them:
    `energy_j` is the sum over `known` attempts (None: over none), `unknown` is how many others
    were measured without."""

    energy_j: int | None
    known: int
    unknown: int


class TypeStatementView(Body):
    """`unbalanced_s` is zero, or the ledger does not add up."""

    charged_type: str
    opening: BalanceView
    kinds: list[KindSumView]
    delivered: list[DeliveredView]
    closing: BalanceView
    unbalanced_s: int
    energy: EnergyView | None = None


class StatementView(Body):
    """One month (`YYYY-MM`, UTC), or everything up to now."""

    project: str
    month: str | None
    types: list[TypeStatementView]


class OwnerView(Body):
    """What was granted out of an owner's share of an offer, and what it delivered."""

    offer_id: str
    owner: str
    charged_type: str
    granted_s: int
    delivered_s: int


class OwnersReply(Body):
    """Every owner's month (`YYYY-MM`, UTC)."""

    month: str
    owners: list[OwnerView]


class FindingView(Body):
    """One thing that does not add up."""

    code: str
    subject: str
    expected: int
    found: int


class VerifyReply(Body):
    findings: list[FindingView]
