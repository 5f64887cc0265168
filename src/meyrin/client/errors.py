"""Errors of the hub, rebuilt from the one JSON shape as the classes that it raised.

A caller catches `NotFound` whether the thing was missing here or there. What is no answer of a
hub at all (a proxy's page, a broken reply) becomes Unreachable or Failed and names the address.
"""

from __future__ import annotations

import json
from typing import Any

from meyrin.domain import errors
from meyrin.domain.refusal import Reason, Refusal

BY_STATUS: dict[int, type[errors.MeyrinError]] = {
    401: errors.NotLoggedIn,
    403: errors.NotAllowed,
    404: errors.NotFound,
    409: errors.Conflict,
    413: errors.InvalidInput,
    422: errors.InvalidInput,
    429: errors.Unreachable,
    502: errors.Unreachable,
    503: errors.Unreachable,
    504: errors.Unreachable,
    507: errors.StorageFull,
}


def error_classes() -> dict[str, type[errors.MeyrinError]]:
    """Every class of the tree by its code."""
    found: dict[str, type[errors.MeyrinError]] = {}
    waiting: list[type[errors.MeyrinError]] = [errors.MeyrinError]
    while waiting:
        one = waiting.pop()
        waiting += one.__subclasses__()
        if one is not errors.MeyrinError:
            found[one.code] = one
    return found


def from_reply(status: int, body: bytes, address: str) -> errors.MeyrinError:
    """The error that a reply with `status` (400 or more) stands for."""
    told = _told(body)
    if told is None:
        return _foreign(status, address)
    kind = error_classes().get(str(told.get("code"))) or BY_STATUS.get(status, errors.Failed)
    message = str(told.get("message") or f"the hub answered {status}")
    hint = str(told.get("hint") or "")
    facts = _facts(told.get("facts"))
    if issubclass(kind, errors.Refused):
        return kind(message, refusals=_refusals(told.get("refusals")), hint=hint, **facts)
    return kind(message, hint=hint, **facts)


def as_body(error: errors.MeyrinError) -> dict[str, Any]:
    """The one JSON shape, for programs that read our standard output."""
    refusals = error.refusals if isinstance(error, errors.Refused) else ()
    return {
        "error": {
            "code": error.code,
            "message": error.message,
            "hint": error.hint,
            "retry": error.retry,
            "facts": {name: str(value) for name, value in error.facts.items() if value is not None},
            "refusals": [
                {
                    "reason": str(refusal.reason),
                    "site": refusal.site,
                    "partition": refusal.partition,
                    "asked": refusal.asked,
                    "limit": refusal.limit,
                }
                for refusal in refusals
            ],
        }
    }


def _told(body: bytes) -> dict[str, Any] | None:
    try:
        parsed = json.loads(body)
    except ValueError:
        return None
    told = parsed.get("error") if isinstance(parsed, dict) else None
    return told if isinstance(told, dict) else None


def _foreign(status: int, address: str) -> errors.MeyrinError:
    kind = BY_STATUS.get(status, errors.Failed)
    return kind(
        f"{address} answered {status}, and not in the words of a Meyrin hub",
        hint="is this the hub's address, and is a proxy in between?",
        address=address,
        status=status,
    )


def _facts(told: object) -> dict[str, object]:
    """Facts by name, less the names that the classes take for themselves."""
    if not isinstance(told, dict):
        return {}
    taken = {"message", "hint", "refusals", "self"}
    return {str(name): value for name, value in told.items() if str(name) not in taken}


def _refusals(told: object) -> tuple[Refusal, ...]:
    """Refusals whose reason this version knows; the message has the words of all of them."""
    known = set(Reason)
    return tuple(
        Refusal(
            Reason(one["reason"]),
            str(one.get("site") or ""),
            str(one.get("partition") or ""),
            one.get("asked"),
            one.get("limit"),
        )
        for one in (told if isinstance(told, list) else [])
        if isinstance(one, dict) and one.get("reason") in known
    )
