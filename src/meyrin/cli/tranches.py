"""Tranches on the command line: how they are written, and how they are shown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from meyrin.cli.moments import parse_day
from meyrin.cli.table import columns, table
from meyrin.cli.terminal import moment
from meyrin.domain.errors import InvalidInput
from meyrin.domain.units import HOUR_S, show_hours

if TYPE_CHECKING:
    from meyrin.wire.ledger import AllocationView

_KEYS = ("hours", "seconds", "from", "gate", "family", "reviewer")
HINT = "such as hours=500,from=2027-03-01,gate=second,family=tiny,reviewer=PUBLIC-KEY"


def parse_tranche(text: str) -> dict[str, object]:
    """`hours=500,gate=second,…` as the fields of a tranche."""
    given: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = part.strip().partition("=")
        if name not in _KEYS or not equals or not value or name in given:
            raise InvalidInput(f"--tranche: {part!r} can't be read", hint=HINT, field="--tranche")
        given[name] = value
    units = {"hours": HOUR_S, "seconds": 1}
    amounts = [(given.pop(name), unit_s) for name, unit_s in units.items() if name in given]
    if len(amounts) != 1 or not re.fullmatch(r"[0-9]{1,18}", amounts[0][0]):
        raise InvalidInput("--tranche: how much?", hint=HINT, field="--tranche")
    ((amount, unit_s),) = amounts
    told: dict[str, object] = {"amount_s": int(amount) * unit_s}
    if "from" in given:
        told["from_s"] = parse_day(given.pop("from"), "--tranche")
    return {**told, **given}


def tranche_table(allocations: Sequence[AllocationView]) -> str:
    """Every tranche of these allocations; empty where none has any."""
    rows = [
        (
            one.id,
            part.number,
            show_hours(part.amount_s),
            part.state,
            show_hours(part.given_s) if part.state in {"released", "due"} else "-",
            moment(part.from_s * 1000),
            f"{part.gate} for {part.family}" if part.gate else "-",
            part.reason or "-",
        )
        for one in allocations
        for part in one.tranches
    ]
    titles = "ALLOCATION TRANCHE> HOURS> STATE GIVEN_H> FROM GATE~ WHY~"
    return table(columns(titles), rows) if rows else ""


def next_words(allocations: Sequence[AllocationView]) -> list[str]:
    """What each allocation's next tranche waits for."""
    said = []
    for one in allocations:
        coming = [part for part in one.tranches if part.state in {"waiting", "due"}]
        if coming:
            first = coming[0]
            hours = show_hours(first.given_s if first.state == "due" else first.amount_s)
            gate = f"gate {first.gate}, models {first.family}" if first.state == "waiting" else ""
            way = f"through {gate}" if gate else f"on {moment(first.from_s * 1000)}"
            said.append(f"{one.id}: {hours} {one.charged_type} hours come next, {way}")
    return said


def pause_words(allocations: Sequence[AllocationView]) -> list[str]:
    """Which of these are paused, by whom, why, and who ends it."""
    said = []
    for one in allocations:
        if one.paused is not None:
            who = "an officer" if one.paused.officer else "a lead"
            said.append(
                f"{one.id} is paused since {moment(one.paused.since_ms)} by {one.paused.by}: "
                f"{one.paused.reason}; {who} ends it: `meyrin project resume {one.id}`"
            )
    return said
