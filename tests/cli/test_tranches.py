"""How tranches are written and shown."""

from __future__ import annotations

import pytest

from meyrin.cli.tranches import next_words, parse_tranche, tranche_table
from meyrin.domain.errors import InvalidInput
from meyrin.wire.ledger import AllocationView, BalanceView, NewTranche, TrancheView

KEY = "ab" * 32


def test_a_tranche_as_it_is_written() -> None:
    text = f"hours=500, from=2027-03-01,gate=second,family=tiny,reviewer={KEY}"
    told = NewTranche(**parse_tranche(text))
    assert (told.amount_s, told.gate, told.reviewer) == (1_800_000, "second", KEY)
    assert told.from_s == 1_803_859_200
    assert parse_tranche("seconds=7") == {"amount_s": 7}
    assert parse_tranche("seconds=7,family=hours=x") == {"amount_s": 7, "family": "hours=x"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "500",
        "hours=x",
        "hours=1,seconds=1",
        "hours=1,hours=2",
        "hours=1,colour=red",
        "hours=" + 5000 * "9",
    ],
)
def test_what_can_not_be_read(text: str) -> None:
    with pytest.raises(InvalidInput) as found:
        parse_tranche(text)
    assert "hours=500" in found.value.hint


def allocation(*parts: TrancheView) -> AllocationView:
    balance = BalanceView(granted_s=3600, free_s=3600, held_s=0, used_s=0, expired_s=0)
    return AllocationView(
        id="all_1",
        project="lab",
        charged_type="h100",
        start_s=0,
        end_s=10,
        rule="award",
        reason="r",
        created_ms=0,
        closed_ms=None,
        balance=balance,
        promised_s=7200,
        tranches=parts,
    )


def part(number: int, state: str, gate: str = "") -> TrancheView:
    return TrancheView(
        number=number,
        amount_s=3600 * number,
        from_s=0,
        gate=gate,
        family="tiny" if gate else "",
        reviewer="",
        state=state,
        given_s=0,
        decision=None,
        decided_ms=None,
        reason="",
    )


def test_tranches_as_they_are_shown() -> None:
    one = allocation(part(1, "released"), part(2, "waiting", "second"))
    assert "second for tiny" in tranche_table([one])
    assert next_words([one]) == [
        "all_1: 2.000 h100 hours come next, through gate second, models tiny"
    ]
    assert tranche_table([allocation()]) == ""
    assert next_words([allocation(part(1, "stopped"))]) == []
