"""Follows the files that jobs print to and sends what is new, by offset.

Offsets live at the hub: its answer says how much it has, so nothing is kept here that a crash
could lose, and a piece sent twice is no harm. For the same reason a file that its job empties or
replaces is read on from the old offset, once it is that long: where it began anew is known nowhere.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from meyrin.agent.batch import BatchSystem, Output
from meyrin.agent.hub import Hub
from meyrin.agent.within import at_once, place_of
from meyrin.wire.agents import MOST_CHUNKS, Chunk

_PIECE = 256 * 1024
_CALL = 4 * 2**20  # of all files together, in one call
_NO_MORE = -1


@dataclass(slots=True)
class _File:
    attempt: str
    stream: str
    path: str
    offset: int = 0
    ended: bool = False
    until: int | None = None  # its size when it was first read after the end: others may go on


class Tail:
    """The streams of running attempts. Used by one thread at a time, apart from `watch`.

    `own` are files of the agent, and folders with such files right in them, which are never sent.
    A job elsewhere, which can't read them, may put a link to one in the place of its output.
    """

    def __init__(self, batch: BatchSystem, hub: Hub, own: tuple[Path, ...] = ()) -> None:
        self.batch = batch
        self.hub = hub
        self._own = frozenset(str(path.resolve()) for path in own)
        self._files: dict[str, list[_File]] = {}
        self._asked: list[str] = []
        self._named: dict[str, Output] = {}
        self._first = 0  # of the files, in the next round: one has no room for those of all

    def name(self, attempt: str, output: Output) -> None:
        """Where it will print: then the batch system need not be asked. May be left out."""
        self._named[attempt] = output

    def forget(self, attempt: str) -> None:
        """It prints no more, and perhaps never did."""
        self._named.pop(attempt, None)

    def watch(self, attempt: str) -> None:
        """From now on send what this attempt prints."""
        self._asked.append(attempt)

    def follows(self, attempt: str) -> bool:
        return attempt in self._files or attempt in self._asked

    def watched(self) -> bool:
        return bool(self._files or self._asked)

    def pump(self, last: list[str]) -> None:
        """Send what is new; of the attempts in `last`, everything, and then drop them."""
        while self._asked:
            self._open(self._asked.pop())
        for attempt in last:
            self._open(attempt)
        ending = [file for attempt in last for file in self._files.get(attempt, [])]
        for file in ending:
            file.ended = True
        files = [file for files in self._files.values() for file in files]
        first = self._first % len(files) if files else 0
        self._first = first + self._send(files[first:] + files[:first])
        while self._send(ending):
            pass
        for attempt in last:
            self._files.pop(attempt, None)
            self.forget(attempt)

    def _open(self, attempt: str) -> None:
        if attempt in self._files:
            return
        output = self._named.get(attempt) or self.batch.output(attempt)
        if output is None:
            return
        streams = {"stdout": output.stdout}
        if output.stderr != output.stdout:
            streams["stderr"] = output.stderr
        self._files[attempt] = [
            _File(attempt, stream, path) for stream, path in streams.items() if path != os.devnull
        ]

    def _send(self, files: list[_File]) -> int:
        """One call to the hub with what is new in the files, as far as it has room; for how many
        it had. 0 when there was nothing."""
        chunks: list[Chunk] = []
        total = 0
        ahead = iter(files)
        for file in ahead:
            data = self._read(file)
            if data:
                total += len(data)
                chunks.append(
                    Chunk.model_construct(
                        attempt=file.attempt, stream=file.stream, offset=file.offset, data=data
                    )
                )
            if total >= _CALL or len(chunks) == MOST_CHUNKS:
                break
        if not chunks:
            return 0
        sizes = self.hub.output(chunks)
        for file in files:
            size = sizes.get(f"{file.attempt}/{file.stream}")
            if size is not None:
                file.offset = size
        return len(files) - len(list(ahead))

    def _read(self, file: _File) -> bytes:
        if file.offset == _NO_MORE:
            return b""
        try:
            # a pipe keeps whoever opens it waiting, and its bytes are for somebody else; a device
            # may have no end
            if not stat.S_ISREG(os.stat(file.path).st_mode):  # noqa: PTH116 - a hot path
                return b""
            with open(file.path, "rb", opener=at_once) as stream:
                really = place_of(stream.fileno())
                if really in self._own or os.path.dirname(really) in self._own:  # noqa: PTH120
                    return b""
                if file.ended and file.until is None:
                    file.until = os.fstat(stream.fileno()).st_size
                left = _PIECE if file.until is None else max(file.until - file.offset, 0)
                stream.seek(file.offset)
                return stream.read(min(_PIECE, left))
        except OSError:
            return b""  # not there yet, or taken away by its owner
