"""The keeper's one file of truth: records appended in order, made durable many at a time.

A record is its length, a CRC chained to the record before it, and its payload. Reading stops at
the first record that does not check: a torn tail after a power cut falls off there, and because
the CRC is chained an older tail can't come back to life behind new records. Nothing that was
acknowledged is in a torn tail, since acknowledging waits for `sync`.

Space is reserved ahead, so ends can still be written when the disk is full.
"""

from __future__ import annotations

import os
import struct
import sys
import zlib
from collections.abc import Iterable
from pathlib import Path

from meyrin.agent.keeper_sync import Syncer
from meyrin.client.durable import sync_folder

MAGIC = b"MEYRIN-KEEPER-2\n"
CHUNK = 1 << 20
RESERVE = CHUNK // 2

_HEAD = struct.Struct("<II")


class Journal:
    """One append-only file with a single writer, which holds the folder's lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0
        self._crc = 0
        self._fd = -1
        self._allocated = 0
        self._waiting = bytearray()
        self.position = 0  # bytes appended in this process's life
        self.safe = 0  # of these, durable
        self._asked = 0
        self._wanted = 0
        self.syncer: Syncer | None = None

    def open(self) -> list[bytes]:
        """All records that check, in order; the file is then ready for more."""
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        data = self.path.read_bytes()
        records: list[bytes] = []
        if not data.startswith(MAGIC):
            if data.strip(b"\0") and not MAGIC.startswith(data.rstrip(b"\0")):
                raise ValueError(f"{self.path} is no journal of a keeper")
            os.pwrite(self._fd, MAGIC, 0)
            data = MAGIC
        self.offset, self._crc = len(MAGIC), 0
        view = memoryview(data)
        while (payload := self._next(view)) is not None:
            records.append(payload)
        self._drop_tail(data[self.offset :])
        self._grow(0)
        os.fsync(self._fd)
        sync_folder(self.path.parent)
        return records

    def _next(self, view: memoryview) -> bytes | None:
        if self.offset + _HEAD.size > len(view):
            return None
        length, crc = _HEAD.unpack_from(view, self.offset)
        body = self.offset + _HEAD.size
        if length == 0 or body + length > len(view):
            return None
        payload = bytes(view[body : body + length])
        if zlib.crc32(payload, self._crc) != crc:
            return None
        self.offset, self._crc = body + length, crc
        return payload

    def _drop_tail(self, tail: bytes) -> None:
        if torn := tail.rstrip(b"\0"):
            aside = self.path.with_name(f"{self.path.name}.torn")
            aside.write_bytes(torn)
            print(f"journal: {len(torn)} torn bytes moved to {aside}", file=sys.stderr, flush=True)  # noqa: T201
        os.ftruncate(self._fd, self.offset)
        self._allocated = self.offset

    def _grow(self, size: int) -> None:
        """Have room for `size` bytes and the reserve; raises OSError when the disk has none."""
        need = self.offset + len(self._waiting) + size + RESERVE
        if need > self._allocated:
            more = -(-(need - self._allocated) // CHUNK) * CHUNK
            os.posix_fallocate(self._fd, self._allocated, more)
            self._allocated += more

    def room(self, size: int) -> None:
        """Reserve room for a record of `size` bytes; raises OSError when there is none."""
        self._grow(size + _HEAD.size)

    def append(self, payload: bytes) -> None:
        """Add a record; it is in memory until `flush`, in the kernel until `sync`."""
        self._crc = zlib.crc32(payload, self._crc)
        self._waiting += _HEAD.pack(len(payload), self._crc)
        self._waiting += payload
        self.position += _HEAD.size + len(payload)

    def flush(self) -> bool:
        """Hand records to the kernel: they outlive this process. False when the disk is full."""
        if not self._waiting:
            return True
        try:
            self._grow(0)
        except OSError:
            # the reserve is for this moment
            if self.offset + len(self._waiting) > self._allocated:
                return False
        try:
            while self._waiting:
                written = os.pwrite(self._fd, self._waiting, self.offset)
                self.offset += written
                del self._waiting[:written]
        except OSError:
            return False
        return True

    def sync(self) -> bool:
        """Make everything appended durable. False when the disk is full: try again later.

        An error of fdatasync itself is raised and ends the keeper: after it nobody can know
        what is on the disk, and only reading the file again tells.
        """
        if not self.flush():
            return False
        if self.safe < self.position:
            os.fdatasync(self._fd)
            self.safe = self.position
        return True

    def start_syncer(self) -> Syncer:
        """Sync in a child process from now on; `synced` hears of it."""
        self._asked = 0
        self.syncer = Syncer(self._fd)
        return self.syncer

    def want(self) -> int:
        """Everything appended is to become durable soon; the position that says when it is."""
        self._wanted = self.position
        return self.position

    def ask(self) -> None:
        """Send what is wanted on its way, unless a sync is under way: then the next takes it."""
        if self.syncer and self._wanted > self.safe and self._asked <= self.safe and self.flush():
            self._asked = self.position
            try:
                self.syncer.ask(self._asked)
            except BrokenPipeError:
                self.sync()

    def synced(self) -> bool:
        """The syncer has answered. False when it is dead; then this process has synced itself."""
        assert self.syncer is not None, "nobody else answers"
        position = self.syncer.answer()
        if position is None:
            self.sync()
            return False
        self.safe = max(self.safe, position)
        return True

    @property
    def durable(self) -> bool:
        return self.safe == self.position

    def rewrite(self, records: Iterable[bytes]) -> bool:
        """Replace the file by `records`, atomically. False, and nothing done, on a full disk."""
        fresh = Journal(self.path.with_name(f"{self.path.name}.new"))
        fresh.path.unlink(missing_ok=True)
        try:
            fresh.open()
            for record in records:
                fresh.append(record)
                if len(fresh._waiting) > CHUNK and not fresh.flush():
                    raise OSError("no room")
            if not fresh.sync():
                raise OSError("no room")
            fresh.path.replace(self.path)
        except OSError:
            fresh.close()
            fresh.path.unlink(missing_ok=True)
            return False
        sync_folder(self.path.parent)
        os.close(self._fd)
        self.offset, self._crc, self._fd = fresh.offset, fresh._crc, fresh._fd
        self._allocated = fresh._allocated
        self._waiting.clear()
        self.safe = self.position
        return True

    def in_place(self) -> bool:
        """Whether the file still has its name: it has not when the folder was removed."""
        try:
            found = self.path.stat()
        except OSError:
            return False
        mine = os.fstat(self._fd)
        return (found.st_ino, found.st_dev) == (mine.st_ino, mine.st_dev)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
