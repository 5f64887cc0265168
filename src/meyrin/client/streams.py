"""Both streams of a job at once, as they come, until each has ended."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING

from meyrin.client.follow import Change, Output, Stream

if TYPE_CHECKING:
    from meyrin.client.api import Client

STREAMS: tuple[Stream, ...] = ("stdout", "stderr")


@dataclass(frozen=True, slots=True)
class Told:
    """What one stream has to say."""

    stream: Stream
    event: Output | Change


def begin(hub: Client, label: str, put: Callable[[Told | Exception], None]) -> None:
    """Follow each stream in a thread that only hands on what comes, and the error that ends it."""

    def hand_on(stream: Stream) -> None:
        try:
            for event in hub.follow(label, stream):
                put(Told(stream, event))
        except Exception as error:  # noqa: BLE001 - a bug too must end the waiting for it
            put(error)

    for stream in STREAMS:
        threading.Thread(target=hand_on, args=(stream,), daemon=True).start()


def follow_both(hub: Client, label: str) -> Iterator[Told]:
    """What both streams bring; raises what either of them raises."""
    queue: SimpleQueue[Told | Exception] = SimpleQueue()
    begin(hub, label, queue.put)
    left = len(STREAMS)
    while left:
        told = queue.get()
        if isinstance(told, Exception):
            raise told
        yield told
        left -= isinstance(told.event, Change) and told.event.ended
