"""Handing a request in, for `submit` and `run`: inputs first, then once and only once.

Whatever happens on the way, the user learns whether there is a job now.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meyrin.cli.exits import DONE, INTERRUPTED, REFUSED
from meyrin.cli.jobs import explained
from meyrin.cli.progress import ProgressLine
from meyrin.cli.session import Session
from meyrin.cli.terminal import clean, clock_time, data, data_json, say
from meyrin.domain.errors import InvalidInput, MeyrinError
from meyrin.domain.refusal import PASSING, Reason

if TYPE_CHECKING:
    from meyrin.client.api import Client
    from meyrin.client.sbatch import ClientOptions, Submission
    from meyrin.domain.job import JobRequest
    from meyrin.wire.jobs import Accepted


_HOLDS_BACK = frozenset({Reason.HELD, Reason.DEPENDENCY})  # nobody can say until when


class Interrupted(Exception):
    """Ctrl-C while handing in; its words say what became of the job."""


def act(session: Session, parsed: Submission, then: Callable[[Client, Accepted], int]) -> int:
    """Do what the options ask for: print, forecast, or hand in and go on with `then`."""
    session.quiet = parsed.client.quiet
    if not session.quiet:
        for note in parsed.notes:
            say(clean(f"note: {note}"))
    if parsed.client.dry_run:
        return print_request(parsed.request)
    if parsed.client.test_only:
        return forecast(session, parsed.request)
    with session.client() as hub:
        try:
            accepted = hand_in(session, hub, parsed.request, parsed.client)
        except Interrupted as interrupted:
            say(str(interrupted))
            return INTERRUPTED
        try:
            return then(hub, accepted)
        except KeyboardInterrupt:
            say(f"interrupted; {_there_is(accepted)}")
            return INTERRUPTED
        except OSError:  # nobody can read which job it is where that was to be written
            say(_there_is(accepted))
            raise


def _there_is(accepted: Accepted) -> str:
    label = accepted.job
    return (
        f"job {label} was submitted: `meyrin logs -f {label}` comes back to it,"
        f" `meyrin cancel {label}` ends it"
    )


def folder() -> Path:
    """The current folder, which somebody may have removed."""
    try:
        return Path.cwd()
    except FileNotFoundError as error:
        raise InvalidInput(
            "the current folder was removed", hint="go to one that there is: cd"
        ) from error


def here(session: Session) -> dict[str, Any]:
    """What the sbatch reader wants to know of this place."""
    return {"cwd": str(folder()), "host": socket.gethostname(), "now_s": session.now_s}


def print_request(request: JobRequest) -> int:
    """`--dry-run`: the request as it would be sent, less the inputs' digests."""
    data_json(asdict(request))
    return DONE


def forecast(session: Session, request: JobRequest) -> int:
    """`--test-only`: where and when it would start, and why; nothing is kept."""
    with session.client() as hub:
        found = hub.forecast(request)
    never = found.where is None and any(r.reason not in PASSING for r in found.refusals)
    if session.json:
        data_json(found.model_dump(mode="json"))
        return REFUSED if never else DONE
    begin_s = max(
        (int(r.asked or 0) for r in found.refusals if r.reason == Reason.BEGIN), default=0
    )
    if any(r.reason in _HOLDS_BACK for r in found.refusals):
        data(f"would not start yet: {clean(found.summary)}")
    elif found.where:
        start = clock_time(max(begin_s, found.where.expected_start_s), session.now_s)
        at = f"{found.where.site}/{found.where.partition}"
        data(f"would start {start} at {at}{', at the earliest (--begin)' if begin_s else ''}")
    for line in explained(found, session.now_s)[1 if found.where else 0 :]:
        say(line)
    return REFUSED if never else DONE


def hand_in(session: Session, hub: Client, request: JobRequest, asked: ClientOptions) -> Accepted:
    """Send the inputs and submit. Errors of doubtful outcome name the key to repeat with."""
    from meyrin.client.api import new_key  # noqa: PLC0415
    from meyrin.client.ways import naming_key  # noqa: PLC0415
    from meyrin.domain.job import checked_key  # noqa: PLC0415

    given = asked.idempotency_key
    key = new_key() if given is None else checked_key(given)
    complete = _with_inputs(session, hub, request, asked.inputs)
    again = f"command with --idempotency-key={key}"
    try:
        with naming_key(key, again, new=given is None):
            return hub.submit(complete, key)
    except KeyboardInterrupt:
        raise Interrupted(_settle(hub, complete, key)) from None


def _with_inputs(
    session: Session, hub: Client, request: JobRequest, typed: tuple[str, ...]
) -> JobRequest:
    if not typed:
        return request
    from meyrin.client.inputs import input_files  # noqa: PLC0415

    try:
        with closing(ProgressLine(session.clock)) as progress:
            files = [
                hub.upload(path, name, progress) for path, name in input_files(typed, folder())
            ]
    except KeyboardInterrupt:
        words = "nothing was submitted; the same command goes on with the upload"
        raise Interrupted(words) from None
    return replace(request, inputs=(*request.inputs, *files))


def _settle(hub: Client, request: JobRequest, key: str) -> str:
    """After Ctrl-C: the same key again tells whether the job exists; a new one is withdrawn."""
    say("interrupted; asking the hub whether the job exists (Ctrl-C again to leave)")
    try:
        accepted = hub.submit(request, key)
        if accepted.again:
            return f"job {accepted.job} was submitted; `meyrin cancel {accepted.job}` ends it"
        hub.cancel(accepted.job)
    except (KeyboardInterrupt, MeyrinError):
        return f"the job may exist; the same command with --idempotency-key={key} makes sure"
    return f"the hub had nothing yet; job {accepted.job} was cancelled before it went anywhere"
