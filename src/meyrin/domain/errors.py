"""The one tree of errors.

    MeyrinError
    ├── InvalidInput        what was typed or sent can't be read        (exit 2, HTTP 422)
    │   └── BadDirective    an option of an sbatch script or command line, with its line
    ├── Refused             understood, and the answer is a reasoned no (exit 3, HTTP 409)
    │   └── TermsMissing    a site's terms were not accepted by whoever sent the job
    ├── NotAllowed          known person, missing right                 (exit 4, HTTP 403)
    │   └── NotLoggedIn     nobody, or a token that no longer counts    (exit 4, HTTP 401)
    ├── NotFound            no such thing, or none that you may see     (exit 5, HTTP 404)
    ├── Unreachable         hub, site or store does not answer          (exit 6, HTTP 503)
    └── Failed              the rest                                    (exit 1, HTTP 500)
        ├── Conflict        the world is not as the caller believed     (HTTP 409)
        │   ├── IllegalChange   a job state may not follow another
        │   ├── WorldMoved      a decision was made on an older world
        │   └── StaleEpoch      a report of an attempt that is no longer the current one
        └── StorageFull     nothing was written, nothing is lost        (HTTP 507)

A *refusal* (`meyrin.domain.refusal`) is a value; `Refused` carries refusals to whoever asked.
A *bug* is a failed assertion and is never caught.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meyrin.domain.refusal import Refusal


class MeyrinError(Exception):
    """Base of all errors that a caller may handle.

    `code` is stable and meant for programs, `hint` says the way out, `retry` whether the same
    call may succeed later unchanged, `facts` names fields and values.
    """

    code: ClassVar[str] = "failed"
    retry: bool = False

    def __init__(self, message: str, *, hint: str = "", **facts: object) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.facts: Mapping[str, object] = facts


class InvalidInput(MeyrinError):
    code = "invalid_input"


class BadDirective(InvalidInput):
    """An sbatch option that can't be read or can't be honoured; `facts` has option and line."""

    code = "bad_directive"


class Refused(MeyrinError):
    """A reasoned no. `refusals` are the values, the message their words."""

    code = "refused"

    def __init__(
        self, message: str, *, refusals: tuple[Refusal, ...] = (), hint: str = "", **facts: object
    ) -> None:
        super().__init__(message, hint=hint, **facts)
        self.refusals = refusals


class TermsMissing(Refused):
    """Accepting the terms of one of the sites that `facts` names is the way out."""

    code = "terms_missing"


class NotAllowed(MeyrinError):
    code = "not_allowed"


class NotLoggedIn(NotAllowed):
    code = "not_logged_in"


class NotFound(MeyrinError):
    code = "not_found"


class Unreachable(MeyrinError):
    code = "unreachable"
    retry = True


class Failed(MeyrinError):
    code = "failed"


class Conflict(Failed):
    code = "conflict"


class IllegalChange(Conflict):
    code = "illegal_change"


class WorldMoved(Conflict):
    code = "world_moved"
    retry = True


class StaleEpoch(Conflict):
    code = "stale_epoch"


class StorageFull(Failed):
    code = "storage_full"
    retry = True
