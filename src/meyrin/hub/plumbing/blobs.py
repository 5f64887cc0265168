"""The content store: files by the SHA-256 of their bytes, in a folder or in an object store.

An upload comes in pieces, each kept as an object of its own until the file is whole, so that it
goes on where it stopped, at any replica, on any fsspec file system. A file appears under its
digest only after all its bytes were hashed and, in a folder, outlive a power cut: whoever brought
it forgets it then. Pieces may be lost, and are sent again.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import uuid
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import fsspec  # type: ignore[import-untyped]
from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]

from meyrin.client.durable import sync_folder
from meyrin.domain.errors import InvalidInput, MeyrinError, NotFound, StorageFull, Unreachable

PIECE_BYTES = 8 * 2**20
_SHA256 = re.compile(r"[0-9a-f]{64}")


def check_digest(sha256: str) -> None:
    """Raise InvalidInput unless it is 64 lower-case hexadecimal digits."""
    if not _SHA256.fullmatch(sha256):
        raise InvalidInput(f"{sha256[:80]!r} is no SHA-256", hint="64 hexadecimal digits")


class Blobs:
    """Files by digest under an fsspec URL such as `s3://bucket`, or in a folder of any name."""

    def __init__(self, url: str, unused_days: int = 30) -> None:
        if "://" in url:
            try:
                self.fs, self.root = fsspec.core.url_to_fs(url)
            except (ValueError, ImportError) as error:
                raise InvalidInput(
                    f"setting blobs_url is {url!r}: {error}",
                    hint="a folder, or an address that fsspec knows, such as s3://bucket",
                    field="blobs_url",
                ) from error
        else:
            self.fs, self.root = fsspec.filesystem("file"), str(Path(url).absolute())
        # for how long a file stays that nothing refers to, after it was last brought
        self.unused_ms = unused_days * 86_400_000
        self._in_folder = isinstance(self.fs, LocalFileSystem)

    def _whole(self, sha256: str) -> str:
        check_digest(sha256)
        return f"{self.root}/{sha256[:2]}/{sha256}"

    def _pieces(self, sha256: str, by: str) -> str:
        check_digest(sha256)
        return f"{self.root}/partial/{by}/{sha256}"

    def _sync(self, folder: str) -> None:
        """Make the names in a folder durable; an object store has kept what it says it has."""
        if self._in_folder:
            sync_folder(folder)

    def size(self, sha256: str) -> int:
        """Bytes of a whole file; NotFound when it isn't here."""
        path = self._whole(sha256)
        try:
            with _answering(FileNotFoundError):
                return int(self.fs.size(path))
        except FileNotFoundError:
            raise NotFound(
                f"the content store has no file {sha256[:12]}…",
                hint="the hub's administrator can put it back from a copy of the store",
            ) from None

    def read(self, sha256: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The bytes from `start` up to `end`, in pieces. NotFound, before the first of them, when
        they aren't here."""
        size = self.size(sha256)
        if end is not None and size < end:
            raise NotFound(
                f"of the file {sha256[:12]}… the content store has {size} of {end} bytes",
                hint="the hub's administrator can put it back from a copy of the store",
            )
        return self._between(self._whole(sha256), start, size if end is None else end)

    def _between(self, path: str, start: int, end: int) -> Iterator[bytes]:
        left = end - start
        with (
            _answering(),
            self.fs.open(path, "rb", block_size=PIECE_BYTES, cache_type="readahead") as file,
        ):
            file.seek(start)
            while left > 0 and (piece := file.read(min(2**20, left))):
                left -= len(piece)
                yield piece

    def has(self, sha256: str, size: int) -> bool:
        """Whether the whole file is here now, whatever was listed before."""
        path = self._whole(sha256)
        self.fs.invalidate_cache(path.rsplit("/", 1)[0])
        try:
            with _answering(FileNotFoundError):
                return int(self.fs.size(path)) == size
        except FileNotFoundError:
            return False

    def remove(self, sha256: str) -> None:
        """Take a file away; where there is none, nothing."""
        with _answering(), suppress(FileNotFoundError):
            self.fs.rm_file(self._whole(sha256))

    def corner(self, number: int, torn_ms: int) -> list[tuple[str, int, int]]:
        """Digest, size and time of the files in one of the store's 256 corners. What was written
        aside there before `torn_ms` and never named goes."""
        whole = []
        with _answering():
            for path, size, at_ms in self._ls(f"{self.root}/{number % 256:02x}"):
                name = path.rsplit("/", 1)[-1]
                if _SHA256.fullmatch(name):
                    whole.append((name, size, at_ms))
                elif at_ms < torn_ms:
                    with suppress(FileNotFoundError):
                        self.fs.rm_file(path)
        return whole

    def drop_unfinished(self, corner: int, old_ms: int, until: Callable[[], bool]) -> int:
        """Forget uploads of which no piece has come since `old_ms`, while `until` is false, of
        those who come into one of 256 corners."""
        dropped = 0
        with _answering():
            for by in self._folders(f"{self.root}/partial"):
                if (zlib.crc32(by.rsplit("/", 1)[-1].encode()) - corner) % 256:
                    continue
                folders = self._folders(by)
                first = corner // 256 % max(1, len(folders))  # not always the same ones
                for folder in folders[first:] + folders[:first]:
                    if until():
                        return dropped
                    if all(at_ms < old_ms for _, _, at_ms in self._ls(folder)):
                        with suppress(FileNotFoundError):
                            self.fs.rm(folder, recursive=True)
                        dropped += 1
        return dropped

    def _folders(self, path: str) -> list[str]:
        try:
            found = self.fs.ls(path, detail=True, refresh=True)
        except FileNotFoundError:
            return []
        return [each["name"] for each in found if each["type"] == "directory"]

    def _ls(self, path: str) -> list[tuple[str, int, int]]:
        """The files in a folder: path, size, and when it was written."""
        try:
            found = self.fs.ls(path, detail=True, refresh=True)
        except FileNotFoundError:
            return []
        return [(e["name"], int(e["size"]), _written_ms(e)) for e in found if e["type"] == "file"]

    def offset(self, sha256: str, by: str) -> int:
        """How much of an unfinished upload of `by` is kept."""
        with _answering():
            return sum(size for _, _, size in self._listed(sha256, by))

    def put(self, sha256: str, by: str, offset: int, total: int, data: bytes) -> int:
        """Keep a piece; returns how much is kept now. Hashes and moves the file when whole.

        A piece that is there already, or that leaves a gap, changes nothing. Raises InvalidInput
        when the whole file is not what its name says; the pieces are dropped then.
        """
        if offset + len(data) > total:
            raise InvalidInput(f"a piece ends at {offset + len(data)}, the file at {total}")
        with _answering(), _disk():
            kept = self.offset(sha256, by)
            if kept > total:
                raise InvalidInput(
                    f"{kept} bytes of {sha256[:12]}… are here, more than the {total} of the file",
                    hint="say the same size with every piece",
                    field="size",
                )
            if offset == kept and (data or total == 0):
                folder = self._pieces(sha256, by)
                try:
                    self.fs.makedirs(folder, exist_ok=True)
                    # written aside and then named, so that a torn write is no piece
                    torn = f"{folder}/.{uuid.uuid4().hex}"
                    with self.fs.open(torn, "wb") as file:
                        file.write(data)
                    self.fs.mv(torn, f"{folder}/{offset:020d}")
                except (FileNotFoundError, FileExistsError):
                    # the same file came twice at once: the other was first, and removed the folder
                    # after or even while it was made here
                    return self.offset(sha256, by)
                kept += len(data)
            if kept == total and not self._finish(sha256, by, total):
                return self.offset(sha256, by)
        return kept

    def _listed(self, sha256: str, by: str) -> list[tuple[int, str, int]]:
        """Pieces in a row from 0 as (offset, path, size); what lies behind a gap is left out."""
        folder = self._pieces(sha256, by)
        try:
            found: list[dict[str, Any]] = self.fs.ls(folder, detail=True, refresh=True)
        except FileNotFoundError:
            return []
        pieces = []
        for item in found:
            name = item["name"].rsplit("/", 1)[-1]
            if name.isdigit():
                pieces.append((int(name), item["name"], int(item["size"])))
        row, at = [], 0
        for start, path, size in sorted(pieces):
            if start != at:
                break
            row.append((start, path, size))
            at += size
        return row

    def _finish(self, sha256: str, by: str, total: int) -> bool:
        """Make the pieces one file; False when they vanished because another call did."""
        digest = hashlib.sha256()
        target = self._whole(sha256)
        aside = f"{target}.{uuid.uuid4().hex}"
        corner = target.rsplit("/", 1)[0]
        if not self.fs.exists(corner):
            with suppress(PermissionError):  # whoever may not read there did not make the root
                self._sync(str(Path(self.root).parent))
            self.fs.makedirs(corner, exist_ok=True)
        joined = 0
        with self.fs.open(aside, "wb") as out, suppress(FileNotFoundError):
            for _, path, _ in self._listed(sha256, by):
                with self.fs.open(path, "rb") as piece:
                    while data := piece.read(2**20):
                        digest.update(data)
                        out.write(data)
                        joined += len(data)
            if self._in_folder:
                out.flush()
                os.fsync(out.fileno())
        good = digest.hexdigest() == sha256
        if good:
            self.fs.mv(aside, target)
            self._sync(corner)
            self._sync(self.root)  # the corner's name, whoever made it a moment ago
        else:
            self.fs.rm(aside)
        if joined != total:
            return False
        with suppress(OSError):  # another call may put a piece there while this one tidies up
            self.fs.rm(self._pieces(sha256, by), recursive=True)
        if not good:
            raise InvalidInput(
                f"the bytes sent are not those of {sha256[:12]}…",
                hint="the file changed while it was sent: send it again",
                field="sha256",
            )
        return True


def _written_ms(item: dict[str, Any]) -> int:
    """When a file was written, as file systems and object stores say it in their own ways."""
    for name in ("LastModified", "mtime", "last_modified", "modified", "created"):
        at = item.get(name)
        if isinstance(at, datetime):
            return int(at.timestamp() * 1000)
        if isinstance(at, int | float):
            return int(at * 1000)
    return 2**62  # nobody says: it is as good as new


@contextmanager
def _answering(but: type[Exception] = MeyrinError) -> Iterator[None]:
    """What a store says when it does not answer, in its own words, as an error of ours; `but` is
    an answer."""
    try:
        yield
    except (MeyrinError, but):
        raise
    except Exception as error:  # each kind of store has errors of its own
        raise Unreachable(
            f"the content store does not answer: {type(error).__name__}",
            hint="nothing is lost: it is tried again in a minute",
        ) from error


@contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(
                "the content store is full; nothing of this piece was kept",
                hint="free some space there, then send it again: it goes on where it stopped",
            ) from error
        raise
