"""A hub's receipt: its signature of a site's statement, with the time at which it came.

The hub signs after it checked: that it knows the site's key, and that the attempt is one of its
own, of a job that ran this suite on this model at this site. The receipt is a statement of its own
(in-toto's simple verification result) about `statement.json`, so it holds the site's signature too.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from meyrin.domain.errors import Conflict
from meyrin.suites import keys
from meyrin.suites.bundle import (
    RECEIPT,
    STATEMENT,
    STATEMENT_TYPE,
    descriptor,
    envelope,
    opened,
    signature,
    unzipped,
    zipped,
)
from meyrin.suites.facts import canonical

KIND = "https://in-toto.io/attestation/svr/v0.1"
SITE_KNOWN, JOB_KNOWN = "MEYRIN_SITE_KEY_KNOWN", "MEYRIN_ATTEMPT_OF_A_JOB"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a hub says: who it is, when the evidence came, and what it had checked by then."""

    hub: str
    received_ms: int
    attempt: str = ""
    checked: tuple[str, ...] = (SITE_KNOWN,)


def countersign(raw: bytes, secret: bytes, receipt: Receipt) -> bytes:
    """The bundle with a receipt. Whoever signs should have verified it before.

    A bundle that this key has countersigned stays as it is; Conflict where another hub has.
    """
    members = unzipped(raw)
    if RECEIPT in members:
        _, known = opened(members[RECEIPT])
        if [each["public"] for each in known] == [keys.public_of(secret)]:
            return raw
        raise Conflict(
            "another hub has countersigned it already", hint="`meyrin evidence verify` says which"
        )
    payload = canonical(_statement(members[STATEMENT], receipt))
    return zipped({**members, RECEIPT: envelope(payload, [signature(payload, secret)])})


def parse(payload: bytes, statement: bytes) -> Receipt:
    """The receipt in a payload; ValueError unless it is exactly one about this statement."""
    told = json.loads(payload)["predicate"]["meyrin"]
    found = Receipt(
        str(told["hub"]), int(told["received_ms"]), str(told["attempt"]), tuple(told["checked"])
    )
    if canonical(_statement(statement, found)) != payload:
        raise ValueError("it is about another statement")
    return found


def _statement(statement: bytes, receipt: Receipt) -> dict[str, Any]:
    when = datetime.fromtimestamp(receipt.received_ms // 1000, tz=UTC)
    return {
        "_type": STATEMENT_TYPE,
        "subject": [descriptor(STATEMENT, statement)],
        "predicateType": KIND,
        "predicate": {
            "verifier": {"id": receipt.hub},
            "timeCreated": when.isoformat().replace("+00:00", "Z"),
            "properties": list(receipt.checked),
            "meyrin": asdict(receipt),
        },
    }
