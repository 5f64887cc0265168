"""Ways out of an error once there is, or may be, a job: never to do the same again as it was.

The hint of one call to the hub, that it may be repeated, is read of the whole command; repeated,
that makes a second job.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from meyrin.client.connection import AGAIN
from meyrin.domain.errors import Failed, MeyrinError, Unreachable


@contextmanager
def naming_key(key: str, again: str, *, new: bool = True) -> Iterator[None]:
    """Errors of doubtful outcome name the key to repeat with; `again` is how that is written. A
    key that is not `new` may have made a job before."""
    try:
        yield
    except (Unreachable, Failed) as error:
        if "idempotency_key" not in error.facts:  # else it is another request's: that won't help
            unsent = new and error.facts.get("sent") is False
            way = f"repeat the same {again}: it can't make a second job"
            _add(error, "nothing was submitted" if unsent else way, idempotency_key=key)
            error.retry = error.retry and unsent
        raise


@contextmanager
def way_back(label: str) -> Iterator[None]:
    """What goes wrong once there is a job names it, and how to come back to it."""
    try:
        yield
    except MeyrinError as error:
        way = (
            f"job {label} was submitted, don't submit it again: `meyrin logs -f {label}` comes"
            f" back to it, `meyrin cancel {label}` ends it"
        )
        _add(error, way, job=label)
        error.retry = False
        raise


def _add(error: MeyrinError, way: str, **facts: object) -> None:
    error.hint = way if error.hint in {"", AGAIN} else f"{error.hint}\n{way}"
    error.facts = {**error.facts, **facts}
