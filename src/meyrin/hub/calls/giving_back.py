"""Out of which shares an allocation's hours go when they leave it unused."""

from __future__ import annotations

from meyrin.domain.errors import Refused
from meyrin.domain.ledger import Source
from meyrin.domain.refusal import Reason, Refusal
from meyrin.hub.calls import tranches
from meyrin.hub.ledger import service as ledger
from meyrin.hub.plumbing.database import Step


def parts_of(step: Step, allocation_id: str, amount_s: int) -> list[tuple[Source, int]]:
    """The shares out of which `amount_s` goes: who gave last comes first.

    What is promised in tranches stays with the share that promised it.
    """
    given = ledger.sources(step, [allocation_id]).get(allocation_id, {})
    for part in tranches.of(step, [allocation_id]).get(allocation_id, []):
        given[part.source] = given.get(part.source, 0) - part.promised_s
    parts, left_s = [], amount_s
    for source, most_s in reversed(given.items()):
        taken_s = min(left_s, most_s)
        if taken_s > 0:
            parts.append((source, taken_s))
            left_s -= taken_s
    if left_s:
        raise Refused(
            f"{allocation_id} was not given so much",
            hint="move less",
            refusals=(Refusal(Reason.BALANCE, asked=amount_s, limit=amount_s - left_s),),
        )
    return parts
