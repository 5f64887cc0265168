"""Ids by noun. A job has a number, as batch users expect; everything else a word of its noun.

Attempts are UUIDs, because their id travels into the site's batch system as the one identity
that both sides trust.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import NewType

JobId = NewType("JobId", int)
RequestId = NewType("RequestId", int)
AttemptId = NewType("AttemptId", str)
PersonId = NewType("PersonId", str)
ProjectId = NewType("ProjectId", str)
SiteId = NewType("SiteId", str)
OfferId = NewType("OfferId", str)
AllocationId = NewType("AllocationId", str)
TokenId = NewType("TokenId", str)

# source of 16 random bytes; the real one enters in app, worker, loop and main
Entropy = Callable[[], bytes]

PREFIX = {
    "person": "per",
    "project": "prj",
    "site": "sit",
    "offer": "off",
    "allocation": "all",
    "token": "tok",
    "owner": "own",
    "proposal": "prp",
    "role": "rol",
    "terms": "trm",
    "departure": "dep",
    "change": "chg",
}
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def new_id(noun: str, entropy: Entropy) -> str:
    """A new id such as `prj_4k2m…`: the noun's prefix and 80 random bits in 16 characters."""
    number = int.from_bytes(entropy()[:10], "big")
    digits = "".join(_ALPHABET[(number >> (5 * i)) & 31] for i in range(16))
    return f"{PREFIX[noun]}_{digits}"


def new_attempt_id(entropy: Entropy) -> AttemptId:
    """A random UUID (version 4) as text."""
    return AttemptId(str(uuid.UUID(bytes=entropy(), version=4)))
