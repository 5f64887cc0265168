"""A file as a stream of whole lines, decompressed on the way, in memory that doesn't grow.

Compression is told by the first bytes, never by the name. Never interprets a line.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypeAlias

from meyrin.domain.errors import InvalidInput, NotFound

Progress: TypeAlias = Callable[[int, int | None], None]
"""Called now and then with the bytes of the file that were read, and its size where known."""

BLOCK = 4 * 2**20
LONGEST_LINE = 2**20
"""No line of a trace is longer than 1 MiB; a file with a longer one is refused."""
LONGEST_RECORD = 2**24
"""A quoted field may hold line breaks, but a record ends within 16 MiB."""

MAGIC = {
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x1f\x8b": "gzip",
    b"BZh": "bz2",
    b"\xfd7zXZ\x00": "xz",
    b"\x04\x22\x4d\x18": "lz4",
}
SUFFIXES = {".zst", ".gz", ".bz2", ".xz", ".lz4"}
BOM = b"\xef\xbb\xbf"


class _Counted(io.RawIOBase):
    """A file that tells how far it was read, and gives back what was looked at."""

    def __init__(
        self, file: IO[bytes], seen: bytes, total: int | None, progress: Progress | None
    ) -> None:
        super().__init__()
        self._file, self._seen, self._total, self._progress = file, seen, total, progress
        self._done = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._seen:
            got, self._seen = self._seen[: len(buffer)], self._seen[len(buffer) :]
        else:
            got = self._file.read(len(buffer))
        buffer[: len(got)] = got
        self._done += len(got)
        if self._progress is not None:
            self._progress(self._done, self._total)
        return len(got)

    def close(self) -> None:
        self._file.close()
        super().close()


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines: `data` ends with a line break, `first` is the number of its first line.

    `cut`: the file's last line had no line break of its own.
    """

    first: int
    data: bytes
    cut: bool = False


class Source:
    """One open file. Raises `NotFound`, or `InvalidInput` where the content can't be unpacked."""

    def __init__(self, path: Path, progress: Progress | None = None) -> None:
        self.path = path
        try:
            file = path.open("rb", buffering=0)
            total = path.stat().st_size if path.is_file() else None
        except FileNotFoundError as error:
            raise NotFound(f"there is no file {path}", file=str(path)) from error
        except OSError as error:
            raise InvalidInput(f"{path} can't be read: {error.strerror}", file=str(path)) from error
        seen = _first_bytes(file)
        self.compression = next(
            (name for magic, name in MAGIC.items() if seen.startswith(magic)), ""
        )
        raw = io.BufferedReader(_Counted(file, seen, total, progress), 2**20)
        self._raw = raw
        self._plain: Any = _unpacked(raw, self.compression)
        self._ahead = b""
        self.unpacked = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._raw.close()

    @property
    def plain_name(self) -> str:
        """The file's name without the suffix of its compression."""
        path = self.path
        return (path.stem if path.suffix.lower() in SUFFIXES else path.name).lower()

    def head(self, size: int = 2**16) -> bytes:
        """The first bytes of the content, still to be read; call it before `read`."""
        while len(self._ahead) < size:
            more = self._read(size - len(self._ahead))
            if not more:
                break
            self._ahead += more
        return self._ahead

    def read(self, size: int) -> bytes:
        """At most `size` bytes of content, none at the end."""
        if self._ahead:
            got, self._ahead = self._ahead[:size], self._ahead[size:]
            return got
        return self._read(size)

    def _read(self, size: int) -> bytes:
        try:
            got = bytes(self._plain.read(size))
        except EOFError as error:
            raise self._broken("ends in the middle: the file is cut short") from error
        except (OSError, ValueError, zlib.error, lzma.LZMAError) as error:
            if getattr(error, "errno", None) is not None:
                raise
            if "runcated" in str(error):
                raise self._broken("ends in the middle: the file is cut short") from error
            raise self._broken(f"is damaged: {error}") from error
        self.unpacked += len(got)
        return got

    def _broken(self, what: str) -> InvalidInput:
        return InvalidInput(
            f"{self.path}: the {self.compression} stream {what} "
            f"(after {self.unpacked} bytes of content)",
            hint="Fetch the file again, or repair it; nothing of it was used.",
            file=str(self.path),
        )

    def blocks(self, quote: bytes = b"") -> Iterator[Block]:
        """The content as blocks of whole lines; with `quote`, no block ends inside a quoted field.

        Raises `InvalidInput` where a line (or a quoted record) has no end within its limit.
        """
        first, kept = 1, b""
        limit = LONGEST_RECORD if quote else LONGEST_LINE
        while got := self.read(BLOCK):
            data = kept + got if kept else got
            if first == 1:
                data = data.removeprefix(BOM)
            end = data.rfind(b"\n") + 1
            while quote and data.count(quote, 0, end) % 2:  # within a field: end before it opened
                end = data.rfind(b"\n", 0, data.rfind(quote, 0, end)) + 1
            kept = data[end:]
            if len(kept) > limit:
                raise self._endless(first + data.count(b"\n", 0, end), limit)
            if end:
                yield Block(first, data[:end])
                first += data.count(b"\n", 0, end)
        if kept:
            yield Block(first, kept + b"\n", cut=True)

    def _endless(self, line: int, limit: int) -> InvalidInput:
        return InvalidInput(
            f"{self.path}, line {line}: longer than {limit // 2**20} MiB, so this is no trace",
            hint="Is it the right file? A trace has one job a line.",
            file=str(self.path),
            line=line,
        )


def _first_bytes(file: IO[bytes]) -> bytes:
    """Enough to know the compression; a pipe may give them in pieces."""
    seen = b""
    while len(seen) < 8:
        got = file.read(8 - len(seen))
        if not got:
            break
        seen += got
    return seen


def _unpacked(raw: Any, compression: str) -> Any:
    if compression == "gzip":
        return gzip.GzipFile(fileobj=raw)
    if compression == "bz2":
        return bz2.BZ2File(raw)
    if compression == "xz":
        return lzma.LZMAFile(raw)
    if compression:
        import pyarrow as pa  # noqa: PLC0415 - takes its time to load

        return pa.CompressedInputStream(raw, compression)
    return raw
