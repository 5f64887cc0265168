"""Following a job's output live: every byte once, whatever happens to the connection.

Each piece says at which byte it ends. After a break the stream goes on from the last byte that
was given out (Last-Event-ID); what comes twice is cut off, what is missing is asked for again.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from meyrin.client.connection import PATIENCE
from meyrin.domain.errors import Failed, Unreachable

if TYPE_CHECKING:
    import httpx2

    from meyrin.client.connection import Connection

Stream = Literal["stdout", "stderr"]


@dataclass(frozen=True, slots=True)
class Output:
    """A piece of output; `end` is the byte offset after it."""

    data: bytes
    end: int


@dataclass(frozen=True, slots=True)
class Printed:
    """A stream from an offset to its present end; `cut_bytes` as in `Change`."""

    data: bytes
    cut_bytes: int | None


@dataclass(frozen=True, slots=True)
class Change:
    """The job's state, told at each change and, with `ended`, when the stream is over.

    `cut_bytes`, told at the end: so many bytes are kept of a stream that printed more.
    """

    state: str
    shown: str
    exit_code: int | None
    signal: int | None
    reason: str
    ended: bool
    site: str | None = None
    partition: str | None = None
    cut_bytes: int | None = None


def follow(
    connection: Connection,
    label: str,
    stream: Stream = "stdout",
    offset: int = 0,
    patience: int = PATIENCE,
) -> Iterator[Output | Change]:
    """Output from byte `offset` on and changes of state, until the job has ended.

    Breaks of the connection are bridged; after `patience` tries in a row that bring nothing
    Unreachable is raised. Every other error of the hub is raised at once.
    """
    position = offset
    barren = 0
    while True:
        try:
            for event in _events(connection, label, stream, position):
                if isinstance(event, Output):
                    piece = _fitting(event, position)
                    barren = 0
                    if piece is None:
                        continue
                    position = piece.end
                    yield piece
                else:
                    barren = 0
                    yield event
                    if event.ended:
                        return
        except Unreachable:
            if barren >= patience:
                raise
        else:
            if barren >= patience:
                raise Unreachable(f"the hub keeps ending the stream of job {label}")
        barren += 1
        connection.back_off(barren)


def _fitting(event: Output, position: int) -> Output | None:
    """The part of a piece that was not given out yet; None when all of it was."""
    start = event.end - len(event.data)
    if start > position:
        raise Unreachable(f"the stream left out bytes {position} to {start}")
    fresh = event.data[position - start :]
    return Output(fresh, event.end) if fresh else None


def _events(
    connection: Connection, label: str, stream: str, position: int
) -> Iterator[Output | Change]:
    import httpx2  # noqa: PLC0415

    headers = {"accept": "text/event-stream", "last-event-id": str(position)}
    path = f"/jobs/{label}/follow"
    with connection.stream("GET", path, params={"stream": stream}, headers=headers) as answer:
        for event in httpx2.EventSource(answer, max_event_size=None):
            read = _read(event)
            if read is not None:
                yield read


def _read(event: httpx2.ServerSentEvent) -> Output | Change | None:
    """The event as a value; None for a kind that this version does not know."""
    try:
        if event.event == "output":
            return Output(base64.b64decode(event.data, validate=True), int(event.id))
        if event.event in {"state", "end"}:
            told = json.loads(event.data)
            return Change(
                state=str(told["state"]),
                shown=str(told.get("shown") or told["state"]),
                exit_code=told.get("exit_code"),
                signal=told.get("signal"),
                reason=str(told.get("reason") or ""),
                ended=event.event == "end",
                site=told.get("site"),
                partition=told.get("partition"),
                cut_bytes=told.get("cut_bytes"),
            )
    except (ValueError, binascii.Error, KeyError, TypeError, AttributeError) as error:
        raise Failed(
            f"the hub sent an event {event.event!r} that can't be read",
            hint="are hub and client of the same version?",
        ) from error
    return None


def exit_status(state: str, exit_code: int | None, signal: int | None) -> int:
    """What a shell would see of an ended job: 128 + n for a signal, 1 where no code is known."""
    if state == "completed":
        return 0
    if signal:
        return 128 + signal
    return exit_code or 1
