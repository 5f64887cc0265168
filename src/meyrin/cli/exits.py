"""Exit codes: the one table from errors to what a shell sees."""

from __future__ import annotations

from meyrin.domain import errors

DONE = 0
FAILED = 1
USAGE = 2
REFUSED = 3
NOT_ALLOWED = 4
NOT_FOUND = 5
UNREACHABLE = 6
INTERRUPTED = 130  # what shells expect after Ctrl-C

EXIT: dict[type[errors.MeyrinError], int] = {
    errors.InvalidInput: USAGE,
    errors.BadDirective: USAGE,
    errors.Refused: REFUSED,
    errors.TermsMissing: REFUSED,
    errors.NotAllowed: NOT_ALLOWED,
    errors.NotLoggedIn: NOT_ALLOWED,
    errors.NotFound: NOT_FOUND,
    errors.Unreachable: UNREACHABLE,
    errors.Failed: FAILED,
    errors.Conflict: FAILED,
    errors.IllegalChange: FAILED,
    errors.WorldMoved: FAILED,
    errors.StaleEpoch: FAILED,
    errors.StorageFull: FAILED,
}


def exit_code(error: errors.MeyrinError) -> int:
    return EXIT[type(error)]
